// What server-everything and the official client must be able to do through the bridge: one table, run by everything.mjs
// for each transport and by six_env.mjs (the essential ones). Order matters: the last ones change the server's state.
// `direct` is the same official client without a bridge: what it gets is what the bridge must hand on.
import assert from 'node:assert/strict';
import { failure, Journal, progressAndResult, within } from './support.mjs';

const text = (result) => result.content.map((block) => block.text ?? '').join('\n');
const values = (result) => result.completion.values;

/** The same requests through the bridge and directly: equal results, key for key. */
async function same({ client, direct }, requests) {
  for (const [method, params] of requests) {
    const [through, straight] = await Promise.all([client.raw(method, params), direct.raw(method, params)]);
    assert.deepEqual(through, straight, `${method} ${JSON.stringify(params ?? {})} differs from the direct answer`);
    assert.ok(Object.keys(through).length > 0, `${method} gave an empty result`);
  }
}

/** The same failing requests through the bridge and directly: equal code, message and data. */
async function sameFailure({ client, direct }, requests) {
  for (const [method, params] of requests) {
    const what = `${method} ${JSON.stringify(params)}`;
    const [through, straight] = await Promise.all([client, direct].map((one) => failure(one.raw(method, params), what)));
    const shown = ({ code, message, data }) => ({ code, message, data });
    assert.equal(typeof straight.code, 'number', `${what}: no JSON-RPC error came directly`);
    assert.deepEqual(shown(through), shown(straight), `${what}: not the error of the service`);
  }
}

const call = (name, args) => ['tools/call', { name, arguments: args }];

