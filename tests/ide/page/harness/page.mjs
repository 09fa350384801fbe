// What a person does on the page, and what they see there.

const SEEN_WITHIN_MS = 30_000;

export const prompt = (page) => page.getByLabel('Prompt', { exact: true });
export const send = (page) => page.getByRole('button', { name: 'Send' });
export const cancel = (page) => page.getByRole('button', { name: 'Cancel' });
export const takeOver = (page) => page.getByRole('button', { name: 'Take over' });
export const turnsOver = (page) => page.locator('.turn-foot');
export const calls = (page) => page.locator('.call-name');

/** Opens the address that `gadget local` printed and makes a session with the demo tour, whose drone is ready. */
export async function openNewSession(page, address) {
  await createSession(page, address);
  await page.getByText('Drone ready').waitFor();
}

/** The same, whose drone still has to start. */
export async function createSession(page, address) {
  page.setDefaultTimeout(SEEN_WITHIN_MS);
  await page.goto(address);
  await page.getByRole('link', { name: 'New session' }).click();
  const create = page.getByRole('button', { name: 'Create session' });
  await create.waitFor();
  if ((await page.getByLabel('Project').inputValue()) === 'new') await page.getByLabel('Name').fill('Page test');
  await page.getByLabel('Model').selectOption({ label: 'Demo tour, scripted, no AI' });
  await create.click();
}

export async function submit(page, words) {
  await prompt(page).fill(words);
  await prompt(page).press('Enter');
}

/** The agent has begun to do things, and has more to do. */
export async function seeItWorking(page) {
  await calls(page).first().waitFor();
  await cancel(page).waitFor();
}

export async function seeTurnsOver(page, count) {
  await turnsOver(page).nth(count - 1).waitFor();
}

/** Everything in the transcript but what depends on the moment of looking. */
export async function transcript(page) {
  return page.locator('.turns').evaluate((turns) => {
    const copy = turns.cloneNode(true);
    for (const moment of copy.querySelectorAll('.took, .turn-foot')) moment.remove();
    return [...copy.querySelectorAll('.prompt, .markdown, .thinking > p, .call-name, .call-about, .badge')]
      .map((element) => `${element.className}: ${element.textContent}`);
  });
}
