// A protected MCP service and its authorization server on one origin, on a free port of 127.0.0.1: `/api/mcp` (stateless,
// or with sessions if the argument is `sessions`), `/auth` and the well-known documents. `/control` injects faults;
// `/control/journal` streams the requests, without secrets; `/control/secrets` lists every secret seen.
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { buffer } from 'node:stream/consumers';
import { PATH, startAuthority } from './oauth_authority.mjs';
import { now, peer } from './support.mjs';

const { McpServer } = peer('@modelcontextprotocol/sdk/server/mcp.js');
const { StreamableHTTPServerTransport } = peer('@modelcontextprotocol/sdk/server/streamableHttp.js');
const { z } = peer('zod');

const SESSIONS = process.argv[2] === 'sessions';
const [MCP, RESOURCE_METADATA] = ['/api/mcp', '/.well-known/oauth-protected-resource/api/mcp'];
const NEEDS = { create_task: ['tasks:write'] };
const FRESH = {
  always401: false, // refuse every access token
  always403: false, // refuse create_task whatever the scope
  iss: undefined, // replaces `iss` in the callback; empty removes it
  fail: [], // { at: 'token' | 'register' | 'metadata', status: a number or 'reset', times, headers, body }
  lose: 0, // number of refreshes whose response is dropped
  hold: false, // hold token requests until this is false again
  scopes: ['tasks:read'], // scopes_supported of the resource
};

// ---- the clock: skewed for the whole process ----

let offset = 0; // ms
const RealDate = Date;
globalThis.Date = new Proxy(RealDate, {
  construct: (target, args) => (args.length === 0 ? new target(target.now() + offset) : new target(...args)),
  apply: (target) => new target(target.now() + offset).toString(),
  get: (target, name) => (name === 'now' ? () => target.now() + offset : Reflect.get(target, name)),
});

// ---- journal and secrets ----

const streams = new Set();
const entries = [];
function journal(entry) {
  entries.push({ ...entry, at: now() });
  for (const stream of streams) stream.write(`${JSON.stringify(entries.at(-1))}\n`);
}

const secrets = new Set();
const tokens = []; // access tokens, in the order of their issue
const refused = new Set();
function remember(values) {
  for (const value of values) if (typeof value === 'string' && value !== '') secrets.add(value);
}

// ---- the authorization server ----

let state = structuredClone(FRESH);
let authority;
let release;
const origin = () => `http://127.0.0.1:${server.address().port}`;

const parsed = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** Rewrites a redirect to the client, from a Location header or from the JSON for a page's script. */
function rewritten(address) {
  const url = new URL(address, origin());
  if (url.origin === origin()) return address;
  remember([url.searchParams.get('code')]);
  if (state.iss === '') url.searchParams.delete('iss');
  else if (state.iss !== undefined) url.searchParams.set('iss', state.iss);
  return url.href;
}

