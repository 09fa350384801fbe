import { beforeEach, describe, expect, it, vi } from 'vitest';

import type { ChatSession, ChatTurn } from '../api/documents';
import { Refused } from '../api/refused';
import type { ConnectionEvents, Credentials, HubLine } from '../live/connection';
import { textOf } from '../transcript/model';
import { SessionLink, type Surroundings } from './link';

const AT = '2026-01-01T00:00:00Z';

const session = { _id: 's1', createdAt: AT, project: 'p1', name: 'One', mode: 'build', reasoningEffort: 'off' } as ChatSession;

const noStats = { inputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0, thinkingTokenCount: 0, responseTokens: 0, durationMs: 0 };

function stored(text: string, lastSeq: number, over: Partial<ChatTurn> = {}): ChatTurn {
  const blocks = text === '' ? [] : [{ mode: 'responding' as const, createdAt: AT, content: text }];
  return { _id: 't1', createdAt: AT, provider: 'p', llm: 'm', status: 'processing', prompts: { user: 'do it' }, blocks, stats: noStats, lastSeq, ...over };
}

/** There is nothing to send again. */
function nothingMissed(args: unknown[]): unknown[] {
  const { lastSeq } = args[0] as { lastSeq: number };
  return [true, { fromSeq: lastSeq + 1, toSeq: lastSeq }];
}

/** A hub that answers by a script, and what the page asked of it. */
class FakeHub implements HubLine {
  isUp = false;
  turns: ChatTurn[] = [];
  asked: [string, unknown[]][] = [];
  answers: Record<string, (args: unknown[]) => unknown[]> = {
    requestSessionLock: () => [true, 's1'],
    resume: nothingMissed,
    followSession: nothingMissed,
    submitPrompt: () => [true, { turnId: 't1' }],
    sessionHeartbeat: () => [true],
  };
  credentials: () => Credentials = () => ({ token: '', tabId: '' });
  private events: ConnectionEvents | null = null;

  connect: Surroundings['connect'] = (credentials, events) => {
    this.credentials = credentials;
    this.events = events;
    return this;
  };

  open() {
    this.isUp = true;
    this.events?.connected();
  }

  drop() {
    this.isUp = false;
    this.events?.lost();
  }

  close() {
    this.isUp = false;
  }

  hurry() {
    this.open();
  }

  say(seq: number, text: string, turnId = 't1') {
    this.events?.event('response', [text, { turnId, seq, at: AT }]);
  }

  emit(name: string, ...args: unknown[]) {
    this.events?.event(name, args);
  }

  ask<T>(name: string, args: readonly unknown[], _within: number, read: (answer: unknown[]) => T): Promise<T> {
    this.asked.push([name, [...args]]);
    const answer = this.answers[name];
    if (answer === undefined || !this.isUp) return Promise.reject(new Refused('unreachable', 'lost'));
    try {
      return Promise.resolve(read(answer([...args])));
    } catch (refusal) {
      return Promise.reject(refusal);
    }
  }

  names() {
    return this.asked.map(([name]) => name);
  }
}

let hub: FakeHub;
let said: string[];
let beat: () => void;

async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

async function opened(): Promise<SessionLink> {
  const link = new SessionLink('s1', {
    api: {
      session: () => Promise.resolve(session),
      turns: () => Promise.resolve({ items: hub.turns, lastPage: undefined }),
      drones: () => Promise.resolve([]),
      renewToken: () => Promise.resolve({ token: 'fresh' }),
    },
    connect: hub.connect,
    startHeartbeat: (each) => {
      beat = each;
      return () => undefined;
    },
    token: () => 'tok',
    keepToken: () => undefined,
    tabId: 'tab',
    say: (words) => said.push(words),
    signedOut: (words) => said.push(`signed out: ${words}`),
    sessionChanged: () => undefined,
  });
  await link.open();
  await settled();
  return link;
}

function textIn(link: SessionLink): string {
  const blocks = link.state.get().transcript.turns.flatMap((turn) => turn.blocks);
  return blocks.map((block) => (block.kind === 'text' ? textOf(block) : '')).join('|');
}

beforeEach(() => {
  const kept = new Map<string, string>();
  const nothing = () => undefined;
  vi.stubGlobal('window', { addEventListener: nothing, removeEventListener: nothing });
  vi.stubGlobal('document', { hidden: false, addEventListener: nothing, removeEventListener: nothing });
  vi.stubGlobal('requestAnimationFrame', (frame: () => void) => setTimeout(frame, 0));
  vi.stubGlobal('sessionStorage', {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  });
  hub = new FakeHub();
  said = [];
});

