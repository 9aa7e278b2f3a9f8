// The service that the conformance suite's server scenarios ask for, on the official TypeScript server package 2.x: the
// tools, resources and prompts that they name, written after the reference server of the TypeScript SDK.
import { randomUUID } from 'node:crypto';
import { serve } from './serve.mjs';
import { peer } from './support.mjs';

const { acceptedContent, CLIENT_CAPABILITIES_META_KEY, createRequestStateCodec, fromJsonSchema, inputRequired, McpServer, ResourceTemplate } = peer('@modelcontextprotocol/server');

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
const WAV = 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=';
const states = createRequestStateCodec({ key: crypto.getRandomValues(new Uint8Array(32)) });

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const object = (properties, required = Object.keys(properties)) => ({ type: 'object', properties, required });
const takes = (schema) => ({ inputSchema: fromJsonSchema(schema) });
const NOTHING = takes({ type: 'object', properties: {} });
const TEXT = { type: 'string' };
const texts = (...all) => ({ content: all.map((text) => ({ type: 'text', text })) });
const image = { type: 'image', data: PNG, mimeType: 'image/png' };
const embedded = (uri, mimeType, text) => ({ type: 'resource', resource: { uri, mimeType, text } });
const asks = (message, properties) => inputRequired.elicit({ message, requestedSchema: object(properties) });
const samples = (text, maxTokens) => inputRequired.createMessage({ messages: [{ role: 'user', content: { type: 'text', text } }], maxTokens });
const state = (about) => states.mint({ ...about, nonce: randomUUID() });

/** Sends a request of the service in the middle of a call; an error of the client is told as text. */
const relayed = (ctx, method, params, tell) => ctx.mcpReq.send({ method, params }).then((result) => texts(tell(result)), (error) => texts(`not supported: ${error.message}`));
const elicited = (ctx, message, properties) =>
  relayed(ctx, 'elicitation/create', { message, requestedSchema: object(properties, []) }, ({ action, content = {} }) => `Elicitation completed: action=${action}, content=${JSON.stringify(content)}`);
const log = (ctx, data) => ctx.mcpReq.notify({ method: 'notifications/message', params: { level: 'info', data } });

const SCHEMA_2020_12 = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  $defs: { address: { $anchor: 'addressDef', type: 'object', properties: { street: TEXT, city: TEXT } } },
  properties: { name: TEXT, address: { $ref: '#/$defs/address' }, contactMethod: { type: 'string', enum: ['phone', 'email'] }, phone: TEXT, email: TEXT },
  allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
  if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
  then: { required: ['phone'] },
  else: { required: ['email'] },
  additionalProperties: false,
};
const DEFAULTS = {
  name: { type: 'string', default: 'John Doe' },
  age: { type: 'integer', default: 30 },
  score: { type: 'number', default: 95.5 },
  status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
  verified: { type: 'boolean', default: true },
};
const titled = (...names) => names.map((name) => ({ const: name, title: `The ${name}` }));
const ENUMS = {
  untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
  titledSingle: { type: 'string', oneOf: titled('value1', 'value2', 'value3') },
  legacyEnum: { type: 'string', enum: ['opt1', 'opt2', 'opt3'], enumNames: ['Option One', 'Option Two', 'Option Three'] },
  untitledMulti: { type: 'array', minItems: 1, maxItems: 3, items: { type: 'string', enum: ['option1', 'option2', 'option3'] } },
  titledMulti: { type: 'array', minItems: 1, maxItems: 3, items: { anyOf: titled('value1', 'value2', 'value3') } },
};

