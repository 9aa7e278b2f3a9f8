// The machine suite's checks of DPoP: every request signed by one key, with the nonces of two servers that change.
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto';
import { asMachine, callsFor, grants, grantsAre, keyFile, nothingKept, ranOnce, scenes, SECRET, signed } from './oauth_machine_scene.mjs';
import { failure, ModernClient, peer } from './support.mjs';

const { exportJWK, SignJWT } = peer('jose');
const BOTH = { dpop: true, asNonce: true, rsNonce: true };
const eight = Array.from({ length: 8 }, (_, at) => at + 1);

/** Asserts that each request with a token, and each token request, had a proof of one and the same key. */
async function allSigned(it) {
  const requests = [...await grants(it), ...await signed(it)];
  assert.ok(requests.length > 1);
  assert.deepEqual(requests.filter(({ proof, scheme = 'DPoP' }) => !proof || scheme !== 'DPoP'), []);
  assert.equal(new Set(requests.map(({ jkt }) => jkt)).size, 1, 'more than one key');
}

const asks = (requests) => requests.filter(({ error }) => error === 'use_dpop_nonce').length;

export async function checkDpop(binary, service) {
  const scene = scenes(binary, service);
  const robot = ['--client-credentials', '--client-id', 'robot-basic', '--client-secret-env', 'PEERS_SECRET'];
  const secret = { PEERS_SECRET: SECRET };

  for (const [what, settings] of [['the challenge', {}], ['the metadata', { challenge: 'Bearer', required: true }]]) {
    await scene(`a login where ${what} wants DPoP, then a call, then a bridge, with one key`, { dpop: true, ...settings }, async (it) => {
      await it.must(0, 'login');
      await it.must(0, 'call', 'get_task', 'taskId=1');
      const { task, client } = await it.bridge();
      await task(2);
      assert.equal((await client.listTools()).tools.length, 3);
      await it.countsAre(1, 1, 1, 0);
      assert.equal((await grants(it))[0].type, 'DPoP');
      await allSigned(it);
      assert.deepEqual(await signed(it, ({ status }) => status === 401), []);
    });
  }

  await scene('a refresh in another process has the key of the login', { dpop: true }, async (it) => {
    await it.must(0, 'login');
    await it.control({ revoke: true });
    await it.must(0, 'call', 'get_task', 'taskId=1');
    await it.control({ revoke: true });
    const { task } = await it.bridge();
    await Promise.all([1, 2, 3].map((at) => task(at + 1)));
    await it.countsAre(1, 1, 1, 2);
    await grantsAre(it, 'authorization_code 200 none', 'refresh_token 200 none', 'refresh_token 200 none');
    await allSigned(it);
    await ranOnce(it, 1, 2, 3, 4);
  });

  await scene('both servers ask for nonces: one window, each challenge answered once', BOTH, async (it) => {
    await it.must(0, 'login');
    await it.must(0, 'call', 'get_task', 'taskId=1');
    const exchanges = (await grants(it)).map(({ status, nonce }) => `${status} ${nonce}`);
    assert.deepEqual(exchanges, ['400 none', '200 newest']);
    const { task } = await it.bridge();
    for (const at of eight) await task(at + 1);
    assert.ok(asks(await signed(it)) <= 2 + 1, `${asks(await signed(it))} challenges for three processes`);
    assert.equal(it.browser.count(), 1);
    await allSigned(it);
    await ranOnce(it, 1, ...eight.map((at) => at + 1));
  });

  await scene('nonces that both servers change in mid-session: nothing lost, nothing twice, no second window', BOTH, async (it) => {
    await it.must(0, 'login');
    const { task } = await it.bridge();
    for (let round = 0; round < 4; round += 1) {
      await task(3 * round);
      await it.control({ rotate: 'rs' });
      await task(3 * round + 1);
      await it.control({ rotate: 'as', revoke: true });
      await it.control({ rotate: 'rs' });
      await task(3 * round + 2);
    }
    await ranOnce(it, ...Array.from({ length: 12 }, (_, at) => at));
    const { windows, registrations, refreshes } = await it.counts();
    assert.deepEqual([windows, registrations], [1, 1]);
    assert.deepEqual((await grants(it)).filter(({ error }) => error && error !== 'use_dpop_nonce'), []);
    assert.ok(refreshes <= 8, `${refreshes} refreshes, with those that were asked for a nonce`);
    await allSigned(it);
  });

  await scene('8 parallel calls when the nonce changes', BOTH, async (it) => {
    await it.must(0, 'login');
    const { task } = await it.bridge();
    await task(0);
    await it.control({ rotate: 'rs' });
    await Promise.all(eight.map(task));
    await ranOnce(it, 0, ...eight);
    await it.control({ rotate: 'as', revoke: true });
    await it.control({ rotate: 'rs' });
    await Promise.all(eight.map((at) => task(at + 8)));
    await ranOnce(it, 0, ...eight, ...eight.map((at) => at + 8));
    const refreshed = (await grants(it)).filter(({ grant, status }) => grant === 'refresh_token' && status === 200);
    assert.equal(refreshed.length, 1);
    assert.equal(it.browser.count(), 1);
    await allSigned(it);
  });

  await scene('a service that tells a new nonce with each answer: the newest is used, no further challenge', { ...BOTH, rsEach: true, asEach: true }, async (it) => {
    await it.must(0, 'login');
    const { task } = await it.bridge();
    await task(0);
    const from = (await signed(it)).length;
    for (const at of eight) await task(at);
    await Promise.all(eight.map((at) => task(at + 8)));
    const later = (await signed(it)).slice(from).filter(({ method }) => method === 'tools/call');
    assert.equal(asks(later), 0);
    assert.deepEqual(later.slice(0, 8).map(({ nonce }) => nonce), eight.map(() => 'newest'));
    await it.control({ revoke: true });
    await task(17);
    assert.deepEqual((await signed(it, ({ task }) => task === 17)).map(({ status, nonce }) => `${status} ${nonce}`), ['401 newest', '200 newest']);
    const [refresh] = (await grants(it)).filter(({ grant }) => grant === 'refresh_token');
    assert.equal(refresh.status === 200 || refresh.error === 'use_dpop_nonce', true, JSON.stringify(refresh));
    assert.equal(it.browser.count(), 1);
  });

  await scene('a session: the standalone stream and the end of the session are signed, with nonces', { ...BOTH, sessions: true }, async (it) => {
    await it.must(0, 'login');
    const { task, client, close } = await it.bridge();
    await task(1);
    await it.waitFor(({ kind, method, status }) => kind === 'mcp' && method === 'GET' && status === 200, 'the stream');
    await client.tool('announce');
    await client.notifications.find(({ method }) => method === 'notifications/tools/list_changed', 'a message of the stream');
    await it.control({ rotate: 'rs' });
    await close();
    await it.waitFor(({ kind, method, status }) => kind === 'mcp' && method === 'DELETE' && status === 200, 'the end of the session');
    await allSigned(it);
    assert.deepEqual(new Set((await signed(it)).map(({ method }) => method)).has('GET'), true);
    assert.equal(it.browser.count(), 1);
  });

  await scene('a session with tokens that live 5 s: refreshed with the key, and no message lost', { ...BOTH, sessions: true, lifetime: 5 }, async (it) => {
    await it.must(0, 'login');
    const { task, client, close } = await it.bridge();
    const calls = await callsFor(11_000, task);
    await client.tool('announce');
    await client.notifications.find(({ method }) => method === 'notifications/tools/list_changed', 'a message of the stream');
    await close();
    await ranOnce(it, ...Array.from({ length: calls }, (_, at) => at + 1));
    assert.equal(it.browser.count(), 1);
    await allSigned(it);
  });

  for (const [how, options, env] of [['a secret', robot, secret], ['a key', ['--client-credentials', '--client-id', 'robot-key', '--client-key', keyFile('rsa-pkcs8')], {}]]) {
    await scene(`client credentials with ${how} and DPoP, with nonces that change`, BOTH, async (it) => {
      const machine = asMachine(it, options, env);
      await machine.task(1);
      const { task } = await machine.bridge();
      await task(2);
      await it.control({ rotate: 'as', revoke: true });
      await it.control({ rotate: 'rs' });
      await Promise.all([3, 4, 5].map(task));
      await ranOnce(it, 1, 2, 3, 4, 5);
      const asked = await grants(it);
      assert.ok(asked.every(({ proof, error }) => proof && (!error || error === 'use_dpop_nonce')), JSON.stringify(asked));
      assert.equal(asked.filter(({ status }) => status === 200).length, 3);
      assert.deepEqual(await signed(it, ({ scheme, proof }) => scheme !== 'DPoP' || !proof), []);
      nothingKept(it);
    });
  }

  await scene('a workload token and an ID-JAG with DPoP', BOTH, async (it) => {
    const workload = { PEERS_TOKEN: await service.mint({ by: 'github', aud: service.as }) };
    await asMachine(it, ['--identity-token', 'env:PEERS_TOKEN', '--client-id', 'workload'], workload).task(1);
    const person = { PEERS_TOKEN: await service.mint({ by: 'idp', aud: 'idp-public' }), ...secret };
    await asMachine(it, ['--identity-token', 'env:PEERS_TOKEN', '--idp-issuer', service.idp, '--idp-client-id', 'idp-public', '--client-id', 'robot-basic', '--client-secret-env', 'PEERS_SECRET'], person).task(2);
    const asked = await grants(it);
    assert.deepEqual(asked.map(({ grant, status, proof }) => `${grant} ${status} ${proof}`), [400, 200, 400, 200].map((status) => `jwt-bearer ${status} true`));
    await ranOnce(it, 1, 2);
    nothingKept(it);
  });

  await scene('five processes at once: one window, one key', { ...BOTH, mode: 'wait' }, async (it) => {
    const bridges = await Promise.all([1, 2, 3, 4, 5].map(() => it.bridge()));
    const calls = Promise.all(bridges.map(({ task }, at) => task(at)));
    calls.catch(() => {});
    await it.browser.find(({ kind }) => kind === 'opened', 'a window', 10_000);
    it.browser.go();
    await calls;
    await it.control({ revoke: true });
    await Promise.all(bridges.map(({ task }, at) => task(at + 5)));
    assert.equal(it.browser.count(), 1);
    assert.equal((await grants(it)).filter(({ grant, status }) => grant === 'refresh_token' && status === 200).length, 1);
    await allSigned(it);
    await ranOnce(it, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
  });

  await scene('more scopes are needed: the same key for the new tokens', BOTH, async (it) => {
    const { client, task } = await it.bridge();
    await task(1);
    assert.equal((await client.tool('create_task', { title: 'A' })).content[0].text, 'created A');
    assert.equal(it.browser.count(), 2);
    await allSigned(it);
    await it.must(0, 'call', 'create_task', 'title=B');
  });

  await scene('more scopes are denied by the user: the login before goes on, and is refreshed', BOTH, async (it) => {
    const { client, task } = await it.bridge();
    await task(1);
    await it.control({ deny: true });
    await failure(client.tool('create_task', { title: 'A' }), 'the call');
    await task(2);
    await it.control({ revoke: true });
    await task(3);
    await it.must(0, 'call', 'get_task', 'taskId=4');
    await it.control({ revoke: true });
    await it.must(0, 'call', 'get_task', 'taskId=5');
    assert.equal(it.browser.count(), 2);
    assert.equal((await grants(it)).filter(({ grant, status }) => grant === 'refresh_token' && status === 200).length, 2);
    await allSigned(it);
  });

  await scene('a service that begins to want DPoP: one more window at most', {}, async (it) => {
    await it.must(0, 'login');
    const { task } = await it.bridge();
    await task(1);
    assert.deepEqual(await signed(it, ({ proof }) => proof), []);
    await it.control({ dpop: true });
    await Promise.all([2, 3].map(task));
    await it.must(0, 'call', 'get_task', 'taskId=4');
    await ranOnce(it, 1, 2, 3, 4);
    assert.ok(it.browser.count() <= 2, `${it.browser.count()} windows`);
  });

  await scene('a service that no longer wants DPoP: the login goes on', { dpop: true }, async (it) => {
    await it.must(0, 'login');
    await it.control({ dpop: false });
    const { task } = await it.bridge();
    await task(1);
    await it.control({ revoke: true });
    await task(2);
    await it.must(0, 'call', 'get_task', 'taskId=3');
    await ranOnce(it, 1, 2, 3);
    assert.equal(it.browser.count(), 1);
  });

  await scene('a service that takes both kinds: one of them, and one window', { both: true }, async (it) => {
    await it.must(0, 'login');
    const { task } = await it.bridge();
    await task(1);
    await it.control({ revoke: true });
    await task(2);
    await it.must(0, 'call', 'get_task', 'taskId=3');
    await it.countsAre(1, 1, 1, 1);
    assert.equal(new Set((await signed(it)).map(({ scheme }) => scheme)).size, 1);
  });

  await scene('without a key store the key is in memory', { ...BOTH, store: {} }, async (it) => {
    const { task } = await it.bridge();
    await task(1);
    await it.control({ revoke: true, rotate: 'as' });
    await Promise.all([2, 3].map(task));
    await ranOnce(it, 1, 2, 3);
    assert.equal(it.browser.count(), 1);
    await allSigned(it);
  });

  await scene('the official client 2.x in front of the bridge', { ...BOTH, sessions: true }, async (it) => {
    const { client, close } = await it.bridge({ client: new ModernClient('auto') });
    assert.equal((await client.tool('get_task', { taskId: 1 })).content[0].text, 'task 1');
    await it.control({ rotate: 'rs', revoke: true });
    await Promise.all([2, 3].map((taskId) => client.tool('get_task', { taskId })));
    await close();
    await ranOnce(it, 1, 2, 3);
    assert.equal(it.browser.count(), 1);
    await allSigned(it);
  });

  await scene('a service that is content with no nonce: no loop', { ...BOTH, rsNever: true }, async (it) => {
    const { code, err } = await it.run(['call', 'get_task', 'taskId=1']);
    assert.equal(code, 4, err);
    assert.ok((await signed(it)).length <= 8, `${(await signed(it)).length} requests`);
    assert.ok((await grants(it)).length <= 4, `${(await grants(it)).length} token requests`);
    assert.ok(it.browser.count() <= 1, `${it.browser.count()} windows`);
  });

  const json = { 'content-type': 'application/json' };
  for (const [what, headers] of [['with', { ...json, 'dpop-nonce': 'never-good-enough' }], ['without', json]]) {
    await scene(`an authorization server that is content with no nonce, and asks ${what} one: no loop`, { dpop: true, fail: [{ status: 400, times: 99, headers, body: '{"error":"use_dpop_nonce"}' }] }, async (it) => {
      await asMachine(it, robot, secret).fails(4, /nonce/);
      assert.ok((await grants(it)).length <= 3, `${(await grants(it)).length} token requests`);
    });
  }

  await scene('a token that is always refused, with DPoP: no loop', { ...BOTH, always401: true }, async (it) => {
    const { code } = await it.run(['call', 'get_task', 'taskId=1']);
    assert.equal(code, 4);
    assert.ok(it.browser.count() <= 2, `${it.browser.count()} windows`);
    assert.ok((await grants(it)).length <= 6, `${(await grants(it)).length} token requests`);
  });

  await scene('a logout revokes, with the key or without', BOTH, async (it) => {
    await it.must(0, 'login');
    await it.must(0, 'logout', '--revoke');
    const revoked = await it.asked('revoke');
    assert.equal(revoked[0]?.status, 200, JSON.stringify(revoked));
    assert.ok(revoked.every(({ status, error }) => status === 200 || error === 'unsupported_token_type'), JSON.stringify(revoked));
    await it.must(4, 'whoami');
    await it.must(0, 'login');
    await it.must(0, 'call', 'get_task', 'taskId=1');
  });

  await scene('the service refuses a stolen token', { dpop: true }, async (it) => {
    await it.must(0, 'login');
    const { token } = await it.control({ newest: true });
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const claims = { htm: 'POST', htu: service.url, jti: randomUUID(), iat: Math.floor(Date.now() / 1000), ath: createHash('sha256').update(token).digest('base64url') };
    const dpop = await new SignJWT(claims).setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: await exportJWK(publicKey) }).sign(privateKey);
    for (const headers of [{ authorization: `Bearer ${token}` }, { authorization: `DPoP ${token}` }, { authorization: `DPoP ${token}`, dpop }]) {
      const reply = await fetch(service.url, { method: 'POST', headers: { 'user-agent': 'peers-thief', 'content-type': 'application/json', ...headers }, body: '{"jsonrpc":"2.0","id":1,"method":"ping"}' });
      assert.equal(reply.status, 401);
    }
    await it.must(0, 'call', 'get_task', 'taskId=1');
  });
}
