// The state of drone and line, as one sentence and a colour.

import type { SessionState } from './state';

export interface Sentence {
  tone: 'good' | 'busy' | 'waiting' | 'bad' | 'off';
  words: string;
}

export function sentenceOf({ line, hold, drone }: Pick<SessionState, 'line' | 'hold' | 'drone'>): Sentence {
  if (line.is === 'refused') return { tone: 'bad', words: line.refusal.message };
  if (line.is === 'lost') return { tone: 'waiting', words: 'No connection to the hub. Trying again…' };
  if (line.is === 'opening') return { tone: 'waiting', words: 'Connecting…' };
  if (drone === null) return { tone: hold.is === 'asking' ? 'waiting' : 'off', words: hold.is === 'asking' ? 'Looking for a drone…' : 'No drone yet' };
  const because = drone.message ?? drone.reason;
  const more = because === null ? '' : `: ${because}`;
  switch (drone.phase) {
    case 'Starting':
      return { tone: 'waiting', words: `Drone starting${more || '…'}` };
    case 'Available':
      return { tone: 'good', words: 'Drone ready' };
    case 'Busy':
      return { tone: 'good', words: `Drone ready${restarted(drone.restarts)}` };
    case 'Recovering':
      return { tone: 'waiting', words: `Drone coming back${more || '…'}` };
    case 'Suspended':
      return { tone: 'off', words: `Drone suspended${more}` };
    case 'Offline':
      return { tone: 'off', words: `Drone offline${more}` };
    case 'Failed':
      return { tone: 'bad', words: `Drone failed${more}` };
  }
}

function restarted(times: number): string {
  return times === 0 ? '' : `, restarted ${times === 1 ? 'once' : `${times} times`}`;
}
