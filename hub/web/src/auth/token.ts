// Where the token lives: in local storage, so that a second tab is signed in too. The address bar never keeps it.

const KEY = 'gadget.token';

/** Reads a fragment such as `#token=abc` or `#token=abc&/s/some-session`: the token, and where to go with it. */
export function splitFragment(fragment: string): { token: string | null; rest: string } {
  const match = /^#token=([^&]*)&?(.*)$/.exec(fragment);
  if (match === null) return { token: null, rest: fragment };
  const [, token = '', rest = ''] = match;
  return { token: decodeURIComponent(token) || null, rest: rest === '' ? '' : `#${rest}` };
}

/** A token in the address bar moves to the storage, out of sight and of history. True: there was one. */
export function adoptTokenFromAddress(): boolean {
  const { token, rest } = splitFragment(location.hash);
  if (rest !== location.hash) history.replaceState(null, '', `${location.pathname}${rest}`);
  if (token !== null) keepToken(token);
  return token !== null;
}

/** The code of a one-time link such as `#invite=abc`, which leaves the address bar with it. */
export function takeInviteFromAddress(): string | null {
  const code = inviteOf(location.hash);
  if (code !== null) history.replaceState(null, '', location.pathname);
  return code;
}

export function inviteOf(fragment: string): string | null {
  return /^#invite=([0-9a-fA-F]+)$/.exec(fragment)?.[1] ?? null;
}

export function token(): string | null {
  return localStorage.getItem(KEY);
}

export function keepToken(value: string): void {
  localStorage.setItem(KEY, value);
}

export function dropToken(): void {
  localStorage.removeItem(KEY);
}
