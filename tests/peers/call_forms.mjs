// Every tool of server-everything and of the embedded sandbox, typed into a shell as `asistry call`, in every form that its
// schema allows: each form must send the same arguments and print the same result, piped and with --json.
// Refuses tools that have no sample here: they are discovered from `asistry tools --json`.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { EVERYTHING, HIDDEN, SANDBOX } from './call_samples.mjs';
import { check, failure, finish, lasting, peer, PeerClient, recordingProxy, startEverything } from './support.mjs';

const { StreamableHTTPClientTransport } = peer('@modelcontextprotocol/sdk/client/streamableHttp.js');
const AT_ONCE = 4;

// ---- a shell ----

/** A home of its own, with `asistry` on its PATH and nothing else set but what `env` says. */
function home(env) {
  const place = mkdtempSync(join(process.env.HOME, 'home-'));
  mkdirSync(join(place, 'bin'));
  symlinkSync(resolve(process.argv[2]), join(place, 'bin/asistry'));
  return { place, env: { HOME: place, PATH: `${join(place, 'bin')}:/usr/bin:/bin`, ...env } };
}

const quoted = (word) => `'${word.replaceAll("'", `'\\''`)}'`;

/** Types a line; resolves with it, its exit code, stdout and stderr. */
const typed = ({ place, env }, line) => new Promise((done) => {
  execFile('/bin/sh', ['-c', line], { cwd: place, env, maxBuffer: 1 << 24 }, (error, out, err) => done({ line, code: error ? error.code : 0, out, err }));
});

/** Types `asistry` with these words, and `stdin` where it is given. */
const asistry = (at, words, stdin) => typed(at, `${stdin === undefined ? '' : `printf %s ${quoted(stdin)} | `}asistry ${words.map(quoted).join(' ')}`);

async function printed(at, words) {
  const { code, out, err, line } = await asistry(at, words);
  assert.equal(code, 0, `${line}\n${err}`);
  return JSON.parse(out);
}

// ---- the forms ----

/** A value as the text that is typed for it. */
const plain = (value) => (typeof value === 'string' ? value : JSON.stringify(value));
/** The same behind `=`, where an @ at the beginning names a file. */
const escaped = (value) => plain(value).replace(/^@/, '@@');
const entries = (given) => Object.entries(given).flatMap(([name, value]) => (Array.isArray(value) && value.length > 0 ? value : [value]).map((item) => [name, item]));
/** In a word of its own this may be an option of asistry, which is found first. */
const optional = (text) => /^-[^\d]/.test(text);
const kebab = (name) => name.replaceAll('_', '-');

/** Every way to type these arguments: what it is called, the words, what is piped in. */
function forms(at, given, ours) {
  let count = 0;
  const file = (text) => {
    const name = `file-${count++}.json`;
    writeFileSync(join(at.place, name), text);
    return name;
  };
  // A property that bears the name of an option of asistry is typed without dashes.
  const dashed = (form) => entries(given).flatMap(([name, item]) => (ours.has(kebab(name)) ? [`${name}=${escaped(item)}`] : form(name, escaped(item))));
  const all = JSON.stringify(given);
  const found = [
    ['name=value', entries(given).map(([name, item]) => `${name}=${escaped(item)}`)],
    ['--name value', dashed((name, item) => (optional(item) ? [`--${name}=${item}`] : [`--${name}`, item]))],
    ['--name=value', dashed((name, item) => [`--${name}=${item}`])],
    ['--na-me=value', dashed((name, item) => [`--${kebab(name)}=${item}`])],
    ['name:=JSON', Object.entries(given).map(([name, value]) => `${name}:=${JSON.stringify(value)}`)],
    ['name=@file', entries(given).map(([name, item]) => `${name}=@${file(plain(item))}`)],
    ['name:=@file.json', Object.entries(given).map(([name, value]) => `${name}:=@${file(JSON.stringify(value))}`)],
    // The next word is a boolean's only where it is one itself.
    ['--name @file', dashed((name, item) => (typeof given[name] === 'boolean' ? [`--${name}=${item}`] : [`--${name}`, `@${file(item.replace(/^@@/, '@'))}`]))],
    ['--args JSON', ['--args', all]],
    ['--args @file', ['--args', `@${file(JSON.stringify(given, null, 2))}`]],
    ['--args -', ['--args', '-'], all],
    ['behind --', ['--', ...entries(given).map(([name, item]) => `${name}=${escaped(item)}`)]],
  ];
  for (const [name, value] of Object.entries(given)) {
    const others = Object.entries(given).filter(([other]) => other !== name).map(([other, it]) => `${other}:=${JSON.stringify(it)}`);
    found.push([`${name}=@-`, [...others, `${name}=@-`], plain(value)], [`${name}:=@-`, [...others, `${name}:=@-`], JSON.stringify(value)]);
    found.push([`${name} over --args`, ['--args', JSON.stringify({ ...given, [name]: null }), `${name}:=${JSON.stringify(value)}`]]);
    if (value === true && !ours.has(kebab(name))) found.push([`bare --${name}`, [...others, `--${kebab(name)}`]]);
    if (value === false && !ours.has(kebab(name))) found.push([`--${name} false`, [`--${kebab(name)}`, 'false', ...others]]);
  }
  // Without arguments most of them are the same.
  return [...new Map(found.reverse().map((form) => [JSON.stringify(form.slice(1)), form])).values()].reverse();
}

/** The long options that asistry keeps for itself, read off its own help. */
async function ownOptions(at) {
  const { out } = await typed(at, 'asistry call --help');
  const options = new Set([...out.matchAll(/--([a-z][a-z-]*)/g)].map(([, name]) => name));
  assert.ok(options.has('args') && options.has('json'), `no options in the help: ${out}`);
  return options;
}

/** Works through `items`, some at a time; the results in their order. */
async function each(items, work) {
  const [results, queue] = [[], [...items.entries()]];
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let next = queue.shift(); next; next = queue.shift()) results[next[0]] = await work(next[1]);
  }));
  return results;
}

// ---- what must be the same ----

/** What `--json` must print: structuredContent, else the JSON of the text, else the text; nothing where there is more than text. */
function value({ structuredContent, content }) {
  if (structuredContent) return structuredContent;
  if (content.some(({ type }) => type !== 'text')) return undefined;
  const text = content.map((block) => block.text).join('\n');
  try {
    return content.length === 1 ? JSON.parse(text) : text;
  } catch {
    return text;
  }
}

/** Types every form of one call, piped and with --json; each must come to the same end. Returns what they print. */
async function everyForm(at, tool, given, { ours, expected, fails, sent, task }) {
  const all = forms(at, given, ours).slice(0, task ? 1 : undefined).flatMap(([name, words, stdin]) => [[], ['--json']].map((options) => ({ name: [name, ...options].join(' '), words, stdin, options })));
  const came = await each(all, async ({ words, stdin, options }) => {
    const run = String(everyForm.runs = (everyForm.runs ?? 0) + 1);
    return { run, ...(await asistry(at, ['call', '--header', `x-run: ${run}`, ...options, tool, ...words], stdin)) };
  });
  for (const [number, { run, line, code, out, err }] of came.entries()) {
    const { name, options } = all[number];
    const told = `${name}: ${line}\n${err}`;
    if (sent) assert.deepEqual(sent(run), [given], `what was sent by ${told}`);
    if (fails) {
      assert.deepEqual({ code, out }, { code: fails.code, out: '' }, told);
      assert.match(options.length ? JSON.parse(err).error.message : err, fails.says, told);
      continue;
    }
    assert.deepEqual({ code, err }, { code: 0, err: '' }, told);
    const first = came[options.length ? 1 : 0];
    assert.equal(lasting(out), lasting(first.out), `${told}\nprints something else than\n${first.line}`);
    if (options.length && expected !== undefined) assert.equal(lasting(JSON.stringify(JSON.parse(out))), lasting(JSON.stringify(expected)), told);
  }
  return { count: all.length, plain: came[0].out, json: fails ? undefined : JSON.parse(came[1].out) };
}

function sampled(tools, samples) {
  const names = tools.map(({ name }) => name);
  assert.deepEqual(names.filter((name) => !samples[name]), [], 'tools without a sample in call_samples.mjs');
  assert.deepEqual(Object.keys(samples).filter((name) => !names.includes(name)), [], 'samples of tools that are not listed');
  for (const { name, inputSchema } of tools) {
    const given = new Set(samples[name].flatMap(({ given }) => Object.keys(given)));
    assert.deepEqual(Object.keys(inputSchema.properties ?? {}).filter((property) => !given.has(property)), [], `${name}: arguments that no sample gives`);
  }
}

// ---- server-everything ----

async function everything() {
  const server = await startEverything('streamableHttp');
  const proxy = await recordingProxy(server.port);
  const at = home({ ASISTRY_URL: `${proxy.url}/mcp` });
  const ours = await ownOptions(at);
  const calls = (run) => proxy.requests.items.filter(({ headers, message }) => headers['x-run'] === run && message?.method === 'tools/call');
  const sent = (run) => calls(run).map(({ message }) => message.params.arguments);
  const url = new URL(`http://127.0.0.1:${server.port}/mcp`);
  // What a client is given that can do no more than `asistry call` in a pipe, and what one that can do everything.
  const [direct, able] = [new PeerClient({ capabilities: {} }), new PeerClient()];
  for (const client of [direct, able]) await client.connect(new StreamableHTTPClientTransport(url));

  await check('call_forms everything: every tool has a sample, and is listed as to any client', async () => {
    const tools = await printed(at, ['tools', '--json']);
    assert.deepEqual(tools.map(({ name }) => name), (await direct.listTools()).tools.map(({ name }) => name));
    sampled(tools, EVERYTHING);
    const more = (await able.listTools()).tools.map(({ name }) => name).filter((name) => !EVERYTHING[name]);
    assert.deepEqual(more.sort(), [...HIDDEN].sort(), 'tools for clients that can do more than a pipe');
  });
  for (const [tool, samples] of Object.entries(EVERYTHING)) {
    await check(`call_forms everything: ${tool} in every form`, async () => {
      for (const { given, fails, task } of samples) {
        const straight = fails || task ? { content: [] } : await direct.tool(tool, given);
        const { plain: out, json } = await everyForm(at, tool, given, { ours, expected: fails || task ? undefined : value(straight), fails, sent, task });
        if (task) assert.match(out, task);
        for (const { text } of straight.content.filter((block) => typeof json === 'string' && block.type === 'text')) {
          assert.ok(lasting(out).includes(lasting(text)), `no “${text}” in ${out}`);
        }
      }
    }, 40_000);
  }
  for (const tool of HIDDEN) {
    await check(`call_forms everything: ${tool}, which needs more than a pipe, is told to be unknown`, async () => {
      for (const options of [[], ['--json'], ['--no-check'], ['--args', '{}']]) {
        const { code, out, err, line } = await asistry(at, ['call', tool, ...options]);
        assert.deepEqual({ code, out }, { code: 2, out: '' }, `${line}\n${err}`);
        assert.match(err, new RegExp(`the service has no tool named ${tool}`));
      }
      assert.ok(!proxy.requests.items.some(({ message }) => message?.params?.name === tool), 'it was called');
    });
  }
  await check('call_forms everything: no call was sent twice, and none beside those that were typed', async () => {
    const all = proxy.requests.items.filter(({ message }) => message?.method === 'tools/call');
    assert.equal(all.length, everyForm.runs);
    assert.equal(new Set(all.map(({ headers }) => headers['x-run'])).size, everyForm.runs);
  });
  for (const client of [direct, able]) await client.close();
  proxy.stop();
  server.stop();
}

