import { execFileSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
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
import { makeDisk, unmountAll, type Disk } from "../../tools/soak/disks.ts";

const timeoutMs = 600_000;
const mib = 2 ** 20;

/** Two agents on this machine, each with a btrfs of its own on a loop device. */
export interface BtrfsCluster {
  readonly folder: string;
  readonly cluster: LocalCluster;
  readonly client: LocalClient;
  readonly nodes: readonly [RunnableNode, RunnableNode];
  readonly disks: readonly [Disk, Disk];
  close(): Promise<void>;
}

/** Starts the cluster; each disk may grow to so many MiB. Needs root. */
export async function openBtrfsCluster(imageMiB: number): Promise<BtrfsCluster> {
  const folder = await mkdtemp("/tmp/flocker-bench-");
  const opened = await openLocalCluster({ folder, nodeCount: 2, clock: systemClock, graceTime: "1s" });
  if (!opened.ok) throw new Error(opened.problem.message);
  const cluster = opened.value;
  const [a, b] = cluster.nodes;
  const client = openLocalClient(cluster);
  if (!client.ok) throw new Error(client.problem.message);
  if (a === undefined || b === undefined) throw new Error("there are two nodes");
  const disks = [a, b].map((node) =>
    makeDisk(join(node.folder, "disk"), "btrfs", { sizeBytes: imageMiB * mib }),
  );
  const [first, second] = disks;
  if (first === undefined || second === undefined) throw new Error("each node has a disk");
  const close = async (): Promise<void> => {
    client.value.close();
    await cluster.stop();
    for (const node of cluster.nodes) unmountAll(node.mountRoot);
    for (const disk of disks) disk.remove();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    for (const [index, node] of cluster.nodes.entries()) {
      const disk = disks[index]?.folder ?? "";
      mkdirSync(join(disk, "datasets"));
      // What was deleted is freed soon, and not after half a minute.
      execFileSync("mount", ["-o", "remount,commit=1", disk]);
      const text = await readFile(node.configurationFile, "utf8");
      const dataset = "dataset: { backend: btrfs, root: disk/datasets, mount-root: flocker }";
      await writeFile(node.configurationFile, text.replace(/^dataset: .*$/m, dataset));
    }
    cluster.start();
    const ready = await waitUntilReady(cluster, client.value, { clock: systemClock, timeoutMs: 60_000 });
    if (!ready.ok) throw new Error(ready.problem.message);
  } catch (error) {
    await close();
    throw error;
  }
  return { folder, cluster, client: client.value, nodes: [a, b], disks: [first, second], close };
}

/** Fills a file with bytes that no file system can make smaller, and syncs it. */
export function fill(path: string, sizeMiB: number): void {
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

/** Makes a dataset, and waits until it is mounted on the node. */
export async function createOn(bench: BtrfsCluster, node: RunnableNode): Promise<string> {
  const created = await bench.client.api.createDataset({ headers: {}, body: { primary: node.node } });
  if (created.status !== 201) throw new Error(JSON.stringify(created.body));
  await served(bench, created.body.dataset_id, node);
  return created.body.dataset_id;
}

/** Waits until the dataset is where it belongs, and that is on this node. */
export async function served(bench: BtrfsCluster, dataset: string, node: RunnableNode): Promise<void> {
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

/** Waits until btrfs has freed what was deleted: no file system has more than this in use. */
export async function reclaimed(bench: BtrfsCluster, limitMiB: number): Promise<void> {
  const result = await pollUntil(systemClock, {
    waitingFor: "the space of what was deleted",
    timeoutMs,
    ask: () => Promise.resolve(usedMiB(bench) < limitMiB ? true : undefined),
  });
  if (!result.ok) throw new Error(result.problem.message);
}

function usedMiB({ disks }: BtrfsCluster): number {
  let used = 0;
  for (const { folder } of disks) {
    execFileSync("btrfs", ["filesystem", "sync", folder], { stdio: "ignore" });
    execFileSync("btrfs", ["subvolume", "sync", folder], { stdio: "ignore" });
    const said = execFileSync("df", ["--output=used", "-m", folder], { encoding: "utf8" });
    used = Math.max(used, Number(said.split("\n")[1]));
  }
  return used;
}

/** The middle one, and the one that 95 of a hundred are not above. */
export function spread(values: readonly number[]): { readonly p50: number; readonly p95: number } {
  const sorted = values.toSorted((x, y) => x - y);
  const at = (share: number): number => sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN;
  return { p50: at(0.5), p95: at(0.95) };
}
