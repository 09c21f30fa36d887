import { mkdtemp, readFile, rm } from "node:fs/promises";
import { Agent, request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openLocalClient, openLocalCluster, waitUntilReady, type LocalCluster } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";

// From the request to what a client sees in /v1/state/datasets, through real processes: a control service and
// two agents with the directory backend, over mutual TLS. What the original needed was measured with its own
// loopback backend, on two such cores.

const { values: options } = parseArgs({
  options: {
    creations: { type: "string", default: "40" },
    moves: { type: "string", default: "20" },
    folder: { type: "string", default: tmpdir() },
    json: { type: "boolean", default: false },
  },
});

const goals = { createMs: 100, moveMs: 500 };
const original = { createMs: 14_400, moveMs: 4_700, deleteMs: 2_100 };
const pollMs = 2;
const timeoutMs = 30_000;

interface State {
  readonly dataset_id: string;
  readonly primary?: string;
  readonly path?: string;
}

type Ask = (method: string, path: string, body?: unknown) => Promise<unknown>;

async function clientOf({ files }: LocalCluster): Promise<{ readonly ask: Ask; readonly close: () => void }> {
  const [ca, cert, key] = await Promise.all(
    ["cluster.crt", "user.crt", "user.key"].map((name) => readFile(join(files.folder, name))),
  );
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ca, cert, key, servername: "control-service" });
  const ask: Ask = (method, path, body) =>
    new Promise((resolve, reject) => {
      const outgoing = httpsRequest(
        { agent, host: "127.0.0.1", port: files.apiPort, method, path },
        (incoming) => {
          let text = "";
          incoming.setEncoding("utf8");
          incoming.on("data", (part: string) => (text += part));
          incoming.once("end", () =>
            (incoming.statusCode ?? 500) < 300
              ? resolve(JSON.parse(text))
              : reject(new Error(`${method} ${path} was answered ${incoming.statusCode}: ${text}`)),
          );
        },
      );
      outgoing.once("error", reject);
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
  return { ask, close: () => agent.destroy() };
}

/** Asks for the state again and again, as clients do, until it shows the dataset as it should be. */
async function untilShown(ask: Ask, dataset: string, isDone: (state: State | undefined) => boolean) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const states = (await ask("GET", "/v1/state/datasets")) as readonly State[];
    if (isDone(states.find((state) => state.dataset_id === dataset))) return;
    if (performance.now() > deadline) throw new Error(`dataset ${dataset} was not in place within 30 s`);
    await systemClock.sleep(pollMs);
  }
}

async function timed(body: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await body();
  return performance.now() - begin;
}

async function measure(cluster: LocalCluster) {
  const { ask, close } = await clientOf(cluster);
  const [one, two] = cluster.nodes.map((node) => node.node);
  const created: number[] = [];
  const moved: number[] = [];
  const deleted: number[] = [];
  const datasets: string[] = [];
  const isOn = (node: string | undefined) => (state: State | undefined) =>
    state?.primary === node && state?.path !== undefined;
  for (let round = 0; round < Number(options.creations); round += 1)
    created.push(
      await timed(async () => {
        const body = { primary: one, metadata: { name: `bench-${round}` } };
        const answer = (await ask("POST", "/v1/configuration/datasets", body)) as State;
        datasets.push(answer.dataset_id);
        await untilShown(ask, answer.dataset_id, isOn(one));
      }),
    );
  for (const dataset of datasets.slice(0, Number(options.moves)))
    moved.push(
      await timed(async () => {
        await ask("POST", `/v1/configuration/datasets/${dataset}`, { primary: two });
        await untilShown(ask, dataset, isOn(two));
      }),
    );
  for (const dataset of datasets)
    deleted.push(
      await timed(async () => {
        await ask("DELETE", `/v1/configuration/datasets/${dataset}`);
        await untilShown(ask, dataset, (state) => state === undefined);
      }),
    );
  close();
  const figures = (durations: readonly number[]) => ({
    p50Ms: percentile(durations, 0.5),
    p95Ms: percentile(durations, 0.95),
    count: durations.length,
  });
  return { create: figures(created), move: figures(moved), delete: figures(deleted) };
}

function percentile(durations: readonly number[], share: number): number {
  const sorted = durations.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

const folder = await mkdtemp(join(options.folder, "flocker-bench-"));
const opened = await openLocalCluster({ folder, nodeCount: 2, clock: systemClock, logLevel: "info" });
if (!opened.ok) throw new Error(opened.problem.message);
const cluster = opened.value;
try {
  cluster.start();
  const client = openLocalClient(cluster);
  if (!client.ok) throw new Error(client.problem.message);
  const ready = await waitUntilReady(cluster, client.value, { clock: systemClock, timeoutMs: 60_000 });
  client.value.close();
  if (!ready.ok) throw new Error(ready.problem.message);
  const result = await measure(cluster);
  if (options.json) console.log(JSON.stringify({ ...result, original, goals }));
  else
    for (const [what, figures, theirs] of [
      ["create", result.create, original.createMs],
      ["move (empty dataset)", result.move, original.moveMs],
      ["delete", result.delete, original.deleteMs],
    ] as const)
      console.log(
        `${what}: request to visible p50 ${figures.p50Ms.toFixed(0)} ms, p95 ${figures.p95Ms.toFixed(0)} ms ` +
          `over ${figures.count} (the original: ${theirs} ms, ${(theirs / figures.p50Ms).toFixed(0)} times)`,
      );
  for (const [what, isKept, goalMs] of [
    ["create", result.create.p50Ms <= goals.createMs, goals.createMs],
    ["move", result.move.p50Ms <= goals.moveMs, goals.moveMs],
  ] as const) {
    if (isKept) continue;
    console.log(`MISSED: ${what} p50 of at most ${goalMs} ms`);
    process.exitCode = 1;
  }
} finally {
  await cluster.stop();
  await rm(folder, { recursive: true, force: true });
}
