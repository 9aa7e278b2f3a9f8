// The auth scenarios of the official conformance suite, through the stdio face: the suite's servers <- BINARY bridge <-
// conformance_auth_client.mjs. Every auth scenario of the suite stands in the tables below, or this suite fails.
// A warning of the suite counts as a failure.
import assert from 'node:assert/strict';
import { clientScenarios, requiredScenarios, runJobs, Scenarios } from './conformance_suite.mjs';
import { check, finish } from './support.mjs';

const AUTH = (name) => name.startsWith('auth/');
const REVISIONS = ['2025-11-25', '2026-07-28'];
/** Scenarios of a revision for which the suite froze no list. */
const EARLIER = { '2025-03-26': ['auth/2025-03-26-oauth-metadata-backcompat', 'auth/2025-03-26-oauth-endpoint-fallback'] };
/** Scenarios of extensions, which have no revision: run over the wire of each. */
const EXTENSIONS = ['auth/client-credentials-basic', 'auth/client-credentials-jwt', 'auth/enterprise-managed-authorization', 'auth/wif-jwt-bearer', 'auth/dpop', 'auth/dpop-nonce'];

/** What fails, as `host version scenario`; one that passes after all fails too. */
const EXPECTED_FAILURES = [];

/** Checks that the suite merely notes where they do not hold. */
const ALSO = { 'auth/offline-access-scope': ['sep-2207-offline-access-requested', 'sep-2207-client-metadata-grant-types'] };

const required = Object.fromEntries([...REVISIONS.map((version) => [version, requiredScenarios(version).filter(AUTH)]), ...Object.entries(EARLIER)]);

await check('conformance: every auth scenario of the suite is run', async () => {
  const run = new Set([...Object.values(required).flat(), ...EXTENSIONS]);
  assert.deepEqual((await clientScenarios()).filter(AUTH).toSorted(), [...run].toSorted());
});

const jobs = ['1.x', '2.x'].flatMap((host) => [
  ...Object.entries(required).flatMap(([version, scenarios]) => scenarios.map((scenario) => ({ host, version, scenario, revision: ['--spec-version', version] }))),
  ...REVISIONS.flatMap((version) => EXTENSIONS.map((scenario) => ({ host, version, scenario, revision: ['--spec-version', version, '--force'] }))),
]);
const scenarios = new Scenarios(process.argv[2], 'conformance_auth_client.mjs');
await runJobs(
  jobs.map((job) => ({ ...job, name: `${job.host} ${job.version} ${job.scenario}` })),
  async ({ name, ...job }) => {
    const { held, good, told } = await scenarios.run(name, job);
    const missing = (ALSO[job.scenario] ?? []).filter((id) => !good.includes(id));
    assert.equal(held && missing.length === 0, !EXPECTED_FAILURES.includes(name), `${missing.map((id) => `no success of ${id}\n`).join('')}${told}`);
  },
);
console.log(`conformance: ${scenarios.checksHeld} auth checks of the suite held`);
finish();
