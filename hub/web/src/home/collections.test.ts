import { expect, it } from 'vitest';

import type { ChatSession } from '../api/documents';
import { merged, unusedSession, type Collections } from './collections';
import { inOrderOfChoice, modelLabel } from './labels';

const session = (over: Partial<ChatSession>): ChatSession => ({
  _id: 'a',
  createdAt: '2026-01-01T00:00:00Z',
  project: 'p',
  name: 'A',
  mode: 'build',
  reasoningEffort: 'off',
  stats: { turnCount: 0 },
  ...over,
});

it('lists sessions newest first, each once, by what was heard last', () => {
  const old = [session({}), session({ _id: 'b', createdAt: '2026-01-02T00:00:00Z' })];
  const fresh = [session({ name: 'A, renamed' }), session({ _id: 'c', createdAt: '2026-01-03T00:00:00Z' })];
  expect(merged(old, fresh).map(({ _id, name }) => [_id, name])).toEqual([
    ['c', 'A'],
    ['b', 'A'],
    ['a', 'A, renamed'],
  ]);
});

it('leaves archived sessions out', () => {
  expect(merged([], [session({ archivedAt: '2026-01-02T00:00:00Z' })])).toEqual([]);
});

it('finds the session that waits for its first prompt, if it is the newest', () => {
  const collections = (...sessions: ChatSession[]): Collections => ({ sessions, cursor: null, projects: [], models: [], isLoaded: true });
  const used = session({ _id: 'b', stats: { turnCount: 3 } });
  expect(unusedSession(collections(session({}), used))?._id).toBe('a');
  expect(unusedSession(collections(used, session({})))).toBeNull();
  expect(unusedSession(collections())).toBeNull();
});

it('never lets the demo look like a model, and offers it last', () => {
  const demo = { provider: 'demo', id: 'tour', name: 'GPT', simulated: true };
  const real = { provider: 'ollama', id: 'qwen3', name: 'qwen3' };
  expect(modelLabel(demo)).toBe('Demo tour, scripted, no AI');
  expect(inOrderOfChoice([demo, real])).toEqual([real, demo]);
});
