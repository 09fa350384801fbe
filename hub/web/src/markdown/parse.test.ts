import { describe, expect, it } from 'vitest';

import { parseInline } from './inline';
import type { Inline } from './model';
import { parseMarkdown } from './parse';

const text = (words: string): Inline => ({ kind: 'text', text: words });

describe('blocks', () => {
  it('are headings, paragraphs and rules', () => {
    expect(parseMarkdown('# One\nTwo\nthree\n\n---\n')).toEqual([
      { kind: 'heading', level: 1, text: [text('One')] },
      { kind: 'paragraph', text: [text('Two\nthree')] },
      { kind: 'rule' },
    ]);
  });

  it('show code as it is, also before its fence is closed', () => {
    expect(parseMarkdown('```rust\nlet a = "*b*";\n\n# no heading')).toEqual([
      { kind: 'code', language: 'rust', text: 'let a = "*b*";\n\n# no heading' },
    ]);
    expect(parseMarkdown('````\n```\n````\nend')).toEqual([
      { kind: 'code', language: '', text: '```' },
      { kind: 'paragraph', text: [text('end')] },
    ]);
  });

  it('nest lists', () => {
    expect(parseMarkdown('- a\n  - b\n- c\n\n3. d')).toEqual([
      {
        kind: 'list',
        isOrdered: false,
        start: 1,
        items: [
          [
            { kind: 'paragraph', text: [text('a')] },
            { kind: 'list', isOrdered: false, start: 1, items: [[{ kind: 'paragraph', text: [text('b')] }]] },
          ],
          [{ kind: 'paragraph', text: [text('c')] }],
        ],
      },
      { kind: 'list', isOrdered: true, start: 3, items: [[{ kind: 'paragraph', text: [text('d')] }]] },
    ]);
  });

  it('keep code inside of a list item', () => {
    expect(parseMarkdown('1. run\n   ```\n   a\n   ```\n2. stop')).toMatchObject([
      { kind: 'list', items: [[{ kind: 'paragraph' }, { kind: 'code', text: 'a' }], [{ kind: 'paragraph' }]] },
    ]);
  });

  it('are tables where the second line says so', () => {
    expect(parseMarkdown('| a | b |\n| --- | :-: |\n| 1 | `2` |')).toEqual([
      {
        kind: 'table',
        head: [[text('a')], [text('b')]],
        rows: [[[text('1')], [{ kind: 'code', text: '2' }]]],
      },
    ]);
    expect(parseMarkdown('a | b\nc')).toMatchObject([{ kind: 'paragraph' }]);
  });

  it('quote', () => {
    expect(parseMarkdown('> a\n> b')).toEqual([
      { kind: 'quote', blocks: [{ kind: 'paragraph', text: [text('a\nb')] }] },
    ]);
  });

  it('come to an end on any text', () => {
    for (const odd of ['-', '- ', '1.', '>', '```', '|', '|-', '#', '#### ', '  - x\n - y\n- z', '- a\n\n\n- b', '\t- a']) {
      expect(Array.isArray(parseMarkdown(odd))).toBe(true);
    }
  });
});

describe('inline', () => {
  it('has code, bold, italics and links', () => {
    expect(parseInline('a `b*c*` **d *e*** _f_')).toEqual([
      text('a '),
      { kind: 'code', text: 'b*c*' },
      text(' '),
      { kind: 'strong', children: [text('d '), { kind: 'emphasis', children: [text('e')] }] },
      text(' '),
      { kind: 'emphasis', children: [text('f')] },
    ]);
    expect(parseInline('[x](https://a.test/y) and https://b.test/z.')).toEqual([
      { kind: 'link', href: 'https://a.test/y', children: [text('x')] },
      text(' and '),
      { kind: 'link', href: 'https://b.test/z', children: [text('https://b.test/z')] },
      text('.'),
    ]);
  });

  it('leaves names and sums as they are', () => {
    for (const plain of ['snake_case_name', '2 * 3 * 4', '__init__', 'a ** b', '*', '`', '[a]']) {
      expect(parseInline(plain)).toEqual([text(plain)]);
    }
  });

  it('makes no link of what could run or ask this hub', () => {
    for (const bad of ['[a](javascript:alert(1))', '[a](JavaScript:x)', '[a](data:text/html,x)', '[a](/api/v1/me)', '[a](//b)']) {
      expect(parseInline(bad).some(({ kind }) => kind === 'link')).toBe(false);
    }
  });
});
