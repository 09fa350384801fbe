import { createRoot } from 'react-dom/client';

import { App } from './app';
import { adoptTokenFromAddress, splitFragment } from './auth/token';
import { claimTabId } from './live/tab';
import { watchPlace } from './router';
import './styles/base.css';
import './styles/layout.css';
import './styles/forms.css';
import './styles/session.css';
import './styles/markdown.css';

const isInvited = adoptTokenFromAddress();
// The printed URL, opened in a tab that is here already, changes the fragment only.
window.addEventListener('hashchange', () => {
  if (splitFragment(location.hash).token !== null) location.reload();
});

const root = document.getElementById('root');
const tabId = await claimTabId();
if (root !== null) createRoot(root).render(<App place={watchPlace()} tabId={tabId} isInvited={isInvited} />);
