// AgentStack's REST calls for tools: the official clients and the shell in front of a strict stand-in of its wire; what no
// fault may cause; and the anonymous start, whose secrets are looked for everywhere.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { check, connectThroughBridge, finish, here, ModernClient, peer, PeerClient, progressAndResult, startServer, within } from './support.mjs';

const { ListToolsResultSchema } = peer('@modelcontextprotocol/sdk/types.js');
const BINARY = process.argv[2];
const OWNER = 'ask_ownerMARKED0123456789';
const CREATE = 'projects.create_project_anonymous';
const scratch = mkdtempSync(join(process.env.HOME, 'agentstack-'));
const journalFile = join(scratch, 'journal');
const service = await startServer('python3', [join(here, 'agentstack_service.py'), journalFile]);
const url = `http://127.0.0.1:${service.port}/mcp`;
const journal = () => readFileSync(journalFile, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
const text = (result) => result.content.map((block) => block.text ?? '').join('\n');

/** Runs a program; resolves with exit code, stdout and stderr. */
const run = (program, args, env) => new Promise((done) => {
  execFile(program, args, { env, maxBuffer: 1 << 26 }, (error, out, err) => done({ code: error ? error.code : 0, out, err }));
});
const owned = { HOME: join(scratch, 'owner'), PATH: process.env.PATH, ASISTRY_API_KEY: OWNER };
const asistry = (env, ...args) => run(BINARY, ['-p', 'agentstack', '--url', url, ...args], env);
mkdirSync(owned.HOME);

// ---- actions ----

/** What each client must have got of the same actions. */
function actionsAreRight(label, got) {
  assert.equal(got.names.length, 701, label);
  assert.equal(new Set(got.names).size, 701, label);
  assert.ok(got.pages > 1, `${label}: ${got.pages} pages`);
  for (const name of got.names) assert.match(name, /^[a-zA-Z0-9_-]{1,64}$/, label);
  assert.ok(got.names.includes('projects_get_projects') && got.names.includes('agentstack_execute'), label);
  const traceOf = (result) => result._meta['asistry/traceId'];
  assert.deepEqual(got.call.structuredContent, { tool: 'domain30.action_100', params: { n: 1 } }, label);
  assert.match(traceOf(got.call), /^trace-/, label);
  assert.deepEqual(got.streamed.structuredContent.params, { n: 2 }, label);
  assert.match(traceOf(got.streamed), /^trace-/, label);
  assert.deepEqual(got.steps, [25, 50, 75], label);
  assert.equal(got.refused.isError, true, label);
  assert.match(text(got.refused), /HTTP 403: Professional subscription required/, label);
  assert.ok(text(got.refused).includes(traceOf(got.refused)), `${label}: ${text(got.refused)}`);
  assert.equal(got.limited.isError ?? false, false, label);
  assert.equal(got.job.structuredContent.tool, 'scheduler.long', label);
  assert.equal(got.batch.isError, true, label);
  assert.match(text(got.batch), /^step 2: HTTP 403/, label);
  assert.match(text(got.batch), /"projects"/, label);
}

const CLIENTS = [['TypeScript 1.x', () => new PeerClient(), 10], ['TypeScript 2.x', () => new ModernClient('auto'), 20], ['TypeScript 2.x, stateless', () => new ModernClient({ pin: '2026-07-28' }), 30]];
for (const [label, make, n] of CLIENTS) {
  await check(`agentstack (${label}): 701 tools in pages, calls, progress, errors with their trace, steps`, async () => {
    process.env.ASISTRY_API_KEY = OWNER;
    const { client, close } = await connectThroughBridge(BINARY, url, { client: make(), options: ['-p', 'agentstack'] });
    delete process.env.ASISTRY_API_KEY;
    const names = [];
    let [pages, cursor] = [0, undefined];
    do {
      const { tools, nextCursor } = await client.request({ method: 'tools/list', params: cursor ? { cursor } : {} }, ...(client.raw ? [ListToolsResultSchema] : []));
      names.push(...tools.map(({ name }) => name));
      [pages, cursor] = [pages + 1, nextCursor];
    } while (cursor);
    const got = { names, pages };
    got.call = await client.tool('domain30_action_100', { n: 1 });
    // Read from the wire: the client itself loses a progress that comes in one chunk with the result.
    const entries = await progressAndResult(client, client.tool('domain30.action_100', { n: 2 }, { onprogress: () => {} }));
    [got.steps, got.streamed] = [entries.slice(0, -1).map(({ progress }) => progress), entries.at(-1)];
    got.refused = await client.tool('projects_add_user', {});
    got.limited = await client.tool('logic_limited', { n });
    got.job = await client.tool('scheduler_long', { n });
    got.batch = await client.tool('agentstack_execute', { steps: [{ action: 'projects.get_projects' }, { action: 'projects.add_user' }] });
    await close();
    actionsAreRight(label, got);
  });
}

const PYTHONS = [['Python 1.x', process.env.ASISTRY_PEERS_PYTHON_1], ['Python 2.x', process.env.ASISTRY_PEERS_PYTHON]];
for (const [label, python] of PYTHONS) {
  await check(`agentstack (${label}): 701 tools in pages, calls, progress, errors with their trace, steps`, async () => {
    const { code, out, err } = await run(python, [join(here, 'agentstack_host.py'), BINARY, url, 'actions'], owned);
    assert.equal(code, 0, err);
    actionsAreRight(label, JSON.parse(out));
  });
}

await check('agentstack (shell): tools, calls, errors with their trace, steps', async () => {
  const tools = await asistry(owned, 'tools', '--json');
  assert.equal(JSON.parse(tools.out).length, 701, tools.err);
  const called = await asistry(owned, 'call', 'domain30.action_100', 'n=7', '--json');
  assert.deepEqual(JSON.parse(called.out), { tool: 'domain30.action_100', params: { n: 7 } }, called.err);
  const refused = await asistry(owned, 'call', 'projects.add_user');
  assert.equal(refused.code, 1);
  assert.match(refused.err, /HTTP 403: Professional subscription required[^]*trace-\d+/);
  const job = await asistry(owned, 'call', 'scheduler.long', 'n=8', '--json');
  assert.equal(JSON.parse(job.out).tool, 'scheduler.long', job.err);
  const limited = await asistry(owned, 'call', 'logic.limited', 'n=8', '--json');
  assert.equal(limited.code, 0, limited.err);
  const steps = 'steps:=[{"action":"projects.get_projects"}]';
  const batch = await asistry(owned, 'call', 'agentstack.execute', steps, '--json');
  assert.equal(JSON.parse(batch.out).steps[0].status, 'completed', batch.err);
});

// ---- faults ----

// All calls of a key wait when the service limits its rate: such a fault has a bridge of its own, and fewer calls.
const GROUPS = [
  [12, ['reset', 'half_body', 'after_head', '500', '502', 'half_record', 'no_end', 'stall', 'html', 'batch']],
  [4, ['503']],
  [4, ['429']],
  [12, ['storm']],
];

/** Asks for each of these faults so many times through one bridge; resolves with the answers by the id of their request. */
async function underFaults([times, faults]) {
  const child = spawn(BINARY, ['-p', 'agentstack', '--url', url, 'bridge', '--timeout', '3s', '--drain', '20s'], { env: owned, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stderr.resume();
  const answers = new Map();
  const asked = [];
  const say = (message) => child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  say({ id: 'open', method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'c', version: '1' } } });
  asked.push('open');
  for (let round = 0; round < times; round += 1) {
    for (const fault of faults) {
      const id = `${fault} ${round}`;
      const streams = fault === 'half_record' || fault === 'no_end' || round % 2 === 1;
      const steps = { name: 'agentstack_execute', arguments: { steps: [{ action: 'faults.lost', params: { n: id } }] } };
      const call = { name: `faults.${fault}`, arguments: { n: id }, ...(streams && { _meta: { progressToken: id } }) };
      asked.push(id);
      say({ id, method: 'tools/call', params: fault === 'batch' ? steps : call });
    }
  }
  const all = new Promise((done) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const message = JSON.parse(line);
      if (message.id === undefined) return;
      answers.set(message.id, [...(answers.get(message.id) ?? []), message]);
      if (answers.size === asked.length) done();
    });
  });
  try {
    await within(all, 40_000, 'every request to be answered').catch((error) => assert.fail(`${error.message}: ${asked.filter((id) => !answers.has(id))}`));
    child.stdin.end();
    await within(new Promise((done) => child.on('close', done)), 10_000, 'the bridge to end');
  } finally {
    child.kill('SIGKILL');
  }
  return answers;
}

