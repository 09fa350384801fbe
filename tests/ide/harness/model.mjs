// A model server that follows a script, as a process of its own.

import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const PROGRAM = process.env.SCRIPTED_MODEL_BIN ?? join(ROOT, 'target/debug/scripted-model');

export class Model {
  /** Each script answers the prompts that have `[[script:its name]]` in them. */
  static async start(scripts) {
    const model = new Model();
    model.directory = await mkdtemp(join(tmpdir(), 'gadget-ide-model-'));
    const file = join(model.directory, 'script.json');
    await writeFile(file, JSON.stringify({ scripts }));
    model.process = spawn(PROGRAM, ['--script', file], { stdio: ['ignore', 'pipe', 'inherit'] });
    const line = await new Promise((resolve, reject) => {
      createInterface({ input: model.process.stdout }).once('line', resolve);
      model.process.once('error', reject);
      model.process.once('exit', (code) => reject(new Error(`the scripted model ended with ${code}`)));
    });
    model.url = JSON.parse(line).url;
    return model;
  }

  /** What it was asked, and which rules were broken. */
  async report() {
    return (await fetch(`${this.url}/report`)).json();
  }

  async dispose() {
    const gone = new Promise((resolve) => this.process.once('exit', resolve));
    this.process.kill('SIGTERM');
    await gone;
    await rm(this.directory, { recursive: true, force: true });
  }
}
