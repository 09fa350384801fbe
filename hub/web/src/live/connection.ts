// One Socket.IO connection to the hub, by the official client. It comes back by itself; what it asks has a deadline.

import { io, type Socket } from 'socket.io-client';

import { Refused } from '../api/refused';

/** What the hub is told at each connect, read at that moment. */
export interface Credentials {
  token: string;
  tabId: string;
  lastSeq?: Record<string, number>;
}

export interface ConnectionEvents {
  connected: () => void;
  /** The line is down; it is being tried again. */
  lost: () => void;
  /** The hub said no to the connection as such; it is not tried again. */
  refused: (refusal: Refused) => void;
  event: (name: string, args: readonly unknown[]) => void;
}

/** What a session needs of its connection. */
export interface HubLine {
  readonly isUp: boolean;
  open(): void;
  close(): void;
  /** Does not wait for the next try: the person is back, or the network is. */
  hurry(): void;
  /**
   * What `read` makes of the arguments of the hub's answer, of which it is told before any event that came after it.
   * Nothing is kept for later: a line that is down is an error at once.
   */
  ask<T>(name: string, args: readonly unknown[], withinMs: number, read: (answer: unknown[]) => T): Promise<T>;
}

const RETRY_AFTER_MS = 250;
const RETRY_AFTER_AT_MOST_MS = 4_000;

export class Connection implements HubLine {
  private readonly socket: Socket;

  constructor(credentials: () => Credentials, events: ConnectionEvents) {
    this.socket = io({
      transports: ['websocket', 'polling'],
      auth: (give) => give(credentials()),
      reconnectionDelay: RETRY_AFTER_MS,
      reconnectionDelayMax: RETRY_AFTER_AT_MOST_MS,
      autoConnect: false,
      forceNew: true,
    });
    this.socket.on('connect', events.connected);
    this.socket.on('disconnect', (reason) => {
      events.lost();
      // The client does not come back by itself after the server closed in good order.
      if (reason === 'io server disconnect') setTimeout(() => this.hurry(), RETRY_AFTER_MS);
    });
    this.socket.on('connect_error', (error) => {
      const refusal = refusalIn(error.message);
      if (this.socket.active || refusal === null) events.lost();
      else events.refused(refusal);
    });
    this.socket.onAny((name: string, ...args: unknown[]) => events.event(name, args));
  }

  get isUp(): boolean {
    return this.socket.connected;
  }

  open(): void {
    this.socket.connect();
  }

  close(): void {
    this.socket.removeAllListeners();
    this.socket.offAny();
    this.socket.disconnect();
  }

  hurry(): void {
    if (this.socket.connected) return;
    this.socket.disconnect();
    this.socket.connect();
  }

  ask<T>(name: string, args: readonly unknown[], withinMs: number, read: (answer: unknown[]) => T): Promise<T> {
    if (!this.socket.connected) return Promise.reject(new Refused('unreachable', 'There is no connection to the hub.'));
    return new Promise((resolve, reject) => {
      this.socket.timeout(withinMs).emit(name, ...args, (error: Error | null, ...answer: unknown[]) => {
        if (error !== null) {
          reject(new Refused('unreachable', this.isUp ? 'The hub did not answer in time.' : 'The connection to the hub was lost.'));
          return;
        }
        try {
          resolve(read(answer));
        } catch (refusal) {
          reject(refusal);
        }
      });
    });
  }
}

/** A refused connection says why in JSON text; anything else is the network's doing. */
function refusalIn(message: string): Refused | null {
  try {
    const { code, message: words } = JSON.parse(message) as { code?: unknown; message?: unknown };
    return typeof code === 'string' ? new Refused(code, String(words ?? code)) : null;
  } catch {
    return null;
  }
}
