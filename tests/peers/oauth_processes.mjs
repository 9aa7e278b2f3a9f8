// The OAuth suite's checks of processes: several that share a login, and some that end during a login or a refresh.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { scenes } from './oauth_logins.mjs';
import { listens, portOf } from './oauth_scene.mjs';
import { failure, SIX } from './support.mjs';

const opened = ({ kind }) => kind === 'opened';
const isInitialize = ({ kind, method, status }) => kind === 'mcp' && method === 'initialize' && status === 401;

export async function checkProcesses(binary, service) {
  const scene = scenes(binary, service);

  await scene('stdin ends during a refresh: the new tokens are stored', {}, async (it) => {
    const { task, client } = await it.bridge();
    await task(1);
    await it.control({ revoke: 'access', hold: true });
    failure(client.tool('get_task', { taskId: 2 }), 'the call');
    await it.waitFor(({ kind }) => kind === 'held', 'a refresh');
    const closed = client.close();
    await it.control({ hold: false });
    await closed;
    await it.must(0, 'call', 'get_task', 'taskId=3');
    await it.countsAre(1, 1, 1, 1);
  });

  await scene('the refreshing process is killed: another continues, with at most one new window', {}, async (it) => {
    await it.must(0, 'login');
    const [one, other] = [await it.bridge(), await it.bridge()];
    await Promise.all([one.task(1), other.task(2)]);
    await it.control({ revoke: 'access', hold: true });
    failure(one.client.tool('get_task', { taskId: 3 }), 'the call');
    await it.waitFor(({ kind }) => kind === 'held', 'a refresh');
    const task = other.task(4);
    task.catch(() => {});
    await it.waitForSome(2, ({ tool, status }) => tool && status === 401, 'both to be refused');
    one.child.kill('SIGKILL');
    await it.control({ hold: false });
    await task;
    const { windows, registrations } = await it.counts();
    assert.ok(windows <= 2 && registrations === 1, `${windows} windows, ${registrations} registrations`);
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

  await scene('the process that waits for the login is killed: another takes over', { mode: 'ignore' }, async (it) => {
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
    await scene(`${what} while a bridge waits for the login: it ends within a second and frees port and lock`, { mode: 'ignore' }, async (it) => {
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

  await scene('with six variables and no key store, the login is kept in memory', {}, async (it) => {
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
