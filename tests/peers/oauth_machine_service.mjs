// A protected MCP service (`/api/mcp`), its authorization server, an identity provider and a stand-in for GitHub's issuer, on
// three free ports of 127.0.0.1. `/control` at the service sets faults, `/control/journal` streams the requests to all of
// them without secrets, `/control/secrets` lists every secret seen, `/control/places` tells where the others are.
// Usage: oauth_machine_service.mjs KEYS, which is a folder of oauth_machine_keys.mjs
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { buffer } from 'node:stream/consumers';
import { newIssuer, startAuthority, startIdentityProvider } from './oauth_machine_authority.mjs';
import { publicKeys } from './oauth_machine_keys.mjs';
import { checkProof, Nonces, told } from './oauth_machine_proofs.mjs';
import { now, peer } from './support.mjs';

const { McpServer } = peer('@modelcontextprotocol/sdk/server/mcp.js');
const { StreamableHTTPServerTransport } = peer('@modelcontextprotocol/sdk/server/streamableHttp.js');
const { importJWK, jwtVerify } = peer('jose');
const { z } = peer('zod');

const [MCP, RESOURCE_METADATA] = ['/api/mcp', '/.well-known/oauth-protected-resource/api/mcp'];
const NEEDS = { create_task: ['tasks:write'] };
const tokens = []; // access tokens, in the order of their issue
const FRESH = {
  dpop: false, // take only tokens that are bound to a key
  challenge: 'DPoP', // the scheme of the challenge then
  both: false, // the challenge names both schemes
  required: false, // tell it in the resource's metadata as well
  asNonce: false, // the authorization server asks for a nonce
  asEach: false, // and tells a new one with each token
  rsNonce: false, // the service asks for a nonce
  rsEach: false, // and tells a new one with each answer, refusals included
  rsNever: false, // and is content with none
  sessions: false, // the service has sessions, streams and DELETE
  always401: false, // refuse every access token
  deny: false, // the user denies the consent
  refuse: false, // the authorization server refuses every assertion
  idpRefuse: false, // the identity provider gives no ID-JAG
  jagClient: 'robot-basic', // for which client the ID-JAGs are
  methods: undefined, // the only kinds of client authentication that the authorization server tells of
  lifetime: 3600, // seconds that an access token lives
  github: { audience: undefined, sign: {}, status: 200, body: undefined }, // what GitHub's issuer signs, or answers instead
  fail: [], // { where: 'as' | 'idp', at: 'token' | 'metadata' | …, status, times, headers, body }
  scopes: ['tasks:read'],
};

// ---- journal and secrets ----

const streams = new Set();
const entries = [];
function journal(entry) {
  entries.push({ ...entry, at: now() });
  for (const stream of streams) stream.write(`${JSON.stringify(entries.at(-1))}\n`);
}

const secrets = new Set();
function remember(values) {
  for (const value of values) if (typeof value === 'string' && value !== '') secrets.add(value);
}

const state = { ...structuredClone(FRESH), tokens };
const refused = new Set();

// ---- the stand-in for GitHub ----

const GITHUB_TOKEN = `runner-${randomUUID()}-${randomUUID()}`;
remember([GITHUB_TOKEN]);
const SUBJECT = 'repo:peers/robot:ref:refs/heads/main';

async function github(request, response) {
  const url = new URL(request.url, places.outside);
  const audience = url.searchParams.get('audience');
  const right = /^bearer (.*)$/i.exec(request.headers.authorization ?? '')?.[1] === GITHUB_TOKEN && url.searchParams.get('api-version') === '2.0';
  const { status, body, audience: other, sign } = state.github;
  const answer = right ? status : 401;
  journal({ kind: 'github', audience, right, status: answer });
  if (answer !== 200 || body !== undefined) return response.writeHead(answer, { 'content-type': 'application/json' }).end(body ?? '{"message":"no"}');
  const value = await places.issuers.github.sign({ aud: other ?? audience ?? 'https://github.example/peers', sub: SUBJECT, ...sign });
  remember([value]);
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ count: 1, value }));
}

// ---- the MCP service ----

const said = (text) => ({ content: [{ type: 'text', text }] });
function build() {
  const server = new McpServer({ name: 'machine-peer', version: '1.0.0' });
  server.registerTool('get_task', { description: 'Needs tasks:read', inputSchema: { taskId: z.number() }, annotations: { readOnlyHint: true } }, ({ taskId }) => {
    journal({ kind: 'ran', taskId });
    return said(`task ${taskId}`);
  });
  server.registerTool('create_task', { description: 'Needs tasks:write', inputSchema: { title: z.string() } }, ({ title }) => {
    journal({ kind: 'ran', title });
    return said(`created ${title}`);
  });
  server.registerTool('announce', { description: 'Tells on the standalone stream that the tools changed' }, () => (server.sendToolListChanged(), said('announced')));
  return server;
}

