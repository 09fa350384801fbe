import { useEffect, useState } from 'react';

const AGAIN_WITHIN_MS = 1_500;

/** Esc twice calls `abort`; true while the second one is waited for. */
export function useDoubleEscape(isRunning: boolean, abort: () => void): boolean {
  const [isArmed, setArmed] = useState(false);
  useEffect(() => {
    if (!isRunning) return undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const pressed = (key: KeyboardEvent) => {
      if (key.key !== 'Escape' || key.repeat) return;
      clearTimeout(timer);
      if (timer !== undefined) {
        timer = undefined;
        setArmed(false);
        abort();
        return;
      }
      setArmed(true);
      timer = setTimeout(() => {
        timer = undefined;
        setArmed(false);
      }, AGAIN_WITHIN_MS);
    };
    window.addEventListener('keydown', pressed);
    return () => {
      clearTimeout(timer);
      setArmed(false);
      window.removeEventListener('keydown', pressed);
    };
  }, [isRunning, abort]);
  return isArmed;
}
