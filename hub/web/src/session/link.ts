// The open session: keeps its state right over reloads, lost lines, restarted hubs and other tabs.
//
// The stored turns come over REST, then each numbered event counts once. Whatever goes wrong on the way, the cure is the
// same: load what is stored, and have the events after it sent again.

import type { HubApi } from '../api/hub';
import type { ChatSession, WorkspaceMode } from '../api/documents';
import { isSignedOut, isUnreachable, Refused, wordsOf } from '../api/refused';
import type { ConnectionEvents, Credentials, HubLine } from '../live/connection';
import { parseTurnEvent, TURN_EVENTS, type TurnEventName } from '../live/wire';
import { runningTurn } from '../transcript/model';
import { applied, described, loaded, prompted, rejoined, type Need } from '../transcript/transcript';
import { Store } from '../ui/store';
import { readAborted, readDone, readFollow, readLock, readMode, readSubmitted } from './answers';
import { keepDraft, keptDraft } from './draft';
import { FIRST_STATE, heard, isMode, isWaiting, withTranscript, type SessionState } from './state';

const ANSWER_WITHIN_MS = 20_000;
/** A drone may have to be started first. */
const LOCK_WITHIN_MS = 180_000;
const RETRY_AFTER_MS = 1_000;

export interface Surroundings {
  api: Pick<HubApi, 'session' | 'turns' | 'drones' | 'renewToken'>;
  connect: (credentials: () => Credentials, events: ConnectionEvents) => HubLine;
  startHeartbeat: (beat: () => void) => () => void;
  token: () => string | null;
  keepToken: (token: string) => void;
  tabId: string;
  /** Tells the person. */
  say: (words: string) => void;
  signedOut: (words: string) => void;
  sessionChanged: (session: ChatSession) => void;
}

export class SessionLink {
  readonly state: Store<SessionState>;
  private readonly connection: HubLine;
  private endHeartbeat: () => void = () => undefined;
  private isClosed = false;
  /** Grows with each connect; an answer that belongs to an older line is not acted on. */
  private epoch = 0;
  private isCatchingUp = false;
  /** Only the newest turns can change. */
  private lastPage: string | undefined;
  private isDescribing = false;
  /** Something happened since the turns were last asked for. */
  private toDescribe = false;

  constructor(
    readonly id: string,
    private readonly around: Surroundings,
  ) {
    this.state = new Store({ ...FIRST_STATE, draft: keptDraft(id) });
    this.connection = around.connect(() => this.credentials(), {
      connected: () => void this.attach(),
      lost: () => this.change({ line: { is: 'lost' } }),
      refused: (refusal) => this.refused(refusal),
      event: (name, args) => this.event(name, args),
    });
  }

  async open(): Promise<void> {
    this.endHeartbeat = this.around.startHeartbeat(() => void this.beat());
    window.addEventListener('online', this.hurry);
    document.addEventListener('visibilitychange', this.hurry);
    await this.start();
  }

  close(): void {
    this.isClosed = true;
    this.connection.close();
    this.endHeartbeat();
    window.removeEventListener('online', this.hurry);
    document.removeEventListener('visibilitychange', this.hurry);
  }

  write(draft: string): void {
    keepDraft(this.id, draft);
    this.state.updateNow((state) => ({ ...state, draft, isQueued: false }));
  }

  submit(prompt: string): void {
    this.write(prompt);
    void this.send();
  }

  async send(): Promise<void> {
    const { draft, sending, session, transcript } = this.state.get();
    const prompt = draft.trim();
    if (prompt === '' || (sending !== null && !sending.isAnswerLost)) return;
    if (isWaiting(this.state.get())) return this.change({ isQueued: true });
    if (session === null) return;
    const asked = { prompt, after: new Set(transcript.turns.map(({ id }) => id)), isAnswerLost: false };
    this.change({ sending: asked, isQueued: false });
    try {
      const id = await this.ask('submitPrompt', [prompt], readSubmitted);
      const startedAt = new Date().toISOString();
      const head = { id, prompt, model: session.selectedModel ?? '', simulated: false, startedAt };
      this.state.update((state) => withTranscript(state, prompted(state.transcript, head)));
      keepDraft(this.id, '');
      void this.describe();
    } catch (error) {
      // Unreachable: nobody knows whether the prompt arrived. Its turn will be seen if it did.
      this.change({ sending: isUnreachable(error) ? { ...asked, isAnswerLost: true } : null });
      this.around.say(wordsOf(error));
    }
  }