/** Tools for both eras: name, schema, what they do. `transport` is that of the session, if there is one. */
const TOOLS = (notify, transport) => [
  ['test_simple_text', NOTHING, () => texts('This is a simple text response for testing.')],
  ['test_image_content', NOTHING, () => ({ content: [image] })],
  ['test_audio_content', NOTHING, () => ({ content: [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }] })],
  ['test_embedded_resource', NOTHING, () => ({ content: [embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')] })],
  ['test_multiple_content_types', NOTHING, () => ({
    content: [{ type: 'text', text: 'Multiple content types test:' }, image, embedded('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}')],
  })],
  ['test_error_handling', NOTHING, () => { throw new Error('This tool intentionally returns an error for testing'); }],
  ['test_tool_with_logging', NOTHING, async (_, ctx) => {
    for (const step of ['started', 'goes on', 'completed']) await log(ctx, `Tool execution ${step}`).then(() => pause(50));
    return texts('Tool with logging executed successfully');
  }],
  ['test_tool_with_progress', NOTHING, async (_, ctx) => {
    const progressToken = ctx.mcpReq._meta?.progressToken;
    for (const progress of progressToken === undefined ? [] : [0, 50, 100]) {
      await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 100, message: `Completed step ${progress} of 100` } });
      await pause(50);
    }
    return texts(String(progressToken ?? 'no-progress-token'));
  }],
  ['test_reconnection', NOTHING, async (_, ctx) => {
    transport?.closeSSEStream(ctx.mcpReq.id);
    await pause(100);
    return texts('Reconnection test completed successfully.');
  }],
  ['json_schema_2020_12_tool', takes(SCHEMA_2020_12), (args) => texts(`called with: ${JSON.stringify(args)}`)],
  ['test_x_mcp_header', takes(object({ region: { type: 'string', 'x-mcp-header': 'Region' }, level: { type: 'integer' } }, [])), ({ region }) => texts(`region=${region}`)],
  ['test_trigger_tool_change', NOTHING, () => (notify().toolsChanged(), texts('published'))],
  ['test_trigger_prompt_change', NOTHING, () => (notify().promptsChanged(), texts('published'))],
  ['test_streaming_elicitation', NOTHING, () => texts('no requests of the service')],
  ['test_logging_tool', NOTHING, (_, ctx) => ctx.mcpReq.log('info', 'only where it was asked for').then(() => texts('logged'))],
  // Requests of the service, which only the older era knows.
  ['test_sampling', takes(object({ prompt: TEXT })), ({ prompt }, ctx) =>
    relayed(ctx, 'sampling/createMessage', { messages: [{ role: 'user', content: { type: 'text', text: prompt } }], maxTokens: 100 }, ({ content }) => `LLM response: ${content.text}`)],
  ['test_elicitation', takes(object({ message: TEXT })), ({ message }, ctx) =>
    relayed(ctx, 'elicitation/create', { message, requestedSchema: object({ response: TEXT }) }, ({ action, content }) => `User response: action=${action}, content=${JSON.stringify(content)}`)],
  ['test_elicitation_sep1034_defaults', NOTHING, (_, ctx) => elicited(ctx, 'Please review', DEFAULTS)],
  ['test_elicitation_sep1330_enums', NOTHING, (_, ctx) => elicited(ctx, 'Please select', ENUMS)],
];

/** Tools that ask for input, each called with the responses so far. */
const ROUNDS = {
  test_missing_capability: ({ llm_answer: answer }) => (answer ? texts('complete') : inputRequired({ inputRequests: { llm_answer: samples('Say pong', 16) } })),
  test_input_required_result_elicitation: (responses) => {
    const name = acceptedContent(responses, 'user_name')?.name;
    return typeof name === 'string' ? texts(`Hello, ${name}!`) : inputRequired({ inputRequests: { user_name: asks('What is your name?', { name: TEXT }) } });
  },
  test_input_required_result_sampling: ({ capital_question: answer }) =>
    answer ? texts(`Sampling response: ${answer.content?.text}`) : inputRequired({ inputRequests: { capital_question: samples('What is the capital of France?', 100) } }),
  test_input_required_result_list_roots: ({ client_roots: answer }) =>
    Array.isArray(answer?.roots) ? texts(`Client exposed ${answer.roots.length} root(s): ${answer.roots.map(({ uri }) => uri)}`) : inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } }),
  test_input_required_result_request_state: async (responses, ctx) => {
    if (acceptedContent(responses, 'confirm') && ctx.mcpReq.requestState()) return texts('state-ok: requestState verified and confirmation received');
    return inputRequired({ inputRequests: { confirm: asks('Please confirm', { ok: { type: 'boolean' } }) }, requestState: await state({}) });
  },
  test_input_required_result_multiple_inputs: async (responses) => {
    const [name, greeting, roots] = [acceptedContent(responses, 'user_name')?.name, responses.greeting?.content?.text, responses.client_roots?.roots];
    if (typeof name === 'string' && typeof greeting === 'string' && Array.isArray(roots)) return texts(`${greeting} ${name}, ${roots.length} root(s)`);
    const inputRequests = { user_name: asks('What is your name?', { name: TEXT }), greeting: samples('Generate a greeting', 50), client_roots: inputRequired.listRoots() };
    return inputRequired({ inputRequests, requestState: await state({}) });
  },
  test_input_required_result_multi_round: async (responses, ctx) => {
    const { round = 0, name } = ctx.mcpReq.requestState() ?? {};
    if (round === 0) return inputRequired({ inputRequests: { step1: asks('Step 1: What is your name?', { name: TEXT }) }, requestState: await state({ round: 1 }) });
    if (round === 1) {
      const requestState = await state({ round: 2, name: acceptedContent(responses, 'step1')?.name });
      return inputRequired({ inputRequests: { step2: asks('Step 2: What is your favorite color?', { color: TEXT }) }, requestState });
    }
    return texts(`Multi-round complete: ${name} likes ${acceptedContent(responses, 'step2')?.color}`);
  },
  test_input_required_result_tampered_state: (...given) => ROUNDS.test_input_required_result_request_state(...given),
  test_input_required_result_capabilities: (responses, ctx) => {
    if (Object.keys(responses).length > 0) return texts('fulfilled');
    const declared = ctx.mcpReq.envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? {};
    const all = { elicitation: { user_name: asks('What is your name?', { name: TEXT }) }, sampling: { greeting: samples('Generate a short greeting', 50) }, roots: { client_roots: inputRequired.listRoots() } };
    const inputRequests = Object.assign({}, ...Object.keys(all).filter((kind) => declared[kind]).map((kind) => all[kind]));
    return Object.keys(inputRequests).length > 0 ? inputRequired({ inputRequests }) : texts('nothing to ask for');
  },
};

