// A clock in a worker: timers of a page in the background are slowed down, those of a worker are not.

const EVERY_MS = 19_000;

setInterval(() => postMessage('beat'), EVERY_MS);
