// Every official host over stdio -> BINARY bridge -> every official service, operation by operation. What a host and a
// service can do with each other stands in one table; a cell of it that does not work is a failure.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { startModernService } from './modern_service.mjs';
import { AT } from './services.mjs';
import { check, connectThroughBridge, failure, finish, here, Journal, ModernClient, now, PeerClient, recordingProxy, startEverything, startPython } from './support.mjs';

const BINARY = process.argv[2];
const VERSION = '2026-07-28';
/** How late a service may hear of a cancellation; T-11 wants 100 ms, and this machine may be busy. */
const CANCELLED_WITHIN = 1000;

/** How long an operation of a Python host may take; the first one includes the start of Python. */
const HOST_WITHIN = 40_000;

const ASKING = ['list', 'call', 'prompts', 'resources', 'progress'];
const ALL = [...ASKING, 'cancellation', 'sampling', 'elicitation', 'subscriptions'];

/**
 * The services: the eras each speaks, and what it offers to a client with a handshake and to one without. Where a
 * service answers a handshake but keeps no session, it can hear of no cancellation, ask nothing and announce nothing.
 */
const SERVICES = {
  'server-everything': { speaks: 'legacy', start: () => startEverything('streamableHttp'), at: AT.everything, legacy: ALL, modern: ALL },
  'typescript 2.x modern only': { speaks: 'modern', start: () => startModernService('reject'), at: AT.typescript, legacy: ALL, modern: ALL },
  'typescript 2.x dual': { speaks: 'both', start: () => startModernService('sessions'), at: AT.typescript, legacy: ALL, modern: ALL },
  'python 2.x stateless': { speaks: 'both', start: () => startPython('stateless-sse'), at: AT.python, legacy: ASKING, modern: ALL },
  'python 2.x stateful': { speaks: 'both', start: () => startPython('stateful'), at: AT.python, legacy: ALL, modern: ALL },
};

/** The hosts: the era each speaks, and how it runs operations. */
const HOSTS = {
  'typescript 1.x': { era: 'legacy', run: (...given) => typescript(new PeerClient(), ...given) },
  'typescript 2.x': { era: 'modern', run: (...given) => typescript(new ModernClient({ pin: VERSION }), ...given) },
  'typescript 2.x auto': { era: 'auto', run: (...given) => typescript(new ModernClient('auto'), ...given) },
  'python 1.x': { era: 'legacy', run: (...given) => python('ASISTRY_PEERS_PYTHON_1', 'auto', ...given) },
  'python 2.x': { era: 'modern', run: (...given) => python('ASISTRY_PEERS_PYTHON', VERSION, ...given) },
  'python 2.x auto': { era: 'auto', run: (...given) => python('ASISTRY_PEERS_PYTHON', 'auto', ...given) },
};

/** A client of both eras is served as one without a handshake. */
const spoken = (era) => (era === 'auto' ? 'modern' : era);

let [cells, held] = [0, 0];
async function cell(name, body) {
  cells += 1;
  await check(`matrix: ${name}`, async () => {
    await body();
    held += 1;
  }, HOST_WITHIN);
}

// ---- hosts ----

const text = (result) => result.content.map((block) => block.text ?? '').join('\n');

/** The operations of both TypeScript clients. A cancellation resolves with the time of the cancel, in ms since 1970. */
const OPERATIONS = {
  list: async (client, at) => {
    const names = (await client.listTools()).tools.map(({ name }) => name);
    assert.ok(names.includes(at.sum[0]), names.join(' '));
  },
  call: async (client, { sum: [name, args, expected] }) => assert.match(text(await client.tool(name, args)), expected),
  prompts: async (client, { prompt: [prompt, expected] }) => {
    assert.ok((await client.listPrompts()).prompts.some(({ name }) => name === prompt.name));
    assert.match((await client.getPrompt(prompt)).messages[0].content.text, expected);
  },
  resources: async (client, { resource: [uri, expected] }) => {
    assert.ok((await client.listResources()).resources.length > 0);
    assert.match((await client.readResource({ uri })).contents[0].text, expected);
  },
  progress: async (client, { progress: [name, args, count] }) => {
    const before = client.wire.items.length;
    await client.tool(name, args, { onprogress: () => {} });
    const seen = client.wire.items.slice(before).filter(({ method }) => method === 'notifications/progress').map(({ params }) => params.progress);
    assert.deepEqual(seen, Array.from({ length: count }, (_, index) => index + 1));
  },
  cancellation: async (client, at) => {
    const [running, abort] = [new Journal(), new AbortController()];
    const [name, args] = at.hanging;
    const failed = failure(client.tool(name, args, { signal: abort.signal, onprogress: (step) => running.add(step) }), 'the cancelled call');
    await running.find(() => true, 'the progress that tells that it runs');
    const cancelled = now();
    abort.abort('enough');
    await failed;
    if (name === 'hang') assert.match(text(await client.tool('was_cancelled', args)), /true/i);
    await OPERATIONS.call(client, at);
    return cancelled;
  },
  sampling: async (client, { sampling }) => assert.match(text(await client.tool(...sampling)), /sampled answer/),
  elicitation: async (client, { elicitation }) => assert.match(text(await client.tool(...elicitation)), /Ada/),
  subscriptions: async (client, { update: [name, args, uri] }) => {
    const listens = client.getProtocolEra?.() === 'modern';
    const subscription = listens ? await client.listen({ resourceSubscriptions: [uri] }) : await client.subscribeResource({ uri });
    await client.tool(name, args);
    await client.notifications.find(({ method, params }) => method === 'notifications/resources/updated' && params.uri === uri, 'notifications/resources/updated', 10_000);
    if (listens) await subscription.close();
  },
};