  abort(): Promise<void> {
    return this.tell(() => this.ask('abortWorkOrder', [], readAborted));
  }

  setMode(mode: WorkspaceMode): Promise<void> {
    return this.tell(async () => {
      const { session } = this.state.get();
      const now = await this.ask('requestWorkspaceMode', [null, session?.project, this.id, mode], readMode);
      if (isMode(now)) this.change({ mode: now });
    });
  }

  /** Asks for the session once more, over the other tab's head if it must be. */
  async take(takeOver: boolean): Promise<void> {
    this.change({ hold: { is: 'asking' } });
    await this.lock(takeOver);
  }

  /** Also once more, after the hub refused the session or the connection itself. */
  async start(): Promise<void> {
    this.change({ line: { is: 'opening' } });
    if (await this.load()) this.connection.open();
  }

  private credentials(): Credentials {
    const { hold, transcript } = this.state.get();
    // Who only reads names no session, or coming back would take the session from the tab that has it.
    const lastSeq = hold.is === 'following' ? {} : { [this.id]: transcript.lastSeq };
    return { token: this.around.token() ?? '', tabId: this.around.tabId, lastSeq };
  }

  /** Everything anew from the store. False: it cannot be had, and the person has been told. */
  private async load(): Promise<boolean> {
    while (!this.isClosed) {
      try {
        const [session, turns] = await Promise.all([this.around.api.session(this.id), this.around.api.turns(this.id)]);
        if (this.isClosed) return false;
        this.lastPage = turns.lastPage;
        this.state.update((state) => withTranscript({ ...state, session }, loaded(turns.items)));
        return true;
      } catch (error) {
        if (!isUnreachable(error)) {
          this.refused(error instanceof Refused ? error : new Refused('internal', wordsOf(error)));
          return false;
        }
        if (!this.connection.isUp) this.change({ line: { is: 'lost' } });
        await new Promise((resolve) => setTimeout(resolve, RETRY_AFTER_MS));
      }
    }
    return false;
  }

  private async attach(): Promise<void> {
    this.epoch += 1;
    this.change({ line: { is: 'up' } });
    // What the hub ended by itself while the line was down has no number and is not sent again.
    void this.describe();
    if (this.state.get().hold.is === 'following') await this.catchUp();
    else await this.lock(false);
  }

  private async lock(takeOver: boolean): Promise<void> {
    const { epoch } = this;
    const { session } = this.state.get();
    let refusal: Refused | null;
    try {
      const wanted = [null, session?.project, this.id, takeOver ? { takeOver: true } : {}];
      refusal = await this.ask('requestSessionLock', wanted, readLock, LOCK_WITHIN_MS);
    } catch (error) {
      refusal = error as Refused;
    }
    if (epoch !== this.epoch || this.isClosed || !this.connection.isUp) return;
    if (refusal === null) this.change({ hold: { is: 'held' } });
    else this.change({ isQueued: false, hold: { is: 'following', because: { code: refusal.code, message: refusal.message } } });
    await this.catchUp();
    this.sendQueued();
    void this.findDrone();
  }

  private sendQueued(): void {
    const { isQueued, transcript } = this.state.get();
    if (!isQueued || isWaiting(this.state.get())) return;
    // Somebody else's turn came first: whether the draft still fits is for the person to say.
    if (runningTurn(transcript) === null) void this.send();
    else this.change({ isQueued: false });
  }

