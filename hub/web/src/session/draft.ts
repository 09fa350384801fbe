// What is being written survives a reload of the tab.

const key = (sessionId: string) => `gadget.draft.${sessionId}`;

export function keptDraft(sessionId: string): string {
  return sessionStorage.getItem(key(sessionId)) ?? '';
}

export function keepDraft(sessionId: string, draft: string): void {
  if (draft === '') sessionStorage.removeItem(key(sessionId));
  else sessionStorage.setItem(key(sessionId), draft);
}
