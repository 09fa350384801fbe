import { expect, it } from 'vitest';

import { placeOf, sessionAddress } from '../router';
import { inviteOf, splitFragment } from './token';

it('takes the token out of the fragment and keeps the place', () => {
  expect(splitFragment('#token=a.b-c_d')).toEqual({ token: 'a.b-c_d', rest: '' });
  expect(splitFragment('#token=a%2Bb&/s/s1')).toEqual({ token: 'a+b', rest: '#/s/s1' });
  expect(splitFragment('#token=')).toEqual({ token: null, rest: '' });
  expect(splitFragment('#/s/s1')).toEqual({ token: null, rest: '#/s/s1' });
  expect(splitFragment('')).toEqual({ token: null, rest: '' });
});

it('finds the code of a one-time link', () => {
  expect(inviteOf('#invite=0aF')).toBe('0aF');
  for (const other of ['', '#invite=', '#invite=x', '#token=0aF', '#/s/s1']) expect(inviteOf(other)).toBeNull();
});

it('finds a session by its address', () => {
  expect(placeOf(sessionAddress('a b'))).toEqual({ at: 'session', id: 'a b' });
  for (const elsewhere of ['', '#', '#/', '#/s/', '#/other']) expect(placeOf(elsewhere)).toEqual({ at: 'home' });
});
