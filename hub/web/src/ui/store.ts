// A value that views can watch. Changes are there at once; views hear of them at most once a frame.

import { useSyncExternalStore } from 'react';

export class Store<T> {
  private readonly listeners = new Set<() => void>();
  private isAnnounced = false;

  constructor(private value: T) {}

  get(): T {
    return this.value;
  }

  update(change: (value: T) => T): void {
    const next = change(this.value);
    if (Object.is(next, this.value)) return;
    this.value = next;
    if (this.isAnnounced) return;
    this.isAnnounced = true;
    // A page in the background has no frames.
    if (document.hidden) setTimeout(this.announce, 100);
    else requestAnimationFrame(this.announce);
  }

  /** For what is typed: a field must show it before the next key comes. */
  updateNow(change: (value: T) => T): void {
    this.update(change);
    this.announce();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly snapshot = (): T => this.value;

  private readonly announce = (): void => {
    if (!this.isAnnounced) return;
    this.isAnnounced = false;
    for (const listener of this.listeners) listener();
  };
}

export function useStore<T>(store: Store<T>): T {
  return useSyncExternalStore(store.subscribe, store.snapshot);
}
