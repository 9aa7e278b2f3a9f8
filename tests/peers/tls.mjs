// HTTPS as Node speaks it (HTTP/2 and HTTP/1.1), certificates as openssl makes them, a proxy with CONNECT.
// Refuses the machine's own trust store: every certificate here is signed by an authority of this run.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { check, finish } from './support.mjs';

const at = (name) => join(process.env.HOME, name);
const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'ignore'] });
const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
openssl('req', '-x509', ...key, '-keyout', at('ca.key'), '-out', at('ca.pem'), '-subj', '/CN=Authority of this run', '-days', '2');
writeFileSync(at('names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1');
for (const name of ['server', 'client']) {
  openssl('req', ...key, '-keyout', at(`${name}.key`), '-out', at(`${name}.req`), '-subj', `/CN=${name}`);
  openssl('x509', '-req', '-in', at(`${name}.req`), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2', '-out', at(`${name}.pem`), '-extfile', at('names'));
}
writeFileSync(at('client.both'), readFileSync(at('client.pem')) + readFileSync(at('client.key')));

const ANSWERS = {
  initialize: { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'tls', version: '1' } },
  'tools/list': { tools: [{ name: 'whoami', inputSchema: { type: 'object' } }] },
};

/** Serves one tool that tells the HTTP version and the peer's certificate. */
async function serve(options = {}, create = http2.createSecureServer) {
  const files = { key: readFileSync(at('server.key')), cert: readFileSync(at('server.pem')), ca: readFileSync(at('ca.pem')) };
  const server = create({ ...files, ...options }, async (request, response) => {
    const message = JSON.parse(await text(request));
    if (message.id === undefined) return response.writeHead(202).end();
    const who = `HTTP/${request.httpVersion} ${request.socket.getPeerCertificate?.()?.subject?.CN ?? 'nobody'} ${request.headers.authorization}`;
    const result = ANSWERS[message.method] ?? { content: [{ type: 'text', text: who }] };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', id: message.id, result }));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return server.address().port;
}

/** Calls the tool; resolves with exit code, stdout and stderr. */
async function call(port, args = [], env = {}) {
  const url = `https://localhost:${port}/mcp`;
  const child = spawn(process.argv[2], ['--url', url, ...args, 'call', 'whoami', '--reveal'], { env: { HOME: process.env.HOME, ASISTRY_API_KEY: 'k1', ...env } });
  const closed = new Promise((done) => child.on('close', done));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await closed, out: out.trim(), err };
}

const trusted = ['--ca-file', at('ca.pem')];
const port = await serve();

await check('tls: HTTP/2 with --ca-file', async () => assert.deepEqual(await call(port, trusted), { code: 0, out: 'HTTP/2.0 nobody Bearer k1', err: '' }));
await check('tls: SSL_CERT_FILE', async () => assert.equal((await call(port, [], { SSL_CERT_FILE: at('ca.pem') })).code, 0));
await check('tls: HTTP/1.1', async () => {
  const { out } = await call(await serve({}, https.createServer), trusted);
  assert.match(out, /^HTTP\/1\.1/);
});
await check('tls: an unknown authority is refused, with the option that helps', async () => {
  const { code, err } = await call(port);
  assert.equal(code, 6, err);
  assert.match(err, /certificate.*\n.*--ca-file/);
});
await check('tls: the certificate of an authority as that of a service: the error says so, its command makes one that is trusted', async () => {
  const own = ['-subj', '/CN=localhost', '-days', '2', '-addext', 'subjectAltName=DNS:localhost'];
  openssl('req', '-x509', ...key, '-keyout', at('own.key'), '-out', at('own.pem'), ...own);
  const shown = (name) => serve({ key: readFileSync(at(`${name}key`)), cert: readFileSync(at(`${name}pem`)) });
  const { code, err } = await call(await shown('own.'), ['--ca-file', at('own.pem')]);
  assert.equal(code, 6, err);
  assert.match(err, /CA:TRUE/);
  const command = /try: (openssl .*) makes one/.exec(err)[1];
  execFileSync('/bin/sh', ['-c', command.replace('key.pem', at('better.key')).replace('cert.pem', at('better.pem'))], { stdio: 'ignore' });
  assert.equal((await call(await shown('better.'), ['--ca-file', at('better.pem')])).code, 0);
});
await check('tls: --insecure warns', async () => {
  const { code, err } = await call(port, ['--insecure']);
  assert.equal(code, 0);
  assert.match(err, /no certificate is checked/);
});
await check('tls: a client certificate', async () => {
  const strict = await serve({ requestCert: true, rejectUnauthorized: true });
  assert.notEqual((await call(strict, trusted)).code, 0, 'without one');
  assert.match((await call(strict, [...trusted, '--client-cert', at('client.both')])).out, / client /);
});
await check('tls: a proxy from the environment is used, and not for what NO_PROXY names', async () => {
  const tunnels = [];
  const proxy = http.createServer().on('connect', (request, socket, head) => {
    tunnels.push(`${request.url} ${request.headers['proxy-authorization']} ${request.headers.authorization}`);
    const [, to] = request.url.split(':');
    const upstream = net.connect(to, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.write(head);
      upstream.pipe(socket).pipe(upstream);
    });
    for (const end of [socket, upstream]) end.on('error', () => {});
  });
  await new Promise((done) => proxy.listen(0, '127.0.0.1', done));
  const env = { HTTPS_PROXY: `http://user:pass@127.0.0.1:${proxy.address().port}` };
  assert.equal((await call(port, trusted, env)).code, 0);
  assert.deepEqual(tunnels, [`localhost:${port} Basic ${Buffer.from('user:pass').toString('base64')} undefined`]);
  assert.equal((await call(port, trusted, { ...env, NO_PROXY: 'localhost' })).code, 0);
  assert.equal(tunnels.length, 1);
});
// Node goes on processing streams that it refuses or that its GOAWAY disowns: neither proves that a call did not run.
for (const [how, refuse] of [
  ['RST_STREAM with REFUSED_STREAM', (stream) => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM)],
  ['GOAWAY that disowns it', (stream) => { stream.session.goaway(http2.constants.NGHTTP2_NO_ERROR, 0); stream.session.destroy(); }],
]) {
  await check(`tls: a call is not sent again after ${how}`, async () => {
    let calls = 0;
    const server = http2.createSecureServer({ key: readFileSync(at('server.key')), cert: readFileSync(at('server.pem')) });
    server.on('stream', async (stream, headers) => {
      stream.on('error', () => {});
      if (headers[':method'] !== 'POST') return stream.respond({ ':status': 405 }, { endStream: true });
      const message = JSON.parse(await text(stream));
      if (message.method === 'tools/call') {
        calls += 1;
        return refuse(stream);
      }
      if (message.id === undefined) return stream.respond({ ':status': 202 }, { endStream: true });
      stream.respond({ ':status': 200, 'content-type': 'application/json' });
      stream.end(JSON.stringify({ jsonrpc: '2.0', id: message.id, result: ANSWERS[message.method] ?? {} }));
    });
    server.on('sessionError', () => {});
    await new Promise((done) => server.listen(0, '127.0.0.1', done));
    const { code, err } = await call(server.address().port, trusted);
    assert.equal(calls, 1, err);
    assert.equal(code, 6, err);
    assert.match(err, /may have run/);
  });
}
finish();
