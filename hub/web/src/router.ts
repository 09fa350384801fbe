// Places of the page, kept in the address's fragment: a reload comes back to the same one, and the hub serves one file.

import { Store } from './ui/store';

export type Place = { at: 'home' } | { at: 'session'; id: string };

export function placeOf(fragment: string): Place {
  const match = /^#\/s\/([^/]+)$/.exec(fragment);
  return match?.[1] === undefined ? { at: 'home' } : { at: 'session', id: decodeURIComponent(match[1]) };
}

export function sessionAddress(id: string): string {
  return `#/s/${encodeURIComponent(id)}`;
}

/** Here by the page's bare address: no place was chosen yet. */
export function isNowhere(): boolean {
  return location.hash === '';
}

export function goTo(address: string): void {
  location.hash = address;
}

export function watchPlace(): Store<Place> {
  const place = new Store(placeOf(location.hash));
  window.addEventListener('hashchange', () => place.update(() => placeOf(location.hash)));
  return place;
}
