// The client that the conformance suite starts in its auth scenarios: an official TypeScript client over stdio, in front of
// `BINARY bridge --url URL`, and a browser that consents at once. Fails where the bridge opens another number of windows
// than it must, or leaves a credential on stderr, in its log, in its trace or in any other file.
// Usage: conformance_auth_client.mjs BINARY 1.x|2.x URL
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { HELD } from './conformance_suite.mjs';
import { connectThroughBridge, failure, here, ModernClient, PeerClient } from './support.mjs';

const [binary, host, url] = process.argv.slice(2);
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
delete process.env.MCP_CONFORMANCE_CONTEXT;
const home = process.env.HOME;
/** The fixed client metadata document of the suite. */
const METADATA = 'https://conformance-test.local/client-metadata.json';
/** Secrets of the context, which reach the bridge as variables. */
const VARIABLES = {
  PEERS_CLIENT_SECRET: context.client_secret,
  PEERS_CLIENT_KEY: context.private_key_pem,
  PEERS_IDENTITY_TOKEN: context.valid_jwt ?? context.idp_id_token,
};
/** How every token, code and client secret of the suite begins, and what else is secret. */
const CREDENTIALS = [
  'test-token', 'cc-token', 'test-auth-code', 'test-client-secret', 'test-secret', 'as1-client-secret', 'as2-client-secret',
  ...Object.values(VARIABLES), ...(context.private_key_pem ?? '').split('\n').filter((line) => line.length >= 40 && !line.includes('-')),
];

/** What the bridge is started with, what is done, and how many windows that opens at least and at most. */
const SCENARIOS = {
  'auth/basic-cimd': { options: ['--client-metadata-url', METADATA] },
  'auth/pre-registration': { options: registered() },
  'auth/scope-step-up': { windows: [2, 2] },
  'auth/scope-retry-limit': { use: refused, windows: [1, 3] },
  'auth/authorization-server-migration': { windows: [2, 2] },
  'auth/resource-mismatch': { use: refused, windows: [0, 0] },
  'auth/iss-supported-missing': { use: refused },
  'auth/iss-wrong-issuer': { use: refused },
  'auth/iss-unexpected': { use: refused },
  'auth/iss-normalized': { use: refused },
  'auth/metadata-issuer-mismatch': { use: refused, windows: [0, 0] },
  'auth/client-credentials-basic': { options: ['--client-credentials', ...registered()], windows: [0, 0] },
  'auth/client-credentials-jwt': { options: ['--client-credentials', '--client-id', context.client_id, '--client-key-env', 'PEERS_CLIENT_KEY'], windows: [0, 0] },
  'auth/wif-jwt-bearer': { options: ['--identity-token', 'env:PEERS_IDENTITY_TOKEN', '--client-id', context.client_id], windows: [0, 0] },
  'auth/enterprise-managed-authorization': { options: ['--identity-token', 'env:PEERS_IDENTITY_TOKEN', '--idp-issuer', context.idp_issuer, '--idp-client-id', context.idp_client_id, ...registered()], windows: [0, 0] },
};

/** What each client has to keep its login in; nothing is the memory of the bridge. */
const STORES = { '1.x': {}, '2.x': { ASISTRY_KEY_STORE: 'file', ASISTRY_KEY_PASSPHRASE: 'correct horse' } };

function registered() {
  return ['--client-id', context.client_id, '--client-secret-env', 'PEERS_CLIENT_SECRET'];
}

async function listAndCall(client) {
  const { tools } = await client.listTools();
  assert.deepEqual(tools.map(({ name }) => name), ['test-tool']);
  const { content } = await client.tool('test-tool');
  assert.deepEqual(content, [{ type: 'text', text: 'test' }]);
}

/** The list, and the call after it, fail with an error of asistry, long before a login gives up. */
async function refused(client) {
  for (const request of [() => client.listTools(), () => client.tool('test-tool')]) {
    const error = await failure(request(), 'a refused request');
    assert.equal(error.data?.source, 'asistry', `not an error of asistry: ${error.stack}`);
  }
}

/** Every file below a folder. */
const files = (folder) => readdirSync(folder, { recursive: true }).map((name) => join(folder, name)).filter((path) => statSync(path).isFile());

const { options = [], use = listAndCall, windows: [least, most] = [1, 1] } = SCENARIOS[scenario] ?? {};
const [log, trace, windows] = ['log', 'trace', 'windows'].map((name) => join(home, name));
const secrets = { ...STORES[host], ...Object.fromEntries(Object.entries(VARIABLES).filter(([, value]) => value)) };
Object.assign(process.env, secrets, { BROWSER: join(here, 'conformance_browser.mjs'), PEERS_WINDOWS: windows });

const client = host === '1.x' ? new PeerClient() : new ModernClient('auto');
const bridge = await connectThroughBridge(binary, url, { client, options: [...options, '-vv', '--log-file', log, '--trace', trace] });
try {
  await use(bridge.client);
  const { code } = await bridge.close();
  assert.equal(code, 0, `the bridge ended with ${code}`);

  const lines = existsSync(windows) ? readFileSync(windows, 'utf8').trim().split('\n').map((line) => JSON.parse(line)) : [];
  const opened = lines.filter((line) => line.url);
  assert.ok(opened.length >= least && opened.length <= most, `${opened.length} windows, not ${least} to ${most}: ${JSON.stringify(lines.map((line) => ({ ...line, variables: undefined })))}`);
  for (const { others, variables } of opened) {
    assert.deepEqual(others, [], 'a browser takes one argument');
    for (const name of ['ASISTRY_KEY_PASSPHRASE', ...Object.keys(VARIABLES)]) assert.ok(!variables.includes(name), `the browser sees ${name}`);
  }

  const written = [['stderr', bridge.log()], ...files(home).map((path) => [path, readFileSync(path, 'latin1')])];
  for (const path of [log, trace]) assert.ok(statSync(path).size > 0, `${path} is empty`);
  for (const [where, text] of written) {
    for (const credential of CREDENTIALS.filter(Boolean)) assert.ok(!text.includes(credential), `${credential} stands in ${where}`);
  }
} catch (error) {
  console.error(`${bridge.log()}\n${existsSync(log) ? readFileSync(log, 'utf8') : ''}`);
  throw error;
}
console.log(HELD);
process.exit(0);
