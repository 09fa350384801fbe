// What the page knows of the session that is open, and how what it hears changes that.

import type { ChatSession, DronePhase, WorkspaceMode } from '../api/documents';
import type { Refused } from '../api/refused';
import { EMPTY, type Transcript } from '../transcript/model';

export interface SessionState {
  session: ChatSession | null;
  transcript: Transcript;
  line: Line;
  hold: Hold;
  mode: WorkspaceMode;
  drone: Drone | null;
  /** The hub's latest words. */
  status: string | null;
  /** What is being written. */
  draft: string;
  /** The draft is on its way to the hub, or was and the answer got lost. */
  sending: Sending | null;
  /** The draft was sent before the session was held: it goes out when it is, unless it is changed first. */
  isQueued: boolean;
}

/** The connection to the hub. */
export type Line =
  | { is: 'opening' }
  | { is: 'up' }
  | { is: 'lost' }
  /** Not tried again. */
  | { is: 'refused'; refusal: Refused };

/** Whether this tab may prompt. */
export type Hold =
  | { is: 'asking' }
  | { is: 'held' }
  /** Reading only, and why. */
  | { is: 'following'; because: { code: string; message: string } };

export interface Drone {
  phase: DronePhase;
  reason: string | null;
  message: string | null;
  restarts: number;
}

export interface Sending {
  prompt: string;
  /** The turns before it. */
  after: ReadonlySet<string>;
  isAnswerLost: boolean;
}

export const FIRST_STATE: SessionState = {
  session: null,
  transcript: EMPTY,
  line: { is: 'opening' },
  hold: { is: 'asking' },
  mode: 'idle',
  drone: null,
  status: null,
  draft: '',
  sending: null,
  isQueued: false,
};

/** Nothing can be sent yet, but it will be: the hub is looked for, or a drone is. */
export function isWaiting({ line, hold }: Pick<SessionState, 'line' | 'hold'>): boolean {
  return line.is === 'opening' || line.is === 'lost' || (line.is === 'up' && hold.is === 'asking');
}

/** The hub's own events, that is all but those of turns. An unknown event changes nothing. */
export function heard(state: SessionState, name: string, args: readonly unknown[]): SessionState {
  const [first] = args;
  switch (name) {
    case 'status':
      return typeof first === 'string' ? { ...state, status: first } : state;
    case 'workspaceModeChanged':
      return isMode(first) ? { ...state, mode: first } : state;
    case 'sessionUpdated':
      return state.session === null || !isObject(first) ? state : { ...state, session: { ...state.session, ...first } };
    case 'droneStatus':
      return isObject(first) ? { ...state, drone: droneOf(first) } : state;
    case 'tabLockDenied': {
      const message = isObject(first) && typeof first['message'] === 'string' ? first['message'] : 'Open in another tab.';
      return { ...state, isQueued: false, hold: { is: 'following', because: { code: 'tab_locked', message } } };
    }
    case 'goingAway':
      return { ...state, status: 'The hub is restarting.' };
    default:
      return state;
  }
}

/** A prompt is with the hub when its turn is there, whatever became of the answer. */
export function withTranscript(state: SessionState, transcript: Transcript): SessionState {
  const { sending } = state;
  const isThere =
    sending !== null && transcript.turns.some(({ id, prompt }) => prompt === sending.prompt && !sending.after.has(id));
  return isThere ? { ...state, transcript, draft: '', sending: null } : { ...state, transcript };
}

export function isMode(value: unknown): value is WorkspaceMode {
  return value === 'idle' || value === 'syncing' || value === 'user' || value === 'agent';
}

function droneOf(told: Record<string, unknown>): Drone {
  const words = (key: string) => (typeof told[key] === 'string' ? told[key] : null);
  return {
    phase: told['phase'] as DronePhase,
    reason: words('reason'),
    message: words('message'),
    restarts: Number(told['restarts'] ?? 0),
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
