import { describe, expect, it } from 'vitest';

import { Refused } from '../api/refused';
import { EMPTY } from '../transcript/model';
import { prompted } from '../transcript/transcript';
import { readFollow, readLock, readSubmitted } from './answers';
import { sentenceOf } from './drone-line';
import { FIRST_STATE, heard, withTranscript } from './state';

describe('what the hub says', () => {
  it('changes drone, mode and status', () => {
    const drone = { registrationId: 'd', phase: 'Starting', reason: 'Pulling', message: 'image', restarts: 2, since: '' };
    const state = [
      ['droneStatus', [drone]],
      ['workspaceModeChanged', ['agent']],
      ['status', ['Cloning']],
    ].reduce((before, [name, args]) => heard(before, name as string, args as unknown[]), FIRST_STATE);
    expect(state).toMatchObject({ drone: { phase: 'Starting', message: 'image' }, mode: 'agent', status: 'Cloning' });
  });

  it('changes nothing when it is of no known shape', () => {
    for (const [name, args] of [['later', [{}]], ['workspaceModeChanged', ['odd']], ['status', []]] as const) {
      expect(heard(FIRST_STATE, name, args)).toBe(FIRST_STATE);
    }
  });

  it('makes a reader of a tab that lost the session', () => {
    expect(heard(FIRST_STATE, 'tabLockDenied', [{ message: 'taken' }]).hold).toEqual({
      is: 'following',
      because: { code: 'tab_locked', message: 'taken' },
    });
  });
});

describe('a prompt whose answer got lost', () => {
  const head = { id: 't1', prompt: 'do it', model: '', simulated: false, startedAt: '2026-01-01T00:00:00Z' };
  const sending = { prompt: 'do it', after: new Set<string>(), isAnswerLost: true };
  const waiting = { ...FIRST_STATE, draft: 'do it', sending };

  it('leaves the box when its turn is seen', () => {
    expect(withTranscript(waiting, prompted(EMPTY, head))).toMatchObject({ draft: '', sending: null });
  });

  it('stays in the box while only the same words from before are there', () => {
    const before = { ...waiting, sending: { ...sending, after: new Set(['t1']) } };
    expect(withTranscript(before, prompted(EMPTY, head))).toMatchObject({ draft: 'do it' });
  });
});

describe('answers', () => {
  it('carry the words of a refusal', () => {
    expect(readLock([false, 's', { code: 'tab_locked', message: 'elsewhere' }])).toEqual(new Refused('tab_locked', 'elsewhere'));
    expect(readLock([true, 's'])).toBeNull();
    expect(() => readSubmitted([false, { code: 'busy', message: 'a turn is running' }])).toThrow('a turn is running');
    expect(() => readFollow([false, undefined])).toThrow(Refused);
  });

  it('tell replayed events from a stored turn', () => {
    expect(readFollow([true, { fromSeq: 4, toSeq: 9 }])).toEqual({ fromSeq: 4, turn: null });
    expect(readFollow([true, { fromSeq: 4, toSeq: 9, turn: { _id: 't' } }])).toEqual({ fromSeq: 4, turn: { _id: 't' } });
  });
});

describe('the drone line', () => {
  it('says why a drone is not there', () => {
    const drone = { phase: 'Recovering' as const, reason: 'Evicted', message: null, restarts: 1 };
    expect(sentenceOf({ line: { is: 'up' }, hold: { is: 'held' }, drone })).toEqual({
      tone: 'waiting',
      words: 'Drone coming back: Evicted',
    });
  });

  it('speaks of the line first', () => {
    const drone = { phase: 'Busy' as const, reason: null, message: null, restarts: 0 };
    expect(sentenceOf({ line: { is: 'lost' }, hold: { is: 'held' }, drone }).tone).toBe('waiting');
  });
});
