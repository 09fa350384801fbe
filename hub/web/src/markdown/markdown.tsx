// Markdown as elements. Text only ever becomes text: there is no way from an answer to markup.

import { memo, useMemo } from 'react';

import { CopyButton } from '../ui/copy';
import type { Inline, MarkBlock } from './model';
import { parseMarkdown } from './parse';

export const Markdown = memo(function Markdown({ source }: { source: string }) {
  const blocks = useMemo(() => parseMarkdown(source), [source]);
  return (
    <div className="markdown">
      <Blocks blocks={blocks} />
    </div>
  );
});

function Blocks({ blocks }: { blocks: readonly MarkBlock[] }) {
  return blocks.map((block, index) => <OneBlock key={index} block={block} />);
}

function OneBlock({ block }: { block: MarkBlock }) {
  switch (block.kind) {
    case 'paragraph':
      return <p><Inlines parts={block.text} /></p>;
    case 'heading': {
      // The page has its own h1 and h2.
      const Heading = `h${Math.min(6, block.level + 2)}` as 'h3' | 'h4' | 'h5' | 'h6';
      return <Heading><Inlines parts={block.text} /></Heading>;
    }
    case 'code':
      return <CodeBlock language={block.language} text={block.text} />;
    case 'list':
      return <List block={block} />;
    case 'quote':
      return <blockquote><Blocks blocks={block.blocks} /></blockquote>;
    case 'table':
      return <Table head={block.head} rows={block.rows} />;
    case 'rule':
      return <hr />;
  }
}

function List({ block }: { block: Extract<MarkBlock, { kind: 'list' }> }) {
  const items = block.items.map((item, index) => <li key={index}><Blocks blocks={item} /></li>);
  return block.isOrdered ? <ol start={block.start}>{items}</ol> : <ul>{items}</ul>;
}

function CodeBlock({ language, text }: { language: string; text: string }) {
  return (
    <figure className="code">
      <figcaption>
        <span>{language || 'text'}</span>
        <CopyButton text={text} />
      </figcaption>
      <pre tabIndex={0}><code>{text}</code></pre>
    </figure>
  );
}

function Table({ head, rows }: { head: Inline[][]; rows: Inline[][][] }) {
  return (
    <div className="table" tabIndex={0}>
      <table>
        <thead><tr>{head.map((cell, index) => <th key={index}><Inlines parts={cell} /></th>)}</tr></thead>
        <tbody>
          {rows.map((row, index) => (
            <tr key={index}>{row.map((cell, column) => <td key={column}><Inlines parts={cell} /></td>)}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Inlines({ parts }: { parts: readonly Inline[] }) {
  return parts.map((part, index) => <OneInline key={index} part={part} />);
}

function OneInline({ part }: { part: Inline }) {
  switch (part.kind) {
    case 'text':
      return part.text;
    case 'code':
      return <code>{part.text}</code>;
    case 'strong':
      return <strong><Inlines parts={part.children} /></strong>;
    case 'emphasis':
      return <em><Inlines parts={part.children} /></em>;
    case 'link':
      return <a href={part.href} target="_blank" rel="noopener noreferrer"><Inlines parts={part.children} /></a>;
  }
}
