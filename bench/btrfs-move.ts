import { execFileSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  openLocalClient,
  openLocalCluster,
  pollUntil,
  waitUntilReady,
  type LocalClient,
  type LocalCluster,
  type RunnableNode,
} from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import { makeDisk, unmountAll, type Disk } from "../tools/soak/disks.ts";

// A move of a dataset between two btrfs file systems through two agents (processes, TLS 1.3, checksums),
// beside a bare `btrfs send | btrfs receive` of the same data between the same file systems, turn and turn
// about. Needs root.

const { values: options } = parseArgs({
  options: {
    "sizes-mib": { type: "string", default: "256,2048" },
    rounds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
  },
});

const goals = { ratio: 0.9, peakMiB: 150 };
const mib = 2 ** 20;
const sizesMiB = options["sizes-mib"].split(",").map(Number);
const timeoutMs = 600_000;

/** Fills a file with bytes that no file system can make smaller, and syncs it. */
function fill(path: string, sizeMiB: number): void {
  const block = randomFillSync(Buffer.alloc(mib));
  const file = openSync(path, "w");
  for (let index = 0; index < sizeMiB; index += 1) {
    block.writeUInt32LE(index, 0);
    for (let at = 4096; at < mib; at += 4096) block.writeUInt32LE(index, at);
    writeSync(file, block);
  }
  fsyncSync(file);
  closeSync(file);
}

function seconds(body: () => void): number {
  const begin = performance.now();
  body();
  return (performance.now() - begin) / 1000;
}

/** What the same bytes need without Flocker. */
function bareSeconds(mountPoint: string, from: Disk, into: Disk): number {
  const [snapshot, folder] = [join(from.folder, "bench-snapshot"), join(into.folder, "bench")];
  mkdirSync(folder, { recursive: true });
  execFileSync("btrfs", ["subvolume", "snapshot", "-r", mountPoint, snapshot], { stdio: "ignore" });
  execFileSync("sync", ["-f", snapshot]);
  const took = seconds(() => {
    const pipe = `set -o pipefail; btrfs -q send ${snapshot} | btrfs -q receive ${folder}; sync -f ${folder}`;
    execFileSync("bash", ["-c", pipe], { stdio: "ignore" });
  });
  for (const path of [snapshot, join(folder, "bench-snapshot")])
    execFileSync("btrfs", ["subvolume", "delete", "--commit-after", path], { stdio: "ignore" });
  return took;
}

/** How long the agent's first transfer of this dataset took, as it says itself. */
async function sentSeconds(node: RunnableNode, dataset: string): Promise<number> {
  const lines = (await readFile(node.agent.logFile, "utf8")).split("\n");
  const line = lines.find(
    (text) => text.includes('"action":"send"') && text.includes(dataset) && text.includes("action-done"),
  );
  if (line === undefined) throw new Error("the agent has sent nothing");
  return (JSON.parse(line) as { durationMs: number }).durationMs / 1000;
}

interface Bench {
  readonly cluster: LocalCluster;
  readonly client: LocalClient;
  readonly disks: readonly Disk[];
}

async function served(bench: Bench, dataset: string, node: RunnableNode): Promise<void> {
  const result = await pollUntil(systemClock, {
    waitingFor: "the dataset",
    timeoutMs,
    ask: async () => {
      const answer = await bench.client.api.getDataset({ params: { dataset_id: dataset } });
      if (answer.status !== 200) return undefined;
      const { converged, desired } = answer.body;
      return converged && desired?.primary === node.node ? true : undefined;
    },
  });
  if (!result.ok) throw new Error(result.problem.message);
}

