// What events do to a list of blocks: a turn's own, or a sub-agent's. Each function gives a new list.

import type { Block, Call, TextMode } from './model';

/** Enough to see what a command is doing; the whole output comes with the result. */
const PROGRESS_KEPT = 8_000;

/** Consecutive text of one mode is one block. */
export function appendText(blocks: readonly Block[], mode: TextMode, seq: number, text: string): readonly Block[] {
  const piece = { seq, text };
  const last = blocks.at(-1);
  if (last?.kind === 'text' && last.mode === mode) {
    return [...blocks.slice(0, -1), { ...last, pieces: [...last.pieces, piece] }];
  }
  return [...blocks, { kind: 'text', key: `text-${seq}`, mode, pieces: [piece] }];
}

/** Drops the text that events `fromSeq` to `toSeq` added. Tool calls stay. */
export function withdrawText(blocks: readonly Block[], fromSeq: number, toSeq: number): readonly Block[] {
  return blocks.flatMap((block): Block[] => {
    if (block.kind !== 'text') return [block];
    const pieces = block.pieces.filter(({ seq }) => seq < fromSeq || seq > toSeq);
    if (pieces.length === block.pieces.length) return [block];
    return pieces.length === 0 ? [] : [{ ...block, pieces }];
  });
}

export function findCall(blocks: readonly Block[], wanted: (call: Call) => boolean): Call | null {
  for (let index = blocks.length - 1; index >= 0; index -= 1) {
    const block = blocks[index];
    if (block?.kind === 'call' && wanted(block.call)) return block.call;
  }
  return null;
}

/** Changes the call with this id; it is added where it is not there yet. */
export function withCall(
  blocks: readonly Block[],
  fresh: Call,
  change: (call: Call) => Call,
): readonly Block[] {
  const index = blocks.findLastIndex((block) => block.kind === 'call' && block.call.id === fresh.id);
  const block = blocks[index];
  if (block?.kind !== 'call') return [...blocks, { kind: 'call', key: fresh.id, call: change(fresh) }];
  return blocks.with(index, { ...block, call: change(block.call) });
}

export function newCall(id: string, name: string, params: string, startedAt: string): Call {
  return {
    id,
    name,
    params,
    response: '',
    status: 'running',
    isError: false,
    unknownOutcome: false,
    startedAt,
    endedAt: null,
    progress: '',
    agent: null,
  };
}

export function addProgress(call: Call, chunk: string): Call {
  return { ...call, progress: (call.progress + chunk).slice(-PROGRESS_KEPT) };
}
