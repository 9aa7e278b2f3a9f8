// OAuth against a real better-auth, with a scripted browser: one login in one window until the grant is revoked, whatever
// fails and however many processes run. Then searches all output and files for every secret.
// Usage: oauth.mjs BINARY [LANE,…]
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkFaults } from './oauth_faults.mjs';
import { checkLogins } from './oauth_logins.mjs';
import { checkProcesses } from './oauth_processes.mjs';
import { homes, seen, services, startService } from './oauth_scene.mjs';
import { checkKeyring, checkSessions, checkTokens } from './oauth_tokens.mjs';
import { check, finish } from './support.mjs';

const BINARY = process.argv[2];
const chosen = process.argv[3]?.split(',') ?? ['logins', 'tokens', 'faults', 'processes'];
const lanes = {
  logins: async () => checkLogins(BINARY, await startService()),
  tokens: async () => {
    await checkTokens(BINARY, await startService());
    await checkSessions(BINARY, await startService('sessions'));
  },
  faults: async () => checkFaults(BINARY, await startService()),
  keyring: async () => checkKeyring(BINARY, await startService()),
  processes: async () => checkProcesses(BINARY, await startService()),
};
await Promise.all(chosen.map((lane) => lanes[lane]()));

/** The encodings in which a secret could appear. */
function forms(secret) {
  const escaped = [...secret].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
  const base64 = [0, 1, 2].map((shift) => Buffer.from(' '.repeat(shift) + secret).toString('base64').slice(shift ? 4 : 0).replace(/.{0,3}=*$/, ''));
  return [secret, encodeURIComponent(secret), escaped, ...base64, ...base64.map((form) => form.replaceAll('+', '-').replaceAll('/', '_'))];
}

await check('oauth: no token, code, verifier or client secret is in any output or file', async () => {
  const files = homes.flatMap((home) => readdirSync(home, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)));
  assert.ok(['trace-', '/log', ...(chosen.includes('keyring') ? [] : ['keys.enc'])].every((name) => files.some((file) => file.includes(name))), `${files}`);
  const places = [...seen, ...files.map((file) => [file, readFileSync(file, 'latin1')])];
  const secrets = (await Promise.all(services.map((service) => service.secrets()))).flat();
  assert.ok(secrets.length > 10, `${secrets.length} secrets`);
  // A part of a secret must not appear either.
  const ends = (text) => [text, text.slice(0, 20), text.slice(-20), text.slice(text.length / 2 - 10).slice(0, 20)];
  const parts = secrets.flatMap((secret) => secret.split('.').flatMap(ends)).filter((part) => part.length >= 20);
  // Parts common to many tokens, such as the JWT header, are not secret.
  const times = new Map();
  for (const part of parts) times.set(part, (times.get(part) ?? 0) + 1);
  const wanted = [...new Set([...secrets, ...parts.filter((part) => times.get(part) <= 3)].flatMap(forms))];
  const held = [];
  for (const [name, content] of places) {
    for (const form of wanted) if (content.includes(form)) held.push(`${name} holds ${form.slice(0, 6)}… (${form.length} characters)`);
  }
  assert.deepEqual(held.slice(0, 20), []);
}, 60_000);

for (const service of services) {
  assert.deepEqual(service.journal.items.filter(({ kind }) => kind === 'broken'), [], 'the service itself failed');
  service.stop();
}
finish();