// ---- the embedded sandbox ----

async function sandbox() {
  const env = { ASISTRY_PROFILE: 'sandbox' };
  const ours = await ownOptions(home(env));
  await check('call_forms sandbox: every tool has a sample', async () => sampled(await printed(home(env), ['tools', '--json']), SANDBOX));
  for (const [tool, samples] of Object.entries(SANDBOX)) {
    await check(`call_forms sandbox: ${tool} in every form`, async () => {
      for (const { given, fails, holds } of samples) {
        const at = home(env);
        const tasks = [];
        for (const title of ['Buy milk', '@Buy bread', 'Read']) {
          tasks.push(await printed(at, ['call', 'create_task', '--json', '--args', JSON.stringify({ title, status: 'todo', assignee: 'ada' })]));
        }
        const filled = given.id === 'FIRST' ? { ...given, id: tasks[0].id } : given;
        const { count, json } = await everyForm(at, tool, filled, { ours, fails });
        if (!fails) assert.ok(holds(json, filled), `not the effect of ${JSON.stringify(filled)}: ${JSON.stringify(json)}`);
        const { tasks: after } = await printed(at, ['call', 'list_tasks', '--json', 'limit=100']);
        assert.equal(after.length, tasks.length + (tool === 'create_task' && !fails ? count : 0), 'tasks came or went');
      }
    }, 40_000);
  }
}

await everything();
await sandbox();
await check('call_forms: a form that sends something else is told', async () => {
  // What makes the checks above worth anything.
  const at = home({ ASISTRY_PROFILE: 'sandbox' });
  const wrong = (tool, given, options) => failure(everyForm(at, tool, given, { ours: new Set(), ...options }), 'a wrong expectation');
  for (const options of [{ sent: () => [{ title: 'y' }] }, { sent: () => [] }, { expected: { tasks: 1 } }, { fails: { code: 1, says: /./ } }]) {
    assert.equal((await wrong('list_tasks', { limit: 1 }, options)).name, 'AssertionError');
  }
  assert.equal((await wrong('list_tasks', { limit: 'x' }, {})).name, 'AssertionError');
  assert.throws(() => sampled([{ name: 'new', inputSchema: {} }], {}), /without a sample/);
  assert.throws(() => sampled([{ name: 'a', inputSchema: { properties: { b: {} } } }], { a: [{ given: {} }] }), /no sample gives/);
}, 40_000);
finish();
