/** A refusal or a failure with a code to branch on and words for a person. */
export class Refused extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = 'Refused';
  }
}

/** The hub could not be asked, as opposed to: it said no. Worth asking again. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof Refused && (error.code === 'unreachable' || error.code === 'draining');
}

/** The credential is not taken: only signing in helps. */
export function isSignedOut(error: unknown): boolean {
  return error instanceof Refused && (error.code === 'unauthorized' || error.code === 'token_expired');
}

export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
