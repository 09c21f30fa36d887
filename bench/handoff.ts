import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { RunnableNode } from "@flocker/cli/local";
import { createOn, fill, openBtrfsCluster, reclaimed, served, spread } from "./rig/btrfs-cluster.ts";
import type { BtrfsCluster } from "./rig/btrfs-cluster.ts";

// How long a move interrupts service: from the unmount on one node to the mount on the other, as somebody
// sees it who looks at the machine's mounts all the time. A dataset goes to and fro between two btrfs file
// systems, and before each move so much is written to it that has to be sent in the handoff. Beside it, what
// the same takes by hand: unmount, snapshot, `btrfs send -p | btrfs receive`, mount. Needs root.

const { values: options } = parseArgs({
  options: {
    "sizes-mib": { type: "string", default: "1024,10240" },
    "delta-mib": { type: "string", default: "40" },
    moves: { type: "string", default: "24" },
    json: { type: "boolean", default: false },
  },
});

const goals = { p95Ms: 2_000, growth: 1.2, predictedWithin: 0.3, predictedShare: 0.9 };
const sizesMiB = options["sizes-mib"].split(",").map(Number);
const deltaMiB = Number(options["delta-mib"]);
const moves = Number(options.moves);

interface Handoff {
  readonly downMs: number;
  readonly predictedMs: number;
}

function isMounted(path: string): boolean {
  return readFileSync("/proc/self/mountinfo", "utf8").includes(` ${path} `);
}

/** The milliseconds in which the dataset was mounted nowhere. */
async function watchDowntime(from: string, to: string): Promise<number> {
  const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 2));
  while (isMounted(from)) await turn();
  const begin = performance.now();
  while (!isMounted(to)) await turn();
  return performance.now() - begin;
}

/** What the agent that handed over says it had predicted, of each of its handoffs. */
async function predictions(node: RunnableNode, dataset: string): Promise<readonly number[]> {
  const lines = (await readFile(node.agent.logFile, "utf8")).split("\n");
  return lines
    .filter((line) => line.includes('"handoff-done"') && line.includes(dataset))
    .map((line) => (JSON.parse(line) as { predictedMs: number }).predictedMs);
}

async function moveOnce(bench: BtrfsCluster, dataset: string, there: boolean): Promise<Handoff> {
  const [from, to] = there ? bench.nodes : bench.nodes.toReversed();
  if (from === undefined || to === undefined) throw new Error("there are two nodes");
  fill(join(from.mountRoot, dataset, "delta"), deltaMiB);
  const down = watchDowntime(join(from.mountRoot, dataset), join(to.mountRoot, dataset));
  const params = { dataset_id: dataset };
  await bench.client.api.updateDataset({ params, headers: {}, body: { primary: to.node } });
  const downMs = await down;
  await served(bench, dataset, to);
  return { downMs, predictedMs: (await predictions(from, dataset)).at(-1) ?? Number.NaN };
}

/** The same handoff by hand, between subvolumes of the same file systems. */
function byHand(bench: BtrfsCluster): number {
  const [from, into] = bench.disks.map(({ folder }) => join(folder, "by-hand"));
  const point = join(bench.folder, "by-hand");
  if (from === undefined || into === undefined) throw new Error("there are two disks");
  for (const folder of [from, into, point]) if (!existsSync(folder)) mkdirSync(folder);
  const run = (line: string): void => void execFileSync("bash", ["-ec", line], { stdio: "ignore" });
  run(
    `btrfs subvolume create ${from}/data; btrfs subvolume snapshot -r ${from}/data ${from}/base; sync -f ${from}`,
  );
  run(`btrfs -q send ${from}/base | btrfs -q receive ${into}`);
  run(`mount --bind ${from}/data ${point}`);
  fill(join(point, "delta"), deltaMiB);
  const begin = performance.now();
  run(
    `umount ${point}; btrfs subvolume snapshot -r ${from}/data ${from}/last; ` +
      `btrfs -q send -p ${from}/base ${from}/last | btrfs -q receive ${into}; ` +
      `btrfs subvolume snapshot ${into}/last ${into}/data; sync -f ${into}; mount --bind ${into}/data ${point}`,
  );
  const tookMs = performance.now() - begin;
  run(`umount ${point}; for each in ${from}/* ${into}/*; do btrfs subvolume delete "$each"; done`);
  return tookMs;
}

async function measure(bench: BtrfsCluster, sizeMiB: number) {
  const [a] = bench.nodes;
  const dataset = await createOn(bench, a);
  fill(join(a.mountRoot, dataset, "data"), sizeMiB);
  // The first two send everything, and teach both agents what a handoff takes.
  for (const there of [true, false]) await moveOnce(bench, dataset, there);
  const handoffs: Handoff[] = [];
  const hand: number[] = [];
  for (let move = 0; move < moves; move += 1) {
    handoffs.push(await moveOnce(bench, dataset, move % 2 === 0));
    if (move % 4 === 0) hand.push(byHand(bench));
  }
  await bench.client.api.deleteDataset({ params: { dataset_id: dataset }, headers: {} });
  await reclaimed(bench, 64);
  const errors = handoffs.map(({ downMs, predictedMs }) => Math.abs(predictedMs - downMs) / downMs);
  return {
    sizeMiB,
    ...spread(handoffs.map(({ downMs }) => downMs)),
    byHandMs: spread(hand).p50,
    medianError: spread(errors).p50,
    predictedShare: errors.filter((error) => error <= goals.predictedWithin).length / errors.length,
  };
}

async function main(): Promise<number> {
  const bench = await openBtrfsCluster(Math.max(...sizesMiB) + 2048);
  try {
    const results = [];
    for (const size of sizesMiB) results.push(await measure(bench, size));
    const growth = (results.at(-1)?.p50 ?? 0) / (results[0]?.p50 ?? 1);
    report(results, growth);
    const isKept = results.every(
      ({ p95, predictedShare }) => p95 <= goals.p95Ms && predictedShare >= goals.predictedShare,
    );
    return isKept && growth <= goals.growth ? 0 : 1;
  } finally {
    await bench.close();
  }
}

function report(results: readonly Awaited<ReturnType<typeof measure>>[], growth: number): void {
  if (options.json) return console.log(JSON.stringify({ goals, deltaMiB, growth, results }, null, 2));
  console.log(`${moves} handoffs of each size, ${deltaMiB} MiB written before each`);
  console.log("size MiB  down p50 ms  p95 ms  by hand ms  to by hand  prediction off by  within 30 %");
  for (const each of results)
    console.log(
      `${String(each.sizeMiB).padStart(8)}${each.p50.toFixed(0).padStart(13)}${each.p95.toFixed(0).padStart(8)}` +
        `${each.byHandMs.toFixed(0).padStart(12)}${(each.p50 / each.byHandMs).toFixed(2).padStart(12)}` +
        `${(each.medianError * 100).toFixed(0).padStart(17)} %${(each.predictedShare * 100).toFixed(0).padStart(11)} %`,
    );
  console.log(`the largest to the smallest: ${growth.toFixed(2)}`);
  console.log(
    `held to: p95 ${goals.p95Ms} ms, growth ${goals.growth}, ${goals.predictedShare * 100} % of the predictions ` +
      `within ${goals.predictedWithin * 100} %`,
  );
}

process.exitCode = await main();
