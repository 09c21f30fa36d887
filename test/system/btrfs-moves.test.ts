// A database that never stops goes round between two nodes with btrfs.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { v2 } from "@flocker/api";
import { pollUntil, type RunnableNode } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import { makeDisk, unmountAll } from "../../tools/soak/disks.ts";
import { Writer } from "../../tools/soak/writer.ts";
import { move, show, startRig, type Rig } from "./rig.ts";

const moves = 50;
const skip =
  process.getuid?.() === 0 && spawnSync("which", ["mkfs.btrfs"]).status === 0
    ? false
    : "file systems cannot be mounted here";

/** Gives each node a btrfs of its own. */
async function onBtrfs(rig: Rig): Promise<void> {
  for (const node of rig.cluster.nodes) {
    const disk = makeDisk(join(node.folder, "disk"), "btrfs");
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

function mountedOn(rig: Rig, dataset: string): readonly RunnableNode[] {
  const points = new Set(
    readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .map((line) => line.split(" ")[4]),
  );
  return rig.cluster.nodes.filter(({ mountRoot }) => points.has(join(mountRoot, dataset)));
}

async function served(rig: Rig, dataset: string, node: RunnableNode): Promise<void> {
  const result = await pollUntil(systemClock, {
    waitingFor: `the dataset on ${node.name}`,
    timeoutMs: 60_000,
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

test(
  `over ${moves} moves under a writer no synced record is lost, none is there twice, and the order is kept`,
  { skip },
  async (t) => {
    const rig = await startRig(t, { nodeCount: 2, prepare: onBtrfs });
    const body = { primary: rig.node(0).node };
    const created = await rig.client.api.createDataset({ headers: {}, body });
    assert.equal(created.status, 201);
    const dataset = (created.body as v2.Dataset).dataset_id;
    await served(rig, dataset, rig.node(0));
    const findMount = (): Promise<string | undefined> => {
      const [place] = mountedOn(rig, dataset);
      return Promise.resolve(place === undefined ? undefined : join(place.mountRoot, dataset));
    };
    const writer = new Writer(findMount, systemClock);
    writer.start();
    for (let count = 1; count <= moves; count += 1) {
      const before = writer.kept.length;
      const node = rig.node(count % 2);
      await move(rig, dataset, node);
      await served(rig, dataset, node);
      const wrong = await writer.check(join(node.mountRoot, dataset));
      assert.equal(wrong, undefined, `after move ${count}`);
      const goesOn = await pollUntil(systemClock, {
        waitingFor: "the writer to go on",
        timeoutMs: 60_000,
        ask: () => Promise.resolve(writer.kept.length > before + 2 ? true : undefined),
      });
      assert.ok(goesOn.ok, `the writer goes on after move ${count}`);
    }
    await writer.stop();
    assert.equal(await writer.check(join(rig.node(moves % 2).mountRoot, dataset)), undefined);
    t.diagnostic(`${writer.kept.length} records, each synced, through ${moves} moves`);
  },
);
