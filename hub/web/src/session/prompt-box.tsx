// The prompt: Enter sends, Shift+Enter is a new line.

import { useEffect, useRef } from 'react';

interface PromptBoxProps {
  draft: string;
  isRunning: boolean;
  isSending: boolean;
  isReadOnly: boolean;
  /** Why nothing can be sent now. */
  blocked: string | null;
  /** What is sent although it is blocked goes out later. */
  canWait: boolean;
  isQueued: boolean;
  hint: string;
  onWrite: (draft: string) => void;
  onSend: () => void;
  onAbort: () => void;
}

export function PromptBox(props: PromptBoxProps) {
  const { draft, isRunning, isSending, isReadOnly, blocked, canWait, isQueued, hint, onWrite, onSend, onAbort } = props;
  const box = useRef<HTMLTextAreaElement>(null);
  const canSend = (blocked === null || (canWait && !isQueued)) && !isRunning && !isSending && draft.trim() !== '';

  useEffect(() => box.current?.focus(), []);

  return (
    <form
      className="prompt-box"
      onSubmit={(submit) => {
        submit.preventDefault();
        if (canSend) onSend();
      }}
    >
      <textarea
        ref={box}
        value={draft}
        rows={1}
        aria-label="Prompt"
        aria-describedby="prompt-hint"
        placeholder={blocked ?? 'What should be done?'}
        readOnly={isSending || isReadOnly}
        onChange={(change) => onWrite(change.target.value)}
        onKeyDown={(key) => {
          if (key.key !== 'Enter' || key.shiftKey || key.nativeEvent.isComposing) return;
          key.preventDefault();
          if (canSend) onSend();
        }}
      />
      {isRunning && blocked === null ? (
        <button type="button" className="stop" onClick={onAbort}>
          Cancel
        </button>
      ) : (
        <button type="submit" className="primary" disabled={!canSend}>
          Send
        </button>
      )}
      <p id="prompt-hint" className="hint">{hint}</p>
    </form>
  );
}
