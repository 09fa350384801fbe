// An IDE as others write it: the official client, and nothing of ours.

import { io } from 'socket.io-client';

const WITHIN_MS = 60_000;

export class Ide {
  /** All that came, in order: `{ name, args }`. */
  heard = [];
  #waiting = new Set();

  /** Connects, or throws the refusal `{ code, message }`. */
  static async connect(gadget, { transports, token = gadget.token, ...auth }) {
    const ide = new Ide();
    ide.socket = io(gadget.origin, { transports, forceNew: true, auth: { token, ...auth } });
    ide.socket.onAny((name, ...args) => ide.#hear({ name, args }));
    await new Promise((resolve, reject) => {
      ide.socket.once('connect', resolve);
      ide.socket.once('connect_error', (error) => {
        ide.socket.disconnect();
        reject(new Refusal(error.message));
      });
    });
    return ide;
  }

  /** The arguments of the ack. */
  ask(name, ...args) {
    return new Promise((resolve, reject) => {
      this.socket.timeout(WITHIN_MS).emit(name, ...args, (error, ...answer) => {
        if (error) reject(new Error(`${name} is not answered`));
        else resolve(answer);
      });
    });
  }

  /** Waits for an event, whether it has come already or not; of what has come, the first `from` are left out. */
  hears(name, like = () => true, from = 0) {
    const found = this.heard.slice(from).find((event) => event.name === name && like(...event.args));
    if (found) return Promise.resolve(found.args);
    return new Promise((resolve, reject) => {
      const waiting = { name, like, resolve };
      const late = () => {
        this.#waiting.delete(waiting);
        reject(new Error(`${name} does not come; there came ${this.heard.map((event) => event.name).join(' ')}`));
      };
      const timer = setTimeout(late, WITHIN_MS);
      waiting.resolve = (args) => {
        clearTimeout(timer);
        resolve(args);
      };
      this.#waiting.add(waiting);
    });
  }

  /** Takes the session with whatever drone the hub finds. */
  async open(session, options = {}) {
    const [success, id, detail] = await this.ask('requestSessionLock', null, { _id: session.project }, session, options);
    if (!success || id !== session._id) throw new Error(`the session is not given: ${JSON.stringify(detail)}`);
    return detail;
  }

  /** Runs one turn to its end. Returns its events with a number, in order. */
  async turn(prompt) {
    const [success, detail] = await this.ask('submitPrompt', prompt);
    if (!success) throw new Error(`the prompt is refused: ${JSON.stringify(detail)}`);
    const { turnId } = detail;
    const end = await this.hears('workOrderComplete', (id) => id === turnId);
    return { turnId, end, events: this.eventsOf(turnId) };
  }

  /** What came of a turn, and its meta argument apart. */
  eventsOf(turnId) {
    return this.heard.flatMap(({ name, args }) => {
      const meta = args.at(-1);
      return meta?.turnId === turnId && meta.seq ? [{ name, args: args.slice(0, -1), meta }] : [];
    });
  }

  close() {
    this.socket.disconnect();
  }

  #hear(event) {
    this.heard.push(event);
    for (const waiting of this.#waiting) {
      if (waiting.name === event.name && waiting.like(...event.args)) {
        this.#waiting.delete(waiting);
        waiting.resolve(event.args);
      }
    }
  }
}

export class Refusal extends Error {
  constructor(message) {
    super(message);
    try {
      Object.assign(this, JSON.parse(message));
    } catch {
      this.code = undefined;
    }
  }
}

/** A REST call with the owner's token. */
export async function rest(gadget, method, path, body) {
  const response = await fetch(`${gadget.origin}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${gadget.token}`, 'content-type': 'application/json' },
    body: body && JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text);
}

let sessions = 0;

/** A new session of a new, empty project. */
export async function newSession(gadget) {
  const project = await rest(gadget, 'POST', '/projects', { name: `Project ${(sessions += 1)}` });
  return rest(gadget, 'POST', '/chat-sessions', { project: project._id });
}
