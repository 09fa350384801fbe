// Every event of the contract, driven by an unchanged client over each transport.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Ide, newSession, rest } from './harness/ide.mjs';
import { Model } from './harness/model.mjs';
import { Gadget } from './page/harness/gadget.mjs';
import { scripts } from './scripts.mjs';

for (const transport of ['websocket', 'polling']) {
  describe(transport, () => {
    const transports = [transport];
    let model;
    let gadget;

    before(async () => {
      model = await Model.start(scripts);
      gadget = await Gadget.start({ options: ['--openai', `${model.url}/v1`] });
    });

    after(async () => {
      await gadget?.dispose();
      const report = await model?.report();
      await model?.dispose();
      assert.deepEqual(report?.violations, []);
    });

    /** A tab that has a new session. */
    async function opened() {
      const session = await newSession(gadget);
      const ide = await Ide.connect(gadget, { transports });
      await ide.open(session);
      return { ide, session };
    }

    test('a wrong token is refused with a code, and the client is told not to come back', async () => {
      await assert.rejects(Ide.connect(gadget, { transports, token: 'not-a-token' }), { code: 'unauthorized' });
      await assert.rejects(Ide.connect(gadget, { transports, token: 7 }), (error) => ['unauthorized', 'protocol'].includes(error.code));
    });

    test('a session is locked, kept alive and released', async () => {
      const { ide, session } = await opened();
      assert.deepEqual(await ide.ask('sessionHeartbeat'), [true]);
      const [phase] = await ide.hears('droneStatus');
      assert.ok(phase.registrationId && phase.phase && Number.isInteger(phase.restarts) && Date.parse(phase.since), JSON.stringify(phase));
      const [released] = await ide.ask('releaseSessionLock', null, { _id: session.project }, session);
      assert.equal(released, true);
      const [alive] = await ide.ask('sessionHeartbeat');
      assert.equal(alive, false);
      ide.close();
    });

    test('a session that is not there is not given, in the shape of the ack', async () => {
      const ide = await Ide.connect(gadget, { transports });
      const [success, id, detail] = await ide.ask('requestSessionLock', null, null, { _id: 'no-such-session' });
      assert.equal(success, false);
      assert.equal(typeof id, 'string');
      assert.equal(detail.code, 'not_found');
      ide.close();
    });

    test('a turn shows thinking, answer, tool calls, a sub-agent, counts and its end, numbered without a gap', async () => {
      const { ide, session } = await opened();
      const { turnId, end, events } = await ide.turn('Do it [[script:work]]');
      assert.equal(end[1], true);
      assert.equal(end.at(-1).status, 'finished');

      const numbers = events.map((event) => event.meta.seq);
      assert.deepEqual(numbers, numbers.map((_, index) => numbers[0] + index));
      assert.ok(events.every(({ meta }) => Date.parse(meta.at)));
      const text = (name) => events.filter((event) => event.name === name).map((event) => event.args[0]).join('');
      assert.equal(text('thinking'), 'I think about it. ');
      assert.equal(text('response'), 'I write a file. All done.');

      const calls = events.filter((event) => event.name === 'toolCall');
      assert.deepEqual(calls.map(({ args }) => args[1]), ['write', 'shell_exec', 'subagent']);
      for (const { args } of calls) {
        const [callId, , params, response] = args;
        const started = events.find((event) => event.name === 'toolCallStarted' && event.args[0] === callId);
        assert.deepEqual(started.args, args.slice(0, 3));
        JSON.parse(params);
        JSON.parse(response);
      }
      assert.ok(events.some((event) => event.name === 'toolCallProgress' && event.args[1].includes('one')));

      const [subagent] = calls.at(-1).args;
      const of = (name) => events.filter((event) => event.name === name).map((event) => event.args[0]);
      assert.ok(of('agent:thinking').length > 0 && of('agent:response').length > 0);
      for (const name of ['agent:thinking', 'agent:response', 'agent:tool-call', 'agent:tool-result', 'agent:complete']) {
        assert.ok(of(name).every((event) => event.agentId === subagent), name);
      }
      assert.equal(of('agent:thinking').map((event) => event.thinking).join(''), 'Where is it? ');
      assert.equal(of('agent:response').map((event) => event.chunk).join(''), 'It says: made by the agent.');
      assert.deepEqual(of('agent:tool-call').map(({ tool, args }) => ({ tool, args })), [{ tool: 'read', args: { path: 'made.txt' } }]);
      assert.equal(of('agent:tool-result').length, 1);
      assert.equal(of('agent:complete').length, 1);
      assert.ok(of('usage').every(({ inputTokens, outputTokens }) => inputTokens >= 0 && outputTokens >= 0));
      assert.ok(of('usage').length > 0);

      // The same from the store.
      const { items } = await rest(gadget, 'GET', `/chat-sessions/${session._id}/turns`);
      const stored = items.find((turn) => turn._id === turnId);
      assert.equal(stored.status, 'finished');
      assert.deepEqual(stored.blocks.map((block) => block.mode), ['thinking', 'responding', 'tool', 'tool', 'tool', 'responding']);
      assert.equal(stored.toolCalls.at(-1).subagent.response, 'It says: made by the agent.');

      const [updated] = await ide.hears('sessionUpdated', (changed) => typeof changed.name === 'string');
      assert.notEqual(updated.name, 'New Chat Session');
      ide.close();
    });

    test('text of a model call that broke off is withdrawn', async () => {
      const { ide } = await opened();
      const { turnId, events } = await ide.turn('Say it [[script:broken]]');
      const { args } = events.find((event) => event.name === 'superseded');
      const [{ fromSeq, toSeq, turnId: of }] = args;
      assert.equal(of, turnId);
      const left = events.filter(({ name, meta }) => name === 'response' && !(fromSeq <= meta.seq && meta.seq <= toSeq));
      assert.equal(left.map((event) => event.args[0]).join(''), 'A whole sentence.');
      ide.close();
    });

    test('modes exclude each other, files are written in user mode alone', async () => {
      const { ide, session } = await opened();
      const mode = (wanted) => ide.ask('requestWorkspaceMode', null, { _id: session.project }, session, wanted);
      const refusedWrite = await ide.ask('fileWriteRequest', { path: 'a.txt', content: 'x' });
      assert.equal(refusedWrite[0], false);
      assert.equal(typeof refusedWrite[1].error, 'string');

      // While the project is put into the workspace, mode requests are refused.
      const from = ide.heard.length;
      let answer = await mode('user');
      if (answer[1] === 'syncing') {
        assert.equal(answer[0], false);
        await ide.hears('workspaceModeChanged', (now) => now === 'idle', from);
        answer = await mode('user');
      }
      assert.deepEqual(answer.slice(0, 2), [true, 'user']);
      await ide.hears('workspaceModeChanged', (now) => now === 'user');
      const [accepted, why] = await ide.ask('submitPrompt', 'Now? [[script:hello]]');
      assert.equal(accepted, false);
      assert.equal(why.code, 'mode');

      const [written, { sha256 }] = await ide.ask('fileWriteRequest', { path: 'dir/a.txt', content: 'über\n' });
      assert.equal(written, true);
      const [read, file] = await ide.ask('fileReadRequest', { path: 'dir/a.txt' });
      assert.equal(read, true);
      assert.deepEqual({ content: file.content, encoding: file.encoding, sha256: file.sha256, size: file.size }, { content: 'über\n', encoding: 'utf8', sha256, size: 6 });
      const stale = await ide.ask('fileWriteRequest', { path: 'dir/a.txt', content: 'y', expectedSha256: '0'.repeat(64) });
      assert.equal(stale[0], false);
      const [again] = await ide.ask('fileWriteRequest', { path: 'dir/a.txt', content: 'y', expectedSha256: sha256 });
      assert.equal(again, true);
      const [escaped, outside] = await ide.ask('fileReadRequest', { path: '../../../etc/passwd' });
      assert.equal(escaped, false);
      assert.equal(typeof outside.error, 'string');

      const [listed, tree] = await ide.ask('fileTreeRequest', { path: 'dir' });
      assert.equal(listed, true);
      assert.deepEqual(tree.entries.map(({ name, path, type }) => ({ name, path, type })), [{ name: 'a.txt', path: 'dir/a.txt', type: 'file' }]);
      const [path, entries] = await ide.hears('fileTreeResponse', (of) => of === 'dir');
      assert.equal(path, 'dir');
      assert.deepEqual(entries, tree.entries);

      assert.deepEqual((await mode('idle')).slice(0, 2), [true, 'idle']);
      const [success, current, reason] = await mode('syncing');
      assert.equal(success, false);
      assert.equal(current, 'idle');
      assert.equal(typeof reason, 'string');
      ide.close();
    });

    test('a turn that runs refuses another one, and an abort is two signals', async () => {
      const { ide } = await opened();
      const [, { turnId }] = await ide.ask('submitPrompt', 'Begin [[script:endless]]');
      await ide.hears('response', (_, meta) => meta.turnId === turnId);
      const [second, why] = await ide.ask('submitPrompt', 'Another [[script:hello]]');
      assert.equal(second, false);
      assert.equal(why.code, 'busy');
      assert.equal((await ide.ask('abortWorkOrder'))[0], true);
      const end = await ide.hears('workOrderComplete', (id) => id === turnId);
      assert.deepEqual(end.slice(1, 3), [true, 'aborted']);
      assert.equal((await ide.ask('abortWorkOrder'))[0], false);
      ide.close();
    });

    test('a second tab is refused, follows, and takes over; the first one is told', async () => {
      const { ide: first, session } = await opened();
      const second = await Ide.connect(gadget, { transports });
      const refused = await second.ask('requestSessionLock', null, { _id: session.project }, session);
      assert.deepEqual([refused[0], refused[2].code], [false, 'tab_locked']);
      await second.hears('tabLockDenied', ({ message }) => typeof message === 'string');

      const [followed, from] = await second.ask('followSession', { chatSessionId: session._id });
      assert.equal(followed, true);
      assert.ok(Number.isInteger(from.fromSeq) && Number.isInteger(from.toSeq));
      const { turnId } = await first.turn('Hi [[script:hello]]');
      await second.hears('workOrderComplete', (id) => id === turnId);
      assert.deepEqual(second.eventsOf(turnId), first.eventsOf(turnId));

      await second.open(session, { takeOver: true });
      await first.hears('tabLockDenied');
      const next = await second.turn('Hi again [[script:hello]]');
      await first.hears('workOrderComplete', (id) => id === next.turnId);
      assert.equal((await first.ask('unfollowSession', { chatSessionId: session._id }))[0], true);
      const last = await second.turn('And again [[script:hello]]');
      assert.deepEqual(first.eventsOf(last.turnId), []);
      first.close();
      second.close();
    });

    test('a client that was away gets exactly what it missed', async () => {
      const { ide, session } = await opened();
      const { turnId, events } = await ide.turn('Hi [[script:hello]]');
      const seen = events[0].meta.seq;
      const [success, { fromSeq, toSeq }] = await ide.ask('resume', { chatSessionId: session._id, lastSeq: seen });
      assert.equal(success, true);
      assert.deepEqual([fromSeq, toSeq], [seen + 1, events.at(-1).meta.seq]);
      await ide.hears('workOrderComplete', (id, _success, _message, meta) => id === turnId && (meta ?? _message).replay === true);
      const replayed = ide.eventsOf(turnId).slice(events.length);
      assert.deepEqual(replayed.map(({ meta }) => meta.seq), events.slice(1).map(({ meta }) => meta.seq));
      assert.deepEqual(replayed.map(({ name, args }) => ({ name, args })), events.slice(1).map(({ name, args }) => ({ name, args })));
      assert.ok(replayed.every(({ meta }) => meta.replay));

      // The same at a new connection, by its auth payload.
      ide.close();
      const back = await Ide.connect(gadget, { transports, lastSeq: { [session._id]: seen } });
      await back.hears('workOrderComplete', (id) => id === turnId);
      assert.deepEqual(back.eventsOf(turnId).map(({ meta }) => meta.seq), events.slice(1).map(({ meta }) => meta.seq));
      back.close();
    });

    test('a tab that comes back in the middle of a turn has its session again and is told so', async () => {
      const { ide, session } = await opened();
      const [, { turnId }] = await ide.ask('submitPrompt', 'Begin [[script:endless]]');
      await ide.hears('response', (_, meta) => meta.turnId === turnId);
      ide.close();
      const back = await Ide.connect(gadget, { transports, lastSeq: { [session._id]: 0 } });
      await back.hears('status', (message) => typeof message === 'string');
      await back.hears('response', (_, meta) => meta.turnId === turnId);
      assert.equal((await back.ask('abortWorkOrder'))[0], true);
      await back.hears('workOrderComplete', (id) => id === turnId);
      back.close();
    });

    test('a token is renewed while connected', async () => {
      const { ide } = await opened();
      const { token } = await rest(gadget, 'POST', '/auth/renew-token');
      const [success, detail] = await ide.ask('authRefresh', { token });
      assert.equal(success, true);
      assert.ok(Date.parse(detail.expiresAt) > Date.now());
      const [refused, why] = await ide.ask('authRefresh', { token: 'not-a-token' });
      assert.deepEqual([refused, why.code], [false, 'unauthorized']);
      ide.close();
    });

    test('malformed, unknown, oversized and untimely events are answered and harm nobody', async () => {
      const { ide } = await opened();
      const stranger = await Ide.connect(gadget, { transports });
      const cases = [
        ['noSuchEvent', [], 'unknown_event'],
        ['submitPrompt', [7], 'invalid'],
        ['submitPrompt', [''], 'invalid'],
        ['submitPrompt', ['x'.repeat(300 * 1024)], 'too_large'],
        ['submitPrompt', ['No session here'], 'no_session'],
        ['requestSessionLock', [{}, 1, 'x'], 'invalid'],
        ['followSession', [null], 'invalid'],
        ['followSession', [{ chatSessionId: 'of-somebody-else' }], 'not_found'],
        ['authRefresh', [], 'invalid'],
      ];
      for (const [name, args, code] of cases) {
        const answer = await stranger.ask(name, ...args);
        assert.equal(answer[0], false, name);
        assert.equal(answer.at(-1).code, code, `${name} ${JSON.stringify(answer)}`);
      }
      const { end } = await ide.turn('Hi [[script:hello]]');
      assert.equal(end[1], true);
      ide.close();
      stranger.close();
    });

    test('a hub that stops says so', async () => {
      const other = await Gadget.start({ options: ['--openai', `${model.url}/v1`] });
      const ide = await Ide.connect(other, { transports });
      const told = ide.hears('goingAway', ({ reason }) => typeof reason === 'string');
      await other.dispose();
      await told;
      ide.close();
    });
  });
}
