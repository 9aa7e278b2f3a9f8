// The OAuth suite's checks of a faulty service: an authorization server that fails, hangs, lost its database or has another
// time, and tokens that are always refused.
import assert from 'node:assert/strict';
import { scenes } from './oauth_logins.mjs';
import { failure } from './support.mjs';

export async function checkFaults(binary, service) {
  const scene = scenes(binary, service);

  await scene('the authorization server was restarted with an empty database: one new window, no error page', {}, async (it) => {
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
    await scene(`the token endpoint fails once with ${what}: the login stays`, {}, async (it) => {
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

  await scene('the token endpoint stays down: calls fail, no window opens, the login stays', {}, async (it) => {
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

  await scene('the token endpoint fails once while the code is exchanged: the login succeeds', { fail: [{ status: 503, times: 1, headers: { 'retry-after': '1' } }] }, async (it) => {
    await it.must(0, 'login');
    await it.countsAre(1, 1, 2, 0);
  });

  await scene('the token endpoint never answers: the call times out, the login stays', {}, async (it) => {
    await it.must(0, 'login');
    await it.control({ revoke: 'access', hold: true });
    const hung = await it.start(['--timeout', '1s', 'call', 'get_task', 'taskId=1']).ended(15_000);
    assert.equal(hung.code, 6, hung.err);
    await it.control({ fail: [{ status: 503, times: 1000 }], hold: false });
    await it.must(6, '--max-wait', '0s', 'call', 'get_task', 'taskId=2');
    await it.must(0, 'whoami');
  });

  await scene('the documents of the authorization server are down: the login stays', {}, async (it) => {
    await it.must(0, 'login');
    await it.control({ revoke: 'access', fail: [{ at: 'metadata', status: 503, times: 1000 }] });
    const { code, err } = await it.run(['--max-wait', '0s', 'call', 'get_task', 'taskId=1']);
    assert.ok([0, 6].includes(code), err);
    await it.control({ fail: [] });
    await it.must(0, 'call', 'get_task', 'taskId=2');
    assert.equal(it.browser.count(), 1);
  });

  await scene('the response to a refresh is lost: one new window', {}, async (it) => {
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

  await scene('every token is refused after a while', {}, async (it) => {
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
}
