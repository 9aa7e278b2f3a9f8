// The client that the conformance suite starts with a server's URL: the official TypeScript client over stdio, in front of
// `BINARY bridge --url URL`. Does what the scenario in MCP_CONFORMANCE_SCENARIO expects of a client, and no more.
import assert from 'node:assert/strict';
import { connectThroughBridge, PeerClient } from './support.mjs';

const [binary, url] = process.argv.slice(2);
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;

const SCENARIOS = {
  initialize: { options: { capabilities: {} }, use: (client) => client.listTools() },
  tools_call: { use: (client) => listAndCall(client, 'add_numbers', { a: 5, b: 3 }, /The sum of 5 and 3 is 8/) },
  'sse-retry': { use: (client) => listAndCall(client, 'test_reconnection', {}, /Reconnection test completed successfully/) },
  'elicitation-sep1034-client-defaults': {
    // The client itself fills in the defaults that an empty answer leaves out.
    options: { capabilities: { elicitation: { form: { applyDefaults: true } } } },
    use: (client) => {
      client.onElicitation = () => ({ action: 'accept', content: {} });
      return listAndCall(client, 'test_client_elicitation_defaults', {}, /Elicitation completed: .*John Doe/);
    },
  },
};

async function listAndCall(client, name, args, expected) {
  const { tools } = await client.listTools();
  assert.ok(tools.some((tool) => tool.name === name), `no tool ${name} in the list`);
  const result = await client.tool(name, args);
  assert.match(result.content[0].text, expected);
}

const { use, options } = SCENARIOS[scenario] ?? assert.fail(`conformance_client.mjs knows no scenario ${scenario}`);
const bridge = await connectThroughBridge(binary, url, { client: new PeerClient(options) });
await use(bridge.client);
const { code, log } = await bridge.close();
if (bridge.log()) console.error(bridge.log());
assert.equal(code, 0, `the bridge ended with ${code}: ${log}`);
process.exit(0);
