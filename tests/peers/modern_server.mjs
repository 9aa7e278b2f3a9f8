// The official TypeScript client 1.x, which opens with a handshake, -> BINARY bridge -> services of the stateless era, which
// have none (ERA-8, sections 3.1 to 3.8); then the same services from a shell.
// Each check names what it needs of the service.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { startModernService } from './modern_service.mjs';
import { check, connectThroughBridge, failure, finish, Journal, peer, PeerClient, progressAndResult, recordingProxy, startPython } from './support.mjs';

const { StdioClientTransport } = peer('@modelcontextprotocol/sdk/client/stdio.js');
const BINARY = process.argv[2];
const PREFIX = 'io.modelcontextprotocol/';
const text = (result) => result.content.map((block) => block.text ?? '').join('\n');

/** What the tool `fail` says; Python keeps the text of its exception to itself. */
const FAILED = /no tea left|Error executing tool fail/;

const SERVICES = [
  { label: 'typescript', start: () => startModernService('reject'), name: 'typescript-peer', has: ['modern', 'arrays', 'headers', 'levels', 'strict', 'url', 'rounds', 'subscriptions'] },
  { label: 'python', start: () => startPython('modern-only'), name: 'python-peer', has: ['modern', 'completion', 'rounds', 'subscriptions'] },
  // It refuses `initialize` with 400 and -32602, because it has no envelope: that alone proves no era.
  { label: 'python, its entry of 2026-07-28', start: () => startPython('modern-entry'), name: 'python-peer', has: ['modern', 'completion'], needs: 'bare refusal' },
  { label: 'typescript of both eras', start: () => startModernService('stateless'), name: 'typescript-peer', has: ['arrays'] },
];

/** Keeps everything that the bridge prints; asks for `version` where one is given. */
class Recording extends StdioClientTransport {
  printed = '';
  version = undefined;

  async start() {
    await super.start();
    this._process.stdout.on('data', (chunk) => (this.printed += chunk));
  }

  send(message) {
    if (message.method === 'initialize' && this.version) message.params.protocolVersion = this.version;
    return super.send(message);
  }

  /** The first answer: that to `initialize`. */
  get initialized() {
    return JSON.parse(this.printed.split('\n')[0]).result;
  }
}

class Recording2025March extends Recording {
  version = '2025-03-26';
}

/** Types `asistry` with these words against `url`; resolves with exit code, stdout and stderr. */
const asistry = (url, ...words) => new Promise((done) => {
  execFile(BINARY, [...words, '--url', url], (error, out, err) => done({ code: error ? error.code : 0, out, err }));
});

const requestsOf = (requests, method) => requests.items.filter(({ message }) => message?.method === method);

