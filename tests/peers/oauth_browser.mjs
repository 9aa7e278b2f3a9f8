// A scripted browser: signs in at oauth_service.mjs, answers the consent page and follows the redirect to the client. As a
// program it takes a folder and a URL, behaves as the folder's file `mode` says, and appends what it does to `log`.
import { appendFileSync, existsSync, readFileSync, watch } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';

// The user of oauth_authority.mjs, which is slow to import.
const USER = { email: 'ada@example.com', password: 'a password of the peers' };
const LOCAL = new Set(['127.0.0.1', 'localhost']);

/** Sends one request; resolves with status, headers and text. */
export const fetched = (address, { method = 'GET', headers = {}, body } = {}) => new Promise((resolve, reject) => {
  const request = http.request(address, { method, agent: false, headers: { 'user-agent': 'peers-browser', accept: 'text/html', ...headers } }, async (reply) => {
    resolve({ status: reply.statusCode, headers: reply.headers, text: await text(reply).catch(() => '') });
  });
  request.on('error', reject);
  request.end(body);
});

/**
 * Follows an authorization URL up to the callback URL, without requesting that. `consent` is `{ accept, scope }`. Resolves
 * with `{ callback }`, or with `{ stuck, status, text }` on a page it doesn't know.
 */
export async function signIn(address, consent = { accept: true }) {
  let [here, cookies] = [new URL(address), ''];
  const origin = here.origin;
  const post = async (path, value) => {
    const headers = { accept: 'application/json', 'content-type': 'application/json', origin, cookie: cookies };
    const reply = await fetched(origin + path, { method: 'POST', headers, body: JSON.stringify(value) });
    const given = (reply.headers['set-cookie'] ?? []).map((line) => line.split(';')[0]);
    if (given.length > 0) cookies = given.join('; ');
    if (reply.status !== 200) throw new Error(`POST ${path} gave ${reply.status}: ${reply.text}`);
    return new URL(JSON.parse(reply.text).url, origin);
  };
  for (let step = 0; step < 10; step += 1) {
    const oauth_query = here.search.slice(1);
    if (here.origin !== origin) return { callback: here.href };
    if (here.pathname === '/sign-in') here = await post('/auth/sign-in/email', { ...USER, oauth_query });
    else if (here.pathname === '/consent') here = await post('/auth/oauth2/consent', { ...consent, oauth_query });
    else {
      const reply = await fetched(here, { headers: { cookie: cookies } });
      if (!reply.headers.location) return { stuck: here.pathname, status: reply.status, text: reply.text };
      here = new URL(reply.headers.location, here);
    }
  }
  throw new Error(`no end of redirects: ${here.pathname}`);
}

/** Waits until a file exists. */
const appears = (folder, name) => new Promise((resolve) => {
  const look = () => existsSync(join(folder, name)) && (watcher.close(), resolve());
  const watcher = watch(folder, look);
  look();
});

async function main(folder, address) {
  const say = (entry) => appendFileSync(join(folder, 'log'), `${JSON.stringify({ pid: process.pid, at: performance.timeOrigin + performance.now(), ...entry })}\n`);
  const { mode, scope } = JSON.parse(readFileSync(join(folder, 'mode'), 'utf8'));
  say({ kind: 'opened', url: address });
  if (mode === 'ignore') return;
  try {
    if (mode === 'wait') await appears(folder, 'go');
    const end = await signIn(address, { accept: mode !== 'deny', ...(scope && { scope }) });
    say({ kind: 'ended', ...end });
    if (!end.callback || mode === 'hold') return;
    if (!LOCAL.has(new URL(end.callback).hostname)) throw new Error(`called back at ${end.callback}`);
    const page = await fetched(end.callback);
    say({ kind: 'page', status: page.status, text: page.text, headers: page.headers });
  } catch (error) {
    say({ kind: 'failed', why: String(error) });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main(process.argv[2], process.argv[3]);
