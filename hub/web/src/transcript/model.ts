// A chat session's transcript as the page holds it.

import type { TurnStatus } from '../api/documents';
import type { Usage } from '../live/wire';

export interface Transcript {
  turns: readonly Turn[];
  /** Events up to this number are in `turns`, each once. */
  lastSeq: number;
}

export interface Turn {
  id: string;
  status: TurnStatus;
  /** Null until the stored turn has been asked for: the turn was begun by somebody else. */
  prompt: string | null;
  model: string;
  simulated: boolean;
  startedAt: string;
  durationMs: number | null;
  blocks: readonly Block[];
  errorMessage: string | null;
  tokens: Tokens;
  /** Events up to this number came as whole blocks, so their text cannot be taken apart again. */
  loadedTo: number;
}

export interface Tokens {
  input: number;
  output: number;
  contextUsed: number | null;
  contextWindow: number | null;
}

export type Block = TextBlock | CallBlock;

export type TextMode = 'thinking' | 'responding';

export interface TextBlock {
  kind: 'text';
  /** Stays the same while the block grows. */
  key: string;
  mode: TextMode;
  pieces: readonly Piece[];
}

/** What one event added; `seq` 0 for text that came as a whole block. */
export interface Piece {
  seq: number;
  text: string;
}

export interface CallBlock {
  kind: 'call';
  key: string;
  call: Call;
}

export interface Call {
  id: string;
  name: string;
  /** JSON text. */
  params: string;
  /** JSON text; empty while the call runs. */
  response: string;
  status: 'running' | 'finished';
  isError: boolean;
  /** Nobody can know whether the call took effect. */
  unknownOutcome: boolean;
  startedAt: string;
  endedAt: string | null;
  /** Output while the call runs; only the end of it is kept. */
  progress: string;
  agent: Agent | null;
}

/** What the sub-agent of a `subagent` call does. */
export interface Agent {
  prompt: string;
  blocks: readonly Block[];
}

export const EMPTY: Transcript = { turns: [], lastSeq: 0 };

export const NO_TOKENS: Tokens = { input: 0, output: 0, contextUsed: null, contextWindow: null };

export function textOf(block: TextBlock): string {
  return block.pieces.map((piece) => piece.text).join('');
}

export function runningTurn(transcript: Transcript): Turn | null {
  const last = transcript.turns.at(-1);
  return last?.status === 'processing' ? last : null;
}

export function addUsage(tokens: Tokens, usage: Usage): Tokens {
  return {
    input: tokens.input + usage.inputTokens + usage.cacheReadTokens + usage.cacheWriteTokens,
    output: tokens.output + usage.outputTokens,
    contextUsed: usage.contextUsed ?? tokens.contextUsed,
    contextWindow: usage.contextWindow ?? tokens.contextWindow,
  };
}