await check('agentstack: whatever fails, no action runs twice and each request is answered once', async () => {
  const before = journal().length;
  const answers = new Map((await Promise.all(GROUPS.map(underFaults))).flatMap((group) => [...group]));
  assert.equal(answers.size, 1 + 12 * 11 + 2 * 4);
  const runs = new Map();
  for (const { ran } of journal().slice(before)) if (typeof ran === 'string') runs.set(ran, (runs.get(ran) ?? 0) + 1);
  answers.delete('open');
  for (const id of answers.keys()) {
    const [fault] = id.split(' ');
    const [answer, ...more] = answers.get(id);
    assert.equal(more.length, 0, `${id} was answered ${more.length + 1} times`);
    assert.ok((runs.get(id) ?? 0) <= 1, `${id} ran ${runs.get(id)} times`);
    const inDoubt = answer.error?.data?.mayHaveExecuted;
    if (inDoubt === false) assert.equal(runs.get(id) ?? 0, 0, `${id} ran, but was reported as not executed`);
    if (['batch', '503', '429'].includes(fault)) assert.equal(answer.result?.isError ?? answer.error, undefined, JSON.stringify(answer));
    else if (fault === 'storm') assert.equal(inDoubt, false, JSON.stringify(answer));
    else if (fault === '500') assert.equal(answer.result?.isError, true, JSON.stringify(answer));
    else assert.equal(inDoubt, true, JSON.stringify(answer));
    if (fault !== 'storm') assert.equal(runs.get(id), 1, id);
    if (['half_record', 'no_end'].includes(fault)) assert.equal(answer.error.data.traceId, 't-half', JSON.stringify(answer));
  }
  const batches = journal().slice(before).filter(({ batch }) => batch !== undefined);
  for (let round = 0; round < 12; round += 1) {
    const sent = batches.filter(({ batch }) => batch === `batch ${round}`);
    assert.equal(sent.length, 3, `batch ${round} was sent ${sent.length} times`);
    assert.equal(new Set(sent.map(({ idempotency_key }) => idempotency_key)).size, 1);
  }
  assert.equal(new Set(batches.map(({ idempotency_key }) => idempotency_key)).size, 12);
}, 90_000);

