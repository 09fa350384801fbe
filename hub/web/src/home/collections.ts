// What the hub has for this user besides the open session: sessions, projects, models.

import type { ChatSession, Model, Project } from '../api/documents';
import type { HubApi } from '../api/hub';
import { isSignedOut, wordsOf } from '../api/refused';
import { Store } from '../ui/store';
import { inOrderOfChoice } from './labels';

export interface Collections {
  sessions: readonly ChatSession[];
  /** Where older sessions go on. */
  cursor: string | null;
  /** Newest first. */
  projects: readonly Project[];
  models: readonly Model[];
  isLoaded: boolean;
}

const NONE: Collections = { sessions: [], cursor: null, projects: [], models: [], isLoaded: false };

export class CollectionLoader {
  readonly store = new Store<Collections>(NONE);

  constructor(
    private readonly api: HubApi,
    private readonly say: (words: string) => void,
    private readonly signedOut: (words: string) => void,
  ) {}

  /** Everything; quietly, as it is done again and again. */
  async refresh(): Promise<void> {
    try {
      const [sessions, projects, models] = await Promise.all([
        this.api.sessions(),
        this.api.projects(),
        this.api.models(),
      ]);
      this.store.update((old) => ({
        sessions: merged(old.sessions, sessions.items),
        cursor: old.sessions.length > sessions.items.length ? old.cursor : (sessions.nextCursor ?? null),
        projects: projects.sort((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt)),
        models: inOrderOfChoice(models),
        isLoaded: true,
      }));
    } catch (error) {
      if (isSignedOut(error)) this.signedOut(wordsOf(error));
    }
  }

  async older(): Promise<void> {
    const { cursor } = this.store.get();
    if (cursor === null) return;
    try {
      const { items, nextCursor } = await this.api.sessions(cursor);
      this.store.update((old) => ({ ...old, sessions: merged(old.sessions, items), cursor: nextCursor ?? null }));
    } catch (error) {
      this.say(wordsOf(error));
    }
  }

  put(session: ChatSession): void {
    this.store.update((old) => ({ ...old, sessions: merged(old.sessions, [session]) }));
  }

  putProject(project: Project): void {
    this.store.update((old) => ({ ...old, projects: [project, ...old.projects] }));
  }
}

/** The newest session, if nothing has been said in it: `gadget local` makes one for its first visitor. */
export function unusedSession({ sessions }: Collections): ChatSession | null {
  const [newest] = sessions;
  return newest?.stats.turnCount === 0 ? newest : null;
}

/** Newest first, each once, what came last counts. */
export function merged(old: readonly ChatSession[], fresh: readonly ChatSession[]): ChatSession[] {
  const byId = new Map([...old, ...fresh].map((session) => [session._id, session]));
  return [...byId.values()]
    .filter(({ archivedAt }) => archivedAt === undefined)
    .sort((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt) || (a._id < b._id ? 1 : -1));
}
