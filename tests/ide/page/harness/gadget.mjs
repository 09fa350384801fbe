// A real `gadget local` on a free port and a data directory of its own.

import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../../..');
const READY_WITHIN_MS = 30_000;
const STOPPED_WITHIN_MS = 15_000;

export class Gadget {
  /** @type {import('node:child_process').ChildProcess | null} */
  #process = null;
  #complaints = '';

  /**
   * Starts one with nothing in it. `dispose` it in the end.
   * @param {{ options?: string[], environment?: Record<string, string> }} settings more for its command line and environment
   */
  static async start({ options = [], environment = {} } = {}) {
    const gadget = new Gadget();
    gadget.options = options;
    gadget.environment = environment;
    gadget.data = await mkdtemp(join(tmpdir(), 'gadget-page-'));
    await gadget.run('127.0.0.1:0');
    return gadget;
  }

  /** The address that a person would open, token and all. */
  get address() {
    return this.url.includes('#') ? this.url : `${this.url.replace(/\/$/, '')}/#token=${this.token}`;
  }

  get origin() {
    return new URL(this.url).origin;
  }

  async run(listen) {
    const program = process.env.GADGET_BIN ?? join(ROOT, 'target/debug/gadget');
    const child = spawn(program, ['local', '--json', '--listen', listen, '--data', this.data, ...this.options], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...this.environment },
    });
    this.#process = child;
    child.stderr.on('data', (chunk) => (this.#complaints = (this.#complaints + chunk).slice(-8_000)));
    const line = await within(READY_WITHIN_MS, firstLine(child), () => `gadget is not ready: ${this.#complaints}`);
    const { url, token } = JSON.parse(line);
    Object.assign(this, { url, token });
  }

  /** As a power cut would: nobody is asked, nothing is cleaned up. Drones are not its children's children and live on. */
  async kill() {
    await this.#end('SIGKILL');
  }

  /** Every process of this one's drones at once, as if their machine had run out of memory. Says how many there were. */
  async killDrones() {
    const pids = await dronesOf(this.data);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    return pids.length;
  }

  /** On the same port and data as before. */
  async startAgain() {
    await this.run(new URL(this.url).host);
  }

  async dispose() {
    if (this.#process?.exitCode === null && this.#process.signalCode === null) await this.#end('SIGTERM');
    await rm(this.data, { recursive: true, force: true });
  }

  /** A REST call with the owner's token. */
  async get(path) {
    const response = await fetch(`${this.origin}/api/v1${path}`, { headers: { authorization: `Bearer ${this.token}` } });
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  async #end(signal) {
    const child = this.#process;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await within(STOPPED_WITHIN_MS, gone, () => `gadget does not stop after ${signal}: ${this.#complaints}`);
  }
}

/** Drones live in workspaces below their hub's data directory and say so in their environment or arguments. */
async function dronesOf(data) {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const told = (pid, what) => readFile(`/proc/${pid}/${what}`, 'utf8').catch(() => '');
  const found = await Promise.all(
    pids.map(async (pid) => {
      if (!(await told(pid, 'comm')).startsWith('gadget-drone')) return null;
      const known = (await told(pid, 'cmdline')) + (await told(pid, 'environ'));
      return known.includes(data) ? Number(pid) : null;
    }),
  );
  return found.filter((pid) => pid !== null);
}

function firstLine(child) {
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`gadget ended with ${code} before it was ready`)));
  });
}

async function within(milliseconds, promise, words) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(words())), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
