import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pollUntil, type RunnableNode } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import { makeDisk, unmountAll } from "../../tools/soak/disks.ts";
import { show, type Rig } from "./rig.ts";

/** Why there can be no file systems of a test's own here, or false. */
export const noBtrfs: string | false =
  process.getuid?.() === 0 && spawnSync("which", ["mkfs.btrfs"]).status === 0
    ? false
    : "file systems cannot be mounted here";

/** In memory where that is possible: many small syncs would mostly wait for a real disk. */
const imageFolder = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** Gives each node a btrfs of its own. */
export async function onBtrfs(rig: Rig): Promise<void> {
  for (const node of rig.cluster.nodes) {
    const image = join(imageFolder, `flocker-system-${node.node}.img`);
    const disk = makeDisk(join(node.folder, "disk"), "btrfs", { image });
    mkdirSync(join(disk.folder, "datasets"));
    rig.cleanUps.push(async () => {
      unmountAll(node.mountRoot);
      disk.remove();
    });
    const text = await readFile(node.configurationFile, "utf8");
    const dataset = "dataset: { backend: btrfs, root: disk/datasets, mount-root: flocker }";
    await writeFile(node.configurationFile, text.replace(/^dataset: .*$/m, dataset));
  }
}

/** The nodes that have a dataset mounted, read from the system and from nobody's word. */
export function mountedOn(rig: Rig, dataset: string): readonly RunnableNode[] {
  const points = new Set(
    readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .map((line) => line.split(" ")[4]),
  );
  return rig.cluster.nodes.filter(({ mountRoot }) => points.has(join(mountRoot, dataset)));
}

/** Waits until the dataset is as configured and mounted on that node alone. */
export async function served(rig: Rig, dataset: string, node: RunnableNode): Promise<void> {
  const result = await pollUntil(systemClock, {
    waitingFor: `the dataset on ${node.name}`,
    timeoutMs: 120_000,
    ask: async () => {
      const isThere =
        mountedOn(rig, dataset)
          .map(({ name }) => name)
          .join() === node.name;
      return isThere && (await show(rig, dataset)).converged ? true : undefined;
    },
  });
  assert.ok(
    result.ok,
    result.ok ? "" : `${result.problem.message} ${JSON.stringify(await show(rig, dataset))}`,
  );
}

/** Where a dataset is mounted now, or undefined. */
export function mountOf(rig: Rig, dataset: string): Promise<string | undefined> {
  const [place] = mountedOn(rig, dataset);
  return Promise.resolve(place === undefined ? undefined : join(place.mountRoot, dataset));
}
