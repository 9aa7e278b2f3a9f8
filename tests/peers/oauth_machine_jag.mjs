// The machine suite's checks of ID-JAG: an ID token of one's identity provider becomes an access token of the service.
import assert from 'node:assert/strict';
import { asMachine, grants, grantsAre, IDP_SECRET, keyFile, nothingKept, ranOnce, scenes, SECRET, usageErrors } from './oauth_machine_scene.mjs';

export async function checkJag(binary, service) {
  const scene = scenes(binary, service);
  const token = (claims) => service.mint({ by: 'idp', aud: 'idp-robot', sub: 'ada', ...claims });
  const idp = (client = 'idp-robot', issuer = service.idp) => ['--identity-token', 'env:PEERS_TOKEN', '--idp-issuer', issuer, '--idp-client-id', client, ...(client === 'idp-robot' ? ['--idp-client-secret-env', 'PEERS_IDP_SECRET'] : [])];
  const own = ['--client-id', 'robot-basic', '--client-secret-env', 'PEERS_SECRET'];
  const env = async (claims, more) => ({ PEERS_TOKEN: await token(claims), PEERS_SECRET: SECRET, PEERS_IDP_SECRET: IDP_SECRET, ...more });

  await scene('ID-JAG: exchanged at the identity provider, then given to the authorization server', {}, async (it) => {
    await asMachine(it, [...idp(), ...own], await env()).task(1);
    const [exchange, ...more] = await grants(it, 'idp');
    assert.deepEqual([exchange.grant, exchange.status, exchange.client, exchange.audience, exchange.resource, exchange.subject, exchange.scope], ['token-exchange', 200, 'idp-robot', service.as, service.url, 'ada', 'tasks:read']);
    assert.ok(['basic', 'post'].includes(exchange.by), exchange.by);
    assert.equal(more.length, 0);
    const [{ grant, status, by, subject, resource }, ...others] = await grants(it);
    assert.deepEqual([grant, status, by, subject, resource], ['jwt-bearer', 200, 'basic', 'ada', service.url]);
    assert.equal(others.length, 0);
    nothingKept(it);
  });

  await scene('ID-JAG with the client\'s key, and without a secret at the identity provider', { jagClient: 'robot-key' }, async (it) => {
    await asMachine(it, [...idp('idp-public'), '--client-id', 'robot-key', '--client-key', keyFile('ec-pkcs8')], await env({ aud: 'idp-public' })).task(1);
    await grantsAre(it, 'jwt-bearer 200 jwt');
    assert.deepEqual((await grants(it, 'idp')).map(({ by, status, client }) => [by, status, client]), [['none', 200, 'idp-public']]);
  });

  await scene('ID-JAG in a bridge: a refused access token is replaced by both exchanges', {}, async (it) => {
    const { task } = await asMachine(it, [...idp(), ...own], await env()).bridge();
    await task(0);
    await it.control({ revoke: true });
    await Promise.all(Array.from({ length: 8 }, (_, at) => task(at + 1)));
    await grantsAre(it, 'jwt-bearer 200 basic', 'jwt-bearer 200 basic');
    assert.equal((await grants(it, 'idp')).length, 2);
    await ranOnce(it, 0, 1, 2, 3, 4, 5, 6, 7, 8);
    nothingKept(it);
  });

  const refusals = [
    ['the identity provider forbids it', { idpRefuse: true }, {}, {}, 1, 0],
    ['the identity provider does not know the secret', {}, {}, { PEERS_IDP_SECRET: 'a wrong secret' }, 1, 0],
    ['the ID token is for another client', {}, { aud: 'someone-else' }, {}, 0, 0],
    ['the authorization server refuses', { refuse: true }, {}, {}, 1, 1],
    ['the ID-JAG is for another client', { jagClient: 'robot-post' }, {}, {}, 1, 1],
    ['the authorization server does not know the secret', {}, {}, { PEERS_SECRET: 'a wrong secret' }, 1, 1],
  ];
  for (const [what, settings, claims, variables, atIdp, atServer] of refusals) {
    await scene(`ID-JAG: ${what}`, settings, async (it) => {
      const err = await asMachine(it, [...idp(), ...own], await env(claims, variables)).fails(4, /invalid_grant|invalid_client|not for/);
      if (atServer === 0) assert.match(err, new RegExp(`identity provider|${service.idp}`));
      assert.deepEqual([(await grants(it, 'idp')).length, (await grants(it)).length], [atIdp, atServer], err);
      nothingKept(it);
    });
  }

  await scene('ID-JAG: an ID token for another origin is sent to nobody', {}, async (it) => {
    const { code } = await asMachine(it, [...idp(), ...own], await env({ aud: 'https://elsewhere.example' })).run('call', 'get_task', 'taskId=1');
    assert.notEqual(code, 0);
    assert.deepEqual([(await grants(it, 'idp')).length, (await grants(it)).length], [0, 0]);
  });

  await scene('ID-JAG: metadata of another issuer is not used', {}, async (it) => {
    const { code, err } = await asMachine(it, [...idp('idp-robot', service.idp.replace('127.0.0.1', 'localhost')), ...own], await env()).run('call', 'get_task', 'taskId=1');
    assert.notEqual(code, 0);
    assert.match(err, /issuer|another one/);
    assert.deepEqual([(await grants(it, 'idp')).length, (await grants(it)).length], [0, 0]);
  });

  await scene('ID-JAG: an identity provider without metadata', { fail: [{ where: 'idp', at: 'metadata', status: 404, times: 99 }] }, async (it) => {
    const { code, err } = await asMachine(it, [...idp(), ...own], await env()).run('call', 'get_task', 'taskId=1');
    assert.notEqual(code, 0);
    assert.match(err, new RegExp(service.idp));
    assert.deepEqual([(await grants(it, 'idp')).length, (await grants(it)).length], [0, 0]);
  });

  await scene('ID-JAG: options that miss another are usage errors', {}, async (it) => {
    const variables = await env();
    const whole = [...idp(), ...own];
    const without = (...names) => names.reduce((options, name) => options.toSpliced(options.indexOf(name), 2), whole);
    const cases = [without('--identity-token'), without('--idp-issuer'), without('--idp-client-id'), [...without('--idp-issuer', '--idp-client-id', '--idp-client-secret-env', '--identity-token'), '--idp-issuer', service.idp]];
    await usageErrors(it, cases, variables, /--idp-|--identity-token/);
    assert.deepEqual([(await grants(it, 'idp')).length, (await grants(it)).length], [0, 0]);
  });
}