const user = (...content) => ({ messages: content.map((content) => ({ role: 'user', content })) });
const words = (text) => ({ type: 'text', text });
const PROMPTS = [
  ['test_simple_prompt', {}, () => user(words('This is a simple prompt for testing.'))],
  ['test_prompt_with_arguments', { argsSchema: fromJsonSchema(object({ arg1: TEXT, arg2: TEXT })) }, ({ arg1, arg2 }) => user(words(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))],
  ['test_prompt_with_embedded_resource', { argsSchema: fromJsonSchema(object({ resourceUri: TEXT })) }, ({ resourceUri }) =>
    user(embedded(resourceUri, 'text/plain', 'Embedded resource content for testing.'), words('Please process the embedded resource above.'))],
  ['test_prompt_with_image', {}, () => user(image, words('Please analyze the image above.'))],
  ['test_input_required_result_prompt', {}, (ctx) => {
    const context = acceptedContent(ctx.mcpReq.inputResponses, 'user_context')?.context;
    return context ? user(words(`Use the following context: ${context}`)) : inputRequired({ inputRequests: { user_context: asks('What context?', { context: TEXT }) } });
  }],
];
const RESOURCES = [
  ['test://static-text', { mimeType: 'text/plain', text: 'This is the content of the static text resource.' }],
  ['test://static-binary', { mimeType: 'image/png', blob: PNG }],
  ['test://watched-resource', { mimeType: 'text/plain', text: 'Watched resource content' }],
];

function build(notify, transport) {
  const listChanged = true;
  const capabilities = { tools: { listChanged }, resources: { subscribe: true, listChanged }, prompts: { listChanged }, logging: {}, completions: {} };
  const server = new McpServer({ name: 'conformance-peer', version: '1.0.0' }, { capabilities, requestState: { verify: states.verify } });
  for (const [name, schema, run] of TOOLS(notify, transport)) server.registerTool(name, { description: `The tool ${name}`, ...schema }, async (...given) => run(...given));
  for (const [name, run] of Object.entries(ROUNDS)) server.registerTool(name, { description: `The tool ${name}`, ...NOTHING }, async (_, ctx) => run(ctx.mcpReq.inputResponses ?? {}, ctx));
  for (const [name, about, run] of PROMPTS) server.registerPrompt(name, { description: `The prompt ${name}`, ...about }, async (...given) => run(...given));
  for (const [uri, content] of RESOURCES) server.registerResource(uri.slice(7), uri, { description: 'For tests', mimeType: content.mimeType }, async () => ({ contents: [{ uri, ...content }] }));
  server.registerResource('template', new ResourceTemplate('test://template/{id}/data', { list: undefined }), { mimeType: 'application/json' }, async (uri, { id }) => ({
    contents: [{ uri: uri.href, mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) }],
  }));
  server.server.setRequestHandler('logging/setLevel', async () => ({}));
  server.server.setRequestHandler('completion/complete', async () => ({ completion: { values: [], total: 0, hasMore: false } }));
  return server;
}

/** Keeps what a session's streams have sent, for a client that comes back (SEP-1699). */
function eventStore() {
  const events = [];
  return {
    storeEvent: async (stream, message) => `${stream}::${events.push({ stream, message }) - 1}`,
    replayEventsAfter: async (last, { send }) => {
      const [stream, at] = last.split('::');
      for (const [index, event] of events.entries()) {
        if (event.stream === stream && index > Number(at) && event.message?.jsonrpc) await send(`${stream}::${index}`, event.message);
      }
      return stream;
    },
  };
}

/** Starts it, for both eras. */
export const startConformanceService = () => serve(build, 'sessions', { eventStore: eventStore(), retryInterval: 5000 });
