// The official TypeScript client 1.x -> BINARY bridge -> a server on the official Python SDK: with sessions, without them
// answering in JSON, without them answering in event streams. What a service cannot do without a session is not asked of it.
import assert from 'node:assert/strict';
import { check, connectThroughBridge, failure, finish, Journal, peer, PeerClient, progressAndResult, recordingProxy, startPython } from './support.mjs';

const { StreamableHTTPClientTransport } = peer('@modelcontextprotocol/sdk/client/streamableHttp.js');
const KINDS = { stateful: ['any', 'stream', 'session'], 'stateless-sse': ['any', 'stream'], 'stateless-json': ['any'] };
const text = (result) => result.content.map((block) => block.text ?? '').join('\n');
const failing = ({ code, message, data }) => ({ code, message, data });

const checks = [
  ['any', 'the handshake hands on name, version, instructions and capabilities', async ({ client, direct }) => {
    assert.deepEqual(client.getServerVersion(), { name: 'python-peer', version: '9.8.7' });
    assert.equal(client.getInstructions(), 'A peer for asistry.');
    assert.deepEqual(client.getServerCapabilities(), direct.getServerCapabilities());
    assert.equal(client.getServerCapabilities().tools.listChanged, true);
  }],
  ['any', 'lists, results and errors are those of the service', async ({ client, direct }) => {
    const tool = (name, args) => ['tools/call', { name, arguments: args }];
    for (const [method, params] of [
      ['tools/list'], ['prompts/list'], ['resources/list'], ['resources/templates/list'],
      tool('add', { a: 20, b: 22 }), tool('both', { a: 6, b: 7 }), tool('fail', { why: 'asked to' }), tool('no-such-tool', {}), tool('add', { a: 'x' }),
      ['prompts/get', { name: 'greet', arguments: { name: 'Jürgen' } }],
      ['resources/read', { uri: 'peer://square/12' }],
      ['completion/complete', { ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'tone', value: 'k' } }],
    ]) {
      assert.deepEqual(await client.raw(method, params), await direct.raw(method, params), `${method} ${JSON.stringify(params)}`);
    }
    for (const [method, params] of [['no/such', {}], ['prompts/get', { name: 'no-such' }], ['resources/read', { uri: 'peer://no/such' }], ['tools/call', {}]]) {
      const [through, straight] = await Promise.all([client, direct].map((one) => failure(one.raw(method, params), method)));
      assert.deepEqual(failing(through), failing(straight), `${method} ${JSON.stringify(params)}`);
    }
  }],
  ['any', 'calls tools, gets a prompt, reads resources, completes', async ({ client }) => {
    assert.ok((await client.listTools()).tools.length >= 12);
    assert.deepEqual((await client.tool('add', { a: 20, b: 22 })).structuredContent, { result: 42 });
    assert.deepEqual((await client.tool('both', { a: 6, b: 7 })).structuredContent, { sum: 13, product: 42 });
    assert.equal((await client.tool('fail', { why: 'asked to' })).isError, true);
    const { messages } = await client.getPrompt({ name: 'greet', arguments: { name: 'Jürgen', tone: 'keen' } });
    assert.equal(messages[0].content.text, 'Greet Jürgen in a keen way.');
    assert.equal((await client.readResource({ uri: 'peer://square/12' })).contents[0].text, '144');
    const completed = await client.complete({ ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'tone', value: 'k' } });
    assert.deepEqual(completed.completion.values, ['kind', 'keen']);
  }],
  ['any', 'a message of one MiB comes back whole', async ({ client }) => {
    const long = 'ä🦀"\\\n'.repeat(2 ** 20 / 10);
    assert.equal(text(await client.tool('echo', { text: long })), long);
  }],
  ['any', '30 calls in parallel are all answered, each its own', async ({ client }) => {
    const numbers = Array.from({ length: 30 }, (_, index) => index);
    const answers = await Promise.all(numbers.map((b) => client.tool('add', { a: 1000, b })));
    assert.deepEqual(answers.map(text), numbers.map((b) => String(1000 + b)));
  }],
  ['stream', 'progress arrives in order, before the result', async ({ client }) => {
    const seen = await progressAndResult(client, client.tool('count', { steps: 4 }, { onprogress: () => {} }));
    assert.deepEqual(seen.slice(0, -1), [1, 2, 3, 4].map((progress) => ({ progress, total: 4, message: `step ${progress}` })));
    assert.equal(text(seen.at(-1)), 'counted to 4');
  }],
  ['stream', 'log messages arrive', async ({ client }) => {
    await client.tool('log', { text: 'careful' });
    const { params } = await client.notifications.find(({ method }) => method === 'notifications/message', 'a log message');
    assert.deepEqual(params, { level: 'warning', logger: 'peer', data: 'careful' });
  }],
  ['session', 'cancel really stops the tool at the service, and the connection works afterwards', async ({ client, requests }) => {
    const running = new Journal();
    const abort = new AbortController();
    const failed = failure(client.tool('hang', { key: 'k1' }, { signal: abort.signal, onprogress: (step) => running.add(step) }), 'the cancelled call');
    await running.find(() => true, 'the progress that tells that it runs');
    abort.abort('enough');
    await failed;
    assert.deepEqual((await client.tool('was_cancelled', { key: 'k1' })).structuredContent, { result: true });
    const call = requests.items.find(({ message }) => message?.params?.name === 'hang').message;
    const { params } = requests.items.find(({ message }) => message?.method === 'notifications/cancelled').message;
    assert.deepEqual(params, { requestId: call.id, reason: 'enough' });
  }],
  ['session', 'a sampling request is answered', async ({ client }) => {
    client.onSampling = ({ messages, maxTokens }) => ({ model: 'peer-model', role: 'assistant', content: { type: 'text', text: `${maxTokens} ${messages[0].content.text}` } });
    assert.equal(text(await client.tool('think', { prompt: 'aloud' })), 'peer-model thinks: 23 aloud');
  }],
  ['session', 'elicitation is accepted and declined', async ({ client }) => {
    client.onElicitation = ({ message, requestedSchema }) => {
      assert.equal(message, 'Who asks about bridges?');
      assert.deepEqual(requestedSchema.required, ['name']);
      return { action: 'accept', content: { name: 'Ada', age: 41 } };
    };
    assert.equal(text(await client.tool('introduce', { about: 'bridges' })), 'Ada (41) asks about bridges');
    client.onElicitation = () => ({ action: 'decline' });
    assert.equal((await client.tool('introduce', { about: 'bridges' })).isError, true);
  }],
  ['session', 'roots are answered', async ({ client }) => {
    assert.equal(text(await client.tool('where')), 'file:///peers/one');
  }],
  ['session', 'a ping of the service outside of any call is answered', async ({ client }) => {
    assert.equal(text(await client.tool('ping_back')), 'pong');
  }],
  ['session', 'list_changed of tools, prompts and resources arrives, and the new ones work', async ({ client }) => {
    await client.tool('grow', { name: 'sprout' });
    for (const list of ['tools', 'prompts', 'resources']) {
      await client.notifications.find(({ method }) => method === `notifications/${list}/list_changed`, `notifications/${list}/list_changed`);
    }
    assert.ok((await client.listTools()).tools.some(({ name }) => name === 'sprout'), 'the new tool is not listed');
    assert.equal(text(await client.tool('sprout')), 'I am sprout');
    assert.equal((await client.getPrompt({ name: 'sprout' })).messages[0].content.text, 'Prompt sprout');
    assert.equal((await client.readResource({ uri: 'peer://sprout' })).contents[0].text, 'Resource sprout');
  }],
  ['session', 'a subscribed resource is announced as updated', async ({ client }) => {
    const updates = () => client.notifications.items.filter(({ method }) => method === 'notifications/resources/updated');
    await client.tool('write', { text: 'unseen' });
    await client.subscribeResource({ uri: 'peer://board' });
    await client.tool('write', { text: 'seen' });
    await client.notifications.find(({ method, params }) => method === 'notifications/resources/updated' && params.uri === 'peer://board', 'notifications/resources/updated');
    assert.equal(updates().length, 1, 'an update came for the time before the subscription');
    assert.equal((await client.readResource({ uri: 'peer://board' })).contents[0].text, 'seen');
  }],
  ['session', 'a session that the service forgot is opened anew, and the call is answered', async ({ client, requests, url }) => {
    const id = requests.items.at(-1).headers['mcp-session-id'];
    const ended = await fetch(url, { method: 'DELETE', headers: { 'mcp-session-id': id, accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2025-11-25' } });
    assert.equal(ended.status, 200);
    assert.equal(text(await client.tool('add', { a: 1, b: 1 })), '2');
    const later = requests.items.at(-1).headers['mcp-session-id'];
    assert.ok(later && later !== id, 'the call did not run in a new session');
  }],
];

async function theEnd(kind, { bridge, client, requests }, label) {
  await check(`${label} closing stdin during a call ends the process in under 1.5 s with code 0`, async () => {
    if (KINDS[kind].includes('session')) {
      const running = new Journal();
      client.tool('hang', { key: 'k2' }, { onprogress: (step) => running.add(step) }).catch(() => {});
      await running.find(() => true, 'the progress that tells that it runs');
    }
    const { code, signal, ms, log } = await bridge.close();
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, `stderr: ${log}`);
    assert.ok(ms < 1500, `it took ${ms} ms`);
  });
  await check(`${label} nothing but well-formed messages for known requests came on stdout`, async () => assert.deepEqual(client.strayMessages(), []));
  await check(`${label} ${kind === 'stateful' ? 'the session is deleted at the end' : 'no session is made up'}`, async () => {
    if (kind === 'stateful') return requests.find(({ method }) => method === 'DELETE', 'DELETE of the session', 1000);
    assert.ok(requests.items.length > 30, 'the service was not called');
    assert.deepEqual(requests.items.filter(({ method, headers }) => method === 'DELETE' || headers['mcp-session-id']), []);
  });
}

/** Runs what `kind` can do; `six` as for connectThroughBridge. */
export async function runPython({ binary, kind, suite, six = false }) {
  const label = `${suite} ${kind}:`;
  const server = await startPython(kind);
  const proxy = await recordingProxy(server.port);
  const context = { requests: proxy.requests, url: `http://127.0.0.1:${server.port}/mcp`, direct: new PeerClient() };
  await check(`${label} connects`, async () => {
    await context.direct.connect(new StreamableHTTPClientTransport(new URL(context.url)));
    context.bridge = await connectThroughBridge(binary, `${proxy.url}/mcp`, { six });
    context.client = context.bridge.client;
  }, 45_000);
  if (context.bridge) {
    for (const [needs, name, body] of checks) {
      if (KINDS[kind].includes(needs)) await check(`${label} ${name}`, () => body(context));
    }
    await theEnd(kind, context, label);
  }
  await context.direct.close();
  proxy.stop();
  server.stop();
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  for (const kind of Object.keys(KINDS)) await runPython({ binary: process.argv[2], kind, suite: 'python' });
  finish();
}
