// Documents as the hub gives them, over REST and inside events. Only what the page reads.

export interface User {
  _id: string;
  handle: string;
  email: string;
  displayName: string;
  roles: string[];
}

export interface Project {
  _id: string;
  createdAt: string;
  name: string;
  slug: string;
  gitUrl?: string;
}

export interface ChatSession {
  _id: string;
  createdAt: string;
  project: string;
  name: string;
  mode: string;
  provider?: string;
  selectedModel?: string;
  reasoningEffort: string;
  stats: { turnCount: number };
  archivedAt?: string;
}

export type TurnStatus = 'processing' | 'finished' | 'aborted' | 'error';

export interface TurnStats {
  inputTokens: number;
  cacheReadTokens: number;
  cacheWriteTokens: number;
  thinkingTokenCount: number;
  responseTokens: number;
  durationMs: number;
}

export interface StoredToolCall {
  callId: string;
  name: string;
  /** JSON text. */
  parameters: string;
  /** JSON text; empty while the call runs. */
  response: string;
  subagent?: StoredSubagent;
  status: 'running' | 'finished';
  isError: boolean;
  startedAt: string;
  endedAt?: string;
  unknownOutcome?: boolean;
}

export interface StoredSubagent {
  kind?: string;
  prompt: string;
  thinking?: string;
  response: string;
  toolCalls: StoredToolCall[];
}

export type StoredBlock =
  | { mode: 'thinking' | 'responding'; createdAt: string; content: string }
  | { mode: 'tool'; createdAt: string; content: StoredToolCall };

export interface ChatTurn {
  _id: string;
  createdAt: string;
  provider: string;
  llm: string;
  status: TurnStatus;
  prompts: { user: string };
  blocks: StoredBlock[];
  stats: TurnStats;
  errorMessage?: string;
  /** The number of the last event that is in `blocks`; the number before its first while it has none. */
  lastSeq: number;
  simulated?: boolean;
}

export interface Model {
  provider: string;
  id: string;
  name: string;
  contextWindow?: number;
  /** Scripted, no model is asked. */
  simulated?: boolean;
}

export interface DroneRegistration {
  _id: string;
  chatSessionId?: string;
  phase: DronePhase;
  restarts: number;
  reason?: string;
}

export type DronePhase =
  | 'Starting'
  | 'Available'
  | 'Busy'
  | 'Recovering'
  | 'Suspended'
  | 'Offline'
  | 'Failed';

export type WorkspaceMode = 'idle' | 'syncing' | 'user' | 'agent';

export interface Page<T> {
  items: T[];
  nextCursor?: string;
}
