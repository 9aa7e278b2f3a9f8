// A scene of the OAuth suite: a service, an empty home and a scripted browser, with a record of every request, window and
// output. Contains no checks.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, watch, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { connectThroughBridge, here, Journal, PeerClient, startServer, within } from './support.mjs';

/** All output of asistry, as [name, content]. */
export const seen = [];
export const homes = [];
export const services = [];

/** The variables that select a key store. */
const FILE = { ASISTRY_KEY_STORE: 'file', ASISTRY_KEY_PASSPHRASE: 'correct horse' };
export const KEYRING = { DBUS_SESSION_BUS_ADDRESS: process.env.DBUS_SESSION_BUS_ADDRESS };

export async function startService(...kind) {
  const server = await startServer(process.execPath, [join(here, 'oauth_service.mjs'), ...kind]);
  const origin = `http://127.0.0.1:${server.port}`;
  const journal = new Journal();
  const stream = await fetch(`${origin}/control/journal`);
  createInterface({ input: Readable.fromWeb(stream.body) }).on('line', (line) => journal.add(JSON.parse(line))).on('error', () => {});
  const control = async (wishes) => {
    const reply = await fetch(`${origin}/control`, { method: 'POST', body: JSON.stringify(wishes) });
    const text = await reply.text();
    assert.equal(reply.status, 200, text);
    return JSON.parse(text);
  };
  let marks = 0;
  /** Waits until the journal holds every request so far. */
  const settled = async () => {
    const mark = (marks += 1);
    await control({ mark });
    await journal.find((entry) => entry.mark === mark, 'the mark to come');
  };
  const secrets = async () => (await fetch(`${origin}/control/secrets`)).json();
  const service = { origin, url: `${origin}/api/mcp`, journal, control, settled, secrets, stop: server.stop };
  services.push(service);
  return service;
}

/** Whether a port of 127.0.0.1 accepts connections. */
export const listens = (port) => new Promise((resolve) => {
  const socket = net.connect(port, '127.0.0.1', () => (socket.destroy(), resolve(true)));
  socket.on('error', () => resolve(false));
});

export const portOf = (authorizeUrl) => Number(new URL(new URL(authorizeUrl).searchParams.get('redirect_uri')).port);

/** Makes a scripted browser; `did` is its log as a Journal. */
function browserIn(home) {
  const folder = join(home, 'browser');
  mkdirSync(folder);
  const log = join(folder, 'log');
  writeFileSync(log, '');
  const program = join(folder, 'browser');
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${join(here, 'oauth_browser.mjs')}' '${folder}' "$1"\n`);
  chmodSync(program, 0o755);
  const did = new Journal();
  const look = () => {
    const lines = readFileSync(log, 'utf8').split('\n').slice(0, -1);
    for (const line of lines.slice(did.items.length)) did.add(JSON.parse(line));
  };
  const watcher = watch(log, look);
  const will = (mode, more = {}) => writeFileSync(join(folder, 'mode'), JSON.stringify({ mode, ...more }));
  const count = () => (look(), did.items.filter(({ kind }) => kind === 'opened').length);
  return { folder, program, did, will, count, find: (...given) => did.find(...given), go: () => writeFileSync(join(folder, 'go'), ''), close: () => watcher.close() };
}

/**
 * Resets `service` and runs `play` in a new scene. `mode` and `scope` tell the browser what to do; unknown settings are the
 * service's controls.
 */
export async function inScene(binary, service, { mode = 'consent', scope, store = FILE, ...state }, play) {
  const home = mkdtempSync(join(process.env.HOME, 'oauth-'));
  mkdirSync(join(home, 'home'));
  await service.control({ reset: true, ...state });
  await service.settled();
  const scene = new Scene(binary, service, home, store);
  scene.browser.will(mode, { scope });
  try {
    return await play(scene);
  } finally {
    await scene.end();
  }
}

class Scene {
  #running = new Set();
  #bridges = [];

  constructor(binary, service, home, store) {
    Object.assign(this, { binary, service, home });
    this.from = service.journal.items.length;
    this.browser = browserIn(home);
    homes.push(join(home, 'home'));
    const places = Object.fromEntries(['CONFIG', 'DATA', 'STATE', 'CACHE'].map((kind) => [`ASISTRY_${kind}_DIR`, join(home, 'home', kind.toLowerCase())]));
    this.env = { HOME: join(home, 'home'), PATH: process.env.PATH, BROWSER: this.browser.program, ...places, ...store };
  }