// ---- the anonymous start ----

/** Everything that a person, a model or a log could have seen. */
const seen = [];
const homes = [];
const anonymous = (name) => {
  const HOME = join(scratch, name);
  mkdirSync(HOME);
  homes.push(HOME);
  return { HOME, PATH: process.env.PATH, ASISTRY_KEY_STORE: 'file', ASISTRY_KEY_PASSPHRASE: 'correct horse', ASISTRY_LOG: 'trace' };
};
const lastKey = (tool) => journal().findLast(({ post }) => post?.startsWith(`/mcp/tools/${tool}`)).key;

await check('agentstack (shell): an anonymous start from an empty home to a listed, an attached and a converted project', async () => {
  const env = anonymous('shell');
  const started = async (...args) => {
    const more = ['-vv', '--trace', join(env.HOME, 'trace-%p'), '--log-file', join(env.HOME, `log-${seen.length}`)];
    const ran = await asistry(env, ...args, ...more);
    seen.push(ran.out, ran.err);
    return ran;
  };
  const lost = await started('call', CREATE, 'name=Mine');
  assert.equal(lost.code, 2, lost.err);
  assert.equal(journal().filter(({ post }) => post?.includes(CREATE)).length, 0, 'a key was made that would be lost');
  const created = await started('call', CREATE, 'name=Mine', '--no-check', '--save-key', '--json');
  assert.equal(created.code, 0, created.err);
  const { project_id: id, auth_key: key } = JSON.parse(created.out);
  const listed = await started('call', 'projects.get_projects', '--json');
  assert.deepEqual(JSON.parse(listed.out).projects, [{ project_id: id, name: 'Mine' }], listed.err);
  const attached = await started('call', 'projects.attach_to_user', `project_id:=${id}`, `auth_key=${key}`, 'user_id:=5', '--no-check', '--json');
  assert.equal(attached.code, 0, attached.err);
  assert.equal((await started('call', 'projects.get_projects', '--json')).code, 0);
  assert.equal(lastKey('projects.get_projects'), `ask_new${id}MARKED0123456789`);
  const converted = await started('call', 'auth.convert_anonymous_user', '--json');
  assert.equal(converted.code, 0, converted.err);
  assert.equal((await started('call', 'projects.get_projects', '--json')).code, 0);
  assert.match(lastKey('projects.get_projects'), /^ask_conv/);
});

