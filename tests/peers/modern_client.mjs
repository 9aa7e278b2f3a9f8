// The official TypeScript client 2.x -> BINARY bridge -> both services. In mode auto it first asks a throw-away process for
// `server/discover` (STD-10, ERA-1 to ERA-3); pinned it speaks 2026-07-28 and nothing else.
// Each check names what it needs of the pair of client mode and service.
import assert from 'node:assert/strict';
import { AT } from './services.mjs';
import { check, connectThroughBridge, failure, finish, Journal, ModernClient, recordingProxy, startEverything, startPython } from './support.mjs';

const text = (result) => result.content.map((block) => block.text ?? '').join('\n');

const PAIRS = [
  { label: 'legacy, server-everything', mode: 'legacy', start: () => startEverything('streamableHttp'), path: '/mcp', tools: 'everything', era: 'legacy' },
  { label: 'auto, server-everything', mode: 'auto', start: () => startEverything('streamableHttp'), path: '/mcp', tools: 'everything' },
  { label: 'auto, server-everything over sse', mode: 'auto', start: () => startEverything('sse'), path: '/sse', tools: 'everything' },
  { label: 'auto, python stateful', mode: 'auto', start: () => startPython('stateful'), path: '/mcp', tools: 'python', era: 'modern' },
  { label: 'pinned, python stateless-json', mode: { pin: '2026-07-28' }, start: () => startPython('stateless-json'), path: '/mcp', tools: 'python', era: 'modern' },
];

const checks = [
  ['any', 'lists and calls tools, prompts and resources', async ({ client, at }) => {
    assert.equal(client.getServerVersion()?.name, at.server);
    const [name, args, expected] = at.sum;
    assert.ok((await client.listTools()).tools.some((tool) => tool.name === name), `no tool ${name}`);
    assert.match(text(await client.tool(name, args)), expected);
    assert.ok((await client.listPrompts()).prompts.some((prompt) => prompt.name === at.prompt[0].name));
    assert.match((await client.getPrompt(at.prompt[0])).messages[0].content.text, at.prompt[1]);
    assert.ok((await client.listResources()).resources.length > 0);
    assert.match((await client.readResource({ uri: at.resource[0] })).contents[0].text, at.resource[1]);
  }],
  ['any', '20 calls in parallel are all answered, each its own', async ({ client, at }) => {
    const numbers = Array.from({ length: 20 }, (_, index) => index);
    const answers = await Promise.all(numbers.map((b) => client.tool(at.sum[0], { a: 1000, b })));
    answers.forEach((answer, b) => assert.match(text(answer), new RegExp(`\\b${1000 + b}\\b`)));
  }],
  ['stream', 'progress arrives in order', async ({ client, at }) => {
    const [name, args, count] = at.progress;
    const before = client.wire.items.length;
    await client.tool(name, args, { onprogress: () => {} });
    const seen = client.wire.items.slice(before).filter(({ method }) => method === 'notifications/progress').map(({ params }) => params.progress);
    assert.deepEqual(seen, Array.from({ length: count }, (_, index) => index + 1));
  }],
  ['any', 'sampling is answered', async ({ client, at }) => assert.match(text(await client.tool(...at.sampling)), /sampled answer/)],
  ['any', 'elicitation is answered', async ({ client, at }) => assert.match(text(await client.tool(...at.elicitation)), /Ada/)],
  ['hang', 'cancel really stops the tool at the service', async ({ client, requests }) => {
    const running = new Journal();
    const abort = new AbortController();
    const failed = failure(client.tool('hang', { key: 'k1' }, { signal: abort.signal, onprogress: (step) => running.add(step) }), 'the cancelled call');
    await running.find(() => true, 'the progress that tells that it runs');
    abort.abort('enough');
    await failed;
    assert.match(text(await client.tool('was_cancelled', { key: 'k1' })), /true/i);
    assert.equal(requests.items.find(({ message }) => message?.method === 'notifications/cancelled'), undefined, 'a modern service was sent notifications/cancelled');
  }],
  ['listen', 'a subscription brings list_changed and resource updates', async ({ client }) => {
    const subscription = await client.listen({ toolsListChanged: true, resourceSubscriptions: ['peer://board'] });
    await client.tool('grow', { name: 'twig' });
    await client.notifications.find(({ method }) => method === 'notifications/tools/list_changed', 'notifications/tools/list_changed');
    await client.tool('write', { text: 'news' });
    await client.notifications.find(({ method, params }) => method === 'notifications/resources/updated' && params.uri === 'peer://board', 'notifications/resources/updated');
    await subscription.close();
    assert.equal(text(await client.tool('twig')), 'I am twig');
  }],
  ['modern', 'each request carries the headers of 2026-07-28 and none of a session', async ({ requests }) => {
    const calls = requests.items.filter(({ message }) => message?.id !== undefined);
    assert.ok(calls.length > 20, 'the service was not called');
    for (const { method, headers, message } of requests.items) {
      const what = `${method} ${message?.method}`;
      assert.equal(method, 'POST', what);
      assert.equal(headers['mcp-protocol-version'], '2026-07-28', what);
      assert.equal(headers['mcp-method'], message.method, what);
      if (message.method === 'tools/call') assert.equal(headers['mcp-name'], message.params.name, what);
      assert.equal(message.params._meta['io.modelcontextprotocol/protocolVersion'], '2026-07-28', what);
      assert.ok(message.params._meta['io.modelcontextprotocol/clientCapabilities'], what);
      assert.equal(headers['mcp-session-id'], undefined, what);
    }
  }],
];

for (const { label: name, mode, start, path, tools, era } of PAIRS) {
  const label = `modern_client (${name}):`;
  const server = await start();
  const proxy = await recordingProxy(server.port);
  const context = { requests: proxy.requests, at: AT[tools] };
  await check(`${label} connects`, async () => {
    context.bridge = await connectThroughBridge(process.argv[2], proxy.url + path, { client: new ModernClient(mode) });
    context.client = context.bridge.client;
  }, 45_000);
  if (context.client) {
    if (era) await check(`${label} speaks the ${era} era`, async () => assert.equal(context.client.getProtocolEra(), era));
    const has = { any: true, stream: !name.includes('json'), hang: era === 'modern' && !name.includes('json'), listen: era === 'modern', modern: era === 'modern' };
    for (const [needs, title, body] of checks) if (has[needs]) await check(`${label} ${title}`, () => body(context));
    await check(`${label} closing stdin ends the process in under 1.5 s with code 0`, async () => {
      const { code, signal, ms, log } = await context.bridge.close();
      assert.deepEqual({ code, signal }, { code: 0, signal: null }, `stderr: ${log}`);
      assert.ok(ms < 1500, `it took ${ms} ms`);
    });
  }
  proxy.stop();
  server.stop();
}
finish();
