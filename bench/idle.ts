import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  openLocalClient,
  openLocalCluster,
  pollUntil,
  waitUntilReady,
  type LocalClient,
  type RunnableNode,
} from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import { makeDisk, unmountAll } from "../tools/soak/disks.ts";

// What a cluster costs that has nothing to do: one agent with the directory backend and one with btrfs, each
// with as many datasets mounted, and their control service, as real processes. Needs root.

const { values: options } = parseArgs({
  options: {
    datasets: { type: "string", default: "1000" },
    seconds: { type: "string", default: "60" },
    json: { type: "boolean", default: false },
  },
});

/** In percent of one core. */
const goals = { agentPercent: 0.1, controlPercent: 0.5 };
const datasetCount = Number(options.datasets);
const quietSeconds = 15;
const timeoutMs = 900_000;
const creationsAtATime = 8;
const mib = 2 ** 20;

/** What a process has cost so far. */
interface Cost {
  readonly cpuNs: number;
  /** The programs that it has started and that have ended. */
  readonly childTicks: number;
  readonly writtenBytes: number;
  readonly wakeUps: number;
}

function costOf(pid: number): Cost {
  let [cpuNs, wakeUps] = [0, 0];
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const [ns] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ");
    cpuNs += Number(ns);
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
    wakeUps += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
  }
  // The program's name may have blanks in it, but no closing bracket is behind it.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  const written = /^write_bytes: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1];
  return {
    cpuNs,
    childTicks: Number(fields[13]) + Number(fields[14]),
    writtenBytes: Number(written),
    wakeUps,
  };
}

interface Watched {
  readonly name: string;
  readonly pid: number;
}

/** What each process costs in so many seconds. */
async function costs(watched: readonly Watched[], seconds: number) {
  const before = watched.map(({ pid }) => costOf(pid));
  const begin = performance.now();
  await systemClock.sleep(seconds * 1000);
  const elapsedSeconds = (performance.now() - begin) / 1000;
  return watched.map(({ name, pid }, index) => {
    const [one, other] = [before[index], costOf(pid)];
    if (one === undefined) throw new Error("each process was looked at before");
    const childSeconds = (other.childTicks - one.childTicks) / 100;
    const cpuSeconds = (other.cpuNs - one.cpuNs) / 1e9 + childSeconds;
    return {
      name,
      cpuPercent: (100 * cpuSeconds) / elapsedSeconds,
      commandsMs: childSeconds * 1000,
      writtenBytes: other.writtenBytes - one.writtenBytes,
      wakeUpsPerSecond: (other.wakeUps - one.wakeUps) / elapsedSeconds,
      rssMiB: Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024,
    };
  });
}

async function createDatasets({ api }: LocalClient, nodes: readonly RunnableNode[]): Promise<void> {
  const primaries = Array.from({ length: datasetCount }, () => nodes.map(({ node }) => node)).flat();
  const create = async (): Promise<void> => {
    for (let primary = primaries.pop(); primary !== undefined; primary = primaries.pop()) {
      const created = await api.createDataset({ headers: {}, body: { primary } });
      if (created.status !== 201) throw new Error(JSON.stringify(created.body));
    }
  };
  await Promise.all(Array.from({ length: creationsAtATime }, create));
}

/** Waits until all are mounted and whoever has worked has come to rest. */
async function settle(nodes: readonly RunnableNode[], watched: readonly Watched[]): Promise<void> {
  const result = await pollUntil(systemClock, {
    waitingFor: "all datasets to be mounted and the processes to come to rest",
    timeoutMs,
    ask: async () => {
      if (nodes.some(({ mountRoot }) => readdirSync(mountRoot).length < datasetCount)) return undefined;
      const measured = await costs(watched, quietSeconds);
      return measured.every(({ cpuPercent }) => cpuPercent < 0.5) ? true : undefined;
    },
  });
  if (!result.ok) throw new Error(result.problem.message);
}

async function main(): Promise<number> {
  const folder = await mkdtemp("/tmp/flocker-bench-");
  const opened = await openLocalCluster({ folder, nodeCount: 2, clock: systemClock });
  if (!opened.ok) throw new Error(opened.problem.message);
  const cluster = opened.value;
  const [onFolders, onBtrfs] = cluster.nodes;
  const client = openLocalClient(cluster);
  if (!client.ok || onFolders === undefined || onBtrfs === undefined) throw new Error("there is a cluster");
  const disk = makeDisk(join(onBtrfs.folder, "disk"), "btrfs", { sizeBytes: 2048 * mib });
  try {
    const text = await readFile(onBtrfs.configurationFile, "utf8");
    const dataset = "dataset: { backend: btrfs, root: disk, mount-root: flocker }";
    await writeFile(onBtrfs.configurationFile, text.replace(/^dataset: .*$/m, dataset));
    cluster.start();
    const ready = await waitUntilReady(cluster, client.value, { clock: systemClock, timeoutMs: 60_000 });
    if (!ready.ok) throw new Error(ready.problem.message);
    const watched = [
      { name: "agent, directory", pid: onFolders.agent.pid ?? 0 },
      { name: "agent, btrfs", pid: onBtrfs.agent.pid ?? 0 },
      { name: "control service", pid: cluster.control.pid ?? 0 },
    ];
    await createDatasets(client.value, cluster.nodes);
    await settle(cluster.nodes, watched);
    // Whoever asks keeps the control service busy.
    client.value.close();
    const results = await costs(watched, Number(options.seconds));
    report(results);
    const kept = results.every(
      ({ name, cpuPercent }) =>
        cpuPercent < (name.startsWith("agent") ? goals.agentPercent : goals.controlPercent),
    );
    return kept ? 0 : 1;
  } finally {
    client.value.close();
    await cluster.stop();
    for (const node of cluster.nodes) unmountAll(node.mountRoot);
    disk.remove();
    await rm(folder, { recursive: true, force: true });
  }
}

function report(results: Awaited<ReturnType<typeof costs>>): void {
  if (options.json) return console.log(JSON.stringify({ goals, datasetCount, results }, null, 2));
  console.log(`  ${datasetCount} datasets on each agent, ${options.seconds} s at rest`);
  console.log("  process            % of a core  of it commands ms  written bytes  wake-ups/s  memory MiB");
  for (const each of results)
    console.log(
      `  ${each.name.padEnd(18)}${each.cpuPercent.toFixed(3).padStart(12)}` +
        `${each.commandsMs.toFixed(0).padStart(19)}${String(each.writtenBytes).padStart(15)}` +
        `${each.wakeUpsPerSecond.toFixed(1).padStart(12)}${each.rssMiB.toFixed(0).padStart(12)}`,
    );
  console.log(
    `held to: less than ${goals.agentPercent} % of a core, the control service ${goals.controlPercent} %`,
  );
}

process.exitCode = await main();