async function measure(bench: Bench, sizeMiB: number) {
  const { api } = bench.client;
  const [a, b] = bench.cluster.nodes;
  const [from, into] = bench.disks;
  if (a === undefined || b === undefined || from === undefined || into === undefined)
    throw new Error("there are two nodes");
  const rounds: { readonly bare: number; readonly sent: number; readonly moved: number }[] = [];
  for (let round = 0; round < Number(options.rounds); round += 1) {
    const created = await api.createDataset({ headers: {}, body: { primary: a.node } });
    if (created.status !== 201) throw new Error(JSON.stringify(created.body));
    const dataset = created.body.dataset_id;
    const params = { dataset_id: dataset };
    await served(bench, dataset, a);
    fill(join(a.mountRoot, dataset, "data"), sizeMiB);
    const before = round % 2 === 0 ? bareSeconds(join(a.mountRoot, dataset), from, into) : undefined;
    const begin = performance.now();
    await api.updateDataset({ params, headers: {}, body: { primary: b.node } });
    await served(bench, dataset, b);
    const moved = (performance.now() - begin) / 1000;
    const sent = await sentSeconds(a, dataset);
    const bare = before ?? bareSeconds(join(b.mountRoot, dataset), into, from);
    rounds.push({ bare, sent, moved });
    await api.deleteDataset({ params, headers: {} });
    const gone = await pollUntil(systemClock, {
      waitingFor: "its space",
      timeoutMs,
      ask: async () => ((await usedMiB(bench)) < 64 ? true : undefined),
    });
    if (!gone.ok) throw new Error(gone.problem.message);
  }
  const peaks = [a, b].map(({ agent }) => peakMiB(agent.pid ?? 0));
  const median = (of: (round: (typeof rounds)[number]) => number): number =>
    rounds.map(of).toSorted((x, y) => x - y)[Math.floor(rounds.length / 2)] ?? 0;
  return {
    sizeMiB,
    bareMiBPerSecond: sizeMiB / median(({ bare }) => bare),
    sentMiBPerSecond: sizeMiB / median(({ sent }) => sent),
    movedSeconds: median(({ moved }) => moved),
    ratio: median(({ bare, sent }) => bare / sent),
    peakMiB: Math.max(...peaks),
  };
}

async function usedMiB({ disks }: Bench): Promise<number> {
  let used = 0;
  for (const { folder } of disks) {
    execFileSync("btrfs", ["subvolume", "sync", folder], { stdio: "ignore" });
    const [, line = ""] = execFileSync("df", ["--output=used", "-m", folder], { encoding: "utf8" }).split(
      "\n",
    );
    used = Math.max(used, Number(line));
  }
  return used;
}

/** The most memory that a process has had. */
function peakMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
}

async function main(): Promise<number> {
  const folder = await mkdtemp("/tmp/flocker-bench-");
  const opened = await openLocalCluster({ folder, nodeCount: 2, clock: systemClock, graceTime: "1s" });
  if (!opened.ok) throw new Error(opened.problem.message);
  const cluster = opened.value;
  const imageMiB = Math.max(...sizesMiB) * 2 + 1024;
  const disks = cluster.nodes.map((node) => makeDisk(join(node.folder, "disk"), "btrfs", imageMiB * mib));
  const client = openLocalClient(cluster);
  if (!client.ok) throw new Error(client.problem.message);
  const bench = { cluster, client: client.value, disks };
  try {
    for (const [index, node] of cluster.nodes.entries()) {
      mkdirSync(join(disks[index]?.folder ?? "", "datasets"));
      const text = await readFile(node.configurationFile, "utf8");
      const dataset = "dataset: { backend: btrfs, root: disk/datasets, mount-root: flocker }";
      await writeFile(node.configurationFile, text.replace(/^dataset: .*$/m, dataset));
    }
    cluster.start();
    const ready = await waitUntilReady(cluster, client.value, { clock: systemClock, timeoutMs: 60_000 });
    if (!ready.ok) throw new Error(ready.problem.message);
    const results = [];
    for (const size of sizesMiB) results.push(await measure(bench, size));
    report(results);
    return results.every(({ ratio, peakMiB: peak }) => ratio >= goals.ratio && peak <= goals.peakMiB) ? 0 : 1;
  } finally {
    client.value.close();
    await cluster.stop();
    for (const node of cluster.nodes) unmountAll(node.mountRoot);
    for (const disk of disks) disk.remove();
    await rm(folder, { recursive: true, force: true });
  }
}

function report(results: readonly Awaited<ReturnType<typeof measure>>[]): void {
  if (options.json) return console.log(JSON.stringify({ goals, results }, null, 2));
  console.log("  size MiB  bare MiB/s  agents MiB/s  ratio  whole move s  peak MiB of an agent");
  for (const each of results)
    console.log(
      `${String(each.sizeMiB).padStart(10)}${each.bareMiBPerSecond.toFixed(0).padStart(12)}` +
        `${each.sentMiBPerSecond.toFixed(0).padStart(14)}${each.ratio.toFixed(2).padStart(7)}` +
        `${each.movedSeconds.toFixed(1).padStart(14)}${each.peakMiB.toFixed(0).padStart(22)}`,
    );
  console.log(`held to: ratio ${goals.ratio} or more, peak ${goals.peakMiB} MiB or less`);
}

process.exitCode = await main();
