// The machine suite's checks of workload tokens: from a variable, from a file, from GitHub's issuer.
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asMachine, goesOn, grants, grantsAre, keyFile, nothingKept, ranOnce, scenes, SECRET, usageErrors } from './oauth_machine_scene.mjs';
import { failure } from './support.mjs';

const from = (source, ...more) => ['--identity-token', source, ...more];
const WORKLOAD = ['--client-id', 'workload'];

export async function checkWorkload(binary, service) {
  const scene = scenes(binary, service);
  const mint = (claims) => service.mint({ by: 'github', aud: service.as, ...claims });
  const runner = (more) => ({ ACTIONS_ID_TOKEN_REQUEST_URL: service.github, ACTIONS_ID_TOKEN_REQUEST_TOKEN: service.githubToken, ...more });

  await scene('a workload token from a variable, with and without a client', {}, async (it) => {
    const env = { PEERS_TOKEN: await mint({ sub: 'one' }) };
    await asMachine(it, from('env:PEERS_TOKEN', ...WORKLOAD), env).task(1);
    await asMachine(it, from('env:PEERS_TOKEN'), env).task(2);
    assert.deepEqual((await grants(it)).map((one) => [one.grant, one.status, one.by, one.client, one.scope, one.resource, one.subject, one.proof]), [
      ['jwt-bearer', 200, 'none', 'workload', 'tasks:read', service.url, 'one', undefined],
      ['jwt-bearer', 200, 'none', undefined, 'tasks:read', service.url, 'one', undefined],
    ]);
    assert.equal((await it.asked('register')).length, 0);
    nothingKept(it);
  });

  await scene('a workload token together with the client\'s secret or key', {}, async (it) => {
    const env = { PEERS_TOKEN: await mint(), PEERS_SECRET: SECRET };
    await asMachine(it, from('env:PEERS_TOKEN', '--client-id', 'robot-basic', '--client-secret-env', 'PEERS_SECRET'), env).task(1);
    await asMachine(it, from('env:PEERS_TOKEN', '--client-id', 'robot-key', '--client-key', keyFile('rsa-pkcs1')), env).task(2);
    await grantsAre(it, 'jwt-bearer 200 basic', 'jwt-bearer 200 jwt');
    nothingKept(it);
  });

  await scene('a workload token from a file, which is read again for each exchange', {}, async (it) => {
    const file = join(it.home, 'token');
    writeFileSync(file, `${await mint({ sub: 'one' })}\n`);
    const { client, task } = await asMachine(it, from(`file:${file}`, ...WORKLOAD)).bridge();
    await task(1);
    writeFileSync(file, await mint({ sub: 'two' }));
    await task(2);
    await it.control({ revoke: true });
    await Promise.all([task(3), task(4), task(5)]);
    assert.deepEqual((await grants(it)).map(({ status, subject }) => `${status} ${subject}`), ['200 one', '200 two']);
    rmSync(file);
    await it.control({ revoke: true });
    const error = await failure(client.tool('get_task', { taskId: 6 }), 'the call without the file');
    assert.equal(error.data?.source, 'asistry', String(error));
    assert.match(`${error.message} ${JSON.stringify(error.data)}`, /token/);
    writeFileSync(file, await mint({ sub: 'three' }));
    await goesOn(() => task(7));
    assert.deepEqual((await grants(it)).map(({ status, subject }) => `${status} ${subject}`), ['200 one', '200 two', '200 three']);
    await ranOnce(it, 1, 2, 3, 4, 5, 7);
    nothingKept(it);
  });

  await scene('workload tokens that live shorter than the bridge', { lifetime: 5 }, async (it) => {
    const { task } = await asMachine(it, from('github', ...WORKLOAD), runner()).bridge();
    await task(1);
    await new Promise((done) => setTimeout(done, 5500));
    await task(2);
    await grantsAre(it, 'jwt-bearer 200 none', 'jwt-bearer 200 none');
    assert.equal((await it.asked('github')).length, 2);
  });

  await scene('GitHub: the audience is the issuer, or what was named', {}, async (it) => {
    await asMachine(it, from('github', ...WORKLOAD), runner()).task(1);
    await asMachine(it, from(`github:${service.as}`, ...WORKLOAD), runner()).task(2);
    assert.deepEqual((await it.asked('github')).map(({ audience, right, status }) => [audience, right, status]), Array(2).fill([service.as, true, 200]));
    await grantsAre(it, 'jwt-bearer 200 none', 'jwt-bearer 200 none');
    nothingKept(it);
  });

  await scene('GitHub: an audience that is no URL is sent once, and refused', {}, async (it) => {
    await asMachine(it, from('github:peers&co=1', ...WORKLOAD), runner()).fails(4, /invalid_grant/);
    assert.deepEqual((await it.asked('github')).map(({ audience }) => audience), ['peers&co=1']);
    await grantsAre(it, 'jwt-bearer 400 none');
  });

  const elsewhere = 'https://elsewhere.example/token';
  await scene('a token for another origin is never sent', {}, async (it) => {
    for (const aud of [elsewhere, [elsewhere, 'https://third.example'], service.idp, service.as.replace('127.0.0.1', 'localhost')]) {
      const { code, err } = await asMachine(it, from('env:PEERS_TOKEN', ...WORKLOAD), { PEERS_TOKEN: await mint({ aud }) }).run('call', 'get_task', 'taskId=1');
      assert.notEqual(code, 0, `${aud}`);
      assert.match(err, /audience|aud\b/, err);
    }
    await grantsAre(it);
    // An audience that the user names is his word for it.
    await asMachine(it, from(`github:${elsewhere}`, ...WORKLOAD), runner()).fails(4, /invalid_grant/);
    await grantsAre(it, 'jwt-bearer 400 none');
    const several = { PEERS_TOKEN: await mint({ aud: [elsewhere, service.as] }) };
    await asMachine(it, from('env:PEERS_TOKEN', ...WORKLOAD), several).task(2);
    nothingKept(it);
  });

  for (const [what, claims, settings] of [['expired', { lifetime: -300 }, {}], ['of an unknown issuer', { by: 'stranger' }, {}], ['that the server refuses', {}, { refuse: true }]]) {
    await scene(`a token ${what}: one token request at most, no other grant, a clear error`, settings, async (it) => {
      const env = { PEERS_TOKEN: await mint(claims) };
      await asMachine(it, from('env:PEERS_TOKEN', ...WORKLOAD), env).fails(4, what === 'expired' ? /expired|invalid_grant/ : /invalid_grant/);
      const asked = await grants(it);
      assert.ok(asked.length <= 1 && asked.every(({ grant, status }) => grant === 'jwt-bearer' && status === 400), JSON.stringify(asked));
      if (what !== 'expired') assert.equal(asked.length, 1);
      assert.equal((await it.asked('register')).length, 0);
      nothingKept(it);
    });
  }

  await scene('a token that is refused from the start: the handshake says so, after one token request', { refuse: true }, async (it) => {
    await assert.rejects(asMachine(it, from('github', ...WORKLOAD), runner()).bridge(), /MCP error -32001.*invalid_grant/);
    await grantsAre(it, 'jwt-bearer 400 none');
    nothingKept(it);
  });

  await scene('a token that is refused in mid-session: an error of asistry after one token request, and the bridge goes on', {}, async (it) => {
    const { client, task } = await asMachine(it, from('github', ...WORKLOAD), runner()).bridge();
    await task(1);
    await it.control({ refuse: true, revoke: true });
    const error = await failure(client.tool('get_task', { taskId: 2 }), 'the call');
    assert.equal(error.data?.source, 'asistry', String(error));
    assert.match(error.message, /invalid_grant/);
    await grantsAre(it, 'jwt-bearer 200 none', 'jwt-bearer 400 none');
    await client.ping();
    await it.control({ refuse: false });
    await goesOn(() => task(3));
    await ranOnce(it, 1, 3);
    nothingKept(it);
  });

  await scene('GitHub without the permission: the error names it', {}, async (it) => {
    for (const missing of ['ACTIONS_ID_TOKEN_REQUEST_URL', 'ACTIONS_ID_TOKEN_REQUEST_TOKEN']) {
      const env = runner();
      delete env[missing];
      await asMachine(it, from('github', ...WORKLOAD), env).fails(2, /permissions: \{ id-token: write/);
    }
    await asMachine(it, from('github', ...WORKLOAD)).fails(2, /id-token: write/);
    await grantsAre(it);
    assert.equal((await it.asked('github')).length, 0);
  });

  const faults = [['refuses', { status: 403 }], ['fails', { status: 500, body: 'oops' }], ['answers without a token', { body: '{"count":0}' }], ['answers no JSON', { body: '<html>' }], ['gives no JWT', { body: '{"value":"nonsense"}' }]];
  for (const [what, fault] of faults) {
    await scene(`GitHub ${what}: no token request, a clear error`, { github: { status: 200, sign: {}, ...fault } }, async (it) => {
      const { code, err } = await asMachine(it, from('github', ...WORKLOAD), runner()).run('call', 'get_task', 'taskId=1');
      assert.ok([4, 6, 7].includes(code), `${code}: ${err}`);
      assert.match(err, /GitHub|identity|ACTIONS_/i);
      await grantsAre(it);
      assert.ok((await it.asked('github')).length <= 3);
    });
  }

  await scene('a wrong runner token is refused by GitHub', {}, async (it) => {
    const { code, err } = await asMachine(it, from('github', ...WORKLOAD), runner({ ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'wrong' })).run('call', 'get_task', 'taskId=1');
    assert.ok([4, 7].includes(code), `${code}: ${err}`);
    await grantsAre(it);
  });

  await scene('sources that give nothing: usage errors that name them', {}, async (it) => {
    const cases = [['env:PEERS_UNSET', /PEERS_UNSET/], ['env:PEERS_EMPTY', /PEERS_EMPTY/], [`file:${join(it.home, 'nowhere')}`, /nowhere/], ['env:', /--identity-token/], ['file:', /--identity-token/], ['github:', /--identity-token/], ['nonsense', /--identity-token/]];
    for (const [source, says] of cases) await usageErrors(it, [from(source, ...WORKLOAD)], { PEERS_EMPTY: '' }, says);
    await grantsAre(it);
    nothingKept(it);
  });

  await scene('what is no token is not sent', {}, async (it) => {
    const file = join(it.home, 'other');
    for (const content of ['\n', 'a password of someone else\n', 'one.two\n', 'one.two.three', `${await mint()} ${await mint()}`]) {
      writeFileSync(file, content);
      const err = await asMachine(it, from(`file:${file}`, ...WORKLOAD)).fails(4, /other/);
      assert.doesNotMatch(err, /password of|two/);
    }
    await asMachine(it, from('env:PEERS_TOKEN', ...WORKLOAD), { PEERS_TOKEN: 'a password of someone else' }).fails(4, /PEERS_TOKEN/);
    await grantsAre(it);
    nothingKept(it);
  });

  await scene('a token pasted in the place of its source is not told', {}, async (it) => {
    const { code } = await asMachine(it, from(await mint(), ...WORKLOAD)).run('call', 'get_task', 'taskId=1');
    assert.equal(code, 2);
    await grantsAre(it);
  });

  await scene('login says that a workload needs none', {}, async (it) => {
    const { code, err } = await asMachine(it, from('github', ...WORKLOAD), runner()).run('login');
    assert.equal(code, 2, err);
    assert.equal(it.browser.count(), 0);
  });
}
