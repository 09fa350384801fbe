// Output of tools: long texts by halves, diffs in colour.

import { useState } from 'react';

/** More is there for the asking; thousands of lines in the page are not. */
const SHOWN_AT_FIRST = 6_000;

export function LongText({ text }: { text: string }) {
  const [isWhole, setWhole] = useState(false);
  const shown = isWhole ? text : text.slice(0, SHOWN_AT_FIRST);
  return (
    <>
      <pre tabIndex={0}>{isDiff(text) ? <Diff text={shown} /> : shown}</pre>
      {shown.length < text.length && (
        <button type="button" className="quiet" onClick={() => setWhole(true)}>
          Show all {text.length.toLocaleString('en')} characters
        </button>
      )}
    </>
  );
}

function isDiff(text: string): boolean {
  return /^@@ /m.test(text) && /^--- /m.test(text) && /^\+\+\+ /m.test(text);
}

function Diff({ text }: { text: string }) {
  return text.split('\n').map((line, index) => (
    <span key={index} className={kindOf(line)}>{`${line}\n`}</span>
  ));
}

function kindOf(line: string): string {
  if (line.startsWith('+++') || line.startsWith('---')) return 'diff-head';
  if (line.startsWith('+')) return 'diff-added';
  if (line.startsWith('-')) return 'diff-removed';
  return line.startsWith('@@') ? 'diff-head' : 'diff-same';
}