  /** Logs and traces in full, to files in the home. */
  get options() {
    return ['-vv', '--trace', join(this.env.HOME, 'trace-%p'), '--log-file', join(this.env.HOME, 'log')];
  }

  /** Starts asistry. `says(pattern)` waits for a match on stderr, `ended()` for code, stdout, stderr and ms. */
  start(args, { env = this.env, input = 'ignore', at = ['--url', this.service.url] } = {}) {
    const began = performance.now();
    const child = spawn(this.binary, [...at, ...this.options, ...args], { env, stdio: [input, 'pipe', 'pipe'] });
    this.#running.add(child);
    const lines = new Journal();
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => lines.add((err += chunk)));
    const end = new Promise((done) => child.on('close', (code, signal) => {
      this.#running.delete(child);
      seen.push([`stdout of ${args.join(' ')}`, out], [`stderr of ${args.join(' ')}`, err]);
      done({ code, signal, out, err, ms: Math.round(performance.now() - began) });
    }));
    const says = async (pattern, ms = 15_000) => pattern.exec(await lines.find((text) => pattern.test(text), `${pattern} on stderr`, ms));
    return { child, says, ended: (ms = 30_000) => within(end, ms, `\`${args.join(' ')}\` to end`) };
  }

  run(args, options) {
    return this.start(args, options).ended();
  }

  /** Runs asistry and asserts its exit code. */
  async must(code, ...args) {
    const ran = await this.run(args);
    assert.equal(ran.code, code, `\`${args.join(' ')}\` ended with ${ran.code}, not ${code}: ${ran.out}${ran.err}`);
    return ran;
  }

  /** Connects an official client through a bridge. */
  async bridge({ client = new PeerClient(), options = [], env = this.env } = {}) {
    const bridge = await connectThroughBridge(this.binary, this.service.url, { client, env, options: [...this.options, ...options] });
    const closed = bridge.close;
    bridge.close = async () => {
      const ended = await closed();
      seen.push(['stderr of a bridge', ended.log], ['stdout of a bridge', JSON.stringify(client.wire.items)]);
      return ended;
    };
    this.#bridges.push(bridge);
    bridge.task = async (taskId) => assert.equal((await client.tool('get_task', { taskId })).content[0].text, `task ${taskId}`);
    return bridge;
  }

  /** The requests of one kind in this scene. */
  async asked(kind, wanted = () => true) {
    await this.service.settled();
    return this.service.journal.items.slice(this.from).filter((entry) => entry.kind === kind && wanted(entry));
  }

  waitFor(wanted, what, ms = 15_000) {
    const { items } = this.service.journal;
    return this.service.journal.find((entry) => wanted(entry) && items.indexOf(entry) >= this.from, what, ms);
  }

  /** Waits until `count` requests match. */
  waitForSome(count, wanted, what, ms) {
    return this.waitFor(() => this.service.journal.items.slice(this.from).filter(wanted).length >= count, what, ms);
  }

  /** How often a window opened, and how often each authorization endpoint was called. */
  async counts() {
    const tokens = await this.asked('token');
    return {
      windows: this.browser.count(),
      registrations: (await this.asked('register')).length,
      exchanges: tokens.filter(({ grant }) => grant === 'authorization_code').length,
      refreshes: tokens.filter(({ grant }) => grant === 'refresh_token').length,
    };
  }

  async countsAre(windows, registrations, exchanges, refreshes) {
    assert.deepEqual(await this.counts(), { windows, registrations, exchanges, refreshes });
  }

  control(wishes) {
    return this.service.control(wishes);
  }

  async end() {
    await this.service.control({ hold: false }).catch(() => {});
    for (const bridge of this.#bridges) {
      seen.push(['stderr of a bridge', bridge.log()], ['stdout of a bridge', JSON.stringify(bridge.client.wire.items)]);
      await bridge.client.close().catch(() => {});
    }
    for (const child of this.#running) child.kill('SIGKILL');
    this.browser.close();
    assert.ok(existsSync(this.env.HOME));
  }
}
