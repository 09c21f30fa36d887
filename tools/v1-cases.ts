import { readFileSync } from "node:fs";
import { Agent, request as httpsRequest } from "node:https";
import { parseArgs } from "node:util";
import {
  playStep,
  readScript,
  scriptNames,
  unmetNeed,
  type Received,
  type Sent,
} from "../packages/control/src/testing/v1-script.ts";

const usage = `Usage: npm run v1-cases -- --base-url https://HOST:4523 --cert FILE --key FILE --cacert FILE

Plays the recorded requests of /v1 against a server and compares its answers: so two servers can
be compared. The server's configuration has to be empty, and is not afterwards.

  --era UUID      the boot id of the first node, for what asks by it
  --original      leave out the cases where the original Flocker is known to answer otherwise
  --server-name N the name that the server's certificate must have (control-service unless told otherwise)
  --verbose       name every case, not only those that fail
`;

const { values: options } = parseArgs({
  options: {
    "base-url": { type: "string" },
    cert: { type: "string" },
    key: { type: "string" },
    cacert: { type: "string" },
    era: { type: "string" },
    "server-name": { type: "string", default: "control-service" },
    original: { type: "boolean", default: false },
    verbose: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

interface Server {
  readonly base: URL;
  readonly agent: Agent;
}

function openServer(): Server | undefined {
  const { "base-url": base, cert, key, cacert } = options;
  if (base === undefined || cert === undefined || key === undefined || cacert === undefined) return undefined;
  const agent = new Agent({
    keepAlive: true,
    maxSockets: 1,
    cert: readFileSync(cert),
    key: readFileSync(key),
    ca: readFileSync(cacert),
    servername: options["server-name"],
  });
  return { base: new URL(base), agent };
}

function send({ base, agent }: Server, { method, path, headers, body }: Sent): Promise<Received> {
  const bytes = body === undefined ? undefined : Buffer.from(body);
  return new Promise((resolve, reject) => {
    const request = httpsRequest({
      agent,
      method,
      // As text, so that nobody tidies the path.
      path,
      host: base.hostname.replaceAll(/[[\]]/g, ""),
      port: base.port,
      headers: { ...headers, ...(bytes === undefined ? {} : { "content-length": bytes.length }) },
      timeout: 30_000,
    });
    request.once("timeout", () => request.destroy(new Error("no answer within 30 s")));
    request.once("error", reject);
    request.once("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString(),
        }),
      );
    });
    request.end(bytes);
  });
}

async function variablesOf(server: Server): Promise<Map<string, string>> {
  const variables = new Map<string, string>();
  const { body } = await send(server, {
    method: "GET",
    path: "/v1/state/nodes",
    headers: {},
    body: undefined,
  });
  const [node] = JSON.parse(body) as readonly { readonly host: string; readonly uuid: string }[];
  if (node === undefined) return variables;
  variables.set("node", node.uuid).set("address", node.host);
  return options.era === undefined ? variables : variables.set("era", options.era);
}

async function main(): Promise<number> {
  const server = openServer();
  if (options.help || server === undefined) {
    (options.help ? console.log : console.error)(usage);
    return options.help ? 0 : 2;
  }
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const variables = await variablesOf(server);
  for (const script of scriptNames)
    for (const step of readScript(script)) {
      const unmet =
        unmetNeed(step, variables) ??
        (options.original && step.original !== undefined ? `the original: ${step.original}` : undefined);
      if (unmet !== undefined) {
        counts.skipped += 1;
        if (options.verbose) console.log(`skip ${script}: ${step.name} (${unmet})`);
        continue;
      }
      try {
        await playStep(step, variables, (request) => send(server, request));
        counts.passed += 1;
        if (options.verbose) console.log(`ok   ${script}: ${step.name}`);
      } catch (error) {
        counts.failed += 1;
        console.log(`FAIL ${script}: ${step.name}\n     ${String(error).replaceAll("\n", "\n     ")}`);
      }
    }
  server.agent.destroy();
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed === 0 ? 0 : 1;
}

process.exitCode = await main();
