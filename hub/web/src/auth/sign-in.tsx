// E-mail and password for a token.

import { useState, type FormEvent } from 'react';

import type { HubApi } from '../api/hub';
import { wordsOf } from '../api/refused';
import { Mark } from '../ui/icons';

interface SignInProps {
  api: HubApi;
  /** Why the person has to sign in, if there is more to say. */
  because: string | null;
  onSignedIn: (token: string) => void;
}

export function SignIn({ api, because, onSignedIn }: SignInProps) {
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState(because);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    api
      .signIn(email, password)
      .then(({ token }) => onSignedIn(token))
      .catch((error: unknown) => setProblem(wordsOf(error)))
      .finally(() => setBusy(false));
  };

  return (
    <main className="sign-in">
      <form className="card" onSubmit={submit}>
        <div className="brand"><Mark /><h1>Gadget</h1></div>
        <label>
          <span>E-mail</span>
          <input type="email" name="email" required autoFocus autoComplete="username" value={email} onChange={(change) => setEmail(change.target.value)} />
        </label>
        <label>
          <span>Password</span>
          <input type="password" name="password" required autoComplete="current-password" value={password} onChange={(change) => setPassword(change.target.value)} />
        </label>
        {problem !== null && <p className="problem" role="alert">{problem}</p>}
        <button type="submit" className="primary" disabled={isBusy}>Sign in</button>
        <p className="note">With <code>gadget local</code>, open the URL that it printed: no password is needed.</p>
      </form>
    </main>
  );
}
