// What one event does to a turn. Whether it is new has been decided before.

import type { TurnEvent, WireEvent } from '../live/wire';
import { addProgress, appendText, findCall, newCall, withCall, withdrawText } from './blocks';
import { addUsage, NO_TOKENS, type Agent, type Block, type Call, type Turn } from './model';

/** A turn that is heard of by its first event: its prompt and model come with the stored turn. */
export function unknownTurn(id: string, startedAt: string, loadedTo: number): Turn {
  return {
    id,
    status: 'processing',
    prompt: null,
    model: '',
    simulated: false,
    startedAt,
    durationMs: null,
    blocks: [],
    errorMessage: null,
    tokens: NO_TOKENS,
    loadedTo,
  };
}

export function applyToTurn(turn: Turn, { event, meta }: WireEvent): Turn {
  const seq = meta?.seq ?? 0;
  const at = meta?.at ?? turn.startedAt;
  const blocks = (change: (blocks: readonly Block[]) => readonly Block[]): Turn => ({
    ...turn,
    blocks: change(turn.blocks),
  });
  switch (event.type) {
    case 'thinking':
      return blocks((list) => appendText(list, 'thinking', seq, event.content));
    case 'response':
      return blocks((list) => appendText(list, 'responding', seq, event.content));
    case 'callStarted':
    case 'callProgress':
    case 'callEnded':
      return blocks((list) => applyToCalls(list, event, at));
    case 'agentThinking':
    case 'agentResponse':
    case 'agentCallStarted':
    case 'agentCallEnded':
    case 'agentComplete':
      return blocks((list) => withAgent(list, event.agentId, at, (agent) => applyToAgent(agent, event, seq, at)));
    case 'superseded':
      return blocks((list) =>
        event.agentId === null
          ? withdrawText(list, event.fromSeq, event.toSeq)
          : withAgent(list, event.agentId, at, (agent) => ({
              ...agent,
              blocks: withdrawText(agent.blocks, event.fromSeq, event.toSeq),
            })),
      );
    case 'usage':
      return { ...turn, tokens: addUsage(turn.tokens, event.usage) };
    case 'complete':
      return {
        ...turn,
        status: event.status,
        errorMessage: event.status === 'error' ? event.message : null,
        durationMs: meta === null ? turn.durationMs : Math.max(0, Date.parse(at) - Date.parse(turn.startedAt)),
      };
  }
}

type CallEvent = Extract<TurnEvent, { type: 'callStarted' | 'callProgress' | 'callEnded' }>;

function applyToCalls(blocks: readonly Block[], event: CallEvent, at: string): readonly Block[] {
  switch (event.type) {
    case 'callStarted':
      return withCall(blocks, newCall(event.callId, event.name, event.params, at), (call) => call);
    case 'callProgress': {
      const running = findCall(blocks, (call) => call.id === event.callId);
      return running === null ? blocks : withCall(blocks, running, (call) => addProgress(call, event.chunk));
    }
    case 'callEnded':
      return withCall(blocks, newCall(event.callId, event.name, event.params, at), (call) => ({
        ...call,
        response: event.response,
        isError: event.isError,
        unknownOutcome: event.unknownOutcome,
        status: 'finished',
        endedAt: at,
        progress: '',
      }));
  }
}

function withAgent(
  blocks: readonly Block[],
  agentId: string,
  at: string,
  change: (agent: Agent) => Agent,
): readonly Block[] {
  return withCall(blocks, newCall(agentId, 'subagent', '{}', at), (call) => ({
    ...call,
    agent: change(call.agent ?? { prompt: promptIn(call.params), blocks: [] }),
  }));
}

type AgentEvent = Extract<TurnEvent, { agentId: string }>;

function applyToAgent(agent: Agent, event: AgentEvent, seq: number, at: string): Agent {
  const { blocks } = agent;
  switch (event.type) {
    case 'agentThinking':
      return { ...agent, blocks: appendText(blocks, 'thinking', seq, event.content) };
    case 'agentResponse':
      return { ...agent, blocks: appendText(blocks, 'responding', seq, event.content) };
    case 'agentCallStarted': {
      const fresh = newCall(event.callId ?? `${event.agentId}-${seq}`, event.name, event.params, at);
      return { ...agent, blocks: withCall(blocks, fresh, (call) => call) };
    }
    case 'agentCallEnded': {
      const open = findCall(blocks, (call) => isAnsweredBy(call, event.callId, event.name));
      if (open === null) return agent;
      const { response, isError } = event;
      return {
        ...agent,
        blocks: withCall(blocks, open, (call) => ({ ...call, response, isError, status: 'finished', endedAt: at })),
      };
    }
    case 'agentComplete':
      return event.response === null || blocks.some((block) => block.kind === 'text' && block.mode === 'responding')
        ? agent
        : { ...agent, blocks: appendText(blocks, 'responding', seq, event.response) };
    default:
      return agent;
  }
}

function isAnsweredBy(call: Call, callId: string | null, name: string): boolean {
  return callId === null ? call.name === name && call.status === 'running' : call.id === callId;
}

function promptIn(params: string): string {
  try {
    const prompt: unknown = (JSON.parse(params) as { prompt?: unknown }).prompt;
    return typeof prompt === 'string' ? prompt : '';
  } catch {
    return '';
  }
}
