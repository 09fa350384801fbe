// The turns of the session, kept at the newest unless the person has scrolled up; `children` while there are none.

import { useCallback, useLayoutEffect, useRef, useState, type ReactNode } from 'react';

import { runningTurn, type Transcript } from '../transcript/model';
import { Icon } from '../ui/icons';
import { Turn } from './turn';

/** This close to the end counts as being there. */
const NEAR_PX = 48;

export function TranscriptView({ transcript, children }: { transcript: Transcript; children: ReactNode }) {
  const box = useRef<HTMLDivElement>(null);
  const lastTop = useRef(0);
  const [isAtEnd, setAtEnd] = useState(true);
  const toEnd = useCallback(() => box.current?.scrollTo({ top: box.current.scrollHeight }), []);

  useLayoutEffect(() => {
    if (!isAtEnd) return undefined;
    toEnd();
    // Blocks that come into sight get their real height only then.
    const again = requestAnimationFrame(toEnd);
    return () => cancelAnimationFrame(again);
  }, [transcript, isAtEnd, toEnd]);

  const scrolled = () => {
    const element = box.current;
    if (element === null) return;
    const { scrollTop, scrollHeight, clientHeight } = element;
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    // Content that grows moves the end away without any scrolling up.
    if (isNear) setAtEnd(true);
    else if (scrollTop < lastTop.current) setAtEnd(false);
    lastTop.current = scrollTop;
  };

  return (
    <div className="transcript-frame">
      <div className="transcript" ref={box} onScroll={scrolled} tabIndex={0} aria-label="Transcript" role="region">
        <div
          className="turns"
          role="log"
          aria-live="polite"
          aria-relevant="additions"
          aria-busy={runningTurn(transcript) !== null}
        >
          {transcript.turns.map((turn) => <Turn key={turn.id} turn={turn} />)}
          {transcript.turns.length === 0 && <div className="empty">{children}</div>}
        </div>
      </div>
      {!isAtEnd && (
        <button type="button" className="to-end" onClick={toEnd}>
          <Icon name="down" /> Newest
        </button>
      )}
    </div>
  );
}
