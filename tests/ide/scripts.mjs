// What the model says. Each prompt names its script.

export const scripts = {
  work: {
    answers: [
      [
        { think: 'I think about it. ' },
        { say: 'I write a file. ' },
        { call: { name: 'write', arguments: { path: 'made.txt', content: 'made by the agent\n' } } },
        { call: { name: 'shell_exec', arguments: { command: 'echo one; echo two' } } },
      ],
      [{ call: { name: 'subagent', arguments: { agent_type: 'explore', prompt: 'Look around [[script:explore]]' } } }],
      [{ say: 'All done.' }],
    ],
  },
  explore: {
    answers: [
      [{ think: 'Where is it? ' }, { call: { name: 'read', arguments: { path: 'made.txt' } } }],
      [{ say: 'It says: made by the agent.' }],
    ],
  },
  hello: { answers: [[{ say: 'Hello ' }, { say: 'there.' }]] },
  broken: { answers: [{ tries: [[{ say: 'Half a sent' }, 'cut'], [{ say: 'A whole sentence.' }]] }] },
  endless: { answers: [[{ say: 'I begin. ' }, 'stall']] },
};
