// Under the transcript: drone and line, the workspace's lamps, the context gauge.

import type { WorkspaceMode } from '../api/documents';
import type { Transcript } from '../transcript/model';
import { count } from '../ui/time';
import { sentenceOf } from './drone-line';
import type { SessionState } from './state';

interface StatusBarProps {
  state: SessionState;
  /** From the model list; what the events say goes before it. */
  contextWindow: number | null;
  onMode: (mode: WorkspaceMode) => void;
}

export function StatusBar({ state, contextWindow, onMode }: StatusBarProps) {
  const { tone, words } = sentenceOf(state);
  return (
    <div className="status-bar">
      <span className={`dot ${tone}`} />
      <span className="drone-words" role="status">{words}</span>
      {state.line.is === 'up' && state.status !== null && <span className="status-words" role="status">{state.status}</span>}
      <Context transcript={state.transcript} contextWindow={contextWindow} />
      <Lamps mode={state.mode} isEnabled={state.hold.is === 'held' && state.line.is === 'up'} onMode={onMode} />
    </div>
  );
}

interface LampsProps {
  mode: WorkspaceMode;
  isEnabled: boolean;
  onMode: (mode: WorkspaceMode) => void;
}

/** Who may change files now: the person, the agent, or nobody. A lit lamp is put out by pressing it. */
function Lamps({ mode, isEnabled, onMode }: LampsProps) {
  const lamp = (of: 'user' | 'agent', sign: string, title: string) => (
    <button
      type="button"
      className={mode === of ? 'lamp lit' : 'lamp'}
      aria-pressed={mode === of}
      aria-label={title}
      title={title}
      disabled={!isEnabled || mode === 'syncing'}
      onClick={() => onMode(mode === of ? 'idle' : of)}
    >
      {sign}
    </button>
  );
  return (
    <span className="lamps" role="group" aria-label={`Workspace: ${mode}`}>
      {mode === 'syncing' && <span className="working">syncing</span>}
      {lamp('user', 'U', 'User mode: you change files')}
      {lamp('agent', 'A', 'Agent mode: the agent changes files')}
    </span>
  );
}

function Context({ transcript, contextWindow }: { transcript: Transcript; contextWindow: number | null }) {
  const tokens = transcript.turns.findLast((turn) => turn.tokens.contextUsed !== null)?.tokens;
  const used = tokens?.contextUsed ?? null;
  const size = tokens?.contextWindow ?? contextWindow;
  if (used === null) return null;
  if (size === null) return <span className="gauge-words">{count(used)} tokens</span>;
  return (
    <span className="gauge" title={`${used.toLocaleString('en')} of ${size.toLocaleString('en')} tokens of context in use`}>
      <meter min={0} max={size} high={size * 0.8} value={used} aria-label="Context in use" />
      <span className="gauge-words">{count(used)} / {count(size)}</span>
    </span>
  );
}
