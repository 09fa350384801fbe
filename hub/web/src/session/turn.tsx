// One turn: the prompt, what the agent made of it, and how it ended.

import { memo } from 'react';

import type { Turn as TurnData } from '../transcript/model';
import { Icon } from '../ui/icons';
import { count, duration } from '../ui/time';
import { Blocks } from './blocks';

export const Turn = memo(function Turn({ turn }: { turn: TurnData }) {
  const isLive = turn.status === 'processing';
  return (
    <article className="turn" aria-label={turn.prompt === null ? 'Turn' : `Turn: ${turn.prompt.slice(0, 80)}`}>
      <h3 className="hidden">You</h3>
      <div className="prompt">{turn.prompt ?? '…'}</div>
      <h3 className="hidden">Agent</h3>
      <Blocks blocks={turn.blocks} isLive={isLive} />
      {isLive && turn.blocks.length === 0 && <p className="working waiting">Working…</p>}
      {turn.status === 'error' && (
        <p className="turn-error">
          <Icon name="cross" />
          {turn.errorMessage ?? 'The turn ended in an error.'}
        </p>
      )}
      {!isLive && <Foot turn={turn} />}
    </article>
  );
});

function Foot({ turn }: { turn: TurnData }) {
  const { input, output } = turn.tokens;
  return (
    <footer className="turn-foot">
      {turn.status === 'aborted' && <span className="badge">stopped</span>}
      {turn.simulated && <span className="badge warn">simulated</span>}
      {turn.model !== '' && <span>{turn.model}</span>}
      {turn.durationMs !== null && <span>{duration(turn.durationMs)}</span>}
      {input + output > 0 && <span>{count(input)} in, {count(output)} out</span>}
    </footer>
  );
}
