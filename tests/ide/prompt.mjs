// One prompt by the official client, to its end: `node prompt.mjs '{ "origin", "token", "session", "prompt" }'`. Writes what
// was heard of the turn as JSON.

import { Ide } from './harness/ide.mjs';

const { origin, token, session, prompt } = JSON.parse(process.argv[2]);
// In the order in which the client itself tries them.
const ide = await Ide.connect({ origin, token }, { transports: ['polling', 'websocket'] });
await ide.open(session);
const { turnId, events } = await ide.turn(prompt);
console.log(JSON.stringify({ turnId, events }));
ide.close();
