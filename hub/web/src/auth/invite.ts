// Signing in by a one-time link, before anything is shown.

import { hubApi } from '../api/hub';
import { wordsOf } from '../api/refused';
import { Rest } from '../api/rest';
import { keepToken } from './token';

/** Why the link is of no use; `null`: it has signed its bearer in. */
export async function redeem(code: string): Promise<string | null> {
  try {
    const { token } = await hubApi(new Rest(() => null)).redeem(code);
    keepToken(token);
    return null;
  } catch (error: unknown) {
    return wordsOf(error);
  }
}
