// Turn events as they come over the socket: a name and positional arguments, the meta argument last.

import type { TurnStatus } from '../api/documents';

/** The last argument of each event that a drone made for a turn. */
export interface Meta {
  turnId: string;
  /** Counts up by one per chat session. */
  seq: number;
  at: string;
  replay?: boolean;
  isError?: boolean;
  unknownOutcome?: boolean;
  status?: TurnStatus;
}

export type TurnEvent =
  | { type: 'thinking'; content: string }
  | { type: 'response'; content: string }
  | { type: 'callStarted'; callId: string; name: string; params: string }
  | { type: 'callProgress'; callId: string; chunk: string }
  | {
      type: 'callEnded';
      callId: string;
      name: string;
      params: string;
      response: string;
      isError: boolean;
      unknownOutcome: boolean;
    }
  | { type: 'agentThinking'; agentId: string; content: string }
  | { type: 'agentResponse'; agentId: string; content: string }
  | { type: 'agentCallStarted'; agentId: string; callId: string | null; name: string; params: string }
  | {
      type: 'agentCallEnded';
      agentId: string;
      callId: string | null;
      name: string;
      response: string;
      isError: boolean;
    }
  | { type: 'agentComplete'; agentId: string; response: string | null }
  | { type: 'usage'; usage: Usage }
  | { type: 'superseded'; fromSeq: number; toSeq: number; agentId: string | null }
  | { type: 'complete'; turnId: string; status: TurnStatus; message: string | null };

export interface Usage {
  inputTokens: number;
  cacheReadTokens: number;
  cacheWriteTokens: number;
  outputTokens: number;
  contextWindow?: number;
  contextUsed?: number;
}

export interface WireEvent {
  event: TurnEvent;
  /** Absent on what the hub says by itself, such as the end of a turn whose drone cannot come back. */
  meta: Meta | null;
}

export const TURN_EVENTS = [
  'thinking',
  'response',
  'toolCallStarted',
  'toolCallProgress',
  'toolCall',
  'agent:thinking',
  'agent:response',
  'agent:tool-call',
  'agent:tool-result',
  'agent:complete',
  'usage',
  'superseded',
  'workOrderComplete',
] as const;

export type TurnEventName = (typeof TURN_EVENTS)[number];

export function parseTurnEvent(name: TurnEventName, args: readonly unknown[]): WireEvent {
  const meta = metaOf(args.at(-1));
  const text = (index: number) => (typeof args[index] === 'string' ? args[index] : '');
  return { event: eventOf(name, args, text, meta), meta };
}

function eventOf(
  name: TurnEventName,
  args: readonly unknown[],
  text: (index: number) => string,
  meta: Meta | null,
): TurnEvent {
  const object = (args[0] ?? {}) as Record<string, unknown>;
  const agentId = String(object['agentId'] ?? '');
  const ownCallId = typeof object['callId'] === 'string' ? object['callId'] : null;
  switch (name) {
    case 'thinking':
    case 'response':
      return { type: name, content: text(0) };
    case 'toolCallStarted':
      return { type: 'callStarted', callId: text(0), name: text(1), params: text(2) };
    case 'toolCallProgress':
      return { type: 'callProgress', callId: text(0), chunk: text(1) };
    case 'toolCall':
      return {
        type: 'callEnded',
        callId: text(0),
        name: text(1),
        params: text(2),
        response: text(3),
        isError: meta?.isError ?? false,
        unknownOutcome: meta?.unknownOutcome ?? false,
      };
    case 'agent:thinking':
      return { type: 'agentThinking', agentId, content: String(object['thinking'] ?? '') };
    case 'agent:response':
      return { type: 'agentResponse', agentId, content: String(object['chunk'] ?? '') };
    case 'agent:tool-call':
      return {
        type: 'agentCallStarted',
        agentId,
        callId: ownCallId,
        name: String(object['tool'] ?? ''),
        params: jsonText(object['args']),
      };
    case 'agent:tool-result':
      return {
        type: 'agentCallEnded',
        agentId,
        callId: ownCallId,
        name: String(object['tool'] ?? ''),
        response: jsonText(object['result']),
        isError: object['isError'] === true,
      };
    case 'agent:complete':
      return {
        type: 'agentComplete',
        agentId,
        response: typeof object['response'] === 'string' ? object['response'] : null,
      };
    case 'usage':
      return { type: 'usage', usage: object as unknown as Usage };
    case 'superseded':
      return {
        type: 'superseded',
        fromSeq: Number(object['fromSeq']),
        toSeq: Number(object['toSeq']),
        agentId: typeof object['agentId'] === 'string' ? object['agentId'] : null,
      };
    case 'workOrderComplete':
      return completeOf(text(0), args[1] === true, typeof args[2] === 'string' ? args[2] : null, meta);
  }
}

function completeOf(turnId: string, success: boolean, message: string | null, meta: Meta | null): TurnEvent {
  const said = success ? (message === 'aborted' ? 'aborted' : 'finished') : 'error';
  return { type: 'complete', turnId, status: meta?.status ?? said, message };
}

function metaOf(last: unknown): Meta | null {
  if (typeof last !== 'object' || last === null) return null;
  const { turnId, seq } = last as Partial<Meta>;
  return typeof turnId === 'string' && typeof seq === 'number' ? (last as Meta) : null;
}

function jsonText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null);
}
