import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import { backendConformance, type BackendHarness, type BackendNode } from "../conformance.ts";
import { recordOf, refused, value, World } from "../conformance/world.ts";
import { directoryHarness, type DirectoryNode, type DirectoryNodes } from "./testing/directory-harness.ts";

const diskBytes = 24 * 2 ** 20;
const reason = smallDisksNotPossible();

/** Why no small file system can be mounted here, or undefined. */
function smallDisksNotPossible(): string | undefined {
  if (process.getuid?.() !== 0) return "only root can mount a small disk to fill";
  const probe = spawnSync("unshare", ["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
  return probe.status === 0 ? undefined : "file systems cannot be mounted here";
}

/** Node B's folder is a small file system of its own. */
async function smallDiskHarness(): Promise<BackendHarness & { readonly nodes: DirectoryNodes }> {
  const harness = await directoryHarness();
  const [a, b, c] = harness.nodes;
  b.stop();
  mkdirSync(b.folder, { recursive: true });
  run("mount", "-t", "tmpfs", "-o", `size=${diskBytes}`, "flocker-test", b.folder);
  await b.start();
  const small = Object.assign(b, { fillDisk: () => Promise.resolve(fill(b)) satisfies ReturnType<FillDisk> });
  return {
    nodes: [a, small, c],
    async dispose() {
      b.stop();
      run("umount", "--lazy", b.folder);
      await harness.dispose();
    },
  };
}

type FillDisk = Extract<BackendNode["fillDisk"], (...args: never[]) => unknown>;

function run(program: string, ...args: string[]): void {
  const result = spawnSync(program, args);
  assert.equal(result.status, 0, result.stderr.toString());
}

/** Leaves 2 MiB free. */
function fill(node: DirectoryNode): () => Promise<void> {
  const { bavail, bsize } = statfsSync(node.folder);
  const path = join(node.folder, "filler");
  writeFileSync(path, Buffer.alloc(bavail * bsize - 2 * 2 ** 20, 1));
  return async () => rmSync(path);
}

async function onSmallDisk(
  context: TestContext,
  body: (world: World, node: DirectoryNode) => Promise<void>,
): Promise<void> {
  if (reason !== undefined) return context.skip(reason);
  const harness = await smallDiskHarness();
  try {
    await body(new World(harness), harness.nodes[1]);
  } finally {
    await harness.dispose();
  }
}

test("a receive that fills the disk is no-space, names the storage, and gives all space back", async (context) => {
  await onSmallDisk(context, async (world, node) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { small: "1" });
    const base = await world.snapshot(a, dataset);
    value(await world.transfer(a, node, dataset, null, base));
    await world.use(a, dataset, { large: "x".repeat(diskBytes) });
    const next = await world.snapshot(a, dataset);
    const free = statfsSync(node.folder).bfree;
    for (const from of [base.guid, null]) {
      const message = refused(await world.transfer(a, node, dataset, from, next), "no-space");
      assert.ok(message.includes(node.root), message);
      assert.deepEqual(readdirSync(join(node.root, "staging")), []);
      assert.ok(statfsSync(node.folder).bfree >= free - 16);
    }
    assert.equal((await world.seen(node, dataset)).unchangedSince, base.guid);
    assert.deepEqual(await world.contents(node, dataset), { small: "1" });
  });
});

test("on a disk without a single free byte, nothing is lost and all can be read", async (context) => {
  await onSmallDisk(context, async (world, node) => {
    const dataset = await world.bornWith(node, { file: "kept" });
    const snapshot = await world.snapshot(node, dataset);
    const release = fill(node);
    const brim = join(node.folder, "brim");
    assert.throws(() => writeFileSync(brim, Buffer.alloc(4 * 2 ** 20)));
    const replica = recordOf(dataset, "replica");
    refused(await node.backend.writeRecord(replica), "no-space");
    refused(await node.backend.snapshot(dataset, "another"), "no-space");
    refused(await node.backend.mount(dataset), "no-space");
    refused(await node.backend.trash(dataset, 1), "no-space");
    const copy = await world.seen(node, dataset);
    assert.deepEqual([copy.record, copy.snapshots], [recordOf(dataset), [snapshot]]);
    await node.reopen();
    assert.deepEqual((await world.seen(node, dataset)).record, recordOf(dataset));
    rmSync(brim);
    await release();
    value(await node.backend.writeRecord(replica));
    assert.deepEqual(await world.contents(node, dataset), { file: "kept" });
  });
});

if (reason === undefined) {
  // On a disk of its own a node can do what the other harness cannot.
  backendConformance("directory (small disk)", smallDiskHarness, (sentence) =>
    sentence.includes("full disk"),
  );
}
