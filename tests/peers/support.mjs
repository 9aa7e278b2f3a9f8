// What all suites share: checks, waiting with a deadline, child processes, a recording proxy, a client behind the bridge.
// Knows no suite and no server's tools.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const modules = process.env.ASISTRY_PEERS_MODULES ?? assert.fail('ASISTRY_PEERS_MODULES is not set: start the suites with tests/peers/run');
/** Loads a module of npm.txt, which is installed outside the source tree. */
export const peer = createRequire(join(modules, '..', 'package.json'));
export const here = dirname(fileURLToPath(import.meta.url));

const { Client } = peer('@modelcontextprotocol/sdk/client/index.js');
const { StdioClientTransport } = peer('@modelcontextprotocol/sdk/client/stdio.js');
const { Client: Client2 } = peer('@modelcontextprotocol/client');
const { StdioClientTransport: StdioClientTransport2 } = peer('@modelcontextprotocol/client/stdio');
const types = peer('@modelcontextprotocol/sdk/types.js');

/** The six variables that the official clients hand to a stdio server. */
export const SIX = ['HOME', 'LOGNAME', 'PATH', 'SHELL', 'TERM', 'USER'];

// The bridge must find neither the developer's files nor a proxy: own home, no ASISTRY_* and no *_PROXY.
const home = mkdtempSync(join(tmpdir(), 'asistry-peers-'));
for (const name of Object.keys(process.env)) {
  if (/^(XDG_|ASISTRY_(?!PEERS_))|_PROXY$/i.test(name)) delete process.env[name];
}
Object.assign(process.env, { LOGNAME: 'peer', SHELL: '/bin/sh', TERM: 'dumb', USER: 'peer', ...process.env, HOME: home });

const children = new Set();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(home, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

// ---- checks ----

const tally = { ok: 0, bad: 0 };

/** Runs one named check; whatever it throws, or its not ending within `ms`, is printed as its failure. */
export async function check(name, body, ms = 20_000) {
  const began = performance.now();
  try {
    await within(body(), ms, `the check to end`);
    tally.ok += 1;
    console.log(`ok ${name} (${Math.round(performance.now() - began)} ms)`);
  } catch (error) {
    tally.bad += 1;
    const text = error?.name === 'AssertionError' ? error.message : (error?.stack ?? String(error));
    console.log(`FAIL ${name}\n${text.split('\n').slice(0, 25).map((line) => `     ${line}`).join('\n')}`);
  }
}

process.on('unhandledRejection', (error) => {
  tally.bad += 1;
  console.log(`FAIL something went wrong behind a check: ${error?.stack ?? error}`);
});

/** Ends the suite: 0 only if there were checks and all of them held, else 10; any other code tells `run` that it broke off. */
export const finish = () => process.exit(tally.ok > 0 && tally.bad === 0 ? 0 : 10);

/** Waits for `promise`, at most `ms`; `what` was expected if it does not come. */
export async function within(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new assert.AssertionError({ message: `expected ${what} within ${ms} ms` })), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Things in the order in which they came, and a way to wait for one of them. */
export class Journal {
  items = [];
  #waiting = new Set();

  add(item) {
    this.items.push(item);
    for (const look of [...this.#waiting]) look();
  }

  async find(wanted, what, ms = 5000) {
    let look;
    const found = new Promise((resolve) => {
      look = () => {
        const item = this.items.find(wanted);
        if (item !== undefined) resolve(item);
      };
      this.#waiting.add(look);
      look();
    });
    const came = () => JSON.stringify(this.items.slice(-5)).slice(0, 600);
    return within(found, ms, what)
      .catch((error) => assert.fail(`${error.message}; the last that came: ${came()}`))
      .finally(() => this.#waiting.delete(look));
  }
}

/** The error of `promise`, which must not succeed; may be awaited late or, when the check fails before, never. */
export function failure(promise, what) {
  const error = promise.then((value) => assert.fail(`expected ${what} to fail, but it gave ${JSON.stringify(value).slice(0, 300)}`), (error) => error);
  error.catch(() => {});
  return error;
}

/** Leaves out what no two calls have in common: identifiers and times. */
export const lasting = (text) => text
  .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '[ID]')
  .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '[TIME]')
  .replace(/\d{1,2}:\d\d:\d\d( [AP]M)?/g, '[TIME]');

// ---- processes and the network ----

/** Starts a server and waits until it tells its port. */
export async function startServer(command, args, env = {}) {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'pipe'] });
  children.add(child);
  let text = '';
  const port = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => reject(new Error(`${command} ${args.join(' ')} ended with code ${code}:\n${text}`)));
    child.stderr.on('data', (chunk) => {
      text = (text + chunk).slice(-4000);
      const told = /listening on port (\d+)/.exec(text);
      if (told && Number(told[1]) > 0) resolve(Number(told[1]));
    });
  });
  return { port: await within(port, 20_000, `${args.at(-1)} to tell its port`), stop: () => child.kill('SIGKILL') };
}

