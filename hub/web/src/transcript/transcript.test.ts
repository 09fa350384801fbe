import { describe, expect, it } from 'vitest';

import type { ChatTurn } from '../api/documents';
import { parseTurnEvent, type Meta, type TurnEventName, type WireEvent } from '../live/wire';
import { EMPTY, textOf, type Block, type Transcript } from './model';
import { applied, described, loaded, prompted, rejoined } from './transcript';

const AT = '2026-01-01T00:00:00Z';

function wire(seq: number, name: TurnEventName, args: unknown[], notes: Partial<Meta> = {}): WireEvent {
  return parseTurnEvent(name, [...args, { turnId: 't1', seq, at: AT, ...notes }]);
}

const say = (seq: number, text: string) => wire(seq, 'response', [text]);

function play(start: Transcript, events: readonly WireEvent[]): Transcript {
  return events.reduce((transcript, event) => applied(transcript, event).transcript, start);
}

function stored(over: Partial<ChatTurn>): ChatTurn {
  return {
    _id: 't1',
    createdAt: AT,
    provider: 'p',
    llm: 'm',
    status: 'processing',
    prompts: { user: 'do it' },
    blocks: [],
    stats: {
      inputTokens: 0,
      cacheReadTokens: 0,
      cacheWriteTokens: 0,
      thinkingTokenCount: 0,
      responseTokens: 0,
      durationMs: 0,
    },
    lastSeq: 0,
    ...over,
  };
}

function outline(blocks: readonly Block[]): unknown[] {
  return blocks.map((block) => {
    if (block.kind === 'text') return `${block.mode}: ${textOf(block)}`;
    const { name, status, agent } = block.call;
    return agent === null ? `${name} ${status}` : [`${name} ${status}`, ...outline(agent.blocks)];
  });
}

function outlineOf(transcript: Transcript): unknown[] {
  return outline(transcript.turns.at(-1)?.blocks ?? []);
}

const TURN = [
  wire(1, 'thinking', ['I should ']),
  wire(2, 'thinking', ['look.']),
  say(3, 'Looking'),
  say(4, '.'),
  wire(5, 'toolCallStarted', ['c1', 'read', '{"path":"a"}']),
  wire(6, 'toolCallProgress', ['c1', 'half']),
  wire(7, 'toolCall', ['c1', 'read', '{"path":"a"}', '"text"']),
  wire(8, 'toolCallStarted', ['c2', 'subagent', '{"prompt":"find it"}']),
  wire(9, 'agent:thinking', [{ agentId: 'c2', thinking: 'hm' }]),
  wire(10, 'agent:tool-call', [{ agentId: 'c2', tool: 'grep', args: { pattern: 'x' }, callId: 'g1' }]),
  wire(11, 'agent:tool-result', [{ agentId: 'c2', tool: 'grep', result: 'a:1', callId: 'g1' }]),
  wire(12, 'agent:response', [{ agentId: 'c2', chunk: 'It is in a.' }]),
  wire(13, 'agent:complete', [{ agentId: 'c2', response: 'It is in a.' }]),
  wire(14, 'toolCall', ['c2', 'subagent', '{"prompt":"find it"}', '"It is in a."']),
  say(15, 'Done.'),
  wire(16, 'usage', [{ inputTokens: 10, cacheReadTokens: 5, cacheWriteTokens: 0, outputTokens: 7, contextUsed: 22, contextWindow: 100 }]),
  wire(17, 'workOrderComplete', ['t1', true, null], { status: 'finished' }),
];

const OUTLINE = [
  'thinking: I should look.',
  'responding: Looking.',
  'read finished',
  ['subagent finished', 'thinking: hm', 'grep finished', 'responding: It is in a.'],
  'responding: Done.',
];