describe('opening a session', () => {
  it('loads what is stored, takes the lock and has the rest sent', async () => {
    hub.turns = [stored('Loo', 4)];
    hub.answers['resume'] = () => {
      queueMicrotask(() => hub.say(5, 'king.'));
      return [true, { fromSeq: 5, toSeq: 5 }];
    };
    const link = await opened();
    expect(hub.names()).toEqual(['requestSessionLock', 'resume']);
    expect(hub.asked[0]?.[1]).toEqual([null, 'p1', 's1', {}]);
    expect(hub.asked[1]?.[1]).toEqual([{ chatSessionId: 's1', lastSeq: 4 }]);
    expect(textIn(link)).toBe('Looking.');
    expect(link.state.get().hold.is).toBe('held');
  });

  it('reads along when another tab has it, and takes it over when asked to', async () => {
    hub.answers['requestSessionLock'] = (args) =>
      (args[3] as { takeOver?: true }).takeOver ? [true, 's1'] : [false, 's1', { code: 'tab_locked', message: 'elsewhere' }];
    const link = await opened();
    expect(link.state.get().hold).toEqual({ is: 'following', because: { code: 'tab_locked', message: 'elsewhere' } });
    expect(hub.names()).toEqual(['requestSessionLock', 'followSession']);
    await link.take(true);
    expect(link.state.get().hold.is).toBe('held');
  });

  it('says why when no drone can be had, and lets the person try again', async () => {
    hub.answers['requestSessionLock'] = () => [false, 's1', { code: 'suspended', message: 'resume it first' }];
    const link = await opened();
    expect(link.state.get().hold).toMatchObject({ because: { code: 'suspended', message: 'resume it first' } });
    hub.answers['requestSessionLock'] = () => [true, 's1'];
    await link.take(false);
    expect(link.state.get().hold.is).toBe('held');
  });
});

describe('a line that comes back', () => {
  it('names what was seen, takes the lock again and has what was missed sent', async () => {
    hub.turns = [stored('', 0)];
    const link = await opened();
    hub.say(1, 'a');
    hub.say(2, 'b');
    hub.drop();
    expect(link.state.get().line.is).toBe('lost');
    expect(hub.credentials()).toEqual({ token: 'tok', tabId: 'tab', lastSeq: { s1: 2 } });
    hub.asked = [];
    hub.open();
    await settled();
    expect(hub.asked.map(([name, args]) => [name, args.at(-1)])).toEqual([
      ['requestSessionLock', {}],
      ['resume', { chatSessionId: 's1', lastSeq: 2 }],
    ]);
    expect(link.state.get()).toMatchObject({ line: { is: 'up' }, hold: { is: 'held' } });
  });

  it('does not take the session from the tab that has it', async () => {
    const link = await opened();
    hub.emit('tabLockDenied', { message: 'taken' });
    expect(link.state.get().hold.is).toBe('following');
    hub.drop();
    expect(hub.credentials().lastSeq).toEqual({});
    hub.asked = [];
    hub.open();
    await settled();
    expect(hub.names()).toEqual(['followSession']);
  });

  it('shows the end of a turn that the hub had to end meanwhile', async () => {
    hub.turns = [stored('Half', 3)];
    const link = await opened();
    hub.drop();
    hub.turns = [stored('Half', 3, { status: 'error', errorMessage: 'the drone cannot come back' })];
    hub.open();
    await settled();
    expect(link.state.get().transcript.turns).toMatchObject([{ status: 'error', errorMessage: 'the drone cannot come back' }]);
  });

  it('takes the stored turn where numbers were never stored, before any event after it', async () => {
    hub.turns = [stored('', 0)];
    const link = await opened();
    hub.say(1, 'True. ');
    hub.say(2, 'Lost.');
    hub.drop();
    hub.answers['resume'] = () => [true, { fromSeq: 2, toSeq: 2, turn: stored('True. ', 1) }];
    hub.open();
    await Promise.resolve();
    await Promise.resolve();
    hub.say(2, 'Kept.');
    await settled();
    expect(textIn(link)).toBe('True. Kept.');
  });
});

describe('a gap in the numbers', () => {
  it('is asked for once, and nothing is shown out of order', async () => {
    hub.turns = [stored('', 0)];
    const link = await opened();
    hub.say(1, 'a');
    hub.asked = [];
    hub.say(3, 'c');
    hub.say(4, 'd');
    expect(hub.asked).toEqual([['resume', [{ chatSessionId: 's1', lastSeq: 1 }]]]);
    for (const [seq, text] of [[2, 'b'], [3, 'c'], [4, 'd']] as const) hub.say(seq, text);
    await settled();
    expect(textIn(link)).toBe('abcd');
  });
});

