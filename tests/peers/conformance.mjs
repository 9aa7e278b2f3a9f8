// The client scenarios of the official conformance suite, through the stdio face: the suite's server <- BINARY bridge <-
// conformance_client.mjs. Every scenario of the suite stands in the tables below, or this suite fails.
// A warning of the suite counts as a failure, and one that is expected must come.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runSuite } from './conformance_suite.mjs';
import { check, finish, here } from './support.mjs';

const scratch = mkdtempSync(join(tmpdir(), 'asistry-conformance-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

// The suite splits its --command at spaces and gives it to a shell: hand it paths without any.
symlinkSync(process.argv[2], join(scratch, 'bridge'));
symlinkSync(here, join(scratch, 'peers'));
const command = `${process.execPath} --preserve-symlinks --preserve-symlinks-main ${scratch}/peers/conformance_client.mjs ${scratch}/bridge`;

const SKILLS = ['sep-2640-client-no-prefetch', 'sep-2640-client-verify-digest', 'sep-2640-client-verify-size', 'sep-2640-client-verify-frontmatter'];
const BOTH = ['tools_call', 'json-schema-2020-12-preservation'];
const MODERN = ['request-metadata', 'sep-2322-client-request-state', 'http-standard-headers', 'http-custom-headers', 'http-invalid-tool-headers', 'json-schema-ref-no-deref'];
const LEGACY = ['initialize', 'elicitation-sep1034-client-defaults', 'sse-retry'];

/** Which scenarios each host runs: its client, the revision of the suite's server, options of the bridge. */
const HOSTS = [
  { host: '1.x', version: '2025-11-25', scenarios: [...LEGACY, ...BOTH] },
  { host: '2.x', version: '2026-07-28', scenarios: [...MODERN, ...BOTH, ...SKILLS] },
  { host: '1.x', version: '2026-07-28', scenarios: [...MODERN, ...BOTH, ...SKILLS] },
  { host: '2.x', version: '2025-11-25', scenarios: [...LEGACY, ...BOTH] },
];

/** What fails, as `host version scenario`; one that passes after all fails too. */
const EXPECTED_FAILURES = [];

/** What is run with other options, as `host version scenario`. */
const OPTIONS = {
  // Both judge every message as one of 2026-07-28, and our first one is the `initialize` of the client (section 2.6, step 0).
  '1.x 2026-07-28 request-metadata': ['--era', 'modern'],
  '1.x 2026-07-28 http-standard-headers': ['--era', 'modern'],
};

/** What is left out: all that needs OAuth. */
const LEFT_OUT = /^auth\//;

/** Runs one scenario; resolves with what is wrong, or nothing. */
async function runScenario(host, version, scenario) {
  const name = `${host} ${version} ${scenario}`;
  const results = join(scratch, 'results', name.replaceAll(' ', '-'));
  // A scenario of an extension has no revision of its own.
  const revision = SKILLS.includes(scenario) ? [] : ['--spec-version', version];
  const { code, output } = await runSuite(['client', '--command', [command, host, ...(OPTIONS[name] ?? [])].join(' '), '--scenario', scenario, ...revision, '--output-dir', results], scratch);
  assert.ok(existsSync(results), output);
  const files = (end) => readdirSync(results, { recursive: true }).filter((file) => file.endsWith(end)).map((file) => readFileSync(join(results, file), 'utf8'));
  const checks = files('checks.json').flatMap((text) => JSON.parse(text));
  const bad = checks.filter(({ status }) => status === 'FAILURE' || status === 'WARNING').map(({ id, name, status, errorMessage, details }) => `${status} ${id} ${name}: ${errorMessage ?? JSON.stringify(details)}`);
  const good = checks.filter(({ status }) => status === 'SUCCESS').length;
  const held = code === 0 && bad.length === 0 && good > 0;
  return { held, good, told: `${good} checks of the suite held, its code is ${code}\n${bad.join('\n')}\nthe client's stderr: ${files('stderr.txt').join('')}` };
}

await check('conformance: every client scenario of the suite is run or left out on purpose', async () => {
  const { output } = await runSuite(['list', '--client']);
  const known = [...output.matchAll(/^ +- (\S+)/gm)].map(([, name]) => name).filter((name) => !LEFT_OUT.test(name));
  assert.deepEqual(known.toSorted(), [...LEGACY, ...MODERN, ...BOTH, ...SKILLS].toSorted());
});

const jobs = HOSTS.flatMap(({ host, version, scenarios }) => scenarios.map((scenario) => [host, version, scenario]));
let checksHeld = 0;
async function work() {
  for (let job = jobs.shift(); job; job = jobs.shift()) {
    const name = job.join(' ');
    await check(`conformance: ${name}`, async () => {
      const { held, good, told } = await runScenario(...job);
      checksHeld += good;
      assert.equal(held, !EXPECTED_FAILURES.includes(name), told);
    }, 45_000);
  }
}
await Promise.all([work(), work(), work()]);
console.log(`conformance: ${checksHeld} checks of the suite held`);
finish();
