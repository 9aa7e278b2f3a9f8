// The official TypeScript client 1.x -> BINARY bridge -> server-everything, over streamableHttp and over sse.
// The checks themselves are in everything_checks.mjs; here are the two services, the wire and the end of the process.
import assert from 'node:assert/strict';
import { everythingChecks } from './everything_checks.mjs';
import { check, connectThroughBridge, finish, peer, PeerClient, recordingProxy, startEverything } from './support.mjs';

const { StreamableHTTPClientTransport } = peer('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { SSEClientTransport } = peer('@modelcontextprotocol/sdk/client/sse.js');
const SERVICES = {
  streamableHttp: { path: '/mcp', Transport: StreamableHTTPClientTransport },
  sse: { path: '/sse', Transport: SSEClientTransport },
};

/** Runs the checks of `chosen` against one service; `six` as for connectThroughBridge. */
export async function runEverything({ binary, kind, suite, chosen = () => true, six = false, more = async () => {} }) {
  const { path, Transport } = SERVICES[kind];
  const label = `${suite} ${kind}:`;
  const server = await startEverything(kind);
  const proxy = await recordingProxy(server.port);
  let bridge, direct;
  await check(`${label} connects`, async () => {
    direct = new PeerClient();
    await direct.connect(new Transport(new URL(`http://127.0.0.1:${server.port}${path}`)));
    bridge = await connectThroughBridge(binary, proxy.url + path, { six });
  }, 45_000);
  if (bridge) {
    const context = { client: bridge.client, direct, requests: proxy.requests, kind, bridge };
    for (const [name, mark, body] of everythingChecks) {
      if (chosen(mark)) await check(`${label} ${name}`, () => body(context));
    }
    await more(context, label);
    await theEnd(context, label);
  }
  await direct?.close();
  proxy.stop();
  server.stop();
}

async function theEnd({ client, requests, kind, bridge }, label) {
  let ended;
  await check(`${label} closing stdin ends the process in under 1.5 s with code 0`, async () => {
    ended = await bridge.close();
    assert.deepEqual({ code: ended.code, signal: ended.signal }, { code: 0, signal: null }, `stderr: ${ended.log}`);
    assert.ok(ended.ms < 1500, `it took ${ended.ms} ms`);
  });
  await check(`${label} nothing but well-formed messages for known requests came on stdout`, async () => {
    assert.deepEqual(client.strayMessages(), []);
  });
  if (kind === 'streamableHttp') await check(`${label} one session, the negotiated version on each request, DELETE at the end`, () => theSession(requests));
}

/** LEG-1, LEG-2, LEG-3, LEG-12 and HTTP-1, seen from the service. */
async function theSession(requests) {
  const opening = requests.items.findIndex(({ message }) => message?.method === 'initialize');
  assert.equal(requests.items[opening].headers['mcp-session-id'], undefined, 'initialize carried a session id');
  assert.equal(requests.items[opening].headers['mcp-protocol-version'], undefined, 'initialize carried a version header');
  const later = requests.items.slice(opening + 1);
  assert.equal(later[0].message?.method, 'notifications/initialized', 'initialized was not the next after initialize');
  assert.equal(new Set(later.map(({ headers }) => headers['mcp-session-id'])).size, 1, 'more than one session id');
  assert.match(later[0].headers['mcp-session-id'], /^[\x21-\x7e]+$/);
  assert.deepEqual([...new Set(later.map(({ headers }) => headers['mcp-protocol-version']))], ['2025-11-25']);
  for (const { method, headers } of requests.items.filter(({ method }) => method === 'POST')) {
    assert.match(headers['content-type'], /^application\/json/, method);
    assert.match(headers.accept, /application\/json/);
    assert.match(headers.accept, /text\/event-stream/);
  }
  const last = await requests.find(({ method }) => method === 'DELETE', 'DELETE of the session', 1000);
  assert.equal(requests.items.filter(({ method }) => method === 'DELETE').length, 1);
  assert.equal(last.path, '/mcp');
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  for (const kind of Object.keys(SERVICES)) await runEverything({ binary: process.argv[2], kind, suite: 'everything' });
  finish();
}