/** server-everything over `streamableHttp` or `sse`, on a free port of 127.0.0.1. */
export const startEverything = (kind) =>
  startServer(process.execPath, ['--import', join(here, 'loopback.mjs'), join(modules, '@modelcontextprotocol/server-everything/dist/index.js'), kind], { PORT: '0' });

/** The Python server of this folder, started as one of the kinds that it names. */
export const startPython = (kind) => startServer(process.env.ASISTRY_PEERS_PYTHON, [join(here, 'python_server.py'), kind]);

/** The time in ms since 1970, in fractions. */
export const now = () => performance.timeOrigin + performance.now();

/**
 * Passes everything on to `port` unchanged and records each request: method, path, headers, message, status, `at` as its
 * time, and `closedAt` as that at which the client left before the reply was complete.
 */
export async function recordingProxy(port) {
  const requests = new Journal();
  const server = http.createServer(async (request, response) => {
    const body = await buffer(request);
    const { method, url: path, headers } = request;
    const record = { method, path, headers, message: body.length > 0 ? JSON.parse(body) : undefined, at: now() };
    requests.add(record);
    const onward = http.request({ host: '127.0.0.1', port, method, path, headers }, (reply) => {
      record.status = reply.statusCode;
      response.writeHead(reply.statusCode, reply.headers).flushHeaders();
      reply.pipe(response);
      reply.on('close', () => reply.complete || response.destroy());
      response.on('close', () => {
        if (reply.complete) return;
        record.closedAt = now();
        onward.destroy();
      });
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => record.status === undefined && onward.destroy());
    onward.end(body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { requests, url: `http://127.0.0.1:${server.address().port}`, stop: () => (server.close(), server.closeAllConnections()) };
}

// ---- clients ----

export const CAPABILITIES = { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } };

/** The official client, with a shorter patience, answering sampling, elicitation and roots by replaceable functions. */
export class PeerClient extends Client {
  static Transport = StdioClientTransport;
  notifications = new Journal();
  wire = new Journal();
  errors = [];
  roots = [{ uri: 'file:///peers/one', name: 'one' }];
  onSampling = () => assert.fail('no sampling request was expected');
  onElicitation = () => assert.fail('no elicitation request was expected');

  constructor({ capabilities = CAPABILITIES } = {}) {
    super({ name: 'asistry-peers', title: 'Peers', version: '1.2.3' }, { capabilities });
    this.fallbackNotificationHandler = async (notification) => this.notifications.add(notification);
    this.onerror = (error) => this.errors.push(error);
    if (capabilities.sampling) this.setRequestHandler(types.CreateMessageRequestSchema, ({ params }) => this.onSampling(params));
    if (capabilities.elicitation) this.setRequestHandler(types.ElicitRequestSchema, ({ params }) => this.onElicitation(params));
    if (capabilities.roots) this.setRequestHandler(types.ListRootsRequestSchema, () => ({ roots: this.roots }));
  }

  request(request, schema, options) {
    return super.request(request, schema, { timeout: 15_000, ...options });
  }

  /**
   * What came and could not be read or placed, an answer to a cancelled call included (LEG-8). Not counted is progress without
   * a call: a service may go on telling it after a cancel, and the client forgets a call before its last progress.
   */
  strayMessages() {
    return this.errors.map(String).filter((text) => !text.includes('progress notification for an unknown token'));
  }

  /** A request whose result is taken as it came, unread by the client's schemas. */
  raw(method, params) {
    return this.request({ method, params }, types.ResultSchema);
  }

  tool(name, args = {}, options = undefined) {
    return this.callTool({ name, arguments: args }, undefined, options);
  }
}

/** The official client 2.x; `mode` is how it negotiates the revision, such as `legacy`, `auto` or `{ pin: '2026-07-28' }`. */
export class ModernClient extends Client2 {
  static Transport = StdioClientTransport2;
  notifications = new Journal();
  wire = new Journal();
  roots = [{ uri: 'file:///peers/one', name: 'one' }];
  onSampling = () => ({ model: 'peer-model', role: 'assistant', content: { type: 'text', text: 'sampled answer' } });
  onElicitation = () => ({ action: 'accept', content: { name: 'Ada' } });

  constructor(mode, { capabilities = CAPABILITIES } = {}) {
    super({ name: 'asistry-peers', version: '2.0.0' }, { capabilities, versionNegotiation: { mode } });
    this.fallbackNotificationHandler = async (notification) => this.notifications.add(notification);
    if (capabilities.roots) this.setRequestHandler('roots/list', () => ({ roots: this.roots }));
    if (capabilities.sampling) this.setRequestHandler('sampling/createMessage', ({ params }) => this.onSampling(params));
    if (capabilities.elicitation) this.setRequestHandler('elicitation/create', ({ params }) => this.onElicitation(params));
  }

  tool(name, args = {}, options = {}) {
    return this.callTool({ name, arguments: args }, { timeout: 15_000, ...options });
  }
}

/**
 * What came on stdout for one call, in order: the params of its progress without the token, then its result.
 * Read from the wire, because the client itself loses a progress that comes in one chunk with the result.
 */
export async function progressAndResult(client, call) {
  const from = client.wire.items.length;
  await call;
  const messages = client.wire.items.slice(from).filter(({ method, result }) => method === 'notifications/progress' || result);
  const [{ id }] = messages.filter(({ result }) => result);
  for (const { params } of messages) assert.equal(params?.progressToken ?? id, id, 'a progress token that the client did not choose');
  return messages.map(({ params, result }) => result ?? { ...params, progressToken: undefined }).map((entry) => JSON.parse(JSON.stringify(entry)));
}

/** Puts `client` in front of `BINARY bridge --url URL`, with these variables beside the six, which are the only ones with `six`. */
export async function connectThroughBridge(binary, url, { client = new PeerClient(), six = false, env = six ? undefined : { ...process.env }, Transport = client.constructor.Transport, options = [] } = {}) {
  const transport = new Transport({ command: binary, args: ['bridge', '--url', url, ...options], env, stderr: 'pipe' });
  let log = '';
  transport.stderr.on('data', (chunk) => (log += chunk));
  const connected = client.connect(transport, { timeout: 15_000 });
  connected.catch(() => {});
  try {
    await within(connected, 20_000, 'the handshake to end');
  } catch (error) {
    await transport.close();
    throw new Error(`no connection through ${binary}: ${error.message}\nits stderr:\n${log.slice(-4000)}`);
  }
  const deliver = transport.onmessage;
  transport.onmessage = (message, extra) => {
    client.wire.add(message);
    deliver(message, extra);
  };
  const child = transport._process ?? assert.fail('the SDK no longer keeps its child in _process: adapt support.mjs');
  children.add(child);
  const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal, at: performance.now() })));
  /** Closes stdin and waits for the end: code, signal and how long it took. */
  const close = async () => {
    const began = performance.now();
    await client.close();
    const { code, signal, at } = await within(ended, 5000, 'the bridge to end');
    return { code, signal, ms: Math.round(at - began), log };
  };
  return { client, transport, child, close, log: () => log };
}
