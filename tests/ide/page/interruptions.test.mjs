// What happens to a turn on the screen when the page, its tab, the network or the hub goes away in the middle of it.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { Browser, screenshot } from './harness/browser.mjs';
import { Gadget } from './harness/gadget.mjs';
import { Line } from './harness/line.mjs';
import { calls, cancel, openNewSession, prompt, seeItWorking, seeTurnsOver, send, submit, takeOver, transcript, turnsOver } from './harness/page.mjs';

let gadget;
let browser;
let person;
let page;

before(async () => {
  gadget = await Gadget.start();
  browser = await Browser.launch();
});

after(async () => {
  await browser?.close();
  await gadget?.dispose();
});

beforeEach(async () => {
  person = await browser.person();
  page = await browser.tab(person);
  await openNewSession(page, gadget.address);
});

afterEach(() => person.close());

/** What is on the screen when the turn is over is what is in the store: each word once. */
async function endsAsStored() {
  await seeTurnsOver(page, 1);
  const live = await transcript(page);
  await page.reload();
  await seeTurnsOver(page, 1);
  assert.deepEqual(live, await transcript(page));
}

test('a reload in mid-turn comes back to the same session and goes on', async () => {
  await submit(page, 'Start the tour.');
  await seeItWorking(page);
  const address = page.url();
  const shown = (await transcript(page)).slice(0, 2);
  await page.reload();
  await calls(page).first().waitFor();
  assert.equal(page.url(), address);
  assert.deepEqual((await transcript(page)).slice(0, 1), shown.slice(0, 1));
  assert.equal(await takeOver(page).count(), 0);
  await endsAsStored();
});

test('a second tab reads along and can take over; the first one stays as a reader', async () => {
  await submit(page, 'Start the tour.');
  await seeItWorking(page);
  const second = await browser.tab(person);
  await second.goto(page.url());
  await takeOver(second).waitFor();
  await calls(second).first().waitFor();
  assert.equal(await prompt(second).isEditable(), false);
  await screenshot(second, 'second-tab');

  await takeOver(second).click();
  await takeOver(page).waitFor();
  assert.equal(await prompt(page).isEditable(), false);
  await seeTurnsOver(second, 1);
  await seeTurnsOver(page, 1);
  assert.deepEqual(await transcript(page), await transcript(second));
  await submit(second, 'Once more.');
  await cancel(second).waitFor();
  await page.getByText('Once more.').waitFor();
  await second.close();
});

test('Esc Esc stops the turn, one Esc only says so', async () => {
  await submit(page, 'Start the tour.');
  await seeItWorking(page);
  await page.keyboard.press('Escape');
  await page.getByText('Press Esc again to stop the turn.').waitFor();
  await page.keyboard.press('Escape');
  await turnsOver(page).getByText('stopped').waitFor();
  await send(page).waitFor();
  await endsAsStored();
});

test('Cancel stops the turn, and the next prompt is taken', async () => {
  await submit(page, 'Start the tour.');
  await seeItWorking(page);
  await cancel(page).click();
  await turnsOver(page).getByText('stopped').waitFor();
  await submit(page, 'Again.');
  await seeTurnsOver(page, 2);
  assert.equal(await page.locator('.turn').count(), 2);
});

test('a network that goes away for a while costs nothing', async () => {
  const line = await Line.to(gadget.url);
  try {
    await openNewSession(page, gadget.address.replace(gadget.origin, line.origin));
    await submit(page, 'Start the tour.');
    await seeItWorking(page);
    line.cut();
    await page.getByText('No connection to the hub').waitFor();
    line.mend();
    await page.getByText('Drone ready').waitFor();
    await endsAsStored();
  } finally {
    await line.close();
  }
});

test('a prompt whose answer gets lost is sent once', async () => {
  const line = await Line.to(gadget.url);
  try {
    await openNewSession(page, gadget.address.replace(gadget.origin, line.origin));
    await prompt(page).fill('Start the tour.');
    line.cutAfterNextUpload();
    await prompt(page).press('Enter');
    await page.getByText('No connection to the hub').waitFor();
    line.mend();
    await seeTurnsOver(page, 1);
    assert.equal(await prompt(page).inputValue(), '');
    assert.equal(await page.locator('.turn').count(), 1);
  } finally {
    await line.close();
  }
});

test('a drone that is killed comes back and finishes the turn, each word once', async () => {
  await submit(page, 'Start the tour.');
  await seeItWorking(page);
  assert.ok((await gadget.killDrones()) > 0);
  await endsAsStored();
  assert.ok((await transcript(page)).at(-1).includes('all tests pass'));
});

test('a hub that comes back gives the session to the tab that had it, not to the one that reads along', async () => {
  const second = await browser.tab(person);
  await second.goto(page.url());
  await takeOver(second).waitFor();
  await second.getByText('Drone ready').waitFor();
  await submit(page, 'Start the tour.');
  await seeItWorking(page);
  await calls(second).first().waitFor();
  await gadget.kill();
  for (const tab of [page, second]) await tab.getByText('No connection to the hub').waitFor();
  await gadget.startAgain();
  for (const tab of [page, second]) await seeTurnsOver(tab, 1);
  assert.equal(await takeOver(page).count(), 0);
  assert.equal(await takeOver(second).count(), 1);
  assert.deepEqual(await transcript(second), await transcript(page));
});

test('a hub that is killed and started again goes on with the turn by itself', async () => {
  await submit(page, 'Start the tour.');
  await seeItWorking(page);
  await gadget.kill();
  await page.getByText('No connection to the hub').waitFor();
  await screenshot(page, 'hub-gone');
  await gadget.startAgain();
  await page.getByText('Drone ready').waitFor();
  await endsAsStored();
  assert.equal(await page.locator('.turn').count(), 1);
});
