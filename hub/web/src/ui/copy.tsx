import { useState } from 'react';

const SAYS_SO_FOR_MS = 1_500;

export function CopyButton({ text }: { text: string }) {
  const [isCopied, setCopied] = useState(false);
  // Only to be had over https and on this machine.
  if (!('clipboard' in navigator)) return null;
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), SAYS_SO_FOR_MS);
  };
  return (
    <button type="button" className="quiet copy" onClick={() => void copy()}>
      {isCopied ? 'Copied' : 'Copy'}
    </button>
  );
}
