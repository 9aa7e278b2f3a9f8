#!/usr/bin/env node
// A browser whose user consents at once: opens the URL that is its only argument and follows it to the callback.
// Writes each window into the file named by PEERS_WINDOWS: what it was given when it opens, and the status of the page it ends at.
import { appendFileSync } from 'node:fs';

const tell = (line) => appendFileSync(process.env.PEERS_WINDOWS, `${JSON.stringify(line)}\n`);
const [url, ...others] = process.argv.slice(2);
tell({ url, others, variables: Object.keys(process.env) });
const { status } = await fetch(url);
tell({ status });
