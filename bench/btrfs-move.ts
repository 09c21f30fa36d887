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
// had. The whole move is told beside its transfer: it has a handoff as well, which takes the same time
// however large the dataset is. Processor time is told of what stands between the two btrfs programs, since
// it stays the same on a busy machine. Needs root, and socat.

const { values: options } = parseArgs({
  options: {
    "sizes-mib": { type: "string", default: "1024,4096" },
    rounds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
  },
});

const goals = { ratioToBare: 0.9, ratioToTls: 1, peakMiB: 150 };
const sizesMiB = options["sizes-mib"].split(",").map(Number);

/** How long something took, and the processor time of the programs that it has started and waited for. */
interface Cost {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

function costOf(body: () => void): Cost {
  const [begin, cpuBefore] = [performance.now(), cpuSeconds("self", "children")];
  body();
  return {
    seconds: (performance.now() - begin) / 1000,
    cpuSeconds: cpuSeconds("self", "children") - cpuBefore,
  };
}

/** The processor time of a process, or of its children that have ended; see proc_pid_stat(5). */
function cpuSeconds(pid: number | "self", of: "itself" | "children"): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  const first = of === "itself" ? 11 : 13;
  return fields.slice(first, first + 2).reduce((sum, ticks) => sum + Number(ticks) / 100, 0);
}

type Pipe = "bare" | "tls";

const tlsPort = 15_990;

/** What the same bytes need without Flocker. */
function pipeCost(pipe: Pipe, mountPoint: string, from: Disk, into: Disk, certificate: string): Cost {
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
  const cost = costOf(() => execFileSync("bash", ["-c", line], { stdio: "ignore" }));
  for (const path of [snapshot, join(folder, "bench-snapshot")])
    execFileSync("btrfs", ["subvolume", "delete", "--commit-after", path], { stdio: "ignore" });
  return cost;
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
    readonly bare: Cost;
    readonly tls: Cost;
    readonly sent: number;
    readonly moved: number;
    readonly agentsCpu: number;
  }[] = [];
  const agentsCpuSeconds = (): number =>
    [a, b].reduce((sum, { agent }) => sum + cpuSeconds(agent.pid ?? 0, "itself"), 0);
  for (let round = 0; round < Number(options.rounds); round += 1) {
    const dataset = await createOn(bench, a);
    const params = { dataset_id: dataset };
    fill(join(a.mountRoot, dataset, "data"), sizeMiB);
    const costOfPipe = (pipe: Pipe): Cost =>
      pipeCost(pipe, join(a.mountRoot, dataset), from, into, certificate);
    const [bare, tls] = [costOfPipe("bare"), costOfPipe("tls")];
    await reclaimed(bench, sizeMiB + 64);
    const [begin, cpuBefore] = [performance.now(), agentsCpuSeconds()];
    await api.updateDataset({ params, headers: {}, body: { primary: b.node } });
    await served(bench, dataset, b);
    const moved = (performance.now() - begin) / 1000;
    const agentsCpu = agentsCpuSeconds() - cpuBefore;
    const sent = await sentSeconds(a, dataset);
    rounds.push({ bare, tls, sent, moved, agentsCpu });
    await api.deleteDataset({ params, headers: {} });
    await reclaimed(bench, 64);
  }
  const peaks = [a, b].map(({ agent }) => peakMiB(agent.pid ?? 0));
  const median = (of: (round: (typeof rounds)[number]) => number): number =>
    rounds.map(of).toSorted((x, y) => x - y)[Math.floor(rounds.length / 2)] ?? 0;
  return {
    sizeMiB,
    bareMiBPerSecond: sizeMiB / median(({ bare }) => bare.seconds),
    tlsMiBPerSecond: sizeMiB / median(({ tls }) => tls.seconds),
    sentMiBPerSecond: sizeMiB / median(({ sent }) => sent),
    movedMiBPerSecond: sizeMiB / median(({ moved }) => moved),
    ratioToBare: median(({ bare, sent }) => bare.seconds / sent),
    ratioToTls: median(({ tls, sent }) => tls.seconds / sent),
    movedRatioToBare: median(({ bare, moved }) => bare.seconds / moved),
    tlsCpuPerGiB: median(({ bare, tls }) => tls.cpuSeconds - bare.cpuSeconds) / (sizeMiB / 1024),
    agentsCpuPerGiB: median(({ agentsCpu }) => agentsCpu) / (sizeMiB / 1024),
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
  const row = (cells: readonly (readonly [name: string, value: number, digits: number])[]): string[] =>
    cells.map(([name, value, digits]) => `  ${name.padEnd(44)}${value.toFixed(digits).padStart(8)}`);
  for (const each of results) {
    console.log(`${each.sizeMiB} MiB`);
    const lines = row([
      ["bare pipe, MiB/s", each.bareMiBPerSecond, 0],
      ["pipe through socat's TLS, MiB/s", each.tlsMiBPerSecond, 0],
      ["agents, the transfer alone, MiB/s", each.sentMiBPerSecond, 0],
      ["    to the bare pipe", each.ratioToBare, 2],
      ["    to the pipe through socat", each.ratioToTls, 2],
      ["agents, the whole move, MiB/s", each.movedMiBPerSecond, 0],
      ["    to the bare pipe", each.movedRatioToBare, 2],
      ["processor s/GiB: both socats", each.tlsCpuPerGiB, 2],
      ["processor s/GiB: both agents, whole move", each.agentsCpuPerGiB, 2],
      ["an agent's peak memory, MiB", each.peakMiB, 0],
    ]);
    console.log(lines.join("\n"));
  }
  console.log(
    `held to, of the transfer alone: ${goals.ratioToBare} of the bare pipe, or ${goals.ratioToTls} of the ` +
      `pipe through TLS; peak ${goals.peakMiB} MiB`,
  );
}

process.exitCode = await main();
