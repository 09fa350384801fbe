// The blocks of a turn or of a sub-agent: thinking, answers, tool calls, in order.

import { memo } from 'react';

import { Markdown } from '../markdown/markdown';
import { textOf, type Block, type TextBlock } from '../transcript/model';
import { Icon } from '../ui/icons';
import { ToolCall } from './tool-call';

/** A turn may have thousands of blocks, of which one changes at a time: the others are skipped by the group. */
const GROUP = 50;

interface BlocksProps {
  blocks: readonly Block[];
  /** The last block may still grow. */
  isLive: boolean;
}

export function Blocks({ blocks, isLive }: BlocksProps) {
  const groups = Math.ceil(blocks.length / GROUP);
  return Array.from({ length: groups }, (_, index) => (
    <Group
      key={index}
      blocks={blocks.slice(index * GROUP, (index + 1) * GROUP)}
      isLive={isLive && index === groups - 1}
    />
  ));
}

const Group = memo(function Group({ blocks, isLive }: BlocksProps) {
  return (
    <div className="blocks">
      {blocks.map((block, index) => (
        <OneBlock key={block.key} block={block} isLast={isLive && index === blocks.length - 1} />
      ))}
    </div>
  );
}, isSameGroup);

function isSameGroup(before: BlocksProps, after: BlocksProps): boolean {
  return (
    before.isLive === after.isLive &&
    before.blocks.length === after.blocks.length &&
    before.blocks.every((block, index) => block === after.blocks[index])
  );
}

const OneBlock = memo(function OneBlock({ block, isLast }: { block: Block; isLast: boolean }) {
  if (block.kind === 'call') return <ToolCall call={block.call} />;
  if (block.mode === 'thinking') return <Thinking block={block} isLast={isLast} />;
  return (
    <div className={isLast ? 'answer growing' : 'answer'}>
      <Markdown source={textOf(block)} />
    </div>
  );
});

function Thinking({ block, isLast }: { block: TextBlock; isLast: boolean }) {
  return (
    <details className="thinking">
      <summary>
        <Icon name="chevron" />
        {isLast ? <span className="working">Thinking…</span> : 'Thought'}
      </summary>
      <p>{textOf(block).trim()}</p>
    </details>
  );
}
