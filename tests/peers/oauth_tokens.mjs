// The OAuth suite's checks of what follows a login: refreshes within and across processes, scopes, revoked grants.
import assert from 'node:assert/strict';
import { scenes } from './oauth_logins.mjs';
import { KEYRING } from './oauth_scene.mjs';
import { failure, now, within } from './support.mjs';

const isCall = ({ kind, method }) => kind === 'mcp' && method === 'tools/call';
const isRefused = (entry) => isCall(entry) && entry.status === 401;

/** Calls every 250 ms for `ms`; returns the number of calls. */
async function callsFor(ms, task) {
  const until = now() + ms;
  let count = 0;
  while (now() < until) {
    await task((count += 1));
    await new Promise((done) => setTimeout(done, 250));
  }
  return count;
}

export async function checkTokens(binary, service) {
  const scene = scenes(binary, service);

  await scene('8 parallel calls on a 401: one refresh, 8 results', {}, async (it) => {
    const { task } = await it.bridge();
    await task(0);
    await it.control({ revoke: 'access' });
    await Promise.all(Array.from({ length: 8 }, (_, at) => task(at + 1)));
    await it.countsAre(1, 1, 1, 1);
    const later = (await it.asked('mcp', isCall)).map(({ token, status }) => `${token} ${status}`);
    assert.equal(later.filter((entry) => entry === '1 200').length, 8, `${later}`);
  });

  await scene('2 processes on a 401 at once: one refresh', {}, async (it) => {
    await it.must(0, 'login');
    const [one, other] = [await it.bridge(), await it.bridge()];
    await Promise.all([one.task(1), other.task(2)]);
    await it.control({ revoke: 'access', hold: true });
    const calls = Promise.all([one.task(3), other.task(4)]);
    calls.catch(() => {});
    await it.waitFor(({ kind }) => kind === 'held', 'a refresh');
    await it.waitForSome(2, isRefused, 'both to be refused');
    await it.control({ hold: false });
    await calls;
    await it.countsAre(1, 1, 1, 1);
  });

  await scene('2 processes on a 401, one after the other: the second uses the new token', {}, async (it) => {
    await it.must(0, 'login');
    const [one, other] = [await it.bridge(), await it.bridge()];
    await Promise.all([one.task(1), other.task(2)]);
    await it.control({ revoke: 'access' });
    await one.task(3);
    await other.task(4);
    await it.must(0, 'call', 'get_task', 'taskId=5');
    await it.countsAre(1, 1, 1, 1);
  });

  await scene('tokens that live 5 s: refreshed ahead of time, in two processes and in a new one', { lifetime: 5 }, async (it) => {
    await it.must(0, 'login');
    const [one, other] = [await it.bridge(), await it.bridge()];
    const calls = await Promise.all([callsFor(11_000, one.task), callsFor(11_000, other.task)]);
    await Promise.all([one.close(), other.close()]);
    assert.ok(Math.min(...calls) > 15, `${calls} calls`);
    assert.deepEqual(await it.asked('mcp', ({ status, token }) => status === 401 && token !== undefined), []);
    const { windows, registrations, exchanges, refreshes } = await it.counts();
    assert.deepEqual([windows, registrations, exchanges], [1, 1, 1]);
    assert.ok(refreshes >= 2 && refreshes <= 4, `${refreshes} refreshes in 11 s`);
    // With no process running, the token expires.
    await new Promise((done) => setTimeout(done, 5500));
    await it.must(0, 'call', 'get_task', 'taskId=1');
    assert.equal((await it.counts()).refreshes, refreshes + 1);
    await it.must(0, 'call', 'get_task', 'taskId=2');
    assert.equal((await it.counts()).refreshes, refreshes + 1);
    assert.deepEqual((await it.asked('token', ({ status }) => status !== 200)), []);
  }, 60_000);

  await scene('fewer scopes are granted than were asked for', { scope: 'tasks:read offline_access', scopes: ['tasks:read', 'tasks:write'] }, async (it) => {
    await it.must(0, 'login');
    const { scopes } = JSON.parse((await it.must(0, 'whoami', '--json')).out);
    assert.deepEqual(scopes.toSorted(), ['offline_access', 'tasks:read']);
    await it.must(0, 'call', 'get_task', 'taskId=1');
    await it.control({ revoke: 'access' });
    await it.must(0, 'call', 'get_task', 'taskId=2');
    await it.countsAre(1, 1, 1, 1);
  });

  await scene('no refresh token is granted: a new window when the access token expires', { scope: 'tasks:read' }, async (it) => {
    await it.must(0, 'login');
    await it.must(0, 'call', 'get_task', 'taskId=1');
    await it.control({ revoke: 'access' });
    await it.must(0, 'call', 'get_task', 'taskId=2');
    await it.countsAre(2, 1, 2, 0);
  });

  await scene('a step-up is granted: one more window, for the union of scopes', {}, async (it) => {
    const { client, task } = await it.bridge();
    await task(1);
    const { content } = await client.tool('create_task', { title: 'A' });
    assert.equal(content[0].text, 'created A');
    await task(2);
    await client.tool('create_task', { title: 'B' });
    await it.countsAre(2, 1, 2, 0);
    const asked = await it.asked('authorize', ({ agent }) => agent === 'peers-browser');
    assert.deepEqual(asked.map(({ scope }) => scope.split(' ').sort().join(' ')), ['offline_access tasks:read', 'offline_access tasks:read tasks:write']);
    await it.must(0, 'call', 'create_task', 'title=C');
    await it.control({ revoke: 'access' });
    await it.must(0, 'call', 'create_task', 'title=D');
    await it.countsAre(2, 1, 2, 1);
  });

  await scene('a step-up is refused: the call fails, the login stays, no more windows', {}, async (it) => {
    const { client, task } = await it.bridge();
    await task(1);
    it.browser.will('deny');
    await failure(client.tool('create_task', { title: 'A' }), 'the call');
    await task(2);
    await failure(client.tool('create_task', { title: 'B' }), 'the call');
    await task(3);
    await it.must(4, 'call', 'create_task', 'title=C');
    await it.must(0, 'call', 'get_task', 'taskId=4');
    await it.countsAre(2, 1, 1, 0);
  });

  await scene('a scope that is never enough: no loop', { always403: true }, async (it) => {
    const { client, task } = await it.bridge();
    await task(1);
    await failure(client.tool('create_task', { title: 'A' }), 'the call');
    await failure(client.tool('create_task', { title: 'B' }), 'the call');
    const { windows } = await it.counts();
    assert.ok(windows <= 3, `${windows} windows`);
    const tried = await it.asked('mcp', ({ tool }) => tool === 'create_task');
    assert.ok(tried.length <= 6, `${tried.length} tries`);
    await task(2);
  });

  await scene('the access token is revoked: silent refresh', {}, async (it) => {
    const { task } = await it.bridge();
    for (let round = 1; round <= 3; round += 1) {
      await task(round);
      await it.control({ revoke: 'access' });
    }
    await task(4);
    await it.countsAre(1, 1, 1, 3);
  });

  await scene('the whole grant is revoked: one new window, no new registration', {}, async (it) => {
    const { task } = await it.bridge();
    await task(1);
    await it.control({ revoke: 'grant' });
    await Promise.all([task(2), task(3), task(4)]);
    await it.countsAre(2, 1, 2, 1);
    await it.must(0, 'call', 'get_task', 'taskId=5');
    await it.countsAre(2, 1, 2, 1);
  });

  await scene('the whole grant is revoked, with --login never', {}, async (it) => {
    await it.must(0, 'login');
    await it.control({ revoke: 'grant' });
    const { code, err } = await it.run(['--login', 'never', 'call', 'get_task', 'taskId=1']);
    assert.equal(code, 4, err);
    assert.match(err, /asistry login/);
    await it.countsAre(1, 1, 1, 1);
  });

  await scene('5 processes at once: one window, five working bridges', { mode: 'wait' }, async (it) => {
    const bridges = await Promise.all(Array.from({ length: 5 }, () => it.bridge()));
    const calls = Promise.all(bridges.map(({ task }, at) => task(at)));
    calls.catch(() => {});
    await it.browser.find(({ kind }) => kind === 'opened', 'a window', 10_000);
    await within(Promise.all(bridges.map(({ client }) => client.ping())), 2000, 'five answers to a ping');
    it.browser.go();
    await calls;
    await it.countsAre(1, 1, 1, 0);
    await it.control({ revoke: 'access' });
    await Promise.all(bridges.map(({ task }, at) => task(at)));
    await it.countsAre(1, 1, 1, 1);
  }, 40_000);
}

