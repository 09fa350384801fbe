// The answers of the hub to what a session asks, read into one shape: what was given, or a refusal.

import type { ChatTurn } from '../api/documents';
import { Refused } from '../api/refused';

interface Detail {
  code?: string;
  message?: string;
}

/** `requestSessionLock`: `(success, chatSessionId, detail?)`. */
export function readLock([success, , detail]: unknown[]): Refused | null {
  return success === true ? null : refused(detail as Detail | undefined, 'The session could not be opened.');
}

/** Events from `fromSeq` on will be sent. With a stored turn: what was before them cannot be sent event by event. */
export interface Follow {
  fromSeq: number;
  turn: ChatTurn | null;
}

/** `resume` and `followSession`: `(success, { fromSeq, toSeq, turn? })`. */
export function readFollow([success, data]: unknown[]): Follow {
  if (success !== true) throw refused(data as Detail | undefined, 'The session cannot be followed.');
  const { fromSeq, turn } = (data ?? {}) as { fromSeq: number; turn?: ChatTurn };
  return { fromSeq, turn: turn ?? null };
}

/** `submitPrompt`: `(success, { turnId?, message?, code? })`. */
export function readSubmitted([success, data]: unknown[]): string {
  const { turnId } = (data ?? {}) as { turnId?: string };
  if (success !== true || turnId === undefined) throw refused(data as Detail | undefined, 'The prompt was not taken.');
  return turnId;
}

/** `abortWorkOrder`: `(success, message?)`. */
export function readAborted([success, message]: unknown[]): void {
  if (success !== true) throw refused({ message: words(message) }, 'The turn could not be stopped.');
}

/** `requestWorkspaceMode`: `(success, currentMode, reason?)`. */
export function readMode([success, mode, reason]: unknown[]): unknown {
  if (success !== true) throw refused({ message: words(reason) }, 'The workspace mode was not changed.');
  return mode;
}

/** `authRefresh`: `(success, { expiresAt?, code? })`. */
export function readDone([success, data]: unknown[]): void {
  if (success !== true) throw refused(data as Detail | undefined, 'The hub refused.');
}

function refused(detail: Detail | undefined, otherwise: string): Refused {
  return new Refused(detail?.code ?? 'refused', detail?.message || otherwise);
}

function words(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