/** Runs operations by a TypeScript client; gives each, in order, to `outcome`: a promise. */
async function typescript(client, url, { at, operations }, outcome) {
  client.onSampling = () => ({ model: 'peer-model', role: 'assistant', content: { type: 'text', text: 'sampled answer' } });
  client.onElicitation = () => ({ action: 'accept', content: { name: 'Ada' } });
  const bridge = connectThroughBridge(BINARY, url, { client });
  bridge.catch(() => {});
  for (const operation of operations) await outcome(operation, bridge.then(() => OPERATIONS[operation](client, at)));
  await bridge.then(({ close }) => close(), () => {});
}

/** The same by a Python host in a process of its own. */
async function python(interpreter, mode, url, { at, operations }, outcome) {
  const plain = JSON.stringify({ ...at, operations }, (_, value) => (value instanceof RegExp ? value.source : value));
  const child = spawn(process.env[interpreter], [join(here, 'matrix_host.py'), BINARY, url, mode, plain], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [outcomes, errors] = [new Journal(), []];
  child.stderr.on('data', (chunk) => errors.push(chunk));
  createInterface(child.stdout).on('line', (line) => outcomes.add(JSON.parse(line)));
  child.on('close', () => operations.forEach((operation) => outcomes.add({ operation, why: `the host ended: ${Buffer.concat(errors).toString().slice(-1500)}` })));
  for (const wanted of operations) {
    const told = outcomes.find(({ operation }) => operation === wanted, `the outcome of ${wanted}`, HOST_WITHIN);
    await outcome(wanted, told.then(({ ok, why, at: when }) => (assert.ok(ok, why), when)));
  }
  child.kill();
}

// ---- the run ----

/** When the service heard of the cancellation of `tool`: by the end of the call's stream, or by a notification (T-11). */
async function heardOfCancel(requests, tool, isModern) {
  const call = requests.items.findLast(({ message }) => message?.params?.name === tool);
  const sameCall = ({ message }) => message?.method === 'notifications/cancelled' && message.params.requestId === call.message.id;
  assert.equal(call.headers['mcp-protocol-version'] === VERSION, isModern, 'the service was not spoken to in its era');
  if (isModern) {
    const closed = await requests.find((item) => item === call && item.closedAt, 'the end of the stream', 2000);
    assert.ok(!requests.items.some(({ message }) => message?.method === 'notifications/cancelled'), 'a modern service was sent notifications/cancelled');
    return closed.closedAt;
  }
  return (await requests.find(sameCall, 'notifications/cancelled at the service', 2000)).at;
}

const latencies = [];
async function pair(hostName, serviceName, port) {
  const [host, service] = [HOSTS[hostName], SERVICES[serviceName]];
  const operations = service[spoken(host.era)];
  const isModern = (service.speaks === 'both' ? spoken(host.era) : service.speaks) === 'modern';
  const proxy = await recordingProxy(port);
  const [tool, args] = service.at.hanging;
  const at = { ...service.at, hanging: [tool, args.key ? { key: hostName } : args] };
  await host.run(`${proxy.url}/mcp`, { at, operations }, (operation, outcome) =>
    cell(`${hostName} at ${serviceName}: ${operation}`, async () => {
      const cancelledAt = await outcome;
      if (operation !== 'cancellation') return;
      const late = (await heardOfCancel(proxy.requests, tool, isModern)) - cancelledAt;
      latencies.push(late);
      assert.ok(late < CANCELLED_WITHIN, `the service heard of it after ${Math.round(late)} ms`);
    }));
  proxy.stop();
}

const servers = await Promise.all(Object.entries(SERVICES).map(async ([name, { start }]) => [name, await start()]));
const pairs = Object.keys(HOSTS).flatMap((host) => servers.map(([service, { port }]) => [host, service, port]));
async function work() {
  for (let next = pairs.shift(); next; next = pairs.shift()) await pair(...next);
}
await Promise.all([work(), work(), work(), work()]);
for (const [, server] of servers) await server.stop();
latencies.sort((a, b) => a - b);
console.log(`matrix: a service hears of a cancellation after ${Math.round(latencies[latencies.length >> 1])} ms (median), ${Math.round(latencies.at(-1))} ms at most`);
console.log(`matrix: ${held} of ${cells} operations`);
finish();