const sessions = new Map();
async function transportFor(request) {
  const id = request.headers['mcp-session-id'];
  if (id) return sessions.get(id);
  const transport = new StreamableHTTPServerTransport(state.sessions ? { sessionIdGenerator: randomUUID, onsessioninitialized: (id) => sessions.set(id, transport) } : {});
  await build().connect(transport);
  return transport;
}

/** The challenge for a request, as status, scheme and parameters; undefined if its token is sufficient. */
async function challengeFor(request, tool) {
  const header = request.headers.authorization;
  const scheme = state.dpop ? state.challenge : 'Bearer';
  const invalid = (why) => ({ status: 401, scheme, error: 'invalid_token', why });
  if (header === undefined) return { status: 401, scheme };
  const [, given, token] = /^(Bearer|DPoP) (\S+)$/i.exec(header) ?? [];
  if (token === undefined || state.always401 || refused.has(token)) return invalid('refused as the scene wants it');
  let claims;
  try {
    ({ payload: claims } = await jwtVerify(token, await importJWK(places.authority.key, 'ES256'), { issuer: places.as, audience: places.mcp, typ: 'at+jwt' }));
  } catch (error) {
    return invalid(error.code);
  }
  const bound = claims.cnf?.jkt;
  if ((given.toLowerCase() === 'dpop') !== (bound !== undefined)) return { ...invalid(`a token ${bound ? 'with' : 'without'} a key came as ${given}`), problem: true };
  if (state.dpop && bound === undefined) return invalid('a token without a key');
  if (bound !== undefined) {
    try {
      const url = places.origin + request.url.split('?')[0];
      const found = await checkProof({ proof: request.headers.dpop, method: request.method, url, token, jkt: bound, nonces: state.rsNonce ? places.nonces : undefined });
      if (state.rsNever) places.nonces.rotate();
      if (found === 'nonce' || state.rsNever) return { status: 401, scheme: 'DPoP', error: 'use_dpop_nonce' };
    } catch (error) {
      return { status: 401, scheme: 'DPoP', error: 'invalid_dpop_proof', why: error.message, problem: true };
    }
  }
  const needed = NEEDS[tool] ?? ['tasks:read'];
  const has = (claims.scope ?? '').split(' ');
  if (!needed.every((scope) => has.includes(scope))) return { status: 403, scheme, error: 'insufficient_scope', scope: needed.join(' ') };
  return undefined;
}

const challengeOf = (scheme, words) => `${scheme} ${Object.entries(words).filter(([, value]) => value).map(([name, value]) => `${name}="${value}"`).join(', ')}`;

async function mcp(request, response, body) {
  const message = body.length > 0 ? JSON.parse(body) : undefined;
  const tool = message?.method === 'tools/call' ? message.params.name : undefined;
  const [, given, token] = /^(\S+) (\S+)$/.exec(request.headers.authorization ?? '') ?? [];
  const entry = { kind: 'mcp', method: message?.method ?? request.method, tool, task: message?.params?.arguments?.taskId, scheme: given, agent: request.headers['user-agent'], token: token && tokens.indexOf(token) };
  if (request.headers.dpop !== undefined) {
    remember([request.headers.dpop]);
    Object.assign(entry, { proof: true, ...(await told(request.headers.dpop, places.nonces)) });
  }
  const challenge = await challengeFor(request, tool);
  if (state.rsEach && entry.proof) places.nonces.next();
  const nonced = challenge ? state.rsEach || challenge.error === 'use_dpop_nonce' : state.rsNonce;
  if (nonced) response.setHeader('dpop-nonce', places.nonces.nextChallenge());
  if (challenge) {
    const { status, scheme, error, scope, why, problem } = challenge;
    journal({ ...entry, status, error, why, ...(problem && { problem: why }) });
    const words = { error, scope, ...(scheme === 'DPoP' && { algs: 'ES256' }), resource_metadata: places.origin + RESOURCE_METADATA };
    const header = state.both ? [challengeOf('Bearer', words), challengeOf('DPoP', { ...words, algs: 'ES256' })].join(', ') : challengeOf(scheme, words);
    return response.writeHead(status, { 'www-authenticate': header, 'content-type': 'application/json' }).end('{"error":"unauthorized"}');
  }
  if (request.method !== 'POST' && !state.sessions) {
    journal({ ...entry, status: 405 });
    return response.writeHead(405, { allow: 'POST' }).end();
  }
  const transport = await transportFor(request);
  const stateless = !state.sessions;
  response.on('close', () => (stateless ? transport?.close() : undefined));
  if (request.method === 'GET') journal({ ...entry, status: transport ? 200 : 404 });
  else response.on('finish', () => journal({ ...entry, status: response.statusCode }));
  if (!transport) return response.writeHead(404).end();
  await transport.handleRequest(request, response, message);
}

