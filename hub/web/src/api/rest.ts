// REST calls to the hub. The token travels in a header, never in an address.

import { Refused } from './refused';

const ANSWER_WITHIN_MS = 15_000;

interface Problem {
  code?: string;
  title?: string;
  detail?: string;
}

export class Rest {
  constructor(private readonly token: () => string | null) {}

  get<T>(path: string): Promise<T> {
    return this.ask('GET', path);
  }

  post<T>(path: string, body: unknown): Promise<T> {
    return this.ask('POST', path, body);
  }

  private async ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const headers: Record<string, string> = { accept: 'application/json' };
    const token = this.token();
    if (token !== null) headers['authorization'] = `Bearer ${token}`;
    if (body !== undefined) headers['content-type'] = 'application/json';
    let response: Response;
    try {
      response = await fetch(`/api/v1${path}`, {
        method,
        headers,
        body: body === undefined ? null : JSON.stringify(body),
        signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
      });
    } catch {
      throw new Refused('unreachable', 'The hub does not answer.');
    }
    if (response.ok) return (await parsed(response)) as T;
    throw refusal(response.status, (await parsed(response)) as Problem | null);
  }
}

async function parsed(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch {
    return null;
  }
}

function refusal(status: number, problem: Problem | null): Refused {
  const words = problem?.detail ?? problem?.title ?? `The hub answered ${status}.`;
  const code = problem?.code ?? (status === 401 ? 'unauthorized' : status === 503 ? 'draining' : `http_${status}`);
  return new Refused(code, words);
}
