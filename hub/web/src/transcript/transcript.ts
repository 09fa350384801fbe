// The transcript over its life: loaded from the store, then moved on by numbered events, each of which counts once.

import type { ChatTurn } from '../api/documents';
import type { WireEvent } from '../live/wire';
import { applyToTurn, unknownTurn } from './apply';
import { NO_TOKENS, type Transcript, type Turn } from './model';
import { fromStoredTurn } from './stored';

/** What the owner of the transcript has to ask the hub for before it is right again. */
export type Need =
  /** Events are missing before this one: have them sent again. */
  | 'replay'
  /** Text was withdrawn that came as whole blocks: load the stored turns. */
  | 'reload'
  /** A turn is known by its events only: ask what was prompted. */
  | 'describe';

export interface Applied {
  transcript: Transcript;
  need: Need | null;
}

/** Everything anew from the store, in order of time. */
export function loaded(stored: readonly ChatTurn[]): Transcript {
  const turns = stored.map(fromStoredTurn).sort(byStart);
  return { turns, lastSeq: stored.reduce((most, turn) => Math.max(most, turn.lastSeq), 0) };
}

/**
 * Takes from stored turns what events do not say: prompts, the end of a turn that the hub itself had to end, turns that
 * somebody else began. What events did say, or are about to say, stays theirs.
 */
export function described(transcript: Transcript, stored: readonly ChatTurn[]): Transcript {
  const fresh = stored.map(fromStoredTurn);
  const known = new Map(fresh.map((turn) => [turn.id, turn]));
  const here = new Set(transcript.turns.map(({ id }) => id));
  const begun = fresh
    .filter(({ id }) => !here.has(id))
    .map((turn): Turn => {
      if (turn.loadedTo <= transcript.lastSeq) return turn;
      return { ...unknownTurn(turn.id, turn.startedAt, transcript.lastSeq), ...headOf(turn) };
    });
  const turns = transcript.turns.map((turn) => {
    const told = known.get(turn.id);
    if (told === undefined) return turn;
    const isWhole = told.status !== 'processing' && told.loadedTo <= transcript.lastSeq;
    return { ...turn, ...headOf(told), ...(isWhole ? endOf(told) : {}) };
  });
  return { ...transcript, turns: [...turns, ...begun].sort(byStart) };
}

function headOf({ prompt, model, simulated, startedAt }: Turn) {
  return { prompt, model, simulated, startedAt };
}

function endOf({ status, errorMessage, durationMs }: Turn) {
  return { status, errorMessage, durationMs };
}

/** The hub took a prompt. Its first events may have been here before the answer was. */
export function prompted(transcript: Transcript, turn: Pick<Turn, 'id' | 'prompt' | 'model' | 'simulated' | 'startedAt'>): Transcript {
  if (transcript.turns.some(({ id }) => id === turn.id)) {
    const { prompt, model, simulated } = turn;
    return changeTurn(transcript, turn.id, (old) => ({ ...old, prompt, model, simulated }));
  }
  return {
    ...transcript,
    turns: [...transcript.turns, { ...unknownTurn(turn.id, turn.startedAt, transcript.lastSeq), ...turn, tokens: NO_TOKENS }],
  };
}

/**
 * The hub goes on at another number than it was asked to: what was in between, or was never stored, cannot be sent
 * event by event. The stored turn stands for all of its own; other turns that were running here are left out, as
 * `described` brings them whole.
 */
export function rejoined(transcript: Transcript, fromSeq: number, stored: ChatTurn | null): Transcript {
  const kept = transcript.turns.filter(({ id, status }) => status !== 'processing' && id !== stored?._id);
  const turns = stored === null ? kept : [...kept, fromStoredTurn(stored)];
  return { turns: turns.sort(byStart), lastSeq: fromSeq - 1 };
}

export function applied(transcript: Transcript, wire: WireEvent): Applied {
  const { event, meta } = wire;
  const unchanged = (need: Need | null): Applied => ({ transcript, need });
  if (meta === null) {
    return event.type === 'complete'
      ? { transcript: changeTurn(transcript, event.turnId, (turn) => applyToTurn(turn, wire)), need: null }
      : unchanged(null);
  }
  if (meta.seq <= transcript.lastSeq) return unchanged(null);
  if (meta.seq > transcript.lastSeq + 1) return unchanged('replay');

  const isKnown = transcript.turns.some(({ id }) => id === meta.turnId);
  const turns = isKnown
    ? transcript.turns
    : [...transcript.turns, unknownTurn(meta.turnId, meta.at, transcript.lastSeq)];
  const next = changeTurn({ turns, lastSeq: meta.seq }, meta.turnId, (turn) => applyToTurn(turn, wire));
  return { transcript: next, need: needAfter(wire, next, isKnown) };
}

function needAfter({ event, meta }: WireEvent, transcript: Transcript, isKnown: boolean): Need | null {
  if (event.type === 'superseded') {
    const turn = transcript.turns.find(({ id }) => id === meta?.turnId);
    if (turn !== undefined && event.fromSeq <= turn.loadedTo) return 'reload';
  }
  return isKnown ? null : 'describe';
}

function changeTurn(transcript: Transcript, id: string, change: (turn: Turn) => Turn): Transcript {
  const index = transcript.turns.findLastIndex((turn) => turn.id === id);
  const turn = transcript.turns[index];
  if (turn === undefined) return transcript;
  return { ...transcript, turns: transcript.turns.with(index, change(turn)) };
}

function byStart(a: Turn, b: Turn): number {
  return Date.parse(a.startedAt) - Date.parse(b.startedAt);
}
