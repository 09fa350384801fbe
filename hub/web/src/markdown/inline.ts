// Inline Markdown: code, bold, italics, links.

import type { Inline } from './model';

const TOKEN = new RegExp(
  [
    /(?<ticks>`+)(?<code>[^`]|[^`][\s\S]*?[^`])\k<ticks>(?!`)/,
    /\*\*(?<strong>(?=\S)[\s\S]*?\S)\*\*(?!\*)/,
    /(?<![\w*])\*(?<star>(?=[^\s*])[^*]*[^\s*])\*(?!\w)/,
    /(?<!\w)_(?<under>(?=[^\s_])[^_]*[^\s_])_(?!\w)/,
    /\[(?<label>[^\]]+)\]\((?<href>[^\s()]+)\)/,
    /(?<bare>https?:\/\/[^\s<>()`]+[^\s<>()`.,;:!?'"\]*_])/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'g',
);

export function parseInline(text: string): Inline[] {
  const parts: Inline[] = [];
  let from = 0;
  for (const match of text.matchAll(TOKEN)) {
    if (match.index > from) parts.push({ kind: 'text', text: text.slice(from, match.index) });
    parts.push(inlineOf(match[0], match.groups ?? {}));
    from = match.index + match[0].length;
  }
  if (from < text.length) parts.push({ kind: 'text', text: text.slice(from) });
  return parts;
}

function inlineOf(whole: string, groups: Record<string, string | undefined>): Inline {
  const { code, strong, star, under, label, href, bare } = groups;
  if (code !== undefined) return { kind: 'code', text: code.replace(/^ (.*) $/s, '$1') };
  if (strong !== undefined) return { kind: 'strong', children: parseInline(strong) };
  const emphasis = star ?? under;
  if (emphasis !== undefined) return { kind: 'emphasis', children: parseInline(emphasis) };
  if (bare !== undefined) return { kind: 'link', href: bare, children: [{ kind: 'text', text: bare }] };
  if (label !== undefined && href !== undefined && isSafe(href)) {
    return { kind: 'link', href, children: parseInline(label) };
  }
  return { kind: 'text', text: whole };
}

/** A model's words must not become a script, or a request to this hub. */
function isSafe(href: string): boolean {
  return /^(https?:\/\/|mailto:)/i.test(href);
}
