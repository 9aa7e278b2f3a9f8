// The machine suite's checks of client credentials, and of a client's key with every grant.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GOOD } from './oauth_machine_keys.mjs';
import { asMachine, callsFor, goesOn, grants, grantsAre, keyFile, keyText, nothingKept, ranOnce, scenes, SECRET, signed, usageErrors } from './oauth_machine_scene.mjs';
import { failure } from './support.mjs';

const robot = (client, ...more) => ['--client-credentials', '--client-id', client, ...more];
const bySecret = (client) => [robot(client, '--client-secret-env', 'PEERS_SECRET'), { PEERS_SECRET: SECRET }];
const byKey = (name, ...more) => robot('robot-key', '--client-key', keyFile(name), ...more);

export async function checkClients(binary, service) {
  const scene = scenes(binary, service);

  for (const [how, client] of [['basic', 'robot-basic'], ['post', 'robot-post']]) {
    await scene(`client credentials with client_secret_${how}`, { methods: [`client_secret_${how}`] }, async (it) => {
      const machine = asMachine(it, ...bySecret(client));
      await machine.task(1);
      const [{ by, scope, resource, client: named, granted, proof }, ...more] = await grants(it);
      assert.deepEqual([by, scope, resource, named, granted, proof], [how, 'tasks:read', service.url, client, 'tasks:read', undefined]);
      assert.equal(more.length, 0);
      await machine.must(0, 'call', 'create_task', 'title=A');
      nothingKept(it);
    });
  }

  for (const name of GOOD) {
    await scene(`private_key_jwt with ${name}, from a file and from a variable`, {}, async (it) => {
      await asMachine(it, byKey(name)).task(1);
      await asMachine(it, robot('robot-key', '--client-key-env', 'PEERS_KEY'), { PEERS_KEY: keyText(name) }).task(2);
      await asMachine(it, byKey(name, '--client-key-id', name.split('-')[0])).task(3);
      const alg = name.startsWith('ec') ? 'ES256' : 'RS256';
      assert.deepEqual((await grants(it)).map((one) => `${one.grant} ${one.status} ${one.by} ${one.alg} ${one.kid} ${one.client}`), [
        `client_credentials 200 jwt ${alg} undefined robot-key`, `client_credentials 200 jwt ${alg} undefined robot-key`, `client_credentials 200 jwt ${alg} ${name.split('-')[0]} robot-key`,
      ]);
      nothingKept(it);
    });
  }

  await scene('a key that the server does not know, and a kid that it does not', {}, async (it) => {
    await asMachine(it, byKey('stranger')).fails(4, /invalid_client/);
    await asMachine(it, byKey('stranger-rsa')).fails(4, /invalid_client/);
    await asMachine(it, byKey('ec-sec1', '--client-key-id', 'nobody')).fails(4, /invalid_client/);
    await asMachine(it, bySecret('robot-basic')[0], { PEERS_SECRET: 'a wrong secret' }).fails(4, /invalid_client/);
    await grantsAre(it, ...Array(3).fill('client_credentials 401 jwt'), 'client_credentials 401 basic');
    nothingKept(it);
  });

  const bad = [['missing', /missing\.pem/], ['empty', /PEM|key/], ['garbage', /key/], ['encrypted-pkcs8', /encrypted/i], ['encrypted-sec1', /encrypted/i], ['public', /private|public/i], ['p384', /P-256|P-384|curve/i], ['ed25519', /P-256|RSA|Ed25519|kind/i]];
  for (const [name, says] of bad) {
    await scene(`a client's key that cannot be used: ${name}`, {}, async (it) => {
      const err = await asMachine(it, byKey(name)).fails(2, /--client-key/, says);
      assert.doesNotMatch(err, /panicked/);
      if (name !== 'missing') await asMachine(it, robot('robot-key', '--client-key-env', 'PEERS_KEY'), { PEERS_KEY: keyText(name) }).fails(2, /--client-key-env|PEERS_KEY/);
      await grantsAre(it);
      nothingKept(it);
    });
  }

  await scene('options that do not go together, or that miss another', {}, async (it) => {
    const [secret, key] = [['--client-secret-env', 'PEERS_SECRET'], ['--client-key', keyFile('ec-sec1')]];
    const env = { PEERS_SECRET: SECRET, PEERS_KEY: keyText('ec-sec1') };
    const cases = [
      robot('robot-key', ...secret, ...key), robot('robot-key', ...key, '--client-key-env', 'PEERS_KEY'), robot('robot-key', ...secret, '--client-key-env', 'PEERS_KEY'),
      robot('robot-key'), ['--client-credentials', ...key], robot('robot-key', '--client-key-env', 'PEERS_UNSET'), robot('robot-key', ...secret, '--client-key-id', 'ec'), robot('robot-key', ...key, '--identity-token', 'env:PEERS_KEY'),
    ];
    await usageErrors(it, cases, env, /--client-|--identity-token/);
    await grantsAre(it);
  });

  await scene('a client that is refused from the start: the handshake says so', {}, async (it) => {
    await assert.rejects(asMachine(it, byKey('stranger')).bridge(), /MCP error -32001.*invalid_client/);
    assert.ok((await grants(it)).length <= 2);
    nothingKept(it);
  });

  await scene('a client that is refused in mid-session: an error of asistry, and the bridge goes on', {}, async (it) => {
    const { client, task } = await asMachine(it, byKey('ec-sec1')).bridge();
    await task(1);
    const headers = { 'content-type': 'application/json' };
    await it.control({ revoke: true, fail: [{ status: 401, times: 9, headers, body: '{"error":"invalid_client"}' }] });
    const error = await failure(client.tool('get_task', { taskId: 2 }), 'the call');
    assert.equal(error.data?.source, 'asistry', String(error));
    assert.match(error.message, /invalid_client/);
    await client.ping();
    assert.equal((await grants(it)).length, 2);
    await it.control({ fail: [] });
    await goesOn(() => task(3));
    await ranOnce(it, 1, 3);
    nothingKept(it);
  });

  for (const [how, options, env] of [['secret', ...bySecret('robot-post')], ['key', byKey('rsa-pkcs8'), {}]]) {
    await scene(`a bridge that outlives its tokens, with a ${how}: renewed for itself, and no call fails`, { lifetime: 5 }, async (it) => {
      const { task, close } = await asMachine(it, options, env).bridge();
      const calls = await callsFor(11_000, task);
      await close();
      await ranOnce(it, ...Array.from({ length: calls }, (_, at) => at + 1));
      const asked = await grants(it);
      assert.ok(asked.length >= 3 && asked.length <= 5, `${asked.length} token requests`);
      assert.ok(asked.every(({ grant, status }) => grant === 'client_credentials' && status === 200));
      assert.deepEqual(await signed(it, ({ status }) => status === 401), []);
      nothingKept(it);
    });
  }

  await scene('8 parallel calls on a 401, with a key: one new token, 8 results', {}, async (it) => {
    const { task } = await asMachine(it, byKey('ec-pkcs8')).bridge();
    await task(0);
    await it.control({ revoke: true });
    await Promise.all(Array.from({ length: 8 }, (_, at) => task(at + 1)));
    await grantsAre(it, ...Array(2).fill('client_credentials 200 jwt'));
    await ranOnce(it, 0, 1, 2, 3, 4, 5, 6, 7, 8);
  });

  await scene('a token that is always refused: no loop', { always401: true }, async (it) => {
    await asMachine(it, byKey('ec-pkcs8')).fails(4);
    assert.ok((await grants(it)).length <= 2, `${(await grants(it)).length} token requests`);
    nothingKept(it);
  });

  await scene('the authorization server fails once: the call goes on or says so, and no secret is told', { fail: [{ status: 503, times: 1, body: 'busy' }] }, async (it) => {
    const machine = asMachine(it, byKey('ec-pkcs8'));
    const { code, err } = await machine.run('call', 'get_task', 'taskId=1');
    assert.ok([0, 4, 5, 6, 7].includes(code), `${code}: ${err}`);
    await machine.task(2);
  });

  for (const [how, options, env] of [['file', ['--client-key', keyFile('ec-sec1')], {}], ['variable', ['--client-key-env', 'PEERS_KEY'], { PEERS_KEY: keyText('rsa-pkcs1') }]]) {
    await scene(`a person's login with a client's key from a ${how}: exchange, refresh and revocation are by the key`, {}, async (it) => {
      const person = asMachine(it, ['--client-id', 'person-key', ...options], env);
      await person.must(0, 'login');
      await person.task(1);
      await it.control({ revoke: true });
      await person.task(2);
      await grantsAre(it, 'authorization_code 200 jwt', 'refresh_token 200 jwt');
      assert.equal(it.browser.count(), 1);
      assert.equal((await it.asked('register')).length, 0);
      await person.must(0, 'logout', '--revoke');
      const revoked = await it.asked('revoke');
      assert.equal(revoked[0]?.status, 200, JSON.stringify(revoked));
      assert.ok(revoked.every(({ status, error }) => status === 200 || error === 'unsupported_token_type'), JSON.stringify(revoked)); // no server can revoke a JWT
      const variables = readFileSync(join(it.env.HOME, 'browser-environment'), 'utf8');
      assert.doesNotMatch(variables, /PEERS_KEY|ASISTRY_KEY_PASSPHRASE/);
      assert.ok(existsSync(join(it.env.HOME, 'log')));
    });
  }

  await scene('a profile names the key', {}, async (it) => {
    const set = await it.run(['profiles', 'add', 'robot', '--url', service.url, ...['client_credentials=true', 'client_id=robot-key', `client_key=${keyFile('ec-pkcs8')}`, 'client_key_id=ec'].flatMap((value) => ['--set', value])], { at: [] });
    assert.equal(set.code, 0, set.err);
    const { code, out, err } = await it.run(['call', 'get_task', 'taskId=1'], { at: ['-p', 'robot'] });
    assert.deepEqual([code, out.trim()], [0, 'task 1'], err);
    await grantsAre(it, 'client_credentials 200 jwt');
  });
}
