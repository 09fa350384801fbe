// Words for the person that belong to no place on the page, mostly refusals.

import { Store, useStore } from './store';

const SHOWN_FOR_MS = 8_000;
const AT_ONCE = 4;

interface Toast {
  id: number;
  words: string;
}

const toasts = new Store<readonly Toast[]>([]);
let lastId = 0;

export function say(words: string): void {
  lastId += 1;
  const id = lastId;
  toasts.update((shown) => [...shown.filter((toast) => toast.words !== words), { id, words }].slice(-AT_ONCE));
  setTimeout(() => dismiss(id), SHOWN_FOR_MS);
}

function dismiss(id: number): void {
  toasts.update((shown) => shown.filter((toast) => toast.id !== id));
}

export function Toasts() {
  const shown = useStore(toasts);
  return (
    <div className="toasts" role="alert">
      {shown.map(({ id, words }) => (
        <div key={id} className="toast">
          <span>{words}</span>
          <button type="button" className="quiet" aria-label="Dismiss" onClick={() => dismiss(id)}>
            ×
          </button>
        </div>
      ))}
    </div>
  );
}
