// Serves an McpServer of the official TypeScript server package 2.x on a free port of 127.0.0.1: without a handshake, and
// with one where that is asked for. Knows no tools.
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { json } from 'node:stream/consumers';
import { peer } from './support.mjs';

const { classifyInboundRequest, createMcpHandler } = peer('@modelcontextprotocol/server');
const { NodeStreamableHTTPServerTransport, toNodeHandler } = peer('@modelcontextprotocol/node');

/** Reads the body of a POST and says what the SDK takes the request for. */
export async function classified(request) {
  const { method, headers } = request;
  const body = method === 'POST' ? await json(request) : undefined;
  const names = { protocolVersionHeader: headers['mcp-protocol-version'], mcpMethodHeader: headers['mcp-method'], mcpNameHeader: headers['mcp-name'] };
  return { body, route: classifyInboundRequest({ httpMethod: method, ...names, body }) };
}

/** Serves clients with a handshake: `connect` gets the transport of each new session. */
export function sessions(connect, options = {}) {
  const open = new Map();
  return async (request, response, body) => {
    const id = request.headers['mcp-session-id'];
    if (id && !open.has(id)) return response.writeHead(404).end();
    if (id) return open.get(id).handleRequest(request, response, body);
    const transport = new NodeStreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, onsessioninitialized: (id) => open.set(id, transport), ...options });
    await connect(transport);
    const { onclose } = transport;
    transport.onclose = () => (open.delete(transport.sessionId), onclose?.());
    return transport.handleRequest(request, response, body);
  };
}

/** Listens, and refuses what a page of another site may send (DNS rebinding). */
export async function listen(handle) {
  const server = http.createServer((request, response) => {
    const local = [request.headers.host, request.headers.origin].every((name) => name === undefined || /^(https?:\/\/)?(localhost|127\.0\.0\.1)(:\d+)?$/.test(name));
    if (!local) return response.writeHead(403).end();
    return handle(request, response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { port: server.address().port, stop: () => (server.close(), server.closeAllConnections()) };
}

/**
 * Starts a service. `build` makes an McpServer; what it is given announces changes to the clients that listen. `legacy` is
 * what is done with a handshake: `reject`, `stateless` or `sessions`, these with `options` for their transport.
 */
export async function serve(build, legacy, options) {
  const handler = createMcpHandler(() => build(() => handler.notify), { legacy: legacy === 'sessions' ? 'reject' : legacy });
  const modern = toNodeHandler(handler);
  const inSession = sessions((transport) => {
    const subscribed = new Set();
    const told = {
      toolsChanged: () => server.sendToolListChanged(),
      promptsChanged: () => server.sendPromptListChanged(),
      resourceUpdated: (uri) => subscribed.has(uri) && server.server.sendResourceUpdated({ uri }),
    };
    const server = build(() => told, transport);
    server.server.setRequestHandler('resources/subscribe', ({ params }) => (subscribed.add(params.uri), {}));
    server.server.setRequestHandler('resources/unsubscribe', ({ params }) => (subscribed.delete(params.uri), {}));
    return server.connect(transport);
  }, options);
  const { port, stop } = await listen(async (request, response) => {
    if (legacy !== 'sessions') return modern(request, response);
    const { body, route } = await classified(request);
    return (route.kind === 'legacy' ? inSession : modern)(request, response, body);
  });
  return { port, stop: async () => (await handler.close(), stop()) };
}
