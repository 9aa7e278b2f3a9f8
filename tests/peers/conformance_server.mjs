// The server scenarios of the official conformance suite, straight at a service and through the stdio face: the suite ->
// http_front.mjs -> BINARY bridge -> the service. Whatever holds directly must hold through asistry as well.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startConformanceService } from './conformance_service.mjs';
import { runSuite } from './conformance_suite.mjs';
import { startFront } from './http_front.mjs';
import { check, finish } from './support.mjs';

const VERSIONS = ['2025-11-25', '2026-07-28'];

/** Scenarios about what stdio does not have: through the front they would judge the front. */
const HTTP_ONLY = {
  'server-sse-polling': 'a server that closes the stream of a call and is asked for the rest by GET',
  'http-header-validation': 'a server that compares the headers of a request with its body',
  'http-custom-header-server-validation': 'a server that compares Mcp-Param-* headers with arguments',
};

const scratch = mkdtempSync(join(tmpdir(), 'asistry-conformance-server-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

/** Runs all scenarios of a revision; returns the suite's checks of each scenario, those that held and the others. */
async function run(name, version, port) {
  const results = join(scratch, name);
  const { output } = await runSuite(['server', '--url', `http://localhost:${port}/mcp`, '--suite', 'all', '--spec-version', version, '--output-dir', results]);
  const scenarios = new Map();
  for (const folder of readdirSync(results)) {
    const scenario = /^server-(.+)-\d{4}-\d\d-\d\dT/.exec(folder)[1];
    const of = (...kinds) => checks.filter(({ status }) => kinds.includes(status));
    const checks = JSON.parse(readFileSync(join(results, folder, 'checks.json'), 'utf8'));
    scenarios.set(scenario, { held: of('SUCCESS').map(({ id, name }) => `${id} ${name}`).sort(), others: of('FAILURE', 'WARNING') });
  }
  assert.ok(scenarios.size > 20, output);
  return scenarios;
}

const service = await startConformanceService();
const front = await startFront(process.argv[2], `http://127.0.0.1:${service.port}/mcp`);
let held = 0;
for (const version of VERSIONS) {
  let direct, through;
  await check(`conformance_server: ${version} the scenarios run`, async () => {
    direct = await run(`direct ${version}`, version, service.port);
    through = await run(`through ${version}`, version, front.port);
    assert.deepEqual([...through.keys()].sort(), [...direct.keys()].sort());
  }, 60_000);
  for (const [scenario, straight] of direct ?? []) {
    if (HTTP_ONLY[scenario]) continue;
    await check(`conformance_server: ${version} ${scenario}`, async () => {
      assert.deepEqual(straight.others, [], 'it does not hold at the service itself');
      assert.deepEqual(through.get(scenario), straight);
      held += straight.held.length;
    });
  }
}
await check('conformance_server: what is left out is in the suite', async () => {
  const { output } = await runSuite(['list', '--server']);
  for (const scenario of Object.keys(HTTP_ONLY)) assert.match(output, new RegExp(` ${scenario} `));
});
console.log(`conformance_server: ${held} checks of the suite held directly and through asistry`);
front.stop();
await service.stop();
finish();
