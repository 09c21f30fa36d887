import { execFileSync, spawn } from "node:child_process";
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { need, type ByteStream, type DatasetId } from "@flocker/core";
import { makeImage } from "../test/vm/requirements.ts";
import { VmCluster, type Said, type VmNode } from "../test/vm/vm-cluster.ts";
import { VmAgentProcesses } from "./rig/vm-agent-process.ts";

// Moves between two virtual machines with OpenZFS, each with its own pool. The agents (processes, real links,
// TLS 1.3, checksums) run outside and run their commands in the machines. Beside it, in turn, a bare pipe of
// zfs send and receive of as much between the same pools by the same way of running commands, and the same
// pipe with TLS 1.3 in between as socat does it. Everything is emulated on this machine's processors, which
// are the limit: the ratios say something, the absolute figures nothing. Then handoffs to and fro, from the
// unmount to the mount elsewhere, beside what the same takes by hand. Needs qemu, and socat.

const { values: options } = parseArgs({
  options: {
    "size-mib": { type: "string", default: "128" },
    rounds: { type: "string", default: "3" },
    handoffs: { type: "string", default: "6" },
    "delta-mib": { type: "string", default: "8" },
    json: { type: "boolean", default: false },
  },
});

const goals = { ratioToBare: 0.9, ratioToTls: 0.9, peakMiB: 150 };
const sizeMiB = Number(options["size-mib"]);
const deltaMiB = Number(options["delta-mib"]);
const tlsPort = 15_991;
const noDeadlineMs = 2 ** 31 - 1;

async function seconds(body: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await body();
  return (performance.now() - begin) / 1000;
}

