// Who is here, and where on the page: sign-in, home, or a session.

import { useCallback, useEffect, useMemo, useState } from 'react';

import type { User } from './api/documents';
import { hubApi } from './api/hub';
import { isSignedOut, wordsOf } from './api/refused';
import { Rest } from './api/rest';
import { SignIn } from './auth/sign-in';
import { dropToken, keepToken, token } from './auth/token';
import { Mark } from './ui/icons';
import { say, Toasts } from './ui/toasts';
import type { Store } from './ui/store';
import type { Place } from './router';
import { Shell } from './shell';

const RETRY_AFTER_MS = 1_000;

type Who =
  | { is: 'unknown'; words: string | null }
  | { is: 'signedOut'; because: string | null }
  | { is: 'signedIn'; user: User };

interface AppProps {
  place: Store<Place>;
  tabId: string;
  /** The address had a token in it. */
  isInvited: boolean;
  /** The address had a one-time link in it, which is of no use. */
  refusal: string | null;
}

export function App({ place, tabId, isInvited, refusal }: AppProps) {
  const api = useMemo(() => hubApi(new Rest(token)), []);
  const [who, setWho] = useState<Who>({ is: 'unknown', words: null });

  const signedOut = useCallback((because: string | null) => {
    dropToken();
    setWho({ is: 'signedOut', because });
  }, []);

  useEffect(() => {
    if (who.is !== 'unknown') return undefined;
    if (token() === null) {
      setWho({ is: 'signedOut', because: refusal });
      return undefined;
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isOver = false;
    api.me().then(
      (user) => { if (!isOver) setWho({ is: 'signedIn', user }); },
      (error: unknown) => {
        if (isOver) return;
        if (isSignedOut(error)) signedOut(wordsOf(error));
        else timer = setTimeout(() => setWho({ is: 'unknown', words: wordsOf(error) }), RETRY_AFTER_MS);
      },
    );
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [who, api, refusal, signedOut]);

  return (
    <>
      {who.is === 'unknown' && (
        <main className="sign-in"><Mark />{who.words !== null && <p role="status">{who.words} Trying again…</p>}</main>
      )}
      {who.is === 'signedOut' && (
        <SignIn
          api={api}
          because={who.because}
          onSignedIn={(fresh) => {
            keepToken(fresh);
            setWho({ is: 'unknown', words: null });
          }}
        />
      )}
      {who.is === 'signedIn' && (
        <Shell
          api={api}
          user={who.user}
          place={place}
          tabId={tabId}
          isInvited={isInvited}
          say={say}
          signedOut={signedOut}
        />
      )}
      <Toasts />
    </>
  );
}
