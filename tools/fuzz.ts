import { mkdtemp, readFile, rm } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { Agent, request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import fc from "fast-check";
import { openLocalClient, openLocalCluster, waitUntilReady, type LocalCluster } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import { anyRequest, type FuzzRequest } from "./fuzz-requests.ts";

// Sends generated requests to a real cluster over TLS: none may be answered with 5xx, none may end a process,
// and the control service's memory has to stay flat. The seed is printed, and gives the same requests again.

const { values: options } = parseArgs({
  options: {
    requests: { type: "string", default: "10000" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
  },
});
const count = Number(options.requests);
const seed = Number(options.seed);
const batchSize = 250;
const connections = 4;
/** What the memory may grow by after the first part, in which everything is still warming up. */
const growthMaxMiB = 48;
const warmUp = 0.4;

async function openAgent({ files }: LocalCluster): Promise<Agent> {
  const [ca, cert, key] = await Promise.all(
    ["cluster.crt", "user.crt", "user.key"].map((name) => readFile(join(files.folder, name))),
  );
  const maxSockets = connections;
  return new Agent({ keepAlive: true, maxSockets, ca, cert, key, servername: "control-service" });
}

function send(agent: Agent, port: number, { method, path, headers, body }: FuzzRequest): Promise<number> {
  return new Promise((resolve, reject) => {
    const length = body === null ? {} : { "content-length": body.length };
    const outgoing = httpsRequest(
      { agent, host: "127.0.0.1", port, method, path, headers: { ...headers, ...length }, timeout: 20_000 },
      (incoming) => {
        incoming.resume();
        incoming.once("error", reject);
        incoming.once("end", () => resolve(incoming.statusCode ?? 0));
      },
    );
    outgoing.once("timeout", () => outgoing.destroy(new Error("no answer within 20 s")));
    outgoing.once("error", reject);
    outgoing.end(body ?? undefined);
  });
}

function residentMiB({ control }: LocalCluster): number {
  const status = readFileSync(`/proc/${control.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}

/** Sends everything; answers what went wrong. */
async function run(cluster: LocalCluster): Promise<readonly string[]> {
  const agent = await openAgent(cluster);
  const faults: string[] = [];
  const statuses = new Map<number, number>();
  let warmMiB = Number.NaN;
  for (let sent = 0; sent < count; sent += batchSize) {
    const size = Math.min(batchSize, count - sent);
    const requests = fc.sample(anyRequest, { numRuns: size, seed: seed + sent });
    await Promise.all(
      requests.map(async (one, index) => {
        const status = await send(agent, cluster.files.apiPort, one).catch((error: unknown) => String(error));
        if (typeof status === "number") statuses.set(status, (statuses.get(status) ?? 0) + 1);
        if (typeof status === "number" && status >= 200 && status < 500) return;
        const shown = JSON.stringify({ ...one, body: one.body?.toString("latin1") });
        faults.push(`request ${sent + index}: ${status} to ${shown.slice(0, 2000)}`);
      }),
    );
    if (cluster.control.hasFailed)
      return [...faults, `the control service has ended:\n${cluster.control.tail}`];
    if (Number.isNaN(warmMiB) && sent + size >= count * warmUp) warmMiB = residentMiB(cluster);
  }
  agent.destroy();
  const growthMiB = residentMiB(cluster) - warmMiB;
  if (growthMiB > growthMaxMiB) faults.push(`the control service grew by ${growthMiB.toFixed(0)} MiB`);
  const [node] = cluster.nodes;
  if (node?.agent.hasFailed === true) faults.push(`the agent has ended:\n${node.agent.tail}`);
  const log = await readFile(cluster.control.logFile, "utf8");
  const mistakes = log.split("\n").filter((line) => /api-mistake|api-failed|crashed/.test(line));
  faults.push(...mistakes.slice(0, 5));
  const answers = [...statuses].toSorted(([a], [b]) => a - b).map(([status, times]) => `${status}: ${times}`);
  console.log(
    `${count} requests, seed ${seed}; answered ${answers.join(", ")}; ` +
      `${warmMiB.toFixed(0)} MiB after ${warmUp * 100} %, ${growthMiB.toFixed(0)} MiB more at the end`,
  );
  return faults;
}

const folder = await mkdtemp(join(tmpdir(), "flocker-fuzz-"));
const opened = await openLocalCluster({ folder, nodeCount: 1, clock: systemClock });
if (!opened.ok) throw new Error(opened.problem.message);
const cluster = opened.value;
try {
  cluster.start();
  const client = openLocalClient(cluster);
  if (!client.ok) throw new Error(client.problem.message);
  const ready = await waitUntilReady(cluster, client.value, { clock: systemClock, timeoutMs: 60_000 });
  client.value.close();
  if (!ready.ok) throw new Error(ready.problem.message);
  const faults = await run(cluster);
  for (const fault of faults.slice(0, 20)) console.log(fault);
  if (faults.length > 0) process.exitCode = 1;
} finally {
  await cluster.stop();
  await rm(folder, { recursive: true, force: true });
}
