// The hub's REST routes that the page uses, one function each.

import type { ChatSession, ChatTurn, DroneRegistration, Model, Page, Project, User } from './documents';
import type { Rest } from './rest';

export interface SignedIn {
  token: string;
  user: User;
}

export interface NewSession {
  project: string;
  provider?: string;
  selectedModel?: string;
}

export interface NewProject {
  name: string;
  gitUrl?: string;
}

const session = (id: string) => `/chat-sessions/${encodeURIComponent(id)}`;

export function hubApi(rest: Rest) {
  return {
    signIn: (email: string, password: string) =>
      rest.post<SignedIn>('/auth/sign-in', { email, password }),
    redeem: (invite: string) => rest.post<SignedIn>('/auth/redeem', { invite }),
    renewToken: () => rest.post<{ token: string }>('/auth/renew-token', {}),
    me: () => rest.get<User>('/me'),
    sessions: (cursor?: string) => rest.get<Page<ChatSession>>(paged('/chat-sessions?archived=false', cursor)),
    session: (id: string) => rest.get<ChatSession>(session(id)),
    createSession: (wanted: NewSession) => rest.post<ChatSession>('/chat-sessions', wanted),
    /** Oldest first; with `from`, the `lastPage` of an earlier answer, only those from that page on. */
    turns: (id: string, from?: string) => everyPage<ChatTurn>(rest, `${session(id)}/turns`, from),
    projects: async () => (await everyPage<Project>(rest, '/projects')).items,
    createProject: (wanted: NewProject) => rest.post<Project>('/projects', wanted),
    models: async () => (await everyPage<Model>(rest, '/models')).items,
    drones: async () => (await everyPage<DroneRegistration>(rest, '/drones')).items,
  };
}

export type HubApi = ReturnType<typeof hubApi>;

function paged(path: string, cursor: string | undefined): string {
  if (cursor === undefined) return path;
  return `${path}${path.includes('?') ? '&' : '?'}cursor=${encodeURIComponent(cursor)}`;
}

export interface Pages<T> {
  items: T[];
  /** Where the last page begins; absent when it is the first. */
  lastPage: string | undefined;
}

async function everyPage<T>(rest: Rest, path: string, from?: string): Promise<Pages<T>> {
  const items: T[] = [];
  let lastPage = from;
  for (;;) {
    const page: Page<T> = await rest.get(paged(path, lastPage));
    items.push(...page.items);
    if (page.nextCursor === undefined) return { items, lastPage };
    lastPage = page.nextCursor;
  }
}
