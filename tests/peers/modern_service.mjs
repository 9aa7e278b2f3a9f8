// A service on the official TypeScript server package 2.x, on a free port of 127.0.0.1, with the tools of python_server.py
// as far as the suites need them. Modern only unless it is started as dual era.
import { serve } from './serve.mjs';
import { peer } from './support.mjs';

const { acceptedContent, fromJsonSchema, inputRequired, inputResponse, McpServer, ResourceTemplate } = peer('@modelcontextprotocol/server');

const object = (properties) => ({ type: 'object', properties, required: Object.keys(properties) });
const takes = (properties) => ({ inputSchema: fromJsonSchema(object(properties)) });
const gives = (schema) => ({ outputSchema: fromJsonSchema(schema) });
const NUMBER = { type: 'number' };
const TEXT = { type: 'string' };
const said = (text) => ({ content: [{ type: 'text', text: String(text) }] });
const PERSON = object({ name: TEXT });
const MESSAGE = { role: 'user', content: { type: 'text', text: 'aloud' } };

/** What lasts longer than one request. */
class State {
  board = 'as at the start';
  grown = new Set();
  cancelled = new Map();

  ended(key) {
    if (!this.cancelled.has(key)) this.cancelled.set(key, Promise.withResolvers?.() ?? deferred());
    return this.cancelled.get(key);
  }
}

function deferred() {
  const parts = {};
  parts.promise = new Promise((resolve) => (parts.resolve = resolve));
  return parts;
}

const progress = (ctx, step, total, message) => {
  const progressToken = ctx.mcpReq._meta?.progressToken;
  return progressToken === undefined ? undefined : ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress: step, total, message } });
};

