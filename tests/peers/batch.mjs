// `asistry call --batch` in front of server-everything: what it prints is what the official client gets, and whatever
// befalls the batch, its session or its process, no call is sent twice.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { EVERYTHING } from './call_samples.mjs';
import { check, finish, lasting, peer, PeerClient, recordingProxy, startEverything } from './support.mjs';

const { StreamableHTTPClientTransport } = peer('@modelcontextprotocol/sdk/client/streamableHttp.js');
const server = await startEverything('streamableHttp');

/** A batch of these calls behind a proxy of its own: run it, ask what was sent and what its output says. */
async function batch(calls) {
  const proxy = await recordingProxy(server.port);
  const home = mkdtempSync(join(process.env.HOME, 'batch-'));
  const [input, output] = ['calls', 'results'].map((name) => join(home, name));
  writeFileSync(input, calls.map((call) => `${JSON.stringify(call)}\n`).join(''));
  const start = (options = [], url = proxy.url) => {
    const resume = existsSync(output) ? ['--resume', output] : [];
    const out = openSync(output, 'a');
    const env = { HOME: home, ASISTRY_URL: `${url}/mcp` };
    const child = spawn(process.argv[2], ['call', '--batch', input, ...resume, ...options], { env, stdio: ['ignore', out, 'pipe'] });
    closeSync(out);
    const [said, ended] = [text(child.stderr), new Promise((done) => child.on('close', done))];
    return { child, ended: async () => ({ code: await ended, said: await said }) };
  };
  const sent = () => proxy.requests.items.filter(({ message }) => message?.method === 'tools/call');
  /** Waits for the call that makes so many. */
  const sentSoMany = (count) => proxy.requests.find(() => sent().length >= count, `${count} calls to be sent`, 20_000);
  const entries = () => readFileSync(output, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
  return { proxy, output, start, sent, sentSoMany, entries };
}

const echoes = (count) => Array.from({ length: count }, (_, at) => ({ tool: 'echo', arguments: { message: `m${at}` } }));
const messages = (sent) => sent.map(({ message }) => message.params.arguments.message);
const none = (list) => assert.deepEqual(list, []);
const twice = (list) => list.filter((item, at) => list.indexOf(item) !== at);

await check('batch: every tool gives what the official client gets', async () => {
  // The official client makes no task of a call by itself.
  const plain = Object.entries(EVERYTHING).filter(([tool]) => tool !== 'simulate-research-query');
  const calls = plain.flatMap(([tool, samples]) => samples.filter(({ fails }) => !fails).map(({ given }) => ({ tool, arguments: given })));
  const { proxy, start, sent, entries } = await batch(calls);
  assert.deepEqual(await start(['--full', '--jobs', '4', '-q']).ended(), { code: 0, said: '' });
  assert.deepEqual(entries().map(({ line }) => line), calls.map((_, at) => at + 1));
  assert.equal(sent().length, calls.length);
  const client = new PeerClient({ capabilities: {} });
  await client.connect(new StreamableHTTPClientTransport(new URL(`${proxy.url}/mcp`)));
  // A blob tells the time at its end.
  const compared = (result) => JSON.parse(lasting(JSON.stringify(result)).replace(/("blob":"\w{40})[^"]*/g, '$1'));
  for (const [at, { tool, result }] of entries().entries()) {
    const direct = await client.raw('tools/call', { name: calls[at].tool, arguments: calls[at].arguments });
    assert.deepEqual(compared(result), compared(direct), tool);
  }
  await client.close();
  proxy.stop();
});

await check('batch: 300 calls, 16 at a time, in one session and in order', async () => {
  const { proxy, start, sent, entries } = await batch(echoes(300));
  const { code, said } = await start(['--jobs', '16']).ended();
  assert.equal(code, 0, said);
  assert.match(said, /^300 calls done in /);
  assert.deepEqual(entries().map(({ result }) => result), echoes(300).map((call) => `Echo: ${call.arguments.message}`));
  none(twice(messages(sent())));
  assert.equal(proxy.requests.items.filter(({ message }) => message?.method === 'initialize').length, 1);
  proxy.stop();
});

for (const jobs of ['1', '8']) {
  await check(`batch: killed again and again, ${jobs} at a time, and resumed, no call is sent twice`, async () => {
    const { proxy, output, start, sent, sentSoMany } = await batch(echoes(120));
    for (const count of [15, 40, 41, 80]) {
      const { child, ended } = start(['--jobs', jobs]);
      await sentSoMany(count);
      child.kill('SIGKILL');
      await ended();
    }
    const { code, said } = await start(['--jobs', jobs]).ended();
    none(twice(messages(sent())));
    const whole = readFileSync(output, 'utf8').split('\n').filter(Boolean).flatMap((line) => {
      try {
        return [JSON.parse(line)];
      } catch {
        return []; // half a line: its call is in doubt, and told so
      }
    });
    const [done, inDoubt] = [whole.filter(({ result }) => result), whole.filter(({ error }) => error?.mayHaveExecuted)];
    assert.ok(done.length + inDoubt.length <= 120 && done.length > 120 - 4 * 5 * Number(jobs) - 4, `${done.length} done, ${inDoubt.length} in doubt`);
    none(twice([...done, ...inDoubt].map(({ line }) => line)));
    // Of half a line, and of a call that was recorded and not sent any more, nobody can know more than that.
    const known = new Set([...done, ...inDoubt].map(({ line }) => `m${line - 1}`));
    const [unknown, torn] = [messages(sent()).filter((message) => !known.has(message)), readFileSync(output, 'utf8').split('\n').filter(Boolean).length - whole.length];
    assert.ok(unknown.length <= torn, `${unknown} were sent, and the output does not know them: ${said}`);
    assert.equal(code, done.length === 120 ? 0 : 1, said);
    proxy.stop();
  }, 40_000);
}

await check('batch: the session is taken away in the middle, and the calls go on in another one', async () => {
  const { proxy, start, sentSoMany, entries } = await batch(echoes(200));
  const { ended } = start(['--jobs', '4']);
  await sentSoMany(50);
  const session = proxy.requests.items.map(({ headers }) => headers['mcp-session-id']).find(Boolean);
  await new Promise((done) => {
    const options = { host: '127.0.0.1', port: server.port, method: 'DELETE', path: '/mcp', headers: { 'mcp-session-id': session } };
    http.request(options, (reply) => reply.resume().on('end', done)).end();
  });
  const { said } = await ended();
  const all = entries();
  assert.deepEqual(all.map(({ line }) => line), echoes(200).map((_, at) => at + 1));
  // What was under way at that moment may have run, and is told so; all else is done.
  const failed = all.filter(({ error }) => error);
  assert.ok(failed.length <= 4 && failed.every(({ error }) => error.mayHaveExecuted), `${said}${JSON.stringify(failed)}`);
  assert.equal(proxy.requests.items.filter(({ message }) => message?.method === 'initialize').length, 2);
  proxy.stop();
});

await check('batch: the way to the server is cut, and what was not sent is sent when it is back', async () => {
  const { proxy, start, sent, sentSoMany, entries } = await batch(echoes(60));
  const { ended } = start(['--jobs', '2']);
  await sentSoMany(20);
  proxy.stop();
  const { code, said } = await ended();
  assert.equal(code, 6, said);
  assert.match(said, /calls not made/);
  const again = await recordingProxy(server.port);
  await start(['--jobs', '2'], again.url).ended();
  const [done, inDoubt] = [entries().filter(({ result }) => result), entries().filter(({ error }) => error?.mayHaveExecuted)];
  assert.equal(done.length + inDoubt.length, 60);
  assert.ok(inDoubt.length <= 2, JSON.stringify(inDoubt));
  const resent = again.requests.items.filter(({ message }) => message?.method === 'tools/call');
  none(twice(messages([...sent(), ...resent])));
  again.stop();
});

server.stop();
finish();
