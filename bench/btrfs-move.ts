import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { RunnableNode } from "@flocker/cli/local";
import type { Disk } from "../tools/soak/disks.ts";
import {
  createOn,
  fill,
  openBtrfsCluster,
  reclaimed,
  served,
  type BtrfsCluster,
} from "./rig/btrfs-cluster.ts";

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
const sizesMiB = options["sizes-mib"].split(",").map(Number);

function seconds(body: () => void): number {
  const begin = performance.now();
  body();
  return (performance.now() - begin) / 1000;
}

type Pipe = "bare" | "tls";

const tlsPort = 15_990;

/** What the same bytes need without Flocker. */
function pipeSeconds(pipe: Pipe, mountPoint: string, from: Disk, into: Disk, certificate: string): number {
  const [snapshot, folder] = [join(from.folder, "bench-snapshot"), join(into.folder, "bench")];
  mkdirSync(folder, { recursive: true });
  execFileSync("btrfs", ["subvolume", "snapshot", "-r", mountPoint, snapshot], { stdio: "ignore" });
  execFileSync("sync", ["-f", snapshot]);
  const sending = `btrfs -q send ${snapshot}`;
  const receiving = `btrfs -q receive ${folder}`;
  const options = `cert=${certificate},verify=0,openssl-min-proto-version=TLS1.3`;
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

async function measure(bench: BtrfsCluster, certificate: string, sizeMiB: number) {
  const { api } = bench.client;
  const [a, b] = bench.nodes;
  const [from, into] = bench.disks;
  const rounds: {
    readonly bare: number;
    readonly tls: number;
    readonly sent: number;
    readonly moved: number;
  }[] = [];
  for (let round = 0; round < Number(options.rounds); round += 1) {
    const dataset = await createOn(bench, a);
    const params = { dataset_id: dataset };
    fill(join(a.mountRoot, dataset, "data"), sizeMiB);
    const pipes = (["bare", "tls"] as const).map((pipe) =>
      pipeSeconds(pipe, join(a.mountRoot, dataset), from, into, certificate),
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

/** The most memory that a process has had. */
function peakMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
}

async function main(): Promise<number> {
  const bench = await openBtrfsCluster(Math.max(...sizesMiB) * 2 + 1024);
  const certificate = join(bench.folder, "socat.pem");
  try {
    const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    const files = ["-keyout", certificate, "-out", join(bench.folder, "socat.crt"), "-subj", "/CN=bench"];
    execFileSync("openssl", [...request, ...files], { stdio: "ignore" });
    appendFileSync(certificate, readFileSync(join(bench.folder, "socat.crt")));
    const results = [];
    for (const size of sizesMiB) results.push(await measure(bench, certificate, size));
    report(results);
    const kept = results.every(
      ({ ratioToBare, ratioToTls, peakMiB: peak }) =>
        (ratioToBare >= goals.ratioToBare || ratioToTls >= goals.ratioToTls) && peak <= goals.peakMiB,
    );
    return kept ? 0 : 1;
  } finally {
    await bench.close();
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