/** Checks that need a service with sessions. */
export async function checkSessions(binary, service) {
  await scenes(binary, service)('a session outlives its tokens', { lifetime: 5 }, async (it) => {
    const { task, close } = await it.bridge();
    await callsFor(7000, task);
    await it.control({ revoke: 'access' });
    await task(1);
    await close();
    const { windows, registrations, exchanges, refreshes } = await it.counts();
    assert.deepEqual([windows, registrations, exchanges], [1, 1, 1]);
    assert.ok(refreshes >= 2, `${refreshes} refreshes`);
    assert.equal((await it.asked('mcp', ({ method, status }) => method === 'initialize' && status === 200)).length, 1);
  });
}

/** Checks of a login in the desktop's keyring. */
export async function checkKeyring(binary, service) {
  const scene = scenes(binary, service);

  await scene('a login in the keyring: silent in other processes, refreshed once for two, and gone after a logout', { store: KEYRING }, async (it) => {
    await it.must(0, 'login');
    assert.equal(JSON.parse((await it.must(0, 'whoami', '--json')).out).store, 'keyring');
    const [one, other] = [await it.bridge(), await it.bridge()];
    await Promise.all([one.task(1), other.task(2)]);
    await it.control({ revoke: 'access' });
    await Promise.all([one.task(3), other.task(4)]);
    await it.must(0, 'call', 'get_task', 'taskId=5');
    await it.countsAre(1, 1, 1, 1);
    await it.control({ revoke: 'grant' });
    await it.must(0, 'call', 'get_task', 'taskId=6');
    await it.countsAre(2, 1, 2, 2);
    await it.must(0, 'logout', '--forget-client');
    await it.must(4, 'whoami');
  });

  await scene('5 processes at once, with the keyring', { store: KEYRING }, async (it) => {
    const bridges = await Promise.all(Array.from({ length: 5 }, () => it.bridge()));
    await Promise.all(bridges.map(({ task }, at) => task(at)));
    await it.countsAre(1, 1, 1, 0);
    await it.must(0, 'logout', '--forget-client');
  });
}