describe('a turn by its events', () => {
  it('shows text, calls and sub-agents in their order, text of one mode as one block', () => {
    const transcript = play(EMPTY, TURN);
    expect(outlineOf(transcript)).toEqual(OUTLINE);
    expect(transcript.lastSeq).toBe(17);
    expect(transcript.turns[0]).toMatchObject({
      status: 'finished',
      tokens: { input: 15, output: 7, contextUsed: 22, contextWindow: 100 },
    });
  });

  it('keeps the live output of a call until the result is there', () => {
    const call = (transcript: Transcript) => transcript.turns[0]?.blocks.find((block) => block.kind === 'call')?.call;
    expect(call(play(EMPTY, TURN.slice(0, 6)))).toMatchObject({ status: 'running', progress: 'half' });
    expect(call(play(EMPTY, TURN.slice(0, 7)))).toMatchObject({ status: 'finished', progress: '', response: '"text"' });
  });

  it('marks a call that failed and one whose outcome nobody knows', () => {
    const transcript = play(EMPTY, [
      wire(1, 'toolCall', ['a', 'edit', '{}', '""'], { isError: true }),
      wire(2, 'toolCall', ['b', 'shell_exec', '{}', '""'], { isError: true, unknownOutcome: true }),
    ]);
    const calls = transcript.turns[0]?.blocks.map((block) => block.kind === 'call' && block.call);
    expect(calls).toMatchObject([
      { isError: true, unknownOutcome: false },
      { isError: true, unknownOutcome: true },
    ]);
  });

  it('pairs results of a sub-agent by tool where calls have no id', () => {
    const transcript = play(EMPTY, [
      wire(1, 'agent:tool-call', [{ agentId: 's', tool: 'read', args: {} }]),
      wire(2, 'agent:tool-call', [{ agentId: 's', tool: 'glob', args: {} }]),
      wire(3, 'agent:tool-result', [{ agentId: 's', tool: 'read', result: 'r' }]),
    ]);
    expect(outlineOf(transcript)).toEqual([['subagent running', 'read finished', 'glob running']]);
  });

  it('tells aborted from finished by the words of an older drone', () => {
    const transcript = play(EMPTY, [say(1, 'a'), wire(2, 'workOrderComplete', ['t1', true, 'aborted'])]);
    expect(transcript.turns[0]?.status).toBe('aborted');
  });
});

describe('each event counts once', () => {
  it('ignores what it has seen and asks for what is missing', () => {
    const three = play(EMPTY, TURN.slice(0, 3));
    expect(applied(three, say(3, 'Looking'))).toEqual({ transcript: three, need: null });
    expect(applied(three, say(5, 'later'))).toEqual({ transcript: three, need: 'replay' });
  });

  it('ends with the same transcript whatever is lost, repeated or replayed on the way', () => {
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return seed % below;
    };
    for (let round = 0; round < 300; round += 1) {
      let transcript = EMPTY;
      let at = 0;
      while (transcript.lastSeq < TURN.length) {
        const event = TURN[at];
        const { transcript: next, need } = event === undefined ? { transcript, need: 'replay' } : applied(transcript, event);
        transcript = next;
        // After a gap or at the end of what came, the hub sends again from the number that it is told.
        if (need === 'replay') at = Math.max(0, transcript.lastSeq - random(4));
        else at += [1, 1, 1, 2, 3, -1][random(6)] ?? 1;
        at = Math.max(0, at);
      }
      expect(outlineOf(transcript)).toEqual(OUTLINE);
    }
  });
});

describe('a hub that cannot send everything again', () => {
  const whole = (text: string, lastSeq: number, over: Partial<ChatTurn> = {}) =>
    stored({ blocks: [{ mode: 'responding', createdAt: AT, content: text }], lastSeq, ...over });

  it('gives the stored turn in place of what was here, and goes on after it', () => {
    const ahead = play(EMPTY, [say(1, 'True. '), say(2, 'Never stored.')]);
    const back = rejoined(ahead, 2, whole('True. ', 1));
    expect(outlineOf(back)).toEqual(['responding: True. ']);
    expect(outlineOf(play(back, [say(2, 'Stored now.')]))).toEqual(['responding: True. Stored now.']);
  });

  it('leaves out a turn that was running here, and brings it whole by its description', () => {
    const before = play(EMPTY, [say(1, 'Half of the fir')]);
    const back = rejoined(before, 9, whole('Second.', 8, { _id: 't2', createdAt: '2026-01-01T00:01:00Z' }));
    expect(back.turns.map(({ id }) => id)).toEqual(['t2']);
    const next = described(back, [whole('First, whole.', 5, { status: 'finished' }), whole('Second.', 8, { _id: 't2', createdAt: '2026-01-01T00:01:00Z' })]);
    expect(next.turns.map(({ blocks }) => outline(blocks))).toEqual([['responding: First, whole.'], ['responding: Second.']]);
    expect(next.lastSeq).toBe(8);
  });
});

describe('withdrawn text', () => {
  it('goes, and leaves the calls and the text around it', () => {
    const transcript = play(EMPTY, [
      say(1, 'Kept. '),
      wire(2, 'toolCall', ['c', 'read', '{}', '""']),
      say(3, 'Half a sen'),
      wire(4, 'superseded', [{ turnId: 't1', fromSeq: 3, toSeq: 3 }]),
      say(5, 'A whole sentence.'),
    ]);
    expect(outlineOf(transcript)).toEqual(['responding: Kept. ', 'read finished', 'responding: A whole sentence.']);
  });

  it('of a sub-agent leaves the text of the turn', () => {
    const transcript = play(EMPTY, [
      say(1, 'Mine'),
      wire(2, 'agent:response', [{ agentId: 's', chunk: 'Its' }]),
      wire(3, 'superseded', [{ turnId: 't1', fromSeq: 1, toSeq: 2, agentId: 's' }]),
    ]);
    expect(outlineOf(transcript)).toEqual(['responding: Mine', ['subagent running']]);
  });

  it('that came as a whole block has the turns loaded again', () => {
    const transcript = loaded([
      stored({ blocks: [{ mode: 'responding', createdAt: AT, content: 'Kept. Half a' }], lastSeq: 4 }),
    ]);
    const { need } = applied(transcript, wire(5, 'superseded', [{ turnId: 't1', fromSeq: 3, toSeq: 4 }]));
    expect(need).toBe('reload');
  });
});