// ---- control ----

const SET = {
  revoke: () => tokens.forEach((token) => refused.add(token)),
  mark: (mark) => journal({ kind: 'mark', mark }),
  hold: () => {},
  rotate: (which) => (which === 'as' ? places.authority.nonces : places.nonces).rotate(),
  reset: () => {
    Object.assign(state, structuredClone(FRESH));
    cookies.clear();
  },
};

async function control(request, response, body) {
  const answer = (value) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value ?? {}));
  if (request.url === '/control/secrets') return answer([...secrets]);
  if (request.url === '/control/places') return answer({ as: places.as, idp: places.outside, github: `${places.outside}/github/token?api-version=2.0`, githubToken: GITHUB_TOKEN });
  if (request.url === '/control/journal') {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders();
    streams.add(response.on('close', () => streams.delete(response)));
    return;
  }
  const { mint, newest, ...wishes } = JSON.parse(body);
  for (const [name, value] of Object.entries(wishes)) {
    if (SET[name]) SET[name](value);
    else if (name in FRESH) state[name] = value;
    else return response.writeHead(400).end(`no such control: ${name}`);
  }
  if (newest) return answer({ token: tokens.at(-1) });
  if (!mint) return answer();
  const { by, ...claims } = mint;
  const token = await places.issuers[by].sign({ sub: SUBJECT, ...claims });
  remember([token]);
  return answer({ token });
}

// ---- the browser's cookies, which oauth_browser.mjs does not keep for pages that redirect ----

const cookies = new Map();
function keepCookies(request, response) {
  if (request.headers['user-agent'] !== 'peers-browser') return;
  request.headers.cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  const { setHeader } = response;
  response.setHeader = function (name, value) {
    if (name.toLowerCase() === 'set-cookie') {
      for (const line of [value].flat()) {
        const [, key, content] = /^([^=]+)=([^;]*)/.exec(line);
        if (content === '') cookies.delete(key);
        else cookies.set(key, content);
      }
    }
    return setHeader.call(this, name, value);
  };
}

// ---- the three servers ----

const broken = (response, path, error) => {
  console.error(error);
  journal({ kind: 'broken', path, why: String(error) });
  if (!response.headersSent) response.writeHead(500);
  response.end();
};
async function listen(handler) {
  const server = http.createServer(async (request, response) => {
    const path = request.url.split('?')[0];
    try {
      await handler(request, response, path);
    } catch (error) {
      broken(response, path, error);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: server.address().port, origin: `http://127.0.0.1:${server.address().port}` };
}

const places = { nonces: new Nonces(), issuers: {} };
const service = await listen(async (request, response, path) => {
  const body = await buffer(request);
  if (path.startsWith('/control')) await control(request, response, body);
  else if (path === MCP) await mcp(request, response, body);
  else if (path === RESOURCE_METADATA) {
    journal({ kind: 'metadata', path, status: 200 });
    const metadata = { resource: places.mcp, authorization_servers: [places.as], scopes_supported: state.scopes, ...(state.required && { dpop_bound_access_tokens_required: true, dpop_signing_alg_values_supported: ['ES256'] }) };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(metadata));
  } else {
    journal({ kind: 'other', path, status: 404 });
    response.writeHead(404).end();
  }
});
const authority = await listen(async (request, response, path) => {
  keepCookies(request, response);
  if (path === '/auth/sign-in/email') {
    await buffer(request);
    const { referer: _, ...headers } = request.headers;
    Object.assign(request, { headers });
    const url = await places.authority.signIn(request, response);
    return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ url }));
  }
  return places.authority.handle(request, response);
});
const outside = await listen((request, response, path) => (path.startsWith('/github') ? github(request, response) : places.identity.handle(request, response)));

Object.assign(places, { origin: service.origin, mcp: service.origin + MCP, as: authority.origin, outside: outside.origin });
const scene = { state, journal, remember };
places.issuers.github = await newIssuer(`${outside.origin}/github`);
places.issuers.stranger = await newIssuer(`${outside.origin}/stranger`);
places.identity = await startIdentityProvider({ issuer: places.outside, audience: places.as, resource: places.mcp, ...scene });
places.issuers.idp = places.identity.own;
places.authority = await startAuthority({ issuer: places.as, resource: places.mcp, keys: publicKeys(process.argv[2]), outside: [places.issuers.github, places.issuers.idp], ...scene });
console.error(`listening on port ${service.port}`);
