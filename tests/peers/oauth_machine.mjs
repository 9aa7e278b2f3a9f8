// OAuth for machines, and DPoP, against oidc-provider: client credentials with every kind of client authentication, workload
// tokens, ID-JAG, and tokens that are bound to a key. Then searches all output and files for every secret.
// Usage: oauth_machine.mjs BINARY [LANE,…]
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkClients } from './oauth_machine_clients.mjs';
import { checkDpop } from './oauth_machine_dpop.mjs';
import { checkJag } from './oauth_machine_jag.mjs';
import { startService } from './oauth_machine_scene.mjs';
import { held } from './oauth_machine_search.mjs';
import { checkWorkload } from './oauth_machine_workload.mjs';
import { homes, seen, services } from './oauth_scene.mjs';
import { check, finish } from './support.mjs';

const lanes = { clients: checkClients, workload: checkWorkload, jag: checkJag, dpop: checkDpop };
const chosen = process.argv[3]?.split(',') ?? Object.keys(lanes);
await Promise.all(chosen.map(async (lane) => lanes[lane](process.argv[2], await startService())));

await check('machine: each proof and each assertion was right', async () => {
  const wrong = services.flatMap(({ journal }) => journal.items).filter(({ problem, kind, agent }) => (problem || kind === 'problem') && agent !== 'peers-thief');
  assert.deepEqual(wrong.slice(0, 10), []);
});

await check('machine: no token, key, assertion, proof or secret is in any output or file', async () => {
  const files = homes.flatMap((home) => readdirSync(home, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)));
  for (const name of ['trace-', '/log']) assert.ok(files.some((file) => file.includes(name)), `${files}`);
  const places = [...seen, ...files.map((file) => [file, readFileSync(file, 'latin1')])];
  const secrets = (await Promise.all(services.map((service) => service.secrets()))).flat();
  assert.ok(secrets.length > 50, `${secrets.length} secrets`);
  assert.equal(held(secrets, [['planted', `x${secrets.at(0)}x`]]).length > 0, true, 'the search finds nothing at all');
  assert.deepEqual(held(secrets, places).slice(0, 20), []);
}, 60_000);

for (const service of services) {
  assert.deepEqual(service.journal.items.filter(({ kind }) => kind === 'broken'), [], 'the service itself failed');
  service.stop();
}
finish();
