// The client scenarios of the official conformance suite, through the stdio face: the suite's server <- BINARY bridge <-
// conformance_client.mjs. Every scenario of the suite stands in the tables below, or this suite fails.
// A warning of the suite counts as a failure, and one that is expected must come.
import assert from 'node:assert/strict';
import { clientScenarios, runJobs, Scenarios } from './conformance_suite.mjs';
import { check, finish } from './support.mjs';

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

/** What conformance_auth.mjs runs. */
const ELSEWHERE = /^auth\//;

await check('conformance: every client scenario of the suite is run', async () => {
  const known = (await clientScenarios()).filter((name) => !ELSEWHERE.test(name));
  assert.deepEqual(known.toSorted(), [...LEGACY, ...MODERN, ...BOTH, ...SKILLS].toSorted());
});

const scenarios = new Scenarios(process.argv[2], 'conformance_client.mjs');
const jobs = HOSTS.flatMap(({ host, version, scenarios }) => scenarios.map((scenario) => ({ name: `${host} ${version} ${scenario}`, host, version, scenario })));
await runJobs(jobs, async ({ name, host, version, scenario }) => {
  // A scenario of an extension has no revision of its own.
  const revision = SKILLS.includes(scenario) ? [] : ['--spec-version', version];
  const { held, told } = await scenarios.run(name, { scenario, host, revision, options: OPTIONS[name] });
  assert.equal(held, !EXPECTED_FAILURES.includes(name), told);
});
console.log(`conformance: ${scenarios.checksHeld} checks of the suite held`);
finish();
