// The page of somebody who is signed in: the list of sessions at the side, one place in the middle.

import { useCallback, useEffect, useMemo, useState } from 'react';

import type { ChatSession, User } from './api/documents';
import type { HubApi } from './api/hub';
import { keepToken, token } from './auth/token';
import { CollectionLoader, unusedSession } from './home/collections';
import { NewSession } from './home/new-session';
import { Sidebar } from './home/sidebar';
import { Connection } from './live/connection';
import { startHeartbeat } from './live/heartbeat';
import { goTo, isNowhere, sessionAddress, type Place } from './router';
import { SessionLink, type Surroundings } from './session/link';
import { SessionView } from './session/session-view';
import { Icon } from './ui/icons';
import { useStore, type Store } from './ui/store';

const connect: Surroundings['connect'] = (credentials, events) => new Connection(credentials, events);

const REFRESH_EVERY_MS = 10_000;

interface ShellProps {
  api: HubApi;
  user: User;
  place: Store<Place>;
  tabId: string;
  /** Came by the printed address: leads on to the session that waits for its first prompt. */
  isInvited: boolean;
  say: (words: string) => void;
  signedOut: (words: string | null) => void;
}

export function Shell({ api, user, place, tabId, isInvited, say, signedOut }: ShellProps) {
  const here = useStore(place);
  const openId = here.at === 'session' ? here.id : null;
  const [isMenuOpen, setMenuOpen] = useState(false);
  const loader = useMemo(() => new CollectionLoader(api, say, signedOut), [api, say, signedOut]);
  const collections = useStore(loader.store);
  const sessionChanged = useCallback((session: ChatSession) => loader.put(session), [loader]);
  const around = useMemo(
    (): Surroundings => ({ api, connect, startHeartbeat, tabId, say, signedOut, sessionChanged, token, keepToken }),
    [api, tabId, say, signedOut, sessionChanged],
  );
  const link = useLink(openId, around);

  useEffect(() => {
    const refresh = () => {
      if (!document.hidden) void loader.refresh();
    };
    refresh();
    const timer = setInterval(refresh, REFRESH_EVERY_MS);
    document.addEventListener('visibilitychange', refresh);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', refresh);
    };
  }, [loader]);

  const [mayLead, setMayLead] = useState(isInvited && openId === null);
  useEffect(() => {
    if (!mayLead || !collections.isLoaded) return;
    setMayLead(false);
    const waiting = unusedSession(collections);
    // Whoever has gone somewhere meanwhile, if only to a new session, stays there.
    if (waiting !== null && isNowhere()) goTo(sessionAddress(waiting._id));
  }, [mayLead, collections]);

  useEffect(() => setMenuOpen(false), [openId]);
  useEffect(() => {
    if (openId === null) document.title = 'Gadget';
  }, [openId]);

  return (
    <div className={isMenuOpen ? 'shell menu-open' : 'shell'}>
      <button type="button" className="quiet menu" aria-label="Sessions" aria-expanded={isMenuOpen} onClick={() => setMenuOpen(!isMenuOpen)}>
        <Icon name="menu" />
      </button>
      <Sidebar
        user={user}
        collections={collections}
        openId={openId}
        onOlder={() => void loader.older()}
        onSignOut={() => signedOut(null)}
      />
      <main className="place">
        {link === null ? (
          <div className="home">
            <NewSession
              api={api}
              collections={collections}
              onProject={(project) => loader.putProject(project)}
              onCreated={(session) => {
                loader.put(session);
                goTo(sessionAddress(session._id));
              }}
            />
          </div>
        ) : (
          <SessionView key={link.id} link={link} projects={collections.projects} models={collections.models} />
        )}
      </main>
    </div>
  );
}

/** One link for the session that is open: leaving the session closes its connection, and with it frees its tab lock. */
function useLink(id: string | null, around: Surroundings): SessionLink | null {
  const [link, setLink] = useState<SessionLink | null>(null);
  useEffect(() => {
    if (id === null) return undefined;
    const opened = new SessionLink(id, around);
    setLink(opened);
    void opened.open();
    return () => {
      opened.close();
      setLink(null);
    };
  }, [id, around]);
  return link?.id === id ? link : null;
}
