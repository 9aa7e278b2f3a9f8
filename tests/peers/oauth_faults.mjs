// The OAuth suite's checks of what goes wrong: an authorization server that fails, forgets or has another time, and
// processes that end in the middle.
import assert from 'node:assert/strict';
import { scenes } from './oauth_logins.mjs';
import { listens, portOf } from './oauth_scene.mjs';
import { failure, SIX } from './support.mjs';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const opened = ({ kind }) => kind === 'opened';
const isInitialize = ({ kind, method, status }) => kind === 'mcp' && method === 'initialize' && status === 401;

export async function checkFaults(binary, service) {
  const scene = scenes(binary, service);

  await scene('the authorization server was restarted with an empty database: one new window, no page of an error', {}, async (it) => {
    const { task } = await it.bridge();
    await task(1);
    await it.control({ empty: true });
    await Promise.all([task(2), task(3)]);
    const { windows, registrations, exchanges } = await it.counts();
    assert.deepEqual([windows, registrations, exchanges], [2, 2, 2]);
    assert.deepEqual(it.browser.did.items.filter(({ stuck }) => stuck), []);
    await it.must(0, 'call', 'get_task', 'taskId=4');
    assert.equal(it.browser.count(), 2);
    await it.must(0, 'logout');
    await it.control({ empty: true });
    await it.must(0, 'login');
    await it.must(0, 'call', 'get_task', 'taskId=5');
    assert.deepEqual(it.browser.did.items.filter(({ stuck }) => stuck), []);
    assert.equal(it.browser.count(), 3);
  });

  for (const [what, fault, pause = 0] of [
    ['500', { status: 500 }],
    ['503 with Retry-After', { status: 503, headers: { 'retry-after': '2' } }, 2000],
    ['429 with Retry-After', { status: 429, headers: { 'retry-after': '2' } }, 2000],
    ['429 with X-Retry-After', { status: 429, headers: { 'x-retry-after': '2' } }, 2000],
    ['a connection that is reset', { status: 'reset' }],
  ]) {
    await scene(`the token endpoint answers ${what}: the login stays`, {}, async (it) => {
      await it.must(0, 'login');
      await it.control({ revoke: 'access', fail: [{ ...fault, times: 1 }] });
      const { code, err } = await it.run(['call', 'get_task', 'taskId=1']);
      if (pause > 0) assert.equal(code, 0, err);
      else assert.ok([0, 6].includes(code), `${code}: ${err}`);
      const [, failed, next] = await it.asked('token');
      assert.equal(failed.fault, true);
      if (pause > 0) assert.ok(next.at - failed.at >= pause - 20, `asked again after ${next.at - failed.at} ms`);
      await it.must(0, 'call', 'get_task', 'taskId=2');
      const { windows, registrations, exchanges } = await it.counts();
      assert.deepEqual([windows, registrations, exchanges], [1, 1, 1]);
    });
  }

  await scene('the token endpoint stays down: calls fail, no window opens, and the login is there when it is back', {}, async (it) => {
    const { task, client } = await it.bridge({ options: ['--max-wait', '2s'] });
    await task(1);
    for (const fault of [{ status: 503, headers: { 'retry-after': '1' } }, { status: 429, headers: { 'retry-after': '1' } }, { status: 500 }, { status: 'reset' }]) {
      await it.control({ revoke: 'access', fail: [{ ...fault, times: 1000 }] });
      const error = await failure(client.tool('get_task', { taskId: 1 }), 'the call');
      assert.notEqual(error.data?.kind, 'auth_required', JSON.stringify(error.data));
      const { code, err } = await it.run(['--max-wait', '2s', 'call', 'get_task', 'taskId=2']);
      assert.ok([5, 6].includes(code), `${JSON.stringify(fault)}: ${code}: ${err}`);
      assert.doesNotMatch(err, /asistry login/);
      await it.control({ fail: [] });
      await task(3);
    }
    const tried = await it.asked('token', ({ fault }) => fault);
    assert.ok(tried.length <= 60, `${tried.length} requests`);
    const { windows, registrations, exchanges } = await it.counts();
    assert.deepEqual([windows, registrations, exchanges], [1, 1, 1]);
  }, 60_000);

  await scene('the answer to a refresh is lost: one new window, and nothing is stuck', {}, async (it) => {
    await it.must(0, 'login');
    await it.control({ revoke: 'access', lose: 1 });
    await it.run(['call', 'get_task', 'taskId=1']);
    await it.must(0, 'call', 'get_task', 'taskId=2');
    const { windows, registrations, exchanges } = await it.counts();
    assert.deepEqual([windows, registrations, exchanges], [2, 1, 2]);
  });

  for (const hours of [1, -1]) {
    await scene(`the authorization server's clock is ${hours > 0 ? 'an hour ahead' : 'an hour behind'}`, { clock: hours * 3600, lifetime: 600 }, async (it) => {
      const { task } = await it.bridge();
      for (let round = 1; round <= 3; round += 1) await task(round);
      await it.must(0, 'call', 'get_task', 'taskId=4');
      const { expiresAt } = JSON.parse((await it.must(0, 'whoami', '--json')).out);
      assert.ok(Math.abs(Date.parse(expiresAt) - Date.now() - 600_000) < 30_000, `${expiresAt} by our clock`);
      await it.countsAre(1, 1, 1, 0);
      await it.control({ revoke: 'access' });
      await task(5);
      await it.countsAre(1, 1, 1, 1);
    });
  }

  await scene('every token is refused: no loop and no second window', { always401: true }, async (it) => {
    const { client } = await it.bridge();
    for (let round = 1; round <= 3; round += 1) await failure(client.tool('get_task', { taskId: round }), 'the call');
    await it.must(4, 'call', 'get_task', 'taskId=4');
    const { windows, registrations, exchanges, refreshes } = await it.counts();
    assert.deepEqual([windows, registrations, exchanges], [1, 1, 1]);
    assert.ok(refreshes <= 4, `${refreshes} refreshes for 4 calls`);
    const asked = await it.asked('mcp');
    assert.ok(asked.length <= 20, `${asked.length} requests for 4 calls`);
  });

  await scene('every token is refused from some time on', {}, async (it) => {
    const { client, task } = await it.bridge();
    await task(1);
    await it.control({ always401: true });
    for (let round = 1; round <= 3; round += 1) await failure(client.tool('get_task', { taskId: round }), 'the call');
    const { windows, refreshes } = await it.counts();
    assert.equal(windows, 1);
    assert.ok(refreshes <= 3, `${refreshes} refreshes for 3 calls`);
    await it.control({ always401: false });
    await task(2);
    assert.equal(it.browser.count(), 1);
  });

  await scene('a second process during the consent joins the login', { mode: 'wait' }, async (it) => {
    const login = it.start(['login']);
    await it.browser.find(opened, 'a window', 15_000);
    const call = it.start(['call', 'get_task', 'taskId=9']);
    const bridge = await it.bridge();
    const task = bridge.task(10);
    await it.waitForSome(2, isInitialize, 'the other processes to be refused');
    it.browser.go();
    assert.equal((await login.ended()).code, 0);
    const { code, out, err } = await call.ended();
    assert.deepEqual([code, out.trim()], [0, 'task 9'], err);
    await task;
    await it.countsAre(1, 1, 1, 0);
  });

  await scene('the process that waits for the person is killed: another takes over', { mode: 'ignore' }, async (it) => {
    const holder = await it.bridge();
    failure(holder.client.tool('get_task', { taskId: 1 }), 'the call');
    const { url } = await it.browser.find(opened, 'a window', 15_000);
    const other = await it.bridge();
    const task = other.task(2);
    task.catch(() => {});
    await it.waitForSome(2, isInitialize, 'the second process to be refused');
    it.browser.will('consent');
    holder.child.kill('SIGKILL');
    await task;
    assert.equal(await listens(portOf(url)), false);
    const { windows, exchanges } = await it.counts();
    assert.deepEqual([windows, exchanges], [2, 1]);
  });

  for (const [what, how] of [['stdin ends', ({ client }) => client.close()], ['SIGTERM comes', ({ child }) => child.kill('SIGTERM')]]) {
    await scene(`${what} while a bridge waits for the person: it ends within a second and frees port and lock`, { mode: 'ignore' }, async (it) => {
      const bridge = await it.bridge();
      failure(bridge.client.tool('get_task', { taskId: 1 }), 'the call');
      const { url } = await it.browser.find(opened, 'a window', 15_000);
      assert.equal(await listens(portOf(url)), true);
      const began = performance.now();
      const ended = new Promise((done) => bridge.child.once('exit', () => done(performance.now() - began)));
      how(bridge);
      const ms = await ended;
      assert.ok(ms < 1000, `it ended after ${ms} ms`);
      assert.equal(await listens(portOf(url)), false, 'the port is still open');
      it.browser.will('consent');
      await it.must(0, 'login');
      assert.equal(it.browser.count(), 2);
    });
  }

  await scene('Ctrl-C during a login', { mode: 'ignore' }, async (it) => {
    const login = it.start(['login']);
    const { url } = await it.browser.find(opened, 'a window', 15_000);
    login.child.kill('SIGINT');
    const { code, signal } = await login.ended(2000);
    assert.ok(code === 130 || signal === 'SIGINT', `${code} ${signal}`);
    assert.equal(await listens(portOf(url)), false);
  });

  await scene('as a desktop client starts it, with six variables and no store: the login serves the process', {}, async (it) => {
    const tools = join(it.home, 'tools');
    mkdirSync(tools);
    writeFileSync(join(tools, 'xdg-open'), `#!/bin/sh\nexec '${it.browser.program}' "$1"\n`);
    chmodSync(join(tools, 'xdg-open'), 0o755);
    const env = Object.fromEntries(SIX.map((name) => [name, process.env[name]]));
    const bridge = await it.bridge({ env: { ...env, HOME: it.env.HOME, PATH: `${tools}:${process.env.PATH}` } });
    await bridge.task(1);
    await it.control({ revoke: 'access' });
    await Promise.all([bridge.task(2), bridge.task(3)]);
    await it.countsAre(1, 1, 1, 1);
    const { log } = await bridge.close();
    assert.equal(log.match(/will end with this process/g)?.length, 1, log.slice(-2000));
  });
}