async function authorization(request, response, body) {
  const url = new URL(request.url, origin());
  const named = { authorize: '/oauth2/authorize', token: '/oauth2/token', register: '/oauth2/register', revoke: '/oauth2/revoke' };
  const kind = Object.keys(named).find((name) => url.pathname === PATH + named[name]) ?? (url.pathname.includes('.well-known') ? 'metadata' : 'other');
  const given = kind === 'register' ? parsed(body) : Object.fromEntries(kind === 'authorize' ? url.searchParams : new URLSearchParams(String(body)));
  const basic = /^Basic (.*)$/i.exec(request.headers.authorization ?? '')?.[1];
  const [basicId, basicSecret] = basic ? Buffer.from(basic, 'base64').toString().split(':').map(decodeURIComponent) : [];
  if (kind === 'token' || kind === 'revoke') remember([given.code, given.code_verifier, given.refresh_token, given.token, given.client_secret, basic, basicSecret]);
  const entry = { kind, path: url.pathname, agent: request.headers['user-agent'] };
  if (kind === 'authorize') Object.assign(entry, { client: given.client_id, scope: given.scope, resource: given.resource, redirect: given.redirect_uri, challenge: given.code_challenge_method, prompt: given.prompt });
  if (kind === 'token') Object.assign(entry, { grant: given.grant_type, client: given.client_id ?? basicId, scope: given.scope, resource: given.resource, by: basic ? 'basic' : given.client_secret ? 'post' : 'none' });
  if (kind === 'revoke') Object.assign(entry, { client: given.client_id ?? basicId, hint: given.token_type_hint });
  if (kind === 'register') Object.assign(entry, { metadata: given });

  const fault = state.fail.find(({ at = 'token', times }) => at === kind && times > 0);
  if (fault) {
    fault.times -= 1;
    journal({ ...entry, status: fault.status, fault: true });
    if (fault.status === 'reset') return request.socket.resetAndDestroy();
    return response.writeHead(fault.status, fault.headers).end(fault.body ?? 'injected fault');
  }
  if (kind === 'token' && state.hold) {
    journal({ kind: 'held', grant: given.grant_type });
    await release.promise;
  }

  const headers = new Headers(Object.entries(request.headers).filter(([name]) => !['connection', 'content-length'].includes(name)));
  const answer = await authority.handle(new Request(url, { method: request.method, headers, body: body.length > 0 ? body : undefined }));
  let text = await answer.text();
  const value = parsed(text);
  if (kind === 'token' && value?.access_token) {
    remember([value.access_token, value.refresh_token, value.id_token]);
    tokens.push(value.access_token);
    entry.granted = value.scope;
    entry.token = tokens.length - 1;
  }
  if (kind === 'register' && value?.client_id) {
    entry.client = value.client_id;
    remember([value.client_secret, value.registration_access_token]);
  }
  if (kind === 'token' && given.grant_type === 'refresh_token' && state.lose > 0) {
    state.lose -= 1;
    journal({ ...entry, status: 'lost' });
    return request.socket.resetAndDestroy();
  }
  if (value?.redirect === true && value.url) text = JSON.stringify({ ...value, url: rewritten(value.url) });
  const location = answer.headers.get('location');
  if (location) entry.to = new URL(location, origin()).pathname;
  journal({ ...entry, status: answer.status, error: value?.error });
  const reply = Object.fromEntries([...answer.headers].filter(([name]) => !['set-cookie', 'content-length'].includes(name)));
  if (location) reply.location = rewritten(location);
  response.writeHead(answer.status, { ...reply, 'set-cookie': answer.headers.getSetCookie() }).end(text);
}

// ---- the MCP service ----

const said = (text) => ({ content: [{ type: 'text', text }] });
function build() {
  const server = new McpServer({ name: 'oauth-peer', version: '1.0.0' });
  server.registerTool('get_task', { description: 'Needs tasks:read', inputSchema: { taskId: z.number() }, annotations: { readOnlyHint: true } }, ({ taskId }) => said(`task ${taskId}`));
  server.registerTool('create_task', { description: 'Needs tasks:write', inputSchema: { title: z.string() } }, ({ title }) => said(`created ${title}`));
  return server;
}

const sessions = new Map();
async function transportFor(request) {
  const id = request.headers['mcp-session-id'];
  if (id) return sessions.get(id);
  const transport = new StreamableHTTPServerTransport(SESSIONS ? { sessionIdGenerator: randomUUID, onsessioninitialized: (id) => sessions.set(id, transport) } : {});
  await build().connect(transport);
  return transport;
}

/** The challenge for this request; undefined if its token is sufficient. */
async function challengeFor(token, tool) {
  const needed = NEEDS[tool] ?? ['tasks:read'];
  try {
    if (token !== undefined && (state.always401 || refused.has(token))) return await authority.verify('');
    const claims = await authority.verify(token, state.always403 && tool === 'create_task' ? ['tasks:never'] : needed);
    if (!claims.client_id) throw new Error('a token without client_id');
  } catch (error) {
    if (![401, 403].includes(error.statusCode)) throw error;
    const header = new Headers(error.headers).get('www-authenticate');
    return { status: error.statusCode, header: error.statusCode === 403 ? header.replace('tasks:never', 'tasks:write') : header };
  }
}

