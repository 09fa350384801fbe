// Sessions by recent, and who is signed in.

import type { ChatSession, Project, User } from '../api/documents';
import { sessionAddress } from '../router';
import { useNow } from '../ui/clock';
import { Icon, Mark } from '../ui/icons';
import { ago } from '../ui/time';
import type { Collections } from './collections';

interface SidebarProps {
  user: User;
  collections: Collections;
  openId: string | null;
  onOlder: () => void;
  onSignOut: () => void;
}

export function Sidebar({ user, collections, openId, onOlder, onSignOut }: SidebarProps) {
  const { sessions, projects, cursor } = collections;
  const now = useNow(30_000, true);
  const projectName = (session: ChatSession) => projects.find((project: Project) => project._id === session.project)?.name;
  return (
    <nav className="sidebar" aria-label="Sessions">
      <a className="brand" href="#/">
        <Mark />
        <h1>Gadget</h1>
      </a>
      <a className="new-session" href="#/" aria-current={openId === null ? 'page' : undefined}>
        <Icon name="plus" /> New session
      </a>
      <ul className="sessions">
        {sessions.map((session) => (
          <li key={session._id}>
            <a href={sessionAddress(session._id)} aria-current={session._id === openId ? 'page' : undefined}>
              <span className="session-name">{session.name}</span>
              <span className="session-about">
                <span>{projectName(session)}</span>
                <time dateTime={session.createdAt}>{ago(session.createdAt, now)}</time>
              </span>
            </a>
          </li>
        ))}
        {cursor !== null && (
          <li><button type="button" className="quiet" onClick={onOlder}>Show older</button></li>
        )}
      </ul>
      <div className="account">
        <span className="account-name" title={user.email}>{user.displayName || user.handle}</span>
        <button type="button" className="quiet" onClick={onSignOut}>Sign out</button>
      </div>
    </nav>
  );
}
