// A real Chromium. Whatever a page complains of, a refused script or a thrown error, fails the test that opened it.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** What Chromium itself says when a hub is down, or refuses a credential: the page has its own words for it. */
const OF_THE_NETWORK = /^Failed to load resource|WebSocket connection to|ERR_(CONNECTION|INTERNET)/;

export class Browser {
  complaints = [];

  static async launch() {
    const browser = new Browser();
    browser.chromium = await chromium.launch({
      executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium',
      args: FLAGS,
    });
    return browser;
  }

  /** A person with nothing stored yet; tabs of one person share what is stored. */
  person(options = {}) {
    return this.chromium.newContext({ viewport: { width: 1180, height: 780 }, ...options });
  }

  async tab(person) {
    const page = await person.newPage();
    page.on('pageerror', (error) => this.complaints.push(`${error}`));
    page.on('console', (message) => {
      if (message.type() === 'error' && !OF_THE_NETWORK.test(message.text())) this.complaints.push(message.text());
    });
    return page;
  }

  async close() {
    await this.chromium.close();
    assert.deepEqual(this.complaints, []);
  }
}

/** Only where somebody wants to look: `SCREENSHOTS=directory`. */
export async function screenshot(page, name) {
  const directory = process.env.SCREENSHOTS;
  if (!directory) return;
  await mkdir(directory, { recursive: true });
  await page.screenshot({ path: join(directory, `${name}.png`) });
}
