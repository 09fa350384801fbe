// Stored turns, as REST gives them, turned into the page's own form.

import type { ChatTurn, StoredBlock, StoredSubagent, StoredToolCall } from '../api/documents';
import type { Agent, Block, Call, TextMode, Turn } from './model';

export function fromStoredTurn(stored: ChatTurn): Turn {
  const { stats } = stored;
  const over = stored.status !== 'processing';
  return {
    id: stored._id,
    status: stored.status,
    prompt: stored.prompts.user,
    model: stored.llm,
    simulated: stored.simulated ?? false,
    startedAt: stored.createdAt,
    durationMs: over ? stats.durationMs : null,
    blocks: stored.blocks.map(fromStoredBlock),
    errorMessage: stored.errorMessage ?? null,
    tokens: {
      input: stats.inputTokens + stats.cacheReadTokens + stats.cacheWriteTokens,
      output: stats.responseTokens + stats.thinkingTokenCount,
      contextUsed: null,
      contextWindow: null,
    },
    loadedTo: stored.lastSeq,
  };
}

function fromStoredBlock(stored: StoredBlock, index: number): Block {
  return stored.mode === 'tool' ? callBlock(stored.content) : textBlock(stored.mode, stored.content, index);
}

function textBlock(mode: TextMode, text: string, index: number): Block {
  return { kind: 'text', key: `stored-${index}`, mode, pieces: [{ seq: 0, text }] };
}

function callBlock(stored: StoredToolCall): Block {
  return { kind: 'call', key: stored.callId, call: fromStoredCall(stored) };
}

function fromStoredCall(stored: StoredToolCall): Call {
  return {
    id: stored.callId,
    name: stored.name,
    params: stored.parameters,
    response: stored.response,
    status: stored.status,
    isError: stored.isError,
    unknownOutcome: stored.unknownOutcome ?? false,
    startedAt: stored.startedAt,
    endedAt: stored.endedAt ?? null,
    progress: '',
    agent: stored.subagent === undefined ? null : fromStoredAgent(stored.subagent),
  };
}

/** A stored sub-agent keeps no order between its text and its calls: thinking, calls, answer. */
function fromStoredAgent(stored: StoredSubagent): Agent {
  const blocks: Block[] = [];
  if (stored.thinking) blocks.push(textBlock('thinking', stored.thinking, 0));
  blocks.push(...stored.toolCalls.map(callBlock));
  if (stored.response !== '') blocks.push(textBlock('responding', stored.response, 1));
  return { prompt: stored.prompt, blocks };
}