describe('stored turns', () => {
  it('are loaded in order of time, and events go on after the last number', () => {
    const transcript = loaded([
      stored({ _id: 't1', createdAt: '2026-01-01T00:01:00Z', lastSeq: 9, blocks: [{ mode: 'responding', createdAt: AT, content: 'Loo' }] }),
      stored({ _id: 't0', status: 'finished', lastSeq: 4 }),
    ]);
    expect(transcript.turns.map(({ id }) => id)).toEqual(['t0', 't1']);
    const next = play(transcript, [say(9, 'Loo'), say(10, 'king')]);
    expect(outlineOf(next)).toEqual(['responding: Looking']);
  });

  it('keep sub-agents with their calls', () => {
    const subagent = { prompt: 'find', thinking: 'hm', response: 'found', toolCalls: [] };
    const call = { callId: 'c', name: 'subagent', parameters: '{}', response: '"found"', status: 'finished' as const, isError: false, startedAt: AT, endedAt: AT, subagent };
    const transcript = loaded([stored({ blocks: [{ mode: 'tool', createdAt: AT, content: call }] })]);
    expect(outlineOf(transcript)).toEqual([['subagent finished', 'thinking: hm', 'responding: found']]);
  });

  it('say what was prompted in a turn that somebody else began', () => {
    const { transcript, need } = applied(EMPTY, say(1, 'Loo'));
    expect(need).toBe('describe');
    const next = described(transcript, [stored({ simulated: true, lastSeq: 1 })]);
    expect(next.turns[0]).toMatchObject({ prompt: 'do it', simulated: true, model: 'm' });
    expect(outlineOf(next)).toEqual(['responding: Loo']);
  });

  it('add a turn whose events are still to come without its blocks, or they would be shown twice', () => {
    const begun = stored({ lastSeq: 2, blocks: [{ mode: 'responding', createdAt: AT, content: 'Looking' }] });
    const transcript = described(EMPTY, [begun]);
    expect(transcript.turns[0]).toMatchObject({ prompt: 'do it', blocks: [] });
    expect(outlineOf(play(transcript, [say(1, 'Loo'), say(2, 'king')]))).toEqual(['responding: Looking']);
  });

  it('end a turn that the hub had to end by itself while nobody listened', () => {
    const transcript = play(EMPTY, [say(1, 'Loo')]);
    const ended = stored({ status: 'error', errorMessage: 'the drone cannot come back', lastSeq: 1 });
    expect(described(transcript, [ended]).turns[0]).toMatchObject({
      status: 'error',
      errorMessage: 'the drone cannot come back',
    });
  });

  it('do not end a turn before its last events are here', () => {
    const transcript = play(EMPTY, [say(1, 'Loo')]);
    const ended = stored({ status: 'finished', lastSeq: 3 });
    expect(described(transcript, [ended]).turns[0]?.status).toBe('processing');
  });
});

describe('what has no number', () => {
  it('is the end of a turn, told by the hub itself', () => {
    const transcript = play(EMPTY, [say(1, 'Loo')]);
    const end = parseTurnEvent('workOrderComplete', ['t1', false, 'gave up after 3 attempts']);
    expect(applied(transcript, end).transcript.turns[0]).toMatchObject({
      status: 'error',
      errorMessage: 'gave up after 3 attempts',
    });
  });
});

describe('an accepted prompt', () => {
  const head = { id: 't1', prompt: 'do it', model: 'm', simulated: false, startedAt: AT };

  it('is a turn at once', () => {
    expect(prompted(EMPTY, head).turns).toMatchObject([{ id: 't1', prompt: 'do it', status: 'processing' }]);
  });

  it('joins the turn whose events were faster', () => {
    const transcript = prompted(play(EMPTY, [say(1, 'Loo')]), head);
    expect(transcript.turns).toHaveLength(1);
    expect(transcript.turns[0]).toMatchObject({ prompt: 'do it' });
    expect(outlineOf(transcript)).toEqual(['responding: Loo']);
  });
});
