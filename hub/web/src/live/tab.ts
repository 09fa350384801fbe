// The identity of this tab: the same after a reload, another one in a duplicate of the tab.

const KEY = 'gadget.tab';
const RELOAD_WITHIN_MS = 1_000;

/**
 * A duplicated tab gets a copy of the session storage, and with it the id of its original. So the id is held by a lock
 * for as long as the page lives; who cannot have the lock, once a page that is reloading has had time to go, is a copy.
 */
export async function claimTabId(): Promise<string> {
  const kept = sessionStorage.getItem(KEY);
  if (kept !== null && (await hold(kept))) return kept;
  const fresh = randomId();
  sessionStorage.setItem(KEY, fresh);
  await hold(fresh);
  return fresh;
}

function hold(id: string): Promise<boolean> {
  // Only to be had over https and on this machine. Elsewhere copies of a tab take the lock from each other.
  if (!('locks' in navigator)) return Promise.resolve(true);
  const signal = AbortSignal.timeout(RELOAD_WITHIN_MS);
  return new Promise((resolve) => {
    const untilThePageGoes = () => {
      resolve(true);
      return new Promise<never>(() => undefined);
    };
    navigator.locks.request(`${KEY}.${id}`, { signal }, untilThePageGoes).catch(() => resolve(false));
  });
}

function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
