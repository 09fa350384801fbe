// Markdown blocks, line by line. A block that is not finished yet, as while an answer streams in, is shown as far as it is.

import { parseInline } from './inline';
import type { MarkBlock } from './model';

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^`\s]*)[^`]*$/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|(\d{1,9})[.)])\s+(.*)$/;
const TABLE_LINE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

export function parseMarkdown(source: string): MarkBlock[] {
  return parseLines(source.split('\n'));
}

interface Taken {
  block: MarkBlock;
  /** The index of the first line after the block. */
  next: number;
}

function parseLines(lines: readonly string[]): MarkBlock[] {
  const blocks: MarkBlock[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at] ?? '';
    if (line.trim() === '') {
      at += 1;
      continue;
    }
    const { block, next } =
      takeCode(lines, at) ?? takeLine(line, at) ?? takeQuote(lines, at) ?? takeList(lines, at) ??
      takeTable(lines, at) ?? takeParagraph(lines, at);
    blocks.push(block);
    at = next;
  }
  return blocks;
}

function takeCode(lines: readonly string[], at: number): Taken | null {
  const open = FENCE.exec(lines[at] ?? '');
  if (open === null) return null;
  const [, indent = '', fence = '', language = ''] = open;
  const text: string[] = [];
  let next = at + 1;
  for (; next < lines.length; next += 1) {
    const line = lines[next] ?? '';
    if (line.trim().startsWith(fence) && /^[`~]+$/.test(line.trim())) {
      next += 1;
      break;
    }
    text.push(line.startsWith(indent) ? line.slice(indent.length) : line);
  }
  return { block: { kind: 'code', language, text: text.join('\n') }, next };
}

function takeLine(line: string, at: number): Taken | null {
  const heading = HEADING.exec(line);
  if (heading !== null) {
    const [, marks = '', text = ''] = heading;
    return { block: { kind: 'heading', level: marks.length, text: parseInline(text) }, next: at + 1 };
  }
  return RULE.test(line) ? { block: { kind: 'rule' }, next: at + 1 } : null;
}

function takeQuote(lines: readonly string[], at: number): Taken | null {
  let next = at;
  while (/^ {0,3}>/.test(lines[next] ?? '')) next += 1;
  if (next === at) return null;
  const inner = lines.slice(at, next).map((line) => line.replace(/^ {0,3}> ?/, ''));
  return { block: { kind: 'quote', blocks: parseLines(inner) }, next };
}

function takeList(lines: readonly string[], at: number): Taken | null {
  const first = ITEM.exec(lines[at] ?? '');
  if (first === null) return null;
  const [, indent = '', , number] = first;
  const isOrdered = number !== undefined;
  const items: string[][] = [];
  let next = at;
  for (; next < lines.length; next += 1) {
    const line = lines[next] ?? '';
    const item = ITEM.exec(line);
    if (item !== null && (item[1] ?? '').length <= indent.length + 1) {
      if ((item[3] !== undefined) !== isOrdered || (item[1] ?? '').length < indent.length) break;
      items.push([item[4] ?? '']);
    } else if (belongsToItem(line, lines[next + 1], indent.length)) {
      items.at(-1)?.push(dedent(line, indent.length + 2));
    } else break;
  }
  const start = Number(number ?? 1);
  return { block: { kind: 'list', isOrdered, start, items: items.map(parseLines) }, next };
}

/** Lines further in than the list's marks, and empty lines before such a line or before the next item. */
function belongsToItem(line: string, after: string | undefined, indent: number): boolean {
  if (line.trim() !== '') return /^\s+/.test(line) && indentOf(line) > indent;
  return after !== undefined && (indentOf(after) > indent || ITEM.test(after)) && after.trim() !== '';
}

function indentOf(line: string): number {
  return line.length - line.trimStart().length;
}

function dedent(line: string, by: number): string {
  return line.slice(Math.min(by, indentOf(line)));
}

function takeTable(lines: readonly string[], at: number): Taken | null {
  const head = lines[at] ?? '';
  if (!head.includes('|') || !TABLE_LINE.test(lines[at + 1] ?? '') || !(lines[at + 1] ?? '').includes('|')) return null;
  const rows: string[] = [];
  let next = at + 2;
  for (; (lines[next] ?? '').includes('|'); next += 1) rows.push(lines[next] ?? '');
  return { block: { kind: 'table', head: cellsOf(head), rows: rows.map(cellsOf) }, next };
}

function cellsOf(line: string) {
  const inner = line.trim().replace(/^\|/, '').replace(/\|$/, '');
  return inner.split(/(?<!\\)\|/).map((cell) => parseInline(cell.trim().replaceAll('\\|', '|')));
}

function takeParagraph(lines: readonly string[], at: number): Taken {
  let next = at + 1;
  while (next < lines.length && !endsParagraph(lines[next] ?? '')) next += 1;
  const text = lines.slice(at, next).map((line) => line.trim()).join('\n');
  return { block: { kind: 'paragraph', text: parseInline(text) }, next };
}

function endsParagraph(line: string): boolean {
  return line.trim() === '' || [FENCE, HEADING, RULE, ITEM].some((start) => start.test(line)) || /^ {0,3}>/.test(line);
}