async function mcp(request, response, body) {
  const message = parsed(body);
  const token = /^Bearer (.*)$/i.exec(request.headers.authorization ?? '')?.[1];
  const tool = message?.method === 'tools/call' ? message.params.name : undefined;
  const challenge = await challengeFor(token, tool);
  const entry = { kind: 'mcp', method: message?.method ?? request.method, tool, token: token && tokens.indexOf(token), era: request.headers['mcp-protocol-version'] };
  if (challenge) {
    journal({ ...entry, status: challenge.status });
    return response.writeHead(challenge.status, { 'www-authenticate': challenge.header, 'content-type': 'application/json' }).end('{"error":"unauthorized"}');
  }
  if (request.method !== 'POST' && !SESSIONS) {
    journal({ ...entry, status: 405 });
    return response.writeHead(405, { allow: 'POST' }).end();
  }
  const transport = await transportFor(request);
  response.on('close', () => (SESSIONS ? undefined : transport.close()));
  if (request.method !== 'GET') response.on('finish', () => journal({ ...entry, status: response.statusCode }));
  if (!transport) return response.writeHead(404).end();
  await transport.handleRequest(request, response, message);
}

// ---- control ----

const SET = {
  lifetime: (seconds) => authority.setLifetime(seconds),
  clock: (seconds) => (offset = seconds * 1000),
  revoke: (what) => {
    for (const token of tokens) refused.add(token);
    if (what === 'grant') authority.revokeGrants();
  },
  empty: async () => {
    const old = authority;
    authority = await startAuthority(origin(), origin() + MCP);
    old.stop();
    // A restarted service has new signing keys; better-auth's verifier still caches the old ones.
    for (const token of tokens) refused.add(token);
  },
  mark: (mark) => journal({ kind: 'mark', mark }),
  reset: async () => {
    SET.hold(false);
    state = structuredClone(FRESH);
    SET.clock(0);
    SET.lifetime(null);
  },
  hold: (held) => {
    if (!held) release?.resolve();
    if (held && !state.hold) {
      release = {};
      release.promise = new Promise((resolve) => (release.resolve = resolve));
    }
    state.hold = held;
  },
};

async function control(request, response, body) {
  const answer = (value) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value ?? {}));
  if (request.url === '/control/secrets') return answer([...secrets]);
  if (request.url === '/control/journal') {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders();
    streams.add(response.on('close', () => streams.delete(response)));
    return;
  }
  const { register, ...wishes } = JSON.parse(body);
  for (const [name, value] of Object.entries(wishes)) {
    if (SET[name]) await SET[name](value);
    else if (name in state) state[name] = value;
    else return response.writeHead(400).end(`no such control: ${name}`);
  }
  const client = register && (await authority.register(register));
  remember([client?.client_secret]);
  return answer(client);
}

const server = http.createServer(async (request, response) => {
  try {
    const body = await buffer(request);
    response.setHeader('date', new Date().toUTCString());
    const path = request.url.split('?')[0];
    if (path.startsWith('/control')) await control(request, response, body);
    else if (path === MCP) await mcp(request, response, body);
    else if (path === RESOURCE_METADATA) {
      journal({ kind: 'metadata', path, status: 200 });
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(await authority.resourceMetadata(state.scopes)));
    } else if (path.startsWith(PATH) || path === `/.well-known/oauth-authorization-server${PATH}`) await authorization(request, response, body);
    else {
      journal({ kind: 'other', path, status: 404 });
      response.writeHead(404).end();
    }
  } catch (error) {
    console.error(error);
    journal({ kind: 'broken', path: request.url.split('?')[0], why: String(error) });
    if (!response.headersSent) response.writeHead(500);
    response.end();
  }
});
server.listen(0, '127.0.0.1', async () => {
  authority = await startAuthority(origin(), origin() + MCP);
  console.error(`listening on port ${server.address().port}`);
});