describe('a prompt', () => {
  it('is a turn as soon as the hub has it, and leaves the box', async () => {
    const link = await opened();
    link.submit('  do it ');
    await settled();
    expect(link.state.get()).toMatchObject({ draft: '', sending: null });
    expect(link.state.get().transcript.turns).toMatchObject([{ id: 't1', prompt: 'do it', status: 'processing' }]);
  });

  it('stays in the box with the words of a refusal', async () => {
    const link = await opened();
    hub.answers['submitPrompt'] = () => [false, { code: 'mode', message: 'the workspace is in user mode' }];
    link.submit('do it');
    await settled();
    expect(said).toEqual(['the workspace is in user mode']);
    expect(link.state.get()).toMatchObject({ draft: 'do it', sending: null });
  });

  it('leaves the box when it had arrived although the answer was lost', async () => {
    const link = await opened();
    delete hub.answers['submitPrompt'];
    link.submit('do it');
    await settled();
    expect(link.state.get().draft).toBe('do it');
    hub.drop();
    hub.turns = [stored('', 0)];
    hub.open();
    await settled();
    expect(link.state.get()).toMatchObject({ draft: '', sending: null });
  });
});

describe('a prompt that is sent while the session cannot be had yet', () => {
  async function queued(): Promise<SessionLink> {
    const link = await opened();
    hub.drop();
    hub.asked = [];
    link.submit('do it');
    await settled();
    expect(link.state.get()).toMatchObject({ draft: 'do it', isQueued: true });
    expect(hub.asked).toEqual([]);
    return link;
  }

  it('goes out when the session is held', async () => {
    const link = await queued();
    hub.open();
    await settled();
    expect(hub.names()).toEqual(['requestSessionLock', 'resume', 'submitPrompt']);
    expect(link.state.get()).toMatchObject({ draft: '', sending: null, isQueued: false });
  });

  it('is held back by a change of its words', async () => {
    const link = await queued();
    link.write('do it not');
    hub.open();
    await settled();
    expect(hub.names()).not.toContain('submitPrompt');
    expect(link.state.get()).toMatchObject({ draft: 'do it not', isQueued: false });
  });

  it('stays in the box when somebody else has the session, or was quicker', async () => {
    let link = await queued();
    hub.answers['requestSessionLock'] = () => [false, 's1', { code: 'tab_locked', message: 'elsewhere' }];
    hub.open();
    await settled();
    expect(link.state.get()).toMatchObject({ draft: 'do it', isQueued: false });

    hub = new FakeHub();
    link = await queued();
    hub.turns = [stored('', 0, { prompts: { user: 'something else' } })];
    hub.open();
    await settled();
    expect(hub.names()).not.toContain('submitPrompt');
    expect(link.state.get()).toMatchObject({ draft: 'do it', isQueued: false });
  });
});

describe('the heartbeat', () => {
  it('takes the lock again when the hub has forgotten it', async () => {
    await opened();
    hub.asked = [];
    hub.answers['sessionHeartbeat'] = () => [false];
    beat();
    await settled();
    expect(hub.names()).toEqual(['sessionHeartbeat', 'requestSessionLock', 'resume']);
  });
});

describe('a token that is about to expire', () => {
  it('is renewed on the line that is up', async () => {
    await opened();
    hub.answers['authRefresh'] = () => [true, { expiresAt: AT }];
    hub.asked = [];
    hub.emit('authExpiring', { expiresAt: AT });
    await settled();
    expect(hub.asked).toEqual([['authRefresh', [{ token: 'fresh' }]]]);
    expect(said).toEqual([]);
  });
});

describe('a session that is somebody else’s', () => {
  it('is refused with the hub’s words', async () => {
    const link = new SessionLink('s1', {
      ...({} as Surroundings),
      api: {
        session: () => Promise.reject(new Refused('not_found', 'there is no such session')),
        turns: () => Promise.resolve({ items: [], lastPage: undefined }),
        drones: () => Promise.resolve([]),
        renewToken: () => Promise.resolve({ token: '' }),
      },
      connect: hub.connect,
      startHeartbeat: () => () => undefined,
    });
    await link.open();
    expect(link.state.get().line).toMatchObject({ is: 'refused', refusal: { code: 'not_found' } });
    expect(hub.isUp).toBe(false);
  });
});
