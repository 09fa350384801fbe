// From the printed URL to a finished turn.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Browser, screenshot } from './harness/browser.mjs';
import { Gadget } from './harness/gadget.mjs';
import { calls, createSession, openNewSession, prompt, seeItWorking, seeTurnsOver, send, submit, transcript } from './harness/page.mjs';

let gadget;
let browser;

before(async () => {
  gadget = await Gadget.start();
  browser = await Browser.launch();
});

after(async () => {
  await browser?.close();
  await gadget?.dispose();
});

test('the printed address leads to the first session, whose tour is one click away', async () => {
  const person = await browser.person();
  const page = await browser.tab(person);
  await page.goto(gadget.address);
  await page.getByRole('button', { name: 'Start the tour' }).waitFor();
  assert.match(new URL(page.url()).hash, /^#\/s\//);
  await screenshot(page, 'first-session');
  await person.close();
});

test('the token leaves the address bar at once and lasts for the next tab', async () => {
  const person = await browser.person();
  const page = await browser.tab(person);
  await page.goto(gadget.address);
  await page.getByRole('navigation').waitFor();
  assert.ok(!page.url().includes('token'));
  assert.equal(await page.evaluate(() => performance.getEntriesByType('resource').some(({ name }) => name.includes('token='))), false);

  const second = await browser.tab(person);
  await second.goto(gadget.origin);
  await second.getByRole('button', { name: 'Create session' }).waitFor();
  await screenshot(second, 'home');
  await person.close();
});

test('the printed address, opened in a tab that is here already, is taken too', async () => {
  const person = await browser.person();
  const page = await browser.tab(person);
  await page.goto(gadget.origin);
  await page.getByLabel('Password').waitFor();
  await page.goto(gadget.address);
  await page.getByRole('navigation').waitFor();
  assert.ok(!page.url().includes('token'));
  await person.close();
});

test('who goes on to a new session while the page still loads is not led elsewhere', async () => {
  const person = await browser.person();
  const page = await browser.tab(person);
  let letGo;
  const held = new Promise((resolve) => (letGo = resolve));
  await page.route('**/api/v1/chat-sessions*', async (route) => {
    await held;
    await route.continue();
  });
  await page.goto(gadget.address);
  await page.getByRole('link', { name: 'New session' }).click();
  letGo();
  const create = page.getByRole('button', { name: 'Create session' });
  await create.waitFor();
  const nextFrame = () => page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
  for (let frame = 0; frame < 3; frame += 1) await nextFrame();
  assert.equal(new URL(page.url()).hash, '#/');
  assert.ok(await create.isVisible());
  await person.close();
});

test('without a token there is a form, and wrong words are refused with a reason', async () => {
  const person = await browser.person();
  const page = await browser.tab(person);
  await page.goto(gadget.origin);
  await page.getByLabel('E-mail').fill('nobody@example.com');
  await page.getByLabel('Password').fill('wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  const words = await page.getByRole('alert').filter({ hasText: /\S/ }).first().innerText();
  assert.ok(words.length > 5, words);
  await screenshot(page, 'sign-in');
  await person.close();
});

test('a token that is not taken leads to the form and is forgotten', async () => {
  const person = await browser.person();
  const page = await browser.tab(person);
  await page.goto(`${gadget.origin}/#token=not-a-token`);
  await page.getByLabel('Password').waitFor();
  assert.equal(await page.evaluate(() => localStorage.getItem('gadget.token')), null);
  await person.close();
});

test('the demo tour streams thinking, tool calls and an answer, marked as simulated, and is the same from the store', async () => {
  const person = await browser.person();
  const page = await browser.tab(person);
  await openNewSession(page, gadget.address);
  await screenshot(page, 'new-session');
  await submit(page, 'Start the tour.');
  await seeItWorking(page);
  assert.equal(await prompt(page).inputValue(), '');
  await screenshot(page, 'working');
  await seeTurnsOver(page, 1);
  await screenshot(page, 'finished');
  assert.ok((await calls(page).count()) >= 1);
  assert.ok(await page.locator('.turn-foot').getByText('simulated').isVisible());
  await send(page).waitFor();

  const live = await transcript(page);
  assert.ok(live.some((line) => line.startsWith('markdown: ')), live.join('\n'));
  await page.reload();
  await seeTurnsOver(page, 1);
  assert.deepEqual(await transcript(page), live);

  await page.locator('.call summary').first().click();
  await page.locator('.call-detail').first().waitFor();
  await screenshot(page, 'tool-call');
  await person.close();
});

test('a prompt that is sent before its drone is ready goes out when it is', async () => {
  const person = await browser.person();
  const page = await browser.tab(person);
  await createSession(page, gadget.address);
  await submit(page, 'List files.');
  await screenshot(page, 'queued');
  await seeTurnsOver(page, 1);
  assert.equal(await prompt(page).inputValue(), '');
  await person.close();
});

test('the transcript stays at its end while it grows, unless the person has scrolled up', async () => {
  const person = await browser.person({ viewport: { width: 1000, height: 420 } });
  const page = await browser.tab(person);
  await openNewSession(page, gadget.address);
  await submit(page, 'Start the tour.');
  await seeTurnsOver(page, 1);
  await page.waitForFunction(() => {
    const box = document.querySelector('.transcript');
    return box.scrollTop > 0 && box.scrollHeight - box.scrollTop - box.clientHeight < 2;
  });

  await page.locator('.transcript').hover();
  await page.mouse.wheel(0, -600);
  const newest = page.getByRole('button', { name: 'Newest' });
  await newest.waitFor();
  await submit(page, 'List files.');
  await seeTurnsOver(page, 2);
  await newest.click();
  await newest.waitFor({ state: 'detached' });
  await person.close();
});

test('Shift+Enter is a new line, and a draft survives a reload', async () => {
  const person = await browser.person();
  const page = await browser.tab(person);
  await openNewSession(page, gadget.address);
  await prompt(page).fill('first');
  await prompt(page).press('Shift+Enter');
  await prompt(page).pressSequentially('second');
  await page.reload();
  await page.getByText('Drone ready').waitFor();
  assert.equal(await prompt(page).inputValue(), 'first\nsecond');
  assert.equal(await page.locator('.turn').count(), 0);
  await person.close();
});
