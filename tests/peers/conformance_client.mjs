// The client that the conformance suite starts with a server's URL: an official TypeScript client over stdio, in front of
// `BINARY bridge --url URL`. Does what the scenario in MCP_CONFORMANCE_SCENARIO expects of a client, and no more.
// Usage: conformance_client.mjs BINARY 1.x|2.x [OPTION…] URL, where the options are those of the bridge.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { HELD } from './conformance_suite.mjs';
import { connectThroughBridge, failure, ModernClient, peer, PeerClient } from './support.mjs';

const [binary, host, ...options] = process.argv.slice(2);
const url = options.pop();
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const { toolCalls } = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const legacy = host === '1.x';
/** A result taken as it came, for both clients. */
const ANY = peer('zod').looseObject({});

const SCENARIOS = {
  initialize: { capabilities: {}, use: (client) => client.listTools() },
  tools_call: { use: (client) => listAndCall(client, 'add_numbers', { a: 5, b: 3 }, /The sum of 5 and 3 is 8/) },
  'sse-retry': { use: (client) => listAndCall(client, 'test_reconnection', {}, /Reconnection test completed successfully/) },
  'elicitation-sep1034-client-defaults': {
    // The client itself fills in the defaults that an empty answer leaves out.
    capabilities: { elicitation: { form: { applyDefaults: true } } },
    use: (client) => {
      client.onElicitation = () => ({ action: 'accept', content: {} });
      return listAndCall(client, 'test_client_elicitation_defaults', {}, /Elicitation completed: .*John Doe/);
    },
  },
  'request-metadata': { use: (client) => client.listTools() },
  'sep-2322-client-request-state': { use: rounds },
  'http-standard-headers': {
    use: async (client) => {
      for (const { name } of (await client.listTools()).tools) await client.tool(name);
      for (const { uri } of (await client.listResources()).resources) await client.readResource({ uri });
      for (const { name } of (await client.listPrompts()).prompts) await client.getPrompt({ name });
    },
  },
  'http-custom-headers': {
    use: async (client) => {
      const names = (await client.listTools()).tools.map(({ name }) => name);
      for (const { name, arguments: args } of toolCalls) {
        assert.ok(names.includes(name), `no tool ${name} in the list`);
        await client.tool(name, args);
      }
    },
  },
  'http-invalid-tool-headers': {
    use: async (client) => {
      const names = (await client.listTools()).tools.map(({ name }) => name);
      assert.deepEqual(names, ['valid_tool']);
      await client.tool('valid_tool', { region: 'us-west1' });
    },
  },
  'json-schema-ref-no-deref': { use: (client) => client.listTools() },
  'json-schema-2020-12-preservation': {
    use: async (client) => {
      const { tools } = await client.listTools();
      const { inputSchema: schema } = tools.find(({ name }) => name === 'json_schema_2020_12_tool');
      await client.tool('json_schema_echo', { schema });
    },
  },
  'sep-2640-client-no-prefetch': { use: (client) => skills(client) },
  'sep-2640-client-verify-digest': { use: (client) => load(client, ({ content, entry }) => digest(content) !== entry.digest) },
  'sep-2640-client-verify-size': { use: (client) => load(client, ({ content, entry }) => Buffer.byteLength(content) !== entry.size) },
  'sep-2640-client-verify-frontmatter': {
    use: (client) => load(client, ({ content, entry, frontmatter }) => digest(content) === entry.digest && !content.includes(`description: ${frontmatter.description}\n`)),
  },
};

async function listAndCall(client, name, args, expected) {
  const { tools } = await client.listTools();
  assert.ok(tools.some((tool) => tool.name === name), `no tool ${name} in the list`);
  const result = await client.tool(name, args);
  assert.match(result.content[0].text, expected);
}

/** Calls that ask for input, and one in the middle that does not. */
async function rounds(client) {
  const text = async (name) => (await client.tool(name)).content[0].text;
  client.onElicitation = async () => {
    client.onElicitation = () => ({ action: 'accept', content: { confirmed: true } });
    assert.equal(await text('test_mrtr_unrelated'), 'unrelated-ok');
    return { action: 'accept', content: { confirmed: true } };
  };
  await client.listTools();
  assert.equal(await text('test_mrtr_echo_state'), 'echo-state-ok');
  assert.equal(await text('test_mrtr_no_state'), 'no-state-ok');
  // The client 2.x refuses what has no resultType; the bridge hands it on as it came.
  if (legacy) assert.equal(await text('test_mrtr_no_result_type'), 'no-result-type-test-ok');
  else await failure(client.tool('test_mrtr_no_result_type'), 'a result without resultType');
}

const digest = (content) => `sha256:${createHash('sha256').update(content).digest('hex')}`;
const skills = (client) => client.request({ method: 'skills/list', params: {} }, ANY);

/** Loads the first skill up to the file that is not what its entry says, as `wrong` must find. */
async function load(client, wrong) {
  const [{ uri, frontmatter, resources }] = (await skills(client)).skills;
  const content = (await client.readResource({ uri })).contents[0].text;
  assert.ok(wrong({ content, entry: resources.find((entry) => entry.uri === uri), frontmatter }), 'the file is not wrong in the way that was expected');
}

const { use, capabilities } = SCENARIOS[scenario] ?? assert.fail(`conformance_client.mjs knows no scenario ${scenario}`);
const client = legacy ? new PeerClient({ capabilities }) : new ModernClient({ pin: '2026-07-28' }, { capabilities });
const bridge = await connectThroughBridge(binary, url, { client, options });
await use(bridge.client);
const { code, log } = await bridge.close();
if (bridge.log()) console.error(bridge.log());
assert.equal(code, 0, `the bridge ended with ${code}: ${log}`);
console.log(HELD);
process.exit(0);
