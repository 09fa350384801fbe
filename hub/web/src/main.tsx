import { createRoot } from 'react-dom/client';

import { App } from './app';
import { redeem } from './auth/invite';
import { adoptTokenFromAddress, inviteOf, splitFragment, takeInviteFromAddress } from './auth/token';
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
  if (splitFragment(location.hash).token !== null || inviteOf(location.hash) !== null) location.reload();
});
const invite = takeInviteFromAddress();
const refusal = invite === null ? null : await redeem(invite);

const root = document.getElementById('root');
const tabId = await claimTabId();
if (root !== null) {
  createRoot(root).render(<App place={watchPlace()} tabId={tabId} isInvited={isInvited} refusal={refusal} />);
}
