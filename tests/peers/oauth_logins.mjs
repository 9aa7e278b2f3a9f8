// The OAuth suite's checks of logins and logouts: discovery, registration, consent, callbacks.
import assert from 'node:assert/strict';
import net from 'node:net';
import { fetched, signIn } from './oauth_browser.mjs';
import { inScene, listens, portOf } from './oauth_scene.mjs';
import { check, failure, within } from './support.mjs';

const AUTHORIZE = /(http\S+\/oauth2\/authorize\?\S+)/;
const isRefused = (status) => assert.ok(status >= 400 && status < 500, `answered with ${status}`);

/** Asserts an error that names `asistry login`. */
function authRequired(error, kind = 'auth_required') {
  assert.equal(error.code, -32001, String(error));
  assert.equal(error.data?.kind, kind, JSON.stringify(error.data));
  assert.match(`${error.message} ${error.data.hint}`, /asistry login/);
}

/** Returns a function that runs one check in a scene of its own. */
export const scenes = (binary, service) => (name, settings, play, ms = 30_000) => check(`oauth: ${name}`, () => inScene(binary, service, settings, play), ms);

export async function checkLogins(binary, service) {
  const scene = scenes(binary, service);

  await scene('the first login: one window, and correct requests', {}, async (it) => {
    await it.must(4, 'whoami');
    await it.must(0, 'login');
    await it.countsAre(1, 1, 1, 0);
    const [{ metadata, status }] = await it.asked('register');
    assert.equal(status, 201);
    assert.deepEqual([metadata.application_type, metadata.token_endpoint_auth_method, metadata.grant_types.toSorted()], ['native', 'none', ['authorization_code', 'refresh_token']]);
    for (const uri of metadata.redirect_uris) assert.match(uri, /^http:\/\/127\.0\.0\.1:\d+\/callback$/);
    const [authorized] = await it.asked('authorize', ({ agent }) => agent === 'peers-browser');
    assert.deepEqual([authorized.resource, authorized.challenge, authorized.scope.split(' ').sort().join(' ')], [service.url, 'S256', 'offline_access tasks:read']);
    const [{ url }] = it.browser.did.items;
    assert.ok(new URL(url).searchParams.get('state').length >= 22, 'too short a state');
    const [token] = await it.asked('token');
    assert.deepEqual([token.resource, token.status, token.by], [service.url, 200, 'none']);
    const { issuer, scopes, expiresAt, ...who } = JSON.parse((await it.must(0, 'whoami', '--json')).out);
    assert.deepEqual([issuer, scopes.toSorted(), who.url], [`${service.origin}/auth`, ['offline_access', 'tasks:read'], service.url]);
    assert.ok(Math.abs(Date.parse(expiresAt) - Date.now() - 3_600_000) < 30_000, expiresAt);
    const page = await it.browser.find(({ kind }) => kind === 'page', 'the page');
    assert.equal(page.status, 200, page.text);
    assert.equal(await listens(portOf(url)), false, 'the callback port is still open');
    assert.equal((await it.must(0, 'call', 'get_task', 'taskId=7')).out.trim(), 'task 7');
    await it.countsAre(1, 1, 1, 0);
  });

  await scene('the page of success comes after the exchange, and not when that fails', { hold: true }, async (it) => {
    const login = it.start(['login']);
    await it.waitFor(({ kind }) => kind === 'held', 'the exchange to be asked for');
    assert.equal(it.browser.did.items.some(({ kind }) => kind === 'page'), false, 'the page came before the exchange');
    await it.control({ hold: false });
    assert.equal((await it.browser.find(({ kind }) => kind === 'page', 'the page')).status, 200);
    assert.equal((await login.ended()).code, 0);
    await it.must(0, 'logout');
    const headers = { 'content-type': 'application/json' };
    await it.control({ fail: [{ status: 400, times: 9, headers, body: '{"error":"invalid_grant"}' }] });
    const failed = await it.run(['login']);
    assert.equal(failed.code, 4, failed.err);
    const page = await it.browser.find(({ kind, status }) => kind === 'page' && status >= 400, 'the page of the failure');
    assert.doesNotMatch(page.text, /are logged in/);
  });

  await scene('a call opens the window by itself', {}, async (it) => {
    assert.equal((await it.must(0, 'call', 'get_task', 'taskId=1')).out.trim(), 'task 1');
    await it.must(0, 'call', 'get_task', 'taskId=2');
    await it.countsAre(1, 1, 1, 0);
  });

  await scene('the profile zuko needs nothing but its backend_url', {}, async (it) => {
    const at = ['-p', 'zuko'];
    assert.equal((await it.run(['profiles', 'set', 'zuko', `backend_url=${service.origin}`], { at: [] })).code, 0);
    const { code, out, err } = await it.run(['call', 'get_task', 'taskId=1'], { at });
    assert.deepEqual([code, out.trim()], [0, 'task 1'], err);
    const who = await it.run(['whoami', '--json'], { at });
    assert.deepEqual([who.code, JSON.parse(who.out).profile], [0, 'zuko'], who.err);
    await it.must(4, 'whoami');
    await it.countsAre(1, 1, 1, 0);
  });

  await scene('in CI without BROWSER no window is opened, and the error names the command', {}, async (it) => {
    const env = { ...it.env, CI: 'true' };
    delete env.BROWSER;
    const { code, err } = await it.run(['call', 'get_task', 'taskId=1', '--json'], { env });
    assert.equal(code, 4, err);
    const { error } = JSON.parse(err);
    assert.equal(error.kind, 'auth_required');
    assert.match(error.hint, /asistry login/);
    await it.countsAre(0, (await it.counts()).registrations, 0, 0);
  });

  await scene('without a browser: the callback URL is pasted; a bare code, which names no issuer, is not enough', {}, async (it) => {
    const login = it.start(['login', '--no-browser'], { input: 'pipe' });
    const { callback } = await signIn((await login.says(AUTHORIZE))[1]);
    login.child.stdin.write(`${new URL(callback).searchParams.get('code')}\n`);
    await login.says(/whole address/);
    assert.equal((await it.counts()).exchanges, 0);
    login.child.stdin.write(`${callback}\n`);
    const { code, err } = await login.ended();
    assert.equal(code, 0, err);
    await it.must(0, 'call', 'get_task', 'taskId=3');
    await it.countsAre(0, 1, 1, 0);
  });

  await scene('without a browser: no input and a forged callback URL end the login', {}, async (it) => {
    const closed = await it.run(['login', '--no-browser']);
    assert.equal(closed.code, 4, closed.err);
    const login = it.start(['login', '--no-browser'], { input: 'pipe' });
    const forged = new URL((await signIn((await login.says(AUTHORIZE))[1])).callback);
    forged.searchParams.set('state', 'another');
    login.child.stdin.end(`${forged.href}\n`);
    const { code, err } = await login.ended();
    assert.equal(code, 4, err);
    await it.countsAre(0, (await it.counts()).registrations, 0, 0);
  });

  await scene('consent is denied: calls open no more windows, `login` does', { mode: 'deny' }, async (it) => {
    const denied = await it.must(4, 'login');
    assert.match(denied.err, /denied/i);
    const call = await it.must(4, 'call', 'get_task', 'taskId=1');
    assert.match(call.err, /asistry login/);
    const { client, close } = await it.bridge();
    authRequired(await failure(client.tool('get_task', { taskId: 1 }), 'the call'));
    await close();
    await it.countsAre(1, 1, 0, 0);
    it.browser.will('consent');
    await it.must(0, 'login');
    await it.must(0, 'call', 'get_task', 'taskId=1');
    await it.countsAre(2, 1, 1, 0);
  });

  await scene('consent is denied to a bridge', { mode: 'deny' }, async (it) => {
    const { client } = await it.bridge();
    authRequired(await failure(client.tool('get_task', { taskId: 1 }), 'the call'), 'auth_denied');
    authRequired(await failure(client.tool('get_task', { taskId: 2 }), 'the call'));
    await it.countsAre(1, 1, 0, 0);
  });

  await scene('during the login a bridge answers the handshake and pings, and shows the URL', { mode: 'wait' }, async (it) => {
    const { task, client, log } = await it.bridge();
    const call = task(8);
    await it.browser.find(({ kind }) => kind === 'opened', 'a window', 10_000);
    await within(client.ping(), 1000, 'an answer to a ping');
    assert.match(log(), AUTHORIZE);
    it.browser.go();
    await call;
    await it.countsAre(1, 1, 1, 0);
  });

  await scene('`login` while a bridge waits for the person joins that login', { mode: 'wait' }, async (it) => {
    const { task } = await it.bridge();
    const call = task(1);
    call.catch(() => {});
    await it.browser.find(({ kind }) => kind === 'opened', 'a window', 10_000);
    const login = it.start(['login']);
    await it.waitForSome(2, ({ kind, status }) => kind === 'metadata' && status === 200, 'the command to look around');
    it.browser.go();
    await call;
    const { code, err } = await login.ended();
    assert.equal(code, 0, err);
    await it.countsAre(1, 1, 1, 0);
  });

  await scene('--login never and --login tool', {}, async (it) => {
    const never = await it.bridge({ options: ['--login', 'never'] });
    authRequired(await failure(never.client.tool('get_task', { taskId: 1 }), 'the call'));
    await never.close();
    assert.equal(it.browser.count(), 0);
    const { client, task } = await it.bridge({ options: ['--login', 'tool'] });
    assert.deepEqual((await client.listTools()).tools.map(({ name }) => name), ['sign_in']);
    assert.equal(it.browser.count(), 0);
    const signedIn = await client.tool('sign_in');
    assert.notEqual(signedIn.isError, true, JSON.stringify(signedIn));
    await client.notifications.find(({ method }) => method === 'notifications/tools/list_changed', 'the changed list');
    assert.deepEqual((await client.listTools()).tools.map(({ name }) => name).sort(), ['create_task', 'get_task']);
    await task(2);
    await it.countsAre(1, 1, 1, 0);
  });

  await scene('forged callbacks are refused, and the right one still comes through', { mode: 'hold' }, async (it) => {
    const login = it.start(['login']);
    const { callback } = await it.browser.find(({ kind }) => kind === 'ended', 'the callback', 15_000);
    const changed = (change) => {
      const url = new URL(callback);
      change(url.searchParams, url);
      return url;
    };
    isRefused((await fetched(changed((query) => query.set('state', 'another')))).status);
    isRefused((await fetched(changed((query) => query.delete('state')))).status);
    isRefused((await fetched(changed((query) => query.append('state', 'another')))).status);
    isRefused((await fetched(changed((query) => (query.set('state', 'another'), query.set('error', 'access_denied'))))).status);
    isRefused((await fetched(changed((_, url) => (url.pathname = '/other')))).status);
    isRefused((await fetched(new URL('/favicon.ico', callback))).status);
    isRefused((await fetched(callback, { method: 'POST' })).status);
    assert.equal(login.child.exitCode, null, 'a forged callback ended the login');
    await it.countsAre(1, 1, 0, 0);
    const right = await fetched(callback);
    assert.equal(right.status, 200, right.text);
    assert.equal((await login.ended()).code, 0);
    await it.countsAre(1, 1, 1, 0);
  });

  await scene('a callback for another host is refused', { mode: 'hold' }, async (it) => {
    const login = it.start(['login']);
    const { callback } = await it.browser.find(({ kind }) => kind === 'ended', 'the callback', 15_000);
    isRefused((await fetched(callback, { headers: { host: `rebound.example:${new URL(callback).port}` } })).status);
    assert.equal((await fetched(callback)).status, 200);
    assert.equal((await login.ended()).code, 0);
  });

  await scene('a doubled callback is exchanged once', { mode: 'hold' }, async (it) => {
    const login = it.start(['login']);
    const { callback } = await it.browser.find(({ kind }) => kind === 'ended', 'the callback', 15_000);
    const pages = await Promise.allSettled([fetched(callback), fetched(callback)]);
    assert.ok(pages.some(({ value }) => value?.status === 200), JSON.stringify(pages));
    assert.equal((await login.ended()).code, 0);
    await it.countsAre(1, 1, 1, 0);
    await it.must(0, 'call', 'get_task', 'taskId=1');
  });

  for (const [what, iss] of [['a foreign', 'https://evil.example.com'], ['a longer', `${service.origin}/auth/`], ['no', '']]) {
    await scene(`a callback with ${what} iss: the code is not sent`, { iss }, async (it) => {
      const { code, err } = await it.run(['login']);
      assert.equal(code, 4, err);
      const page = await it.browser.find(({ kind }) => kind === 'page', 'the page');
      assert.ok(page.status >= 400 && !/are logged in/.test(page.text), JSON.stringify(page));
      await it.countsAre(1, 1, 0, 0);
      await it.must(4, 'whoami');
    });
  }

  await scene('a foreign iss: its error is not shown', { mode: 'hold' }, async (it) => {
    const login = it.start(['login']);
    const url = new URL((await it.browser.find(({ kind }) => kind === 'ended', 'the callback', 15_000)).callback);
    url.searchParams.delete('code');
    for (const [name, value] of Object.entries({ iss: 'https://evil.example.com', error: 'access_denied', error_description: 'call 555-EVIL now' })) url.searchParams.set(name, value);
    const page = await fetched(url);
    const { code, out, err } = await login.ended();
    assert.equal(code, 4, err);
    assert.doesNotMatch(page.text + out + err, /555-EVIL/);
  });

  await scene('the port of an earlier login is taken', {}, async (it) => {
    await it.must(0, 'login');
    await it.must(0, 'logout');
    let strangers = 0;
    const squatter = net.createServer((socket) => ((strangers += 1), socket.destroy()));
    const port = portOf(it.browser.did.items[0].url);
    await new Promise((resolve, reject) => squatter.on('error', reject).listen(port, '127.0.0.1', resolve));
    try {
      await it.must(0, 'login');
      assert.notEqual(portOf(it.browser.did.items.findLast(({ kind }) => kind === 'opened').url), port);
      assert.equal(strangers, 0, 'the program on the old port was called');
      const { windows, exchanges } = await it.counts();
      assert.deepEqual([windows, exchanges], [2, 2]);
    } finally {
      squatter.close();
    }
  });

  await scene('logout removes the login and keeps the client; --revoke and --forget-client', {}, async (it) => {
    await it.must(0, 'login');
    await it.must(0, 'logout');
    await it.must(4, 'whoami');
    assert.equal((await it.asked('revoke')).length, 0);
    await it.must(0, 'login');
    await it.countsAre(2, 1, 2, 0);
    await it.must(0, 'logout', '--revoke');
    const revoked = await it.asked('revoke', ({ hint }) => hint === 'refresh_token');
    assert.deepEqual(revoked.map(({ status }) => status), [200]);
    await it.must(4, 'whoami');
    await it.must(0, 'login');
    await it.countsAre(3, 1, 3, 0);
    await it.must(0, 'logout', '--forget-client');
    await it.must(0, 'call', 'get_task', 'taskId=1');
    await it.countsAre(4, 2, 4, 0);
  });

  await scene('a client registered beforehand, with its secret', {}, async (it) => {
    const client = await it.control({ register: { redirect_uris: ['http://127.0.0.1/callback'], application_type: 'native', token_endpoint_auth_method: 'client_secret_basic', grant_types: ['authorization_code', 'refresh_token'] } });
    it.env.PEERS_SECRET = client.client_secret;
    const own = ['--client-id', client.client_id, '--client-secret-env', 'PEERS_SECRET'];
    await it.must(0, ...own, 'login');
    await it.control({ revoke: 'access' });
    await it.must(0, ...own, 'call', 'get_task', 'taskId=1');
    await it.countsAre(1, 0, 1, 1);
    assert.deepEqual((await it.asked('token')).map(({ client: id, by }) => [id, by]), [[client.client_id, 'basic'], [client.client_id, 'basic']]);
  });
}