export const everythingChecks = [
  ['the handshake hands on name, instructions and capabilities', 'essential', async ({ client, direct }) => {
    assert.equal(client.getServerVersion().name, 'mcp-servers/everything');
    assert.deepEqual(client.getServerVersion(), direct.getServerVersion());
    assert.deepEqual(client.getServerCapabilities(), direct.getServerCapabilities());
    assert.ok(client.getInstructions()?.length > 100, 'the instructions are missing');
    assert.equal(client.getInstructions(), direct.getInstructions());
  }],
  ['lists tools', 'essential', async (context) => {
    const names = (await context.client.listTools()).tools.map((tool) => tool.name);
    // The last two exist only for a client that declared sampling and elicitation.
    for (const name of ['echo', 'get-sum', 'trigger-sampling-request', 'trigger-elicitation-request']) assert.ok(names.includes(name), `no tool ${name} in ${names}`);
    await same(context, [['tools/list']]);
  }],
  ['calls tools: text, sum, image, structured content, annotations, links', 'essential', async (context) => {
    const { client } = context;
    const message = 'line\nsecond "quoted" \\ \u2028 \u0000 äöü 🦀 </script>';
    assert.equal(text(await client.tool('echo', { message })), `Echo: ${message}`);
    assert.equal(text(await client.tool('get-sum', { a: 0.1, b: 41 })), 'The sum of 0.1 and 41 is 41.1.');
    const image = (await client.tool('get-tiny-image')).content.find((block) => block.type === 'image');
    assert.equal(Buffer.from(image.data, 'base64').subarray(1, 4).toString(), 'PNG');
    assert.deepEqual((await client.tool('get-structured-content', { location: 'Chicago' })).structuredContent, { temperature: 36, conditions: 'Light rain / drizzle', humidity: 82 });
    await same(context, [
      call('get-tiny-image'),
      call('get-structured-content', { location: 'New York' }),
      call('get-annotated-message', { messageType: 'error', includeImage: true }),
      call('get-resource-links', { count: 10 }),
    ]);
  }],
  ['a message of one MiB comes back whole', '', async ({ client }) => {
    const message = 'ä🦀"\\\n'.repeat(2 ** 20 / 10);
    assert.equal(text(await client.tool('echo', { message })), `Echo: ${message}`);
  }],
  ['an unknown tool, wrong arguments and a failing tool are the same errors as without a bridge', 'essential', async (context) => {
    await same(context, [call('no-such-tool', {}), call('get-sum', { a: 'one' }), call('get-resource-reference', { resourceId: -1 }), call('simulate-research-query', { topic: 'no task' })]);
    assert.equal((await context.client.tool('no-such-tool')).isError, true);
    await sameFailure(context, [['no/such/method', { some: 'thing' }], ['tools/list', { cursor: 7 }], ['tools/call', {}]]);
  }],
  ['lists and gets prompts with arguments', 'essential', async (context) => {
    await same(context, [
      ['prompts/list'],
      ['prompts/get', { name: 'simple-prompt' }],
      ['prompts/get', { name: 'args-prompt', arguments: { city: 'Zürich', state: 'ZH' } }],
    ]);
    const { messages } = await context.client.getPrompt({ name: 'args-prompt', arguments: { city: 'Zürich' } });
    assert.equal(messages[0].content.text, "What's weather in Zürich?");
    await sameFailure(context, [['prompts/get', { name: 'no-such-prompt' }], ['prompts/get', { name: 'args-prompt', arguments: {} }]]);
  }],
  ['completes arguments of prompts and of resource templates', 'essential', async ({ client }) => {
    const prompt = (argument, context) => client.complete({ ref: { type: 'ref/prompt', name: 'completable-prompt' }, argument, context });
    assert.deepEqual(values(await prompt({ name: 'department', value: 'S' })), ['Sales', 'Support']);
    assert.deepEqual(values(await prompt({ name: 'name', value: '' }, { arguments: { department: 'Sales' } })), ['David', 'Eve', 'Frank']);
    const ref = { type: 'ref/resource', uri: 'demo://resource/dynamic/text/{resourceId}' };
    assert.deepEqual(values(await client.complete({ ref, argument: { name: 'resourceId', value: '7' } })), ['7']);
  }],
  ['lists resources and templates, reads text and blob', 'essential', async (context) => {
    const { resources } = await context.client.listResources();
    assert.ok(resources.length > 2, 'fewer resources than server-everything ships');
    await same(context, [['resources/list'], ['resources/templates/list'], ['resources/read', { uri: resources[0].uri }]]);
    const read = async (uri) => (await context.client.readResource({ uri })).contents[0];
    assert.match((await read('demo://resource/dynamic/text/5')).text, /^Resource 5: This is a plaintext resource/);
    assert.match(Buffer.from((await read('demo://resource/dynamic/blob/6')).blob, 'base64').toString(), /^Resource 6: /);
    await sameFailure(context, [['resources/read', { uri: 'demo://no/such' }]]);
  }],
  ['answers ping', '', async ({ client }) => assert.deepEqual(await client.ping(), {})],
  ['progress arrives in order, before the result', 'essential', async ({ client }) => {
    const seen = await progressAndResult(client, client.tool('trigger-long-running-operation', { duration: 0.5, steps: 5 }, { onprogress: () => {} }));
    assert.deepEqual(seen.slice(0, -1), [1, 2, 3, 4, 5].map((progress) => ({ progress, total: 5 })));
    assert.match(text(seen.at(-1)), /completed/);
  }],
  ['cancel reaches the service under its own id, and the connection works afterwards', 'essential', async ({ client, requests }) => {
    const progress = new Journal();
    const abort = new AbortController();
    const running = client.tool('trigger-long-running-operation', { duration: 4, steps: 40 }, { signal: abort.signal, onprogress: (step) => progress.add(step) });
    const failed = failure(running, 'the cancelled call');
    await progress.find(({ progress }) => progress === 2, 'the second progress');
    abort.abort('enough of it');
    await failed;
    const sent = requests.items.findLast(({ message }) => message?.method === 'tools/call').message;
    const cancelled = await requests.find(({ message }) => message?.method === 'notifications/cancelled', 'notifications/cancelled at the service');
    assert.deepEqual(cancelled.message.params, { requestId: sent.id, reason: 'enough of it' });
    assert.equal(text(await client.tool('echo', { message: 'still here' })), 'Echo: still here');
  }],
  ['a sampling request is answered', 'essential', async ({ client }) => {
    client.onSampling = ({ messages, maxTokens }) => {
      assert.equal(maxTokens, 17);
      return { model: 'peer-model', role: 'assistant', stopReason: 'endTurn', content: { type: 'text', text: `sampled <${messages[0].content.text}>` } };
    };
    const result = text(await client.tool('trigger-sampling-request', { prompt: 'why?', maxTokens: 17 }));
    assert.match(result, /sampled <Resource trigger-sampling-request context: why\?>/);
  }],
  ['a refused sampling request is the error of the client', '', async ({ client }) => {
    client.onSampling = () => { throw Object.assign(new Error('the user said no'), { code: -1 }); };
    const result = await client.tool('trigger-sampling-request', { prompt: 'why?' });
    assert.equal(result.isError, true);
    assert.match(text(result), /MCP error -1: the user said no/);
  }],
  ['elicitation is accepted and declined', 'essential', async ({ client }) => {
    client.onElicitation = ({ requestedSchema }) => {
      assert.deepEqual(requestedSchema.required, ['name']);
      return { action: 'accept', content: { name: 'Ada Lövelace', check: true, integer: 7 } };
    };
    assert.match(text(await client.tool('trigger-elicitation-request')), /- Name: Ada Lövelace\n- Agreed to terms: true\n- Favorite Integer: 7/);
    client.onElicitation = () => ({ action: 'decline' });
    assert.match(text(await client.tool('trigger-elicitation-request')), /User declined/);
  }],
  ['elicitation by URL, as a request and as error -32042', '', async ({ client }) => {
    client.onElicitation = ({ mode, url }) => {
      assert.deepEqual({ mode, url }, { mode: 'url', url: 'https://example.com/form' });
      return { action: 'accept' };
    };
    const ask = { url: 'https://example.com/form', message: 'Open it', elicitationId: 'e-1' };
    assert.match(text(await client.tool('trigger-url-elicitation', ask)), /Elicitation ID: e-1/);
    const error = await failure(client.tool('trigger-url-elicitation', { ...ask, errorPath: true }), 'the call that needs a login');
    assert.equal(error.code, -32042);
    assert.equal(error.data.elicitations[0].mode, 'url');
  }],
  ['two requests of the service at once are answered each for itself', '', async ({ client }) => {
    const asked = new Journal();
    client.onSampling = async ({ messages }) => {
      asked.add(messages);
      await asked.find(() => asked.items.length === 2, 'both sampling requests');
      return { model: 'm', role: 'assistant', content: { type: 'text', text: `for ${messages[0].content.text}.` } };
    };
    const results = await Promise.all(['one', 'two'].map((prompt) => client.tool('trigger-sampling-request', { prompt })));
    assert.match(text(results[0]), /for .*: one\./);
    assert.match(text(results[1]), /for .*: two\./);
  }],
  ['roots are asked for, and again after their list changed', 'essential', async ({ client }) => {
    assert.match(text(await client.tool('get-roots-list')), /file:\/\/\/peers\/one/);
    client.roots = [...client.roots, { uri: 'file:///peers/two', name: 'two' }];
    await client.sendRootsListChanged();
    await client.notifications.find(({ params }) => params?.data === 'Roots updated: 2 root(s) received from client', 'the log message about 2 roots');
    assert.match(text(await client.tool('get-roots-list')), /file:\/\/\/peers\/two/);
  }],
  ['log messages arrive, and the level is kept', 'essential', async ({ client }) => {
    const about = (uri) => ({ method, params }) => method === 'notifications/message' && params.data.includes(`URI: ${uri} `);
    await client.setLoggingLevel('error');
    await client.subscribeResource({ uri: 'demo://quiet' });
    await client.setLoggingLevel('debug');
    await client.subscribeResource({ uri: 'demo://loud' });
    const { params } = await client.notifications.find(about('demo://loud'), 'an info message at level debug');
    assert.equal(params.level, 'info');
    assert.ok(!client.notifications.items.some(about('demo://quiet')), 'an info message came at level error');
  }],
  ['subscribed resources are announced as updated, others not', 'essential', async ({ client }) => {
    const [wanted, left] = ['demo://resource/dynamic/text/1', 'demo://resource/dynamic/text/2'];
    const about = (uri) => ({ method, params }) => method === 'notifications/resources/updated' && params.uri === uri;
    await client.subscribeResource({ uri: left });
    await client.unsubscribeResource({ uri: left });
    await client.subscribeResource({ uri: wanted });
    await client.tool('toggle-subscriber-updates');
    await client.notifications.find(about(wanted), `resources/updated for ${wanted}`, 8000);
    await client.tool('toggle-subscriber-updates');
    assert.ok(!client.notifications.items.some(about(left)), `an update came for ${left}, which is no longer subscribed`);
  }],
  ['list_changed arrives, and the new resource can be read', 'essential', async ({ client }) => {
    const before = client.notifications.items.length;
    const data = `data:text/plain,${client.transport.pid}`;
    const link = (await client.tool('gzip-file-as-resource', { name: 'made.gz', data, outputType: 'resourceLink' })).content[0];
    const changed = ({ method }) => method === 'notifications/resources/list_changed';
    await client.notifications.find((item) => changed(item) && client.notifications.items.indexOf(item) >= before, 'notifications/resources/list_changed');
    assert.ok((await client.listResources()).resources.some(({ uri }) => uri === link.uri), `${link.uri} is not listed`);
    assert.match((await client.readResource({ uri: link.uri })).contents[0].blob, /^H4sI/);
  }],
  ['30 calls in parallel are all answered, each its own, while a slow one runs', 'essential', async ({ client }) => {
    let slowEnded = false;
    const slow = client.tool('trigger-long-running-operation', { duration: 3, steps: 1 }).finally(() => (slowEnded = true));
    slow.catch(() => {});
    const numbers = Array.from({ length: 30 }, (_, index) => index);
    const answers = await within(Promise.all(numbers.map((b) => client.tool('get-sum', { a: 1000, b }))), 10_000, '30 answers');
    assert.deepEqual(answers.map(text), numbers.map((b) => `The sum of 1000 and ${b} is ${1000 + b}.`));
    assert.equal(slowEnded, false, 'the slow call held up the quick ones');
    await slow;
  }],
  ['a task-based tool runs to its result', '', async ({ client }) => {
    const kinds = [];
    for await (const message of client.experimental.tasks.callToolStream({ name: 'simulate-research-query', arguments: { topic: 'bridges' } })) {
      kinds.push(message.type);
      if (message.type === 'error') throw message.error;
      if (message.type === 'result') assert.match(text(message.result), /Research Report: bridges/);
    }
    assert.equal(kinds[0], 'taskCreated');
    assert.equal(kinds.at(-1), 'result');
  }],
];
