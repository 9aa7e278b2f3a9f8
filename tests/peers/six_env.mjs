// The essential checks once more, started as desktop clients start us: with six environment variables and no more.
// Refuses to believe the SDK: reads what the process really got.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { runEverything } from './everything.mjs';
import { runPython } from './python.mjs';
import { check, finish, SIX } from './support.mjs';

process.env.ASISTRY_PEERS_WITNESS = 'must not reach the bridge';
for (const kind of ['streamableHttp', 'sse']) {
  await runEverything({
    binary: process.argv[2],
    kind,
    suite: 'six_env',
    six: true,
    chosen: (mark) => mark === 'essential',
    more: ({ bridge }, label) => check(`${label} the process got exactly the six variables`, async () => {
      const names = readFileSync(`/proc/${bridge.child.pid}/environ`, 'utf8').split('\0').filter(Boolean).map((entry) => entry.split('=')[0]);
      assert.deepEqual(names.sort(), SIX);
    }),
  });
}
await runPython({ binary: process.argv[2], kind: 'stateful', suite: 'six_env python', six: true });
finish();
