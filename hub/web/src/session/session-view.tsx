// The open session: head, transcript, status, prompt.

import { useCallback, useEffect } from 'react';

import type { Model, Project } from '../api/documents';
import { modelLabel } from '../home/labels';
import { runningTurn } from '../transcript/model';
import { useStore } from '../ui/store';
import { useDoubleEscape } from './escape';
import type { SessionLink } from './link';
import { PromptBox } from './prompt-box';
import { isWaiting, type Hold, type SessionState } from './state';
import { StatusBar } from './status-bar';
import { TranscriptView } from './transcript-view';

/** What the demo's script understands. */
const TOUR = 'Start the tour';

interface SessionViewProps {
  link: SessionLink;
  projects: readonly Project[];
  models: readonly Model[];
}

export function SessionView({ link, projects, models }: SessionViewProps) {
  const state = useStore(link.state);
  const { session, transcript, hold, line } = state;
  const model = models.find(({ provider, id }) => provider === session?.provider && id === session.selectedModel);
  const blocked = whyBlocked(state);
  const isRunning = runningTurn(transcript) !== null;
  const abort = useCallback(() => void link.abort(), [link]);
  const isArmed = useDoubleEscape(isRunning && blocked === null, abort);
  const name = session?.name ?? 'Session';

  useEffect(() => {
    document.title = `${isRunning ? '● ' : ''}${name} · Gadget`;
  }, [name, isRunning]);

  return (
    <>
      <header className="session-head">
        <h2>{name}</h2>
        <span className="dim">{projects.find(({ _id }) => _id === session?.project)?.name}</span>
        <span className="dim model">{model === undefined ? session?.selectedModel : modelLabel(model)}</span>
        {model?.simulated === true && <span className="badge warn">simulated</span>}
      </header>
      {line.is === 'refused' && (
        <Banner words={line.refusal.message} action="Try again" onAction={() => void link.start()} />
      )}
      {line.is === 'up' && <HoldBanner hold={hold} link={link} />}
      <TranscriptView transcript={transcript}>
        <p>{session === null ? 'Loading…' : 'Nothing here yet. Say what should be done.'}</p>
        {model?.simulated === true && blocked === null && (
          <button type="button" className="suggestion" onClick={() => link.submit(TOUR)}>
            {TOUR}
          </button>
        )}
      </TranscriptView>
      <div className="dock">
        <StatusBar state={state} contextWindow={model?.contextWindow ?? null} onMode={(mode) => void link.setMode(mode)} />
        <PromptBox
          draft={state.draft}
          isRunning={isRunning}
          isSending={state.sending !== null && !state.sending.isAnswerLost}
          isReadOnly={hold.is === 'following'}
          blocked={blocked}
          canWait={isWaiting(state)}
          isQueued={state.isQueued}
          hint={hintOf(state, blocked, isArmed, isRunning)}
          onWrite={(draft) => link.write(draft)}
          onSend={() => void link.send()}
          onAbort={abort}
        />
      </div>
      <p className="hidden" role="status">{isRunning ? 'The agent is working.' : 'The agent is done.'}</p>
    </>
  );
}

function HoldBanner({ hold, link }: { hold: Hold; link: SessionLink }) {
  if (hold.is !== 'following') return null;
  const { code, message } = hold.because;
  return code === 'tab_locked' ? (
    <Banner
      words="This session is open in another tab. Here you can read along."
      action="Take over"
      onAction={() => void link.take(true)}
    />
  ) : (
    <Banner words={message} action="Try again" onAction={() => void link.take(false)} />
  );
}

function Banner({ words, action, onAction }: { words: string; action: string; onAction: () => void }) {
  return (
    <div className="banner" role="status">
      <span>{words}</span>
      <button type="button" onClick={onAction}>{action}</button>
    </div>
  );
}

function whyBlocked({ line, hold, session }: SessionState): string | null {
  if (session === null) return 'Loading…';
  if (line.is !== 'up') return 'Waiting for the hub…';
  if (hold.is === 'asking') return 'Waiting for a drone…';
  return hold.is === 'following' ? 'Read-only' : null;
}

function hintOf(state: SessionState, blocked: string | null, isArmed: boolean, isRunning: boolean): string {
  if (state.isQueued) return 'Goes out as soon as the drone is ready. Change it to hold it back.';
  if (blocked !== null) return '';
  if (isArmed) return 'Press Esc again to stop the turn.';
  return isRunning ? 'Esc Esc stops the turn' : 'Enter sends · Shift+Enter new line';
}