for (const [label, python] of PYTHONS) {
  await check(`agentstack (${label}): an anonymous start from an empty home to a listed and an attached project`, async () => {
    const env = anonymous(label.replace(' ', '-'));
    const { code, out, err } = await run(python, [join(here, 'agentstack_host.py'), BINARY, url, 'anonymous'], env);
    seen.push(out, err);
    assert.equal(code, 0, err);
    const { created, listed, attached, again } = JSON.parse(out);
    assert.match(text(created), /stored the new key as agentstack\/default/);
    assert.deepEqual(listed.structuredContent.projects, [{ project_id: created.structuredContent.project_id, name: 'Mine' }]);
    assert.equal(attached.isError ?? false, false, JSON.stringify(attached));
    assert.equal(again.isError ?? false, false);
    assert.match(lastKey('projects.get_projects'), /^ask_new/);
  });
}

for (const [label, make] of CLIENTS.slice(0, 2)) {
  await check(`agentstack (${label}): an anonymous start that is streamed`, async () => {
    const env = anonymous(label.replaceAll(' ', '-'));
    const kept = { ...process.env };
    Object.assign(process.env, env);
    const { client, close, log } = await connectThroughBridge(BINARY, url, { client: make(), options: ['-p', 'agentstack', '-vv', '--trace', join(env.HOME, 'trace')] });
    for (const name of Object.keys(env)) kept[name] === undefined ? delete process.env[name] : (process.env[name] = kept[name]);
    const created = await client.tool('projects_create_project_anonymous', { name: 'Mine' }, { onprogress: () => {} });
    const listed = await client.tool('projects_get_projects', {});
    await close();
    seen.push(JSON.stringify(client.wire.items), log());
    assert.deepEqual(listed.structuredContent.projects, [{ project_id: created.structuredContent.project_id, name: 'Mine' }]);
  });
}

await check('agentstack: no secret is anywhere, in any form', async () => {
  const files = (folder) => readdirSync(folder, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const found = homes.flatMap(files);
  assert.ok(found.some((file) => file.includes('trace')) && found.some((file) => file.includes('log-')), `${found}`);
  assert.ok(seen.join().includes('MASKED_'));
  const places = [...seen.map((content, at) => [`output ${at}`, content]), ...found.map((file) => [file, readFileSync(file, 'latin1')])];
  const everyKey = journal().map(({ key }) => key).filter((key) => key && key !== OWNER);
  const ids = [...new Set(everyKey.map((key) => /\d{4}/.exec(key)[0]))];
  assert.ok(ids.length >= 5, `${ids}`);
  const secrets = [...everyKey, ...ids.flatMap((id) => [`ask_p${id}MARKED`, `auth+${id}/MARKED`, `sess=é${id}MARKED`, `ask_new${id}MARKED0123456789`])];
  const escaped = (secret) => [...secret].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
  // A text within a longer one has three forms in base64, the same but for their ends.
  const base64 = (secret) => [0, 1, 2].map((shift) => Buffer.from(' '.repeat(shift) + secret).toString('base64').slice(shift ? 4 : 0).replace(/.{0,3}=*$/, ''));
  const forms = [...new Set(secrets)].flatMap((secret) => [secret, encodeURIComponent(secret), escaped(secret), ...base64(secret), ...base64(secret).map((form) => form.replaceAll('+', '-').replaceAll('/', '_'))]);
  const held = [];
  for (const [name, content] of places) {
    for (const form of ['MARKED', 'TUFSS0VE', escaped('MARKED'), '%4D%41%52%4B%45%44', ...forms]) {
      if (content.includes(form) || content.includes(Buffer.from(form).toString('latin1'))) held.push(`${name} holds ${form}`);
    }
  }
  assert.deepEqual(held, []);
});

await check('agentstack: the wire was kept in every request', async () => {
  const entries = journal();
  assert.ok(entries.length > 300, `${entries.length} entries`);
  assert.deepEqual(entries.filter(({ wrong }) => wrong).map(({ wrong }) => wrong), []);
  const created = entries.filter(({ post }) => post?.includes(CREATE));
  assert.ok(created.length >= 5 && created.every(({ key }) => key === null), JSON.stringify(created));
});

finish();
