import { execFileSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { appendFileSync, closeSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
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
// beside a bare `btrfs send | btrfs receive` of the same data between the same file systems, and the same
// pipe with TLS 1.3 in between as socat does it, in turn. All of it shares this machine's processors: where
// the bare pipe leaves none idle, nobody's TLS comes near to it, and the pipe through socat tells what can be
// had. Needs root, and socat.

const { values: options } = parseArgs({
  options: {
    "sizes-mib": { type: "string", default: "256,2048" },
    rounds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
  },
});

const goals = { ratioToBare: 0.9, ratioToTls: 0.9, peakMiB: 150 };
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

type Pipe = "bare" | "tls";

const tlsPort = 15_990;

/** What the same bytes need without Flocker. */
function pipeSeconds(pipe: Pipe, mountPoint: string, from: Disk, into: Disk, bench: Bench): number {
  const [snapshot, folder] = [join(from.folder, "bench-snapshot"), join(into.folder, "bench")];
  mkdirSync(folder, { recursive: true });
  execFileSync("btrfs", ["subvolume", "snapshot", "-r", mountPoint, snapshot], { stdio: "ignore" });
  execFileSync("sync", ["-f", snapshot]);
  const sending = `btrfs -q send ${snapshot}`;
  const receiving = `btrfs -q receive ${folder}`;
  const options = `cert=${bench.certificate},verify=0,openssl-min-proto-version=TLS1.3`;
  const between = {
    bare: `${sending} | ${receiving}`,
    tls:
      `socat -b 262144 -u OPENSSL-LISTEN:${tlsPort},bind=127.0.0.1,reuseaddr,${options} STDOUT | ` +
      `${receiving} & ` +
      `${sending} | socat -b 262144 -u STDIN ` +
      `OPENSSL:127.0.0.1:${tlsPort},retry=100,interval=0.05,${options}; wait $!`,
  };
  const line = `set -eo pipefail; ${between[pipe]}; sync -f ${folder}`;
  const took = seconds(() => execFileSync("bash", ["-c", line], { stdio: "ignore" }));
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
  /** A file with a certificate and its key, for socat. */
  readonly certificate: string;
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
  const rounds: {
    readonly bare: number;
    readonly tls: number;
    readonly sent: number;
    readonly moved: number;
  }[] = [];
  for (let round = 0; round < Number(options.rounds); round += 1) {
    const created = await api.createDataset({ headers: {}, body: { primary: a.node } });
    if (created.status !== 201) throw new Error(JSON.stringify(created.body));
    const dataset = created.body.dataset_id;
    const params = { dataset_id: dataset };
    await served(bench, dataset, a);
    fill(join(a.mountRoot, dataset, "data"), sizeMiB);
    const pipes = (["bare", "tls"] as const).map((pipe) =>
      pipeSeconds(pipe, join(a.mountRoot, dataset), from, into, bench),
    );
    const [bare = 0, tls = 0] = pipes;
    await reclaimed(bench, sizeMiB + 64);
    const begin = performance.now();
    await api.updateDataset({ params, headers: {}, body: { primary: b.node } });
    await served(bench, dataset, b);
    const moved = (performance.now() - begin) / 1000;
    const sent = await sentSeconds(a, dataset);
    rounds.push({ bare, tls, sent, moved });
    await api.deleteDataset({ params, headers: {} });
    await reclaimed(bench, 64);
  }
  const peaks = [a, b].map(({ agent }) => peakMiB(agent.pid ?? 0));
  const median = (of: (round: (typeof rounds)[number]) => number): number =>
    rounds.map(of).toSorted((x, y) => x - y)[Math.floor(rounds.length / 2)] ?? 0;
  return {
    sizeMiB,
    bareMiBPerSecond: sizeMiB / median(({ bare }) => bare),
    tlsMiBPerSecond: sizeMiB / median(({ tls }) => tls),
    sentMiBPerSecond: sizeMiB / median(({ sent }) => sent),
    movedSeconds: median(({ moved }) => moved),
    ratioToBare: median(({ bare, sent }) => bare / sent),
    ratioToTls: median(({ tls, sent }) => tls / sent),
    peakMiB: Math.max(...peaks),
  };
}

/** Waits until btrfs has freed what was deleted: no file system has more than this in use. */
async function reclaimed(bench: Bench, limitMiB: number): Promise<void> {
  const result = await pollUntil(systemClock, {
    waitingFor: "the space of what was deleted",
    timeoutMs,
    ask: async () => (usedMiB(bench) < limitMiB ? true : undefined),
  });
  if (!result.ok) throw new Error(result.problem.message);
}

function usedMiB({ disks }: Bench): number {
  let used = 0;
  for (const { folder } of disks) {
    execFileSync("btrfs", ["filesystem", "sync", folder], { stdio: "ignore" });
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
  const bench = { cluster, client: client.value, disks, certificate: join(folder, "socat.pem") };
  try {
    for (const [index, node] of cluster.nodes.entries()) {
      mkdirSync(join(disks[index]?.folder ?? "", "datasets"));
      const text = await readFile(node.configurationFile, "utf8");
      const dataset = "dataset: { backend: btrfs, root: disk/datasets, mount-root: flocker }";
      await writeFile(node.configurationFile, text.replace(/^dataset: .*$/m, dataset));
    }
    const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    const files = ["-keyout", bench.certificate, "-out", join(folder, "socat.crt"), "-subj", "/CN=bench"];
    execFileSync("openssl", [...request, ...files], { stdio: "ignore" });
    appendFileSync(bench.certificate, readFileSync(join(folder, "socat.crt")));
    for (const disk of disks) execFileSync("mount", ["-o", "remount,commit=1", disk.folder]);
    cluster.start();
    const ready = await waitUntilReady(cluster, client.value, { clock: systemClock, timeoutMs: 60_000 });
    if (!ready.ok) throw new Error(ready.problem.message);
    const results = [];
    for (const size of sizesMiB) results.push(await measure(bench, size));
    report(results);
    const kept = results.every(
      ({ ratioToBare, ratioToTls, peakMiB: peak }) =>
        (ratioToBare >= goals.ratioToBare || ratioToTls >= goals.ratioToTls) && peak <= goals.peakMiB,
    );
    return kept ? 0 : 1;
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
  console.log(
    "size MiB  bare MiB/s  socat MiB/s  agents MiB/s  to bare  to socat  whole move s  agent's peak MiB",
  );
  for (const each of results)
    console.log(
      `${String(each.sizeMiB).padStart(8)}${each.bareMiBPerSecond.toFixed(0).padStart(12)}` +
        `${each.tlsMiBPerSecond.toFixed(0).padStart(13)}${each.sentMiBPerSecond.toFixed(0).padStart(14)}` +
        `${each.ratioToBare.toFixed(2).padStart(9)}${each.ratioToTls.toFixed(2).padStart(10)}` +
        `${each.movedSeconds.toFixed(1).padStart(14)}${each.peakMiB.toFixed(0).padStart(18)}`,
    );
  console.log(
    `held to: ${goals.ratioToBare} of the bare pipe, or of the pipe through TLS where the processors are ` +
      `the limit; peak ${goals.peakMiB} MiB`,
  );
}

process.exitCode = await main();