const checks = [
  ['any', 'initialize is answered with the revision asked for and what the service says of itself', async ({ client, transport, service }) => {
    assert.equal(transport.initialized.protocolVersion, '2025-11-25');
    assert.equal(client.getServerVersion().name, service.name);
    assert.match(client.getServerVersion().version, /\d/);
    assert.equal(client.getInstructions(), 'A peer for asistry.');
    const { tools, prompts, resources, tasks } = client.getServerCapabilities();
    assert.ok(tools && prompts && resources, JSON.stringify(transport.initialized.capabilities));
    assert.equal(tasks, undefined);
  }],
  ['any', 'lists and calls tools, prompts and resources', async ({ client }) => {
    const { tools } = await client.listTools();
    assert.equal(tools.find(({ name }) => name === 'add').inputSchema.type, 'object');
    assert.match(text(await client.tool('add', { a: 40, b: 2 })), /^42$/);
    assert.ok((await client.listPrompts()).prompts.some(({ name }) => name === 'greet'));
    assert.match((await client.getPrompt({ name: 'greet', arguments: { name: 'Bern' } })).messages[0].content.text, /Greet Bern/);
    assert.ok((await client.listResources()).resources.some(({ uri }) => uri === 'peer://board'));
    assert.ok((await client.listResourceTemplates()).resourceTemplates.some(({ uriTemplate }) => uriTemplate === 'peer://square/{number}'));
    assert.equal((await client.readResource({ uri: 'peer://square/3' })).contents[0].text, '9');
    assert.equal((await client.readResource({ uri: 'peer://board' })).contents[0].text, 'as at the start');
    assert.deepEqual(await client.ping(), {});
  }],
  ['any', 'structured content of an object goes through and fits its schema', async ({ client }) => {
    const { tools } = await client.listTools();
    assert.equal(tools.find(({ name }) => name === 'both').outputSchema.properties.sum.type.replace('integer', 'number'), 'number');
    const { structuredContent } = await client.tool('both', { a: 6, b: 7 });
    assert.deepEqual(structuredContent, { sum: 13, product: 42 });
  }],
  ['arrays', 'structured content of an array or a number goes into an object, as its schema does', async ({ client }) => {
    const { tools } = await client.listTools(); // from here the client validates
    const { outputSchema } = tools.find(({ name }) => name === 'primes');
    assert.equal(outputSchema.type, 'object');
    assert.deepEqual(outputSchema.required, ['result']);
    assert.equal(outputSchema.properties.result.type, 'array');
    const primes = await client.tool('primes', { below: 8 });
    assert.deepEqual(primes.structuredContent, { result: [2, 3, 5, 7] });
    assert.deepEqual(JSON.parse(text(primes)), [2, 3, 5, 7]);
    assert.deepEqual((await client.tool('options')).structuredContent, { result: [{ default: 1 }] });
    assert.deepEqual((await client.tool('half', { of: 3 })).structuredContent, { result: 1.5 });
  }],
  ['headers', 'arguments that the service wants as headers are sent as such', async ({ client, requests }) => {
    assert.equal(text(await client.tool('shop', { region: 'eu-west', note: 'tea' })), 'tea from eu-west');
    assert.equal(requestsOf(requests, 'tools/call').at(-1).headers['mcp-param-region'], 'eu-west');
    assert.equal(text(await client.tool('shop', { region: 'Zürich', note: 'tea' })), 'tea from Zürich');
    assert.equal(requestsOf(requests, 'tools/call').at(-1).headers['mcp-param-region'], `=?base64?${Buffer.from('Zürich').toString('base64')}?=`);
  }],
  ['any', 'progress arrives in order, with its message', async ({ client }) => {
    const entries = await progressAndResult(client, client.tool('count', { steps: 3 }, { onprogress: () => {} }));
    assert.deepEqual(entries.slice(0, -1), [1, 2, 3].map((progress) => ({ progress, total: 3, message: `step ${progress}` })));
    assert.equal(text(entries.at(-1)), 'counted to 3');
  }],
  ['any', '20 calls in parallel are all answered, each its own', async ({ client }) => {
    const numbers = Array.from({ length: 20 }, (_, index) => index);
    const answers = await Promise.all(numbers.map((b) => client.tool('add', { a: 1000, b })));
    answers.forEach((answer, b) => assert.equal(text(answer), String(1000 + b)));
  }],
  ['modern', 'a cancel stops the tool at the service, which gets no notification', async ({ client, requests }) => {
    const running = new Journal();
    const abort = new AbortController();
    const failed = failure(client.tool('hang', { key: 'k1' }, { signal: abort.signal, onprogress: (step) => running.add(step) }), 'the cancelled call');
    await running.find(() => true, 'the progress that tells that it runs');
    abort.abort('enough');
    await failed;
    assert.match(text(await client.tool('was_cancelled', { key: 'k1' })), /true/i);
    assert.deepEqual(requestsOf(requests, 'notifications/cancelled'), []);
  }],
  ['levels', 'logging/setLevel is answered here and each later request repeats the level', async ({ client, requests }) => {
    const logs = () => client.notifications.items.filter(({ method }) => method === 'notifications/message').map(({ params }) => params);
    await client.setLoggingLevel('warning');
    assert.equal(text(await client.tool('log', { text: 'careful' })), 'logged');
    await client.notifications.find(({ method }) => method === 'notifications/message', 'the log message');
    assert.deepEqual(logs().map(({ level, data, logger }) => ({ level, data, logger })), [{ level: 'warning', data: 'careful', logger: 'peer' }]);
    assert.equal(requestsOf(requests, 'tools/call').at(-1).message.params._meta[`${PREFIX}logLevel`], 'warning');
    await client.setLoggingLevel('debug');
    await client.tool('log', { text: 'again' });
    await client.notifications.find(({ params }) => params?.data === 'again', 'the second message');
    assert.deepEqual(logs().slice(1).map(({ level }) => level), ['debug', 'warning']);
    assert.equal((await failure(client.raw('logging/setLevel', { level: 'loud' }), 'an unknown level')).code, -32602);
    assert.deepEqual(requestsOf(requests, 'logging/setLevel'), []);
  }],
  ['any', 'a failing tool gives isError with its text', async ({ client }) => {
    const result = await client.tool('fail', { why: 'no tea left' });
    assert.equal(result.isError, true);
    assert.match(text(result), FAILED);
  }],
  ['any', 'what is not there is refused in the words of the handshake era', async ({ client }) => {
    const result = await client.raw('tools/call', { name: 'no_such_tool', arguments: {} }).catch((error) => error);
    assert.ok(result.isError || [-32602, -32601].includes(result.code), `${result.code} ${result.message} ${JSON.stringify(result)}`);
    assert.ok([-32602, -32002].includes((await failure(client.readResource({ uri: 'peer://nowhere' }), 'an unknown resource')).code));
    assert.equal((await failure(client.raw('peers/unknown', {}), 'an unknown method')).code, -32601);
    assert.equal((await failure(client.raw('tasks/list', {}), 'tasks/list')).code, -32601);
  }],
  ['completion', 'completions are given', async ({ client }) => {
    const { completion } = await client.complete({ ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'tone', value: 'k' } });
    assert.deepEqual(completion.values, ['kind', 'keen']);
  }],
  ['strict', 'a call that needs what the client cannot do is refused, naming it', async ({ url, service }) => {
    const { client, transport, close } = await connectThroughBridge(BINARY, url, { client: new PeerClient({ capabilities: {} }), Transport: Recording });
    const error = await failure(client.tool('introduce', { about: 'tea' }), 'a call that needs elicitation');
    assert.equal(error.code, -32603, error.message);
    assert.match(error.message, /elicitation/);
    await close();
    assert.doesNotMatch(transport.printed, /-3202[0-2]/, service.name);
  }],
  ['modern', 'a later connection does not try the handshake, and an older revision is kept', async ({ url, requests }) => {
    const before = requestsOf(requests, 'initialize').length;
    const { client, transport, close } = await connectThroughBridge(BINARY, url, { Transport: Recording2025March });
    assert.equal(transport.initialized.protocolVersion, '2025-03-26');
    assert.match(text(await client.tool('add', { a: 1, b: 1 })), /^2$/);
    await close();
    assert.equal(requestsOf(requests, 'initialize').length, before, 'initialize was POSTed again');
  }],
  ['rounds', 'elicitation is asked of the client, accepted and declined', async ({ client }) => {
    client.onElicitation = ({ message, requestedSchema }) => {
      assert.match(message, /Who asks about bridges/);
      assert.ok(requestedSchema.properties.name);
      return { action: 'accept', content: { name: 'Ada' } };
    };
    assert.match(text(await client.tool('introduce', { about: 'bridges' })), /^Ada .*asks about bridges/);
    client.onElicitation = () => ({ action: 'decline' });
    assert.doesNotMatch(text(await client.tool('introduce', { about: 'bridges' })), /Ada/);
  }],
  ['rounds', 'sampling and roots are asked of the client', async ({ client }) => {
    client.onSampling = ({ maxTokens }) => {
      assert.equal(maxTokens, 23);
      return { model: 'peer-model', role: 'assistant', content: { type: 'text', text: 'sampled answer' } };
    };
    assert.equal(text(await client.tool('think', { prompt: 'aloud' })), 'peer-model thinks: sampled answer');
    assert.equal(text(await client.tool('where')), 'file:///peers/one');
  }],
  ['rounds', 'a client that fails to answer fails its call only', async ({ client }) => {
    client.onSampling = () => { throw new Error('no model today'); };
    const result = await client.tool('think', { prompt: 'aloud' }).catch((error) => ({ isError: true, content: [{ text: error.message }] }));
    assert.equal(result.isError, true, JSON.stringify(result));
    assert.match(text(await client.tool('add', { a: 40, b: 2 })), /^42$/);
  }],
  ['rounds url', 'url elicitation reaches the client with an elicitationId', async ({ client }) => {
    client.onElicitation = ({ mode, url, elicitationId }) => {
      assert.deepEqual({ mode, url }, { mode: 'url', url: 'https://peer.example/page' });
      assert.ok(elicitationId);
      return { action: 'accept' };
    };
    assert.equal(text(await client.tool('visit')), 'visited: accept');
  }],
  ['rounds url', 'two rounds, the second of two questions, keep the requestState of the service', async ({ client }) => {
    client.onElicitation = () => ({ action: 'accept', content: { name: 'Ada' } });
    client.onSampling = () => ({ model: 'peer-model', role: 'assistant', content: { type: 'text', text: 'thought' } });
    assert.equal(text(await client.tool('interview')), 'name=Ada 1 thought roots,thought');
  }],
  ['rounds', 'a cancel withdraws the open question', async ({ client, wire }) => {
    const asked = new Journal();
    const abort = new AbortController();
    client.onElicitation = () => (asked.add(true), new Promise(() => {}));
    const failed = failure(client.tool('introduce', { about: 'bridges' }, { signal: abort.signal }), 'the cancelled call');
    await asked.find(() => true, 'the question');
    abort.abort('enough');
    await failed;
    const question = wire.items.findLast(({ method }) => method === 'elicitation/create');
    await wire.find(({ method, params }) => method === 'notifications/cancelled' && params.requestId === question.id, 'the question to be withdrawn');
  }],
  ['subscriptions', 'subscribed resources and changed lists are announced, until unsubscribed', async ({ client, requests }) => {
    const updates = () => client.notifications.items.filter(({ method }) => method === 'notifications/resources/updated');
    await client.subscribeResource({ uri: 'peer://board' });
    await client.tool('write', { text: 'news' });
    await client.notifications.find(({ method, params }) => method === 'notifications/resources/updated' && params.uri === 'peer://board', 'notifications/resources/updated');
    assert.equal((await client.readResource({ uri: 'peer://board' })).contents[0].text, 'news');
    await client.unsubscribeResource({ uri: 'peer://board' });
    const before = updates().length;
    await client.tool('write', { text: 'more news' });
    await client.tool('grow', { name: 'twig' });
    await client.notifications.find(({ method }) => method === 'notifications/tools/list_changed', 'notifications/tools/list_changed');
    assert.equal(updates().length, before, 'an update came after the end of the subscription');
    assert.equal(text(await client.tool('twig')), 'I am twig');
    assert.deepEqual([...requestsOf(requests, 'resources/subscribe'), ...requestsOf(requests, 'resources/unsubscribe')], []);
  }],
  ['any', 'a shell lists, calls and pings', async ({ url, service }) => {
    const ping = await asistry(url, 'ping', '--json');
    assert.equal(ping.code, 0, ping.err);
    assert.ok(ping.out.includes(service.name), ping.out);
    const tools = await asistry(url, 'tools', '--json');
    assert.equal(tools.code, 0, tools.err);
    assert.ok(tools.out.includes('"add"'), tools.out.slice(0, 500));
    const sum = await asistry(url, 'call', 'add', 'a=40', 'b=2');
    assert.deepEqual({ ...sum, out: /\b42\b/.exec(sum.out)?.[0] }, { code: 0, out: '42', err: '' }, sum.out);
    const both = await asistry(url, 'call', 'both', 'a=6', 'b=7', '--json');
    assert.equal(both.code, 0, both.err);
    assert.deepEqual(JSON.parse(both.out), { sum: 13, product: 42 });
  }],
  ['any', 'a shell gets errors with an exit code and their text', async ({ url }) => {
    const failed = await asistry(url, 'call', 'fail', 'why=no tea left');
    assert.notEqual(failed.code, 0);
    assert.match(failed.out + failed.err, FAILED);
    const unknown = await asistry(url, 'call', 'no_such_tool');
    assert.notEqual(unknown.code, 0);
    assert.match(unknown.err, /no_such_tool/);
  }],
  ['modern', 'each request at the service carries the headers and the envelope of 2026-07-28', async ({ requests }) => {
    const handshakes = requestsOf(requests, 'initialize').length;
    const others = requests.items.filter(({ message }) => message?.method !== 'initialize');
    assert.ok(handshakes <= 1 && others.length > 40, `${handshakes} handshakes, ${others.length} other requests`);
    const named = { 'tools/call': 'name', 'prompts/get': 'name', 'resources/read': 'uri' };
    for (const { method, headers, message } of others) {
      const what = `${method} ${JSON.stringify(message)}`;
      assert.equal(method, 'POST', what);
      assert.notEqual(message.id, undefined, what);
      assert.equal(headers['mcp-protocol-version'], '2026-07-28', what);
      assert.equal(headers['mcp-method'], message.method, what);
      assert.equal(headers['mcp-session-id'], undefined, what);
      if (named[message.method]) assert.equal(headers['mcp-name'], message.params[named[message.method]], what);
      const meta = message.params._meta;
      assert.equal(meta[`${PREFIX}protocolVersion`], '2026-07-28', what);
      assert.equal(meta[`${PREFIX}clientCapabilities`]?.tasks, undefined, what);
      assert.ok(meta[`${PREFIX}clientCapabilities`] && meta[`${PREFIX}clientInfo`].name, what);
    }
    const calls = requestsOf(requests, 'tools/call').map(({ message }) => message.params._meta);
    assert.deepEqual(calls[0][`${PREFIX}clientCapabilities`], { sampling: {}, elicitation: { form: {}, url: {} }, roots: {}, extensions: { 'io.modelcontextprotocol/tasks': {} } });
    assert.equal(calls[0][`${PREFIX}clientInfo`].name, 'asistry-peers');
  }],
  ['any', 'no word of the stateless era reached the client, and nothing that it cannot place', async ({ client, transport }) => {
    assert.ok(transport.printed.split('\n').length > 40, 'too little was printed to judge');
    for (const line of transport.printed.split('\n')) {
      assert.doesNotMatch(line, /"(resultType|ttlMs|cacheScope|inputRequests|requestState)"|io\.modelcontextprotocol\/|-3202[0-2]|2026-07-28/);
    }
    assert.deepEqual(client.strayMessages(), []);
  }],
];

for (const service of SERVICES) {
  const label = `modern_server (${service.label}):`;
  const server = await service.start();
  const proxy = await recordingProxy(server.port);
  const context = { service, url: `${proxy.url}/mcp`, requests: proxy.requests };
  await check(`${label} connects`, async () => {
    Object.assign(context, await connectThroughBridge(BINARY, context.url, { Transport: Recording }));
    context.wire = context.client.wire;
  });
  if (context.client) {
    const has = new Set(['any', ...service.has]);
    for (const [needs, title, body] of checks) {
      if (needs.split(' ').every((need) => has.has(need))) await check(`${label} ${title}`, () => body(context));
    }
    await check(`${label} closing stdin ends the process in under 1.5 s with code 0`, async () => {
      const { code, signal, ms, log } = await context.close();
      assert.deepEqual({ code, signal }, { code: 0, signal: null }, `stderr: ${log}`);
      assert.ok(ms < 1500, `it took ${ms} ms`);
    });
  }
  proxy.stop();
  await server.stop();
}
finish();
