// A client on the TypeScript SDK, driven by lines of JSON on stdin: open, list, call, close. Argument: node_modules.
const { createRequire } = require("node:module");
const readline = require("node:readline");

const load = createRequire(process.argv[2] + "/of-the-tests.cjs");
const about = { name: "typescript", version: "1" };
const places = {
  client: { main: "@modelcontextprotocol/client", stdio: "@modelcontextprotocol/client/stdio" },
  sdk: {
    main: "@modelcontextprotocol/sdk/client/index.js",
    http: "@modelcontextprotocol/sdk/client/streamableHttp.js",
    stdio: "@modelcontextprotocol/sdk/client/stdio.js",
  },
};
let client;

const steps = {
  async open({ sdk, era, url, server }) {
    const place = places[sdk];
    const { Client } = load(place.main);
    client = new Client(about, era ? { versionNegotiation: { mode: era } } : {});
    const { StreamableHTTPClientTransport } = load(place.http ?? place.main);
    const { StdioClientTransport } = load(place.stdio);
    const transport = url
      ? new StreamableHTTPClientTransport(new URL(url))
      : new StdioClientTransport({ ...server, stderr: "ignore" });
    await client.connect(transport);
    return { era: client.getProtocolEra?.() ?? "legacy" };
  },
  async list() {
    return { names: (await client.listTools()).tools.map((tool) => tool.name) };
  },
  async call({ calls }) {
    const answers = await Promise.allSettled(calls.map((call) => client.callTool(call)));
    return { answers: answers.map((one) => one.value ?? { thrown: `${one.reason?.name}: ${one.reason?.message}` }) };
  },
  async close() {
    await client.close();
    return {};
  },
};

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { step, ...given } = JSON.parse(line);
    let said;
    try {
      said = await steps[step](given);
    } catch (error) {
      said = { thrown: `${error.name}: ${error.message}` };
    }
    process.stdout.write(JSON.stringify(said) + "\n");
  }
  process.exit(0);
})();
