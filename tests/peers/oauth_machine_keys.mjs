// The private keys of the machine suite, made by openssl in every form in which people have them.
import { execFileSync } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] });
const PASSWORD = 'pass:a password of the peers';

/** The forms of the registered P-256 key and RSA key. */
export const GOOD = ['ec-sec1', 'ec-parameters', 'ec-pkcs8', 'rsa-pkcs1', 'rsa-pkcs8'];

/** Fills a new folder with `NAME.pem` of all kinds. */
export function makeKeys(folder) {
  mkdirSync(folder);
  const file = (name) => join(folder, `${name}.pem`);
  const make = (name, ...args) => writeFileSync(file(name), openssl(...args));
  make('ec-parameters', 'ecparam', '-name', 'prime256v1', '-genkey');
  make('ec-sec1', 'ec', '-in', file('ec-parameters'));
  make('ec-pkcs8', 'pkcs8', '-topk8', '-nocrypt', '-in', file('ec-sec1'));
  make('rsa-pkcs1', 'genrsa', '-traditional', '2048');
  make('rsa-pkcs8', 'pkcs8', '-topk8', '-nocrypt', '-in', file('rsa-pkcs1'));
  make('stranger', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout');
  make('stranger-rsa', 'genrsa', '2048');
  make('encrypted-pkcs8', 'pkcs8', '-topk8', '-passout', PASSWORD, '-in', file('ec-sec1'));
  make('encrypted-sec1', 'ec', '-aes256', '-passout', PASSWORD, '-in', file('ec-sec1'));
  make('p384', 'ecparam', '-name', 'secp384r1', '-genkey', '-noout');
  make('ed25519', 'genpkey', '-algorithm', 'ed25519');
  make('public', 'ec', '-in', file('ec-sec1'), '-pubout');
  writeFileSync(file('empty'), '');
  writeFileSync(file('garbage'), '-----BEGIN PRIVATE KEY-----\nbm8ga2V5IGF0IGFsbCwganVzdCBub2lzZSBvZiB0aGUgcGVlcnM=\n-----END PRIVATE KEY-----\n');
}

/** The public halves of the two registered keys. */
export const publicKeys = (folder) => [['ec', 'ES256'], ['rsa', 'RS256']].map(([kid, alg]) => {
  const jwk = createPublicKey(readFileSync(join(folder, `${kid}-pkcs8.pem`))).export({ format: 'jwk' });
  return { ...jwk, kid, alg, use: 'sig' };
});

/** The lines of all private keys, which must appear nowhere. */
export function keySecrets(folder, names = [...GOOD, 'stranger', 'stranger-rsa', 'encrypted-pkcs8', 'encrypted-sec1', 'p384', 'ed25519', 'garbage']) {
  const lines = names.flatMap((name) => readFileSync(join(folder, `${name}.pem`), 'utf8').split('\n'));
  return lines.filter((line) => line.length >= 40 && !/[-:]/.test(line));
}
