// One tool call: a line with its name, what it is about and how it ended; opened, its arguments and its output.

import { memo, useState } from 'react';

import type { Call } from '../transcript/model';
import { useNow } from '../ui/clock';
import { Icon, Spinner } from '../ui/icons';
import { duration } from '../ui/time';
import { Blocks } from './blocks';
import { argumentsOf, resultOf, summaryOf, type Field } from './call-text';
import { LongText } from './long-text';

export const ToolCall = memo(function ToolCall({ call }: { call: Call }) {
  const { agent } = call;
  const [isOpen, setOpen] = useState(false);
  return (
    <div className={`call ${markOf(call)}`}>
      <details onToggle={(toggle) => setOpen(toggle.currentTarget.open)}>
        <summary>
          <Icon name="chevron" />
          <StateMark call={call} />
          <span className="call-name">{call.name}</span>
          <span className="call-about">{summaryOf(call.params)}</span>
          {call.unknownOutcome && <span className="badge warn">outcome unknown</span>}
          {call.isError && !call.unknownOutcome && <span className="badge bad">failed</span>}
          <Duration call={call} />
        </summary>
        {isOpen && <Detail call={call} />}
      </details>
      {call.progress !== '' && !isOpen && <pre className="live-output">{lastLines(call.progress)}</pre>}
      {agent !== null && (
        <div className="subagent" role="group" aria-label="Sub-agent">
          <Blocks blocks={agent.blocks} isLive={call.status === 'running'} />
        </div>
      )}
    </div>
  );
});

function Detail({ call }: { call: Call }) {
  const result = resultOf(call.response);
  return (
    <div className="call-detail">
      <Fields fields={argumentsOf(call.params, result)} />
      {call.unknownOutcome && (
        <p className="dim">The drone stopped while this ran: nobody can know whether it took effect.</p>
      )}
      <Fields fields={result} />
      {call.progress !== '' && <LongText text={call.progress} />}
    </div>
  );
}

/** Short values beside their names, long ones below. */
function Fields({ fields }: { fields: readonly Field[] }) {
  if (fields.length === 0) return null;
  return (
    <dl>
      {fields.map(({ name, text }) => (
        <div key={name} className={isLong(text) || name === '' ? 'long' : 'short'}>
          {name !== '' && <dt>{name}</dt>}
          <dd>{isLong(text) ? <LongText text={text} /> : text}</dd>
        </div>
      ))}
    </dl>
  );
}

function isLong(text: string): boolean {
  return text.length > 160 || text.includes('\n');
}

function StateMark({ call }: { call: Call }) {
  if (call.status === 'running') return <><Spinner /><span className="hidden">running</span></>;
  if (call.unknownOutcome) return <Icon name="unsure" />;
  return call.isError ? <Icon name="cross" /> : <Icon name="check" />;
}

function Duration({ call }: { call: Call }) {
  const now = useNow(1_000, call.status === 'running');
  const end = call.endedAt === null ? now : Date.parse(call.endedAt);
  const took = Math.max(0, end - Date.parse(call.startedAt));
  if (call.status === 'running') return <span className="took">{Math.floor(took / 1_000)} s</span>;
  return <span className="took">{duration(took)}</span>;
}

function markOf(call: Call): string {
  if (call.status === 'running') return 'running';
  if (call.unknownOutcome) return 'unsure';
  return call.isError ? 'failed' : 'done';
}

function lastLines(text: string): string {
  return text.trimEnd().split('\n').slice(-6).join('\n');
}