/** The tools: name, schemas, what they do. */
const tools = (state, notify) => [
  ['add', { ...takes({ a: NUMBER, b: NUMBER }), annotations: { readOnlyHint: true } }, async ({ a, b }) => said(a + b)],
  ['both', { ...takes({ a: NUMBER, b: NUMBER }), ...gives(object({ sum: NUMBER, product: NUMBER })) },
    async ({ a, b }) => ({ ...said('both'), structuredContent: { sum: a + b, product: a * b } })],
  ['primes', { ...takes({ below: NUMBER }), ...gives({ type: 'array', items: { $ref: '#/$defs/prime' }, $defs: { prime: { type: 'integer', minimum: 2 } } }) },
    async ({ below }) => ({ content: [], structuredContent: [2, 3, 5, 7, 11, 13].filter((prime) => prime < below) })],
  // Its schema names a property as a keyword is named, and has pointers to its own parts.
  ['options', gives({ type: 'array', items: { type: 'object', properties: { default: { $ref: '#/$defs/value' } } }, $defs: { value: { type: 'integer' } } }),
    async () => ({ content: [], structuredContent: [{ default: 1 }] })],
  ['half', { ...takes({ of: NUMBER }), ...gives(NUMBER) }, async ({ of }) => ({ ...said(of / 2), structuredContent: of / 2 })],
  ['shop', takes({ region: { type: 'string', 'x-mcp-header': 'Region' }, note: TEXT }), async ({ region, note }) => said(`${note} from ${region}`)],
  ['fail', takes({ why: TEXT }), async ({ why }) => { throw new Error(why); }],
  ['count', takes({ steps: NUMBER }), async ({ steps }, ctx) => {
    for (let step = 1; step <= steps; step += 1) await progress(ctx, step, steps, `step ${step}`);
    return said(`counted to ${steps}`);
  }],
  ['log', takes({ text: TEXT }), async ({ text }, ctx) => {
    await ctx.mcpReq.log('debug', `${text} in detail`, 'peer');
    await ctx.mcpReq.log('warning', text, 'peer');
    return said('logged');
  }],
  ['hang', takes({ key: TEXT }), async ({ key }, ctx) => {
    await progress(ctx, 1, undefined, 'hanging');
    await new Promise((resolve) => ctx.mcpReq.signal.addEventListener('abort', resolve));
    state.ended(key).resolve(true);
    return said('was cancelled');
  }],
  ['was_cancelled', takes({ key: TEXT }), async ({ key }) => {
    const late = new Promise((resolve) => setTimeout(resolve, 5000, false).unref());
    return said(await Promise.race([state.ended(key).promise, late]));
  }],
  ['introduce', takes({ about: TEXT }), async ({ about }, ctx) => {
    const person = acceptedContent(ctx.mcpReq.inputResponses, 'person');
    if (person) return said(`${person.name} asks about ${about}`);
    const answer = inputResponse(ctx.mcpReq.inputResponses, 'person');
    if (answer.kind === 'elicit') return said(`nobody asks: ${answer.action}`);
    return inputRequired({ inputRequests: { person: inputRequired.elicit({ message: `Who asks about ${about}?`, requestedSchema: PERSON }) } });
  }],
  ['think', takes({ prompt: TEXT }), async (_, ctx) => {
    const answer = inputResponse(ctx.mcpReq.inputResponses, 'thought');
    if (answer.kind === 'sampling') return said(`${answer.result.model} thinks: ${answer.result.content.text}`);
    return inputRequired({ inputRequests: { thought: inputRequired.createMessage({ messages: [MESSAGE], maxTokens: 23 }) } });
  }],
  ['where', {}, async (ctx) => {
    const answer = inputResponse(ctx.mcpReq.inputResponses, 'roots');
    if (answer.kind === 'roots') return said(answer.roots.map((root) => root.uri).join(' '));
    return inputRequired({ inputRequests: { roots: inputRequired.listRoots() } });
  }],
  ['visit', {}, async (ctx) => {
    const answer = inputResponse(ctx.mcpReq.inputResponses, 'page');
    if (answer.kind === 'elicit') return said(`visited: ${answer.action}`);
    return inputRequired({ inputRequests: { page: inputRequired.elicitUrl({ message: 'Look here', url: 'https://peer.example/page' }) } });
  }],
  // Two rounds, the second of two questions at once; only the state knows the answer of the first.
  ['interview', {}, async (ctx) => {
    const { inputResponses } = ctx.mcpReq;
    const name = acceptedContent(inputResponses, 'name')?.name;
    if (name) {
      const inputRequests = { roots: inputRequired.listRoots(), thought: inputRequired.createMessage({ messages: [MESSAGE], maxTokens: 23 }) };
      return inputRequired({ inputRequests, requestState: `name=${name}` });
    }
    const roots = inputResponse(inputResponses, 'roots');
    const thought = inputResponse(inputResponses, 'thought');
    if (roots.kind === 'roots' && thought.kind === 'sampling') {
      return said(`${ctx.mcpReq.requestState()} ${roots.roots.length} ${thought.result.content.text} ${Object.keys(inputResponses).sort()}`);
    }
    return inputRequired({ inputRequests: { name: inputRequired.elicit({ message: 'Your name?', requestedSchema: PERSON }) } });
  }],
  ['grow', takes({ name: TEXT }), async ({ name }) => {
    state.grown.add(name);
    notify().toolsChanged();
    return said(name);
  }],
  ['write', takes({ text: TEXT }), async ({ text }) => {
    state.board = text;
    notify().resourceUpdated('peer://board');
    return said(text);
  }],
  ...[...state.grown].map((name) => [name, {}, async () => said(`I am ${name}`)]),
];

function build(state, notify) {
  const capabilities = { logging: {}, tools: { listChanged: true }, resources: { subscribe: true, listChanged: true }, prompts: { listChanged: true } };
  const server = new McpServer({ name: 'typescript-peer', version: '2.4.0' }, { capabilities, instructions: 'A peer for asistry.' });
  for (const [name, about, run] of tools(state, notify)) server.registerTool(name, { description: `The tool ${name}`, ...about }, run);
  server.registerPrompt('greet', { argsSchema: fromJsonSchema(object({ name: TEXT })) }, async ({ name }) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `Greet ${name} in a kind way.` } }],
  }));
  server.registerResource('board', 'peer://board', { mimeType: 'text/plain' }, async (uri) => ({ contents: [{ uri: uri.href, text: state.board }] }));
  server.registerResource('square', new ResourceTemplate('peer://square/{number}', { list: undefined }), {}, async (uri, { number }) => ({
    contents: [{ uri: uri.href, text: String(Number(number) ** 2) }],
  }));
  return server;
}

/** Starts the service; `legacy` is what it does with the handshake: `reject`, `stateless` or `sessions`. */
export function startModernService(legacy) {
  const state = new State();
  return serve((notify) => build(state, notify), legacy);
}