  /** Has the events after the last one sent. */
  private async catchUp(): Promise<void> {
    if (this.isCatchingUp) return;
    this.isCatchingUp = true;
    const { epoch } = this;
    const { hold, transcript } = this.state.get();
    const asked = { chatSessionId: this.id, lastSeq: transcript.lastSeq };
    try {
      await this.ask(hold.is === 'held' ? 'resume' : 'followSession', [asked], (answer) => {
        const { fromSeq, turn } = readFollow(answer);
        if (epoch !== this.epoch || (turn === null && fromSeq === asked.lastSeq + 1)) return;
        this.state.update((state) => withTranscript(state, rejoined(state.transcript, fromSeq, turn)));
        void this.describe();
      });
    } catch (error) {
      if (!isUnreachable(error)) this.around.say(wordsOf(error));
    } finally {
      this.isCatchingUp = false;
      // The line went down and up meanwhile, and that attach found this one still busy.
      if (epoch !== this.epoch && this.connection.isUp && !this.isClosed) void this.catchUp();
    }
  }

  private async describe(): Promise<void> {
    this.toDescribe = true;
    if (this.isDescribing) return;
    this.isDescribing = true;
    try {
      while (this.toDescribe) {
        this.toDescribe = false;
        const { items, lastPage } = await this.around.api.turns(this.id, this.lastPage);
        this.lastPage = lastPage;
        this.state.update((state) => withTranscript(state, described(state.transcript, items)));
      }
    } catch {
      // Asked again at the next connect, or by the next event that needs it.
    } finally {
      this.isDescribing = false;
    }
  }

  private async findDrone(): Promise<void> {
    if (this.state.get().drone !== null) return;
    try {
      const drone = (await this.around.api.drones()).find(({ chatSessionId }) => chatSessionId === this.id);
      if (drone === undefined || this.state.get().drone !== null) return;
      const { phase, restarts, reason } = drone;
      this.change({ drone: { phase, restarts, reason: reason ?? null, message: null } });
    } catch {
      // The next `droneStatus` says it.
    }
  }

  private event(name: string, args: readonly unknown[]): void {
    if (isTurnEvent(name)) {
      const { transcript, need } = applied(this.state.get().transcript, parseTurnEvent(name, args));
      this.state.update((state) => withTranscript(state, transcript));
      this.fill(need);
      if (name === 'workOrderComplete') void this.describe();
      return;
    }
    this.state.update((state) => heard(state, name, args));
    const { session } = this.state.get();
    if (name === 'sessionUpdated' && session !== null) {
      this.around.sessionChanged(session);
      void this.describe();
    }
    if (name === 'authExpiring') void this.renewToken();
  }

  private fill(need: Need | null): void {
    switch (need) {
      case null:
        return;
      case 'replay':
        return void this.catchUp();
      case 'describe':
        return void this.describe();
      case 'reload':
        return void this.load().then((isLoaded) => (isLoaded ? this.catchUp() : undefined));
    }
  }

  private async beat(): Promise<void> {
    if (this.state.get().hold.is !== 'held' || !this.connection.isUp) return;
    try {
      const isHeld = await this.ask('sessionHeartbeat', [], ([held]) => held === true);
      if (!isHeld) await this.lock(false);
    } catch {
      // The line is down; coming back takes the lock again.
    }
  }

  private async renewToken(): Promise<void> {
    await this.tell(async () => {
      const { token } = await this.around.api.renewToken();
      this.around.keepToken(token);
      await this.ask('authRefresh', [{ token }], readDone);
    });
  }

  private refused(refusal: Refused): void {
    if (isSignedOut(refusal)) this.around.signedOut(refusal.message);
    else this.change({ isQueued: false, line: { is: 'refused', refusal } });
  }

  private async tell(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.around.say(wordsOf(error));
    }
  }

  private ask<T>(
    name: string,
    args: readonly unknown[],
    read: (answer: unknown[]) => T,
    withinMs = ANSWER_WITHIN_MS,
  ): Promise<T> {
    return this.connection.ask(name, args, withinMs, read);
  }

  private change(part: Partial<SessionState>): void {
    this.state.update((state) => ({ ...state, ...part }));
  }

  private readonly hurry = (): void => {
    if (!document.hidden && this.state.get().line.is === 'lost' && this.state.get().session !== null) {
      this.connection.hurry();
    }
  };
}

function isTurnEvent(name: string): name is TurnEventName {
  return (TURN_EVENTS as readonly string[]).includes(name);
}
