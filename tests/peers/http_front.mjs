// Streamable HTTP in front of `BINARY bridge --url URL`, for a suite that speaks HTTP only: each message goes to a bridge's
// stdin as it came, each of its lines back. What belongs to HTTP alone (sessions, headers, statuses) is done here, by the
// official TypeScript server package where it can be; ids and progress tokens are made unique, as clients share a bridge.
import { randomUUID } from 'node:crypto';
import { classified, listen, sessions } from './serve.mjs';
import { peer } from './support.mjs';

const { StdioClientTransport } = peer('@modelcontextprotocol/client/stdio');
const PREFIX = 'io.modelcontextprotocol/';
const STATUSES = { [-32601]: 404, [-32020]: 400, [-32021]: 400, [-32022]: 400 };

async function startBridge(binary, url) {
  const bridge = new StdioClientTransport({ command: binary, args: ['bridge', '--url', url], env: process.env, stderr: 'inherit' });
  await bridge.start();
  return bridge;
}

/** A client with a handshake has a bridge of its own: what is said on its streams comes from there. */
const legacy = (binary, url) => sessions(async (transport) => {
  const bridge = await startBridge(binary, url);
  const open = new Set();
  bridge.onmessage = (message) => {
    // What belongs to no request by its id travels with the newest one, as a server would send it.
    const relatedRequestId = message.method ? [...open].at(-1) : undefined;
    if (!message.method) open.delete(message.id);
    transport.send(message, { relatedRequestId }).catch(() => {});
  };
  transport.onmessage = (message) => {
    if (message.method && message.id !== undefined) open.add(message.id);
    bridge.send(message);
  };
  transport.onclose = () => bridge.close();
  await transport.start();
});

/** Clients without a handshake share one bridge. */
async function modern(binary, url) {
  const bridge = await startBridge(binary, url);
  const open = new Map();
  bridge.onmessage = (message) => (message.method ? told(message) : answered(message));

  function told({ method, params = {}, ...rest }) {
    const { _meta: meta, progressToken } = params;
    for (const [id, asked] of open) {
      const key = meta?.[`${PREFIX}subscriptionId`] ?? progressToken;
      if (key !== undefined && key !== id) continue;
      if (asked.listens !== Boolean(meta?.[`${PREFIX}subscriptionId`])) continue;
      const own = { ...(progressToken && { progressToken: asked.token }), ...(meta && { _meta: renamed(meta, asked) }) };
      asked.event({ ...rest, method, params: { ...params, ...own } });
    }
  }
  const renamed = (meta, { message }) => (meta[`${PREFIX}subscriptionId`] === undefined ? meta : { ...meta, [`${PREFIX}subscriptionId`]: message.id });

  function answered(message) {
    const asked = open.get(message.id);
    if (!asked) return;
    open.delete(message.id);
    const result = message.result?._meta ? { ...message.result, _meta: renamed(message.result._meta, asked) } : message.result;
    asked.end({ ...message, id: asked.message.id, ...(message.result && { result }) });
  }

  return (request, response, message) => {
    if (message.id === undefined) return bridge.send(message).then(() => response.writeHead(202).end());
    const id = randomUUID();
    const token = message.params?._meta?.progressToken;
    const event = (message) => {
      if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
    };
    const end = (message) => {
      if (response.headersSent) return event(message), response.end();
      response.writeHead(STATUSES[message.error?.code] ?? 200, { 'content-type': 'application/json' }).end(JSON.stringify(message));
    };
    open.set(id, { message, token, event, end, listens: message.method === 'subscriptions/listen' });
    response.on('close', () => open.delete(id) && bridge.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id } }));
    const meta = token === undefined ? message.params._meta : { ...message.params._meta, progressToken: id };
    bridge.send({ ...message, id, params: { ...message.params, _meta: meta } });
  };
}

/** Starts it in front of a bridge to `url`. */
export async function startFront(binary, url) {
  const [inSession, stateless] = [legacy(binary, url), await modern(binary, url)];
  return listen(async (request, response) => {
    const { body, route } = await classified(request);
    if (route.kind === 'legacy') return inSession(request, response, body);
    if (route.kind !== 'reject') return stateless(request, response, body);
    const error = { code: route.code, message: route.message, data: route.data };
    response.writeHead(route.httpStatus, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', id: body?.id ?? null, error }));
  });
}