function median(values: readonly number[]): number {
  return values.toSorted((x, y) => x - y)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** Writes bytes that do not compress, until they are on the disk. */
async function fill(node: VmNode, path: string, size: number): Promise<void> {
  const line = 'dd if=/dev/urandom of="$1" bs=1M count="$2" 2>/dev/null && sync -f "$1"';
  await node.storage.sh(line, path, String(size));
}

/** `zfs send` of the one machine into `zfs receive` of the other. */
async function sendAndReceive(
  { from, into, through }: { readonly from: VmNode; readonly into: VmNode; readonly through: Through },
  send: readonly string[],
  target: string,
): Promise<void> {
  const sent = from.machine.commands.stream(["zfs", "send", "-L", "-e", "-c", ...send], {});
  const stdin = through(sent);
  const argv = ["zfs", "receive", "-s", "-u", target];
  const result = need(await into.machine.commands.run(argv, { stdin, timeoutMs: noDeadlineMs }));
  if (result.exitCode !== 0) throw new Error(result.stderr);
}

type Through = (stream: ByteStream) => ByteStream;

/** Two socats with TLS 1.3 between them, in the way of a stream. */
function tlsThrough(certificate: string): Through {
  return async function* (stream) {
    const tls = `cert=${certificate},verify=0,openssl-min-proto-version=TLS1.3`;
    const listen = `OPENSSL-LISTEN:${tlsPort},bind=127.0.0.1,reuseaddr,${tls}`;
    const dial = `OPENSSL:127.0.0.1:${tlsPort},retry=100,interval=0.05,${tls}`;
    const size = ["-b", "262144", "-u"];
    const far = spawn("socat", [...size, listen, "STDOUT"], { stdio: ["ignore", "pipe", "inherit"] });
    const near = spawn("socat", [...size, "STDIN", dial], { stdio: ["pipe", "ignore", "inherit"] });
    const feeding = pipeline(Readable.from(stream, { objectMode: false }), near.stdin);
    yield* far.stdout;
    await feeding;
  };
}

interface Round {
  readonly bare: number;
  readonly tls: number;
  readonly sent: number;
  readonly moved: number;
}

/** When and for how long an agent did what, as it says itself. */
interface Done {
  readonly did: string;
  readonly endedAt: number;
  readonly durationMs: number;
}

/** What both agents say that they have done for a dataset, from now on. */
function listen(cluster: VmCluster, dataset: DatasetId): Map<VmNode, Done[]> {
  const heard = new Map<VmNode, Done[]>();
  for (const node of [cluster.a, cluster.b]) {
    const done: Done[] = [];
    heard.set(node, done);
    node.onSaid = ({ event, fields }: Said) => {
      if (fields["dataset"] !== dataset) return;
      if (event !== "action-done" && event !== "handoff-done") return;
      const { action = event, durationMs = fields["predictedMs"] } = fields;
      done.push({ did: action as string, endedAt: performance.now(), durationMs: Number(durationMs) });
    };
  }
  return heard;
}

function first(done: readonly Done[] | undefined, did: string): Done {
  const found = done?.find((each) => each.did === did);
  if (found === undefined) throw new Error(`the agent has not done ${did}`);
  return found;
}

async function throughputRound(cluster: VmCluster, round: number, certificate: string): Promise<Round> {
  const { a, b } = cluster;
  const dataset = await cluster.create(a, `round-${round}`);
  await fill(a, `${a.storage.mountRoot}/${dataset}/data`, sizeMiB);
  const snapshot = `${a.storage.nameOf(dataset)}@bench`;
  await a.storage.sh('zfs snapshot "$1"', snapshot);
  const pipe = async (through: Through): Promise<number> => {
    const took = await seconds(() =>
      sendAndReceive({ from: a, into: b, through }, [snapshot], "tank/bench@bench"),
    );
    await b.storage.sh("zfs destroy -r tank/bench && zpool sync");
    return took;
  };
  const bare = await pipe((stream) => stream);
  const tls = await pipe(tlsThrough(certificate));
  await a.storage.sh('zfs destroy "$1" && zpool sync', snapshot);
  const heard = listen(cluster, dataset);
  const moved = await seconds(() => cluster.move(dataset, b));
  return { bare, tls, sent: first(heard.get(a), "send").durationMs / 1000, moved };
}

interface Handoff {
  readonly downMs: number;
  readonly predictedMs: number;
}

async function handoff(cluster: VmCluster, dataset: DatasetId, there: boolean): Promise<Handoff> {
  const [from, into] = there ? [cluster.a, cluster.b] : [cluster.b, cluster.a];
  await fill(from, `${from.storage.mountRoot}/${dataset}/delta`, deltaMiB);
  const heard = listen(cluster, dataset);
  await cluster.move(dataset, into);
  const unmount = first(heard.get(from), "unmount");
  return {
    downMs: first(heard.get(into), "mount").endedAt - (unmount.endedAt - unmount.durationMs),
    predictedMs: first(heard.get(from), "handoff-done").durationMs,
  };
}

/** The same handoff by hand, by the fewest commands. */
async function byHandMs({ a, b }: VmCluster): Promise<number> {
  const name = "tank/by-hand";
  const through: Through = (stream) => stream;
  await a.storage.sh(
    'zfs create -o canmount=noauto -o mountpoint=/by-hand "$1" && zfs mount "$1" && zfs snapshot "$1@base"',
    name,
  );
  await sendAndReceive({ from: a, into: b, through }, [`${name}@base`], name);
  await b.storage.sh('zfs set canmount=noauto mountpoint=/by-hand "$1"', name);
  await fill(a, "/by-hand/delta", deltaMiB);
  const took = await seconds(async () => {
    await a.storage.sh('zfs unmount "$1" && zfs snapshot "$1@last"', name);
    await sendAndReceive({ from: a, into: b, through }, ["-i", `${name}@base`, `${name}@last`], name);
    await b.storage.sh('zfs mount "$1"', name);
  });
  for (const { storage } of [a, b]) await storage.sh('zfs destroy -r -f "$1"', name);
  return took * 1000;
}

async function measureHandoffs(cluster: VmCluster) {
  const dataset = await cluster.create(cluster.a, "to-and-fro");
  await fill(cluster.a, `${cluster.a.storage.mountRoot}/${dataset}/data`, deltaMiB);
  // The first two send everything, and teach both agents what a handoff takes.
  for (const there of [true, false]) await handoff(cluster, dataset, there);
  const handoffs: Handoff[] = [];
  const hand: number[] = [];
  for (let move = 0; move < Number(options.handoffs); move += 1) {
    handoffs.push(await handoff(cluster, dataset, move % 2 === 0));
    if (move % 2 === 0) hand.push(await byHandMs(cluster));
  }
  return {
    deltaMiB,
    downMs: median(handoffs.map(({ downMs }) => downMs)),
    byHandMs: median(hand),
    predictionError: median(
      handoffs.map(({ downMs, predictedMs }) => Math.abs(predictedMs - downMs) / downMs),
    ),
  };
}

/** The most memory that a process has had. */
function peakMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

interface Results {
  readonly bareMiBPerSecond: number;
  readonly tlsMiBPerSecond: number;
  readonly sentMiBPerSecond: number;
  readonly movedSeconds: number;
  readonly ratioToBare: number;
  readonly ratioToTls: number;
  /** Before the first round, and after each. */
  readonly peaksMiB: readonly number[];
  readonly handoffs: Awaited<ReturnType<typeof measureHandoffs>>;
}

async function main(): Promise<number> {
  const agents = new VmAgentProcesses();
  const poolMib = sizeMiB * (Number(options.rounds) + 3) + 1024;
  const cluster = new VmCluster({ poolMib, starter: agents.start });
  const peaks = (): number => Math.max(...[cluster.a, cluster.b].map((node) => peakMiB(agents.pidOf(node))));
  const certificate = join(cluster.folder, "socat.pem");
  try {
    await cluster.start();
    const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    const files = ["-keyout", certificate, "-out", join(cluster.folder, "socat.crt"), "-subj", "/CN=bench"];
    execFileSync("openssl", [...request, ...files], { stdio: "ignore" });
    appendFileSync(certificate, readFileSync(join(cluster.folder, "socat.crt")));
    const peaksMiB = [peaks()];
    const rounds: Round[] = [];
    for (let round = 0; round < Number(options.rounds); round += 1) {
      rounds.push(await throughputRound(cluster, round, certificate));
      peaksMiB.push(peaks());
    }
    const of = (part: (round: Round) => number): number => median(rounds.map(part));
    const handoffs = await measureHandoffs(cluster);
    const results: Results = {
      bareMiBPerSecond: sizeMiB / of(({ bare }) => bare),
      tlsMiBPerSecond: sizeMiB / of(({ tls }) => tls),
      sentMiBPerSecond: sizeMiB / of(({ sent }) => sent),
      movedSeconds: of(({ moved }) => moved),
      ratioToBare: of(({ bare, sent }) => bare / sent),
      ratioToTls: of(({ tls, sent }) => tls / sent),
      peaksMiB,
      handoffs,
    };
    report(results);
    const peak = peaks();
    const isFast = results.ratioToBare >= goals.ratioToBare || results.ratioToTls >= goals.ratioToTls;
    return isFast && peak <= goals.peakMiB ? 0 : 1;
  } finally {
    await cluster.stop();
  }
}

function report(results: Results): void {
  if (options.json) return console.log(JSON.stringify({ goals, results }, null, 2));
  const { handoffs, peaksMiB } = results;
  console.log("size MiB  bare MiB/s  socat MiB/s  agents MiB/s  to bare  to socat  whole move s");
  console.log(
    `${String(sizeMiB).padStart(8)}${results.bareMiBPerSecond.toFixed(1).padStart(12)}` +
      `${results.tlsMiBPerSecond.toFixed(1).padStart(13)}${results.sentMiBPerSecond.toFixed(1).padStart(14)}` +
      `${results.ratioToBare.toFixed(2).padStart(9)}${results.ratioToTls.toFixed(2).padStart(10)}` +
      `${results.movedSeconds.toFixed(1).padStart(14)}`,
  );
  console.log(
    `handoffs of ${deltaMiB} MiB: down ${handoffs.downMs.toFixed(0)} ms, by hand ${handoffs.byHandMs.toFixed(0)} ms, ` +
      `predictions off by ${(handoffs.predictionError * 100).toFixed(0)} %`,
  );
  console.log(`peak of an agent at first and after each round, MiB: ${peaksMiB.map(Math.round).join(" ")}`);
  console.log(
    `held to: ${goals.ratioToBare} of the bare pipe, or of the pipe through TLS; peak ${goals.peakMiB} MiB`,
  );
}

const lacking = makeImage();
if (lacking === null) process.exitCode = await main();
else console.log(`left out: ${lacking}`);
