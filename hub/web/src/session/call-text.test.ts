import { expect, it } from 'vitest';

import { argumentsOf, resultOf, summaryOf } from './call-text';

it('says what a call is about in one line', () => {
  expect(summaryOf('{"timeout":5,"command":"cargo test\\ncargo doc"}')).toBe('cargo test');
  expect(summaryOf('{"path":"src","pattern":"fn main"}')).toBe('fn main');
  expect(summaryOf('{"other":"words"}')).toBe('words');
  for (const odd of ['', '{', '[]', 'null', '{"a":1}']) expect(summaryOf(odd)).toBe('');
});

it('shows arguments field by field, the most telling first, and what is no object as it is', () => {
  expect(argumentsOf('{"lines":[1,2],"none":null,"path":"a"}', [])).toEqual([
    { name: 'path', text: 'a' },
    { name: 'lines', text: '[\n  1,\n  2\n]' },
  ]);
  expect(argumentsOf('"two\\nlines"', [])).toEqual([{ name: '', text: 'two\nlines' }]);
  expect(argumentsOf('not json', [])).toEqual([{ name: '', text: 'not json' }]);
  expect(argumentsOf('', [])).toEqual([]);
});

it('leaves out of the arguments what the diff shows', () => {
  expect(argumentsOf('{"new":"y","old":"x","path":"a"}', [{ name: 'diff', text: '-x\n+y' }])).toEqual([
    { name: 'path', text: 'a' },
  ]);
});

it('shows what a built-in tool says without its wrapping, and its diff', () => {
  const edited = { text: 'edited a', isError: false, data: { file: { path: 'a' }, diff: '-x\n+y' } };
  expect(resultOf(JSON.stringify(edited))).toEqual([
    { name: '', text: 'edited a' },
    { name: 'diff', text: '-x\n+y' },
  ]);
  expect(resultOf('{"text":"head","isError":false,"truncated":true,"bytes":99}')).toEqual([
    { name: '', text: 'head' },
    { name: 'shortened', text: 'the whole result has 99 bytes' },
  ]);
  expect(resultOf('{"other":1}')).toEqual([{ name: 'other', text: '1' }]);
  expect(resultOf('"words"')).toEqual([{ name: '', text: 'words' }]);
});
