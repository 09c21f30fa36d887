// What other people and programs do to a file system behind the backend's back.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, test } from "node:test";

import type { Commands, DatasetId, Snapshot } from "@flocker/core";

import { never, recordOf, refused, requestOf, streamOf, value, World } from "../conformance/world.ts";
import { problemOf } from "../problems.ts";
import { newLife } from "../testing/life.ts";
import { btrfsImpossible } from "./testing/btrfs-disks.ts";
import { BtrfsDisks, type BtrfsNode, type BtrfsNodes } from "./testing/btrfs-harness.ts";

const reason = btrfsImpossible();
const disks = reason === undefined ? new BtrfsDisks() : undefined;
after(() => disks?.dispose());

function story(
  sentence: string,
  body: (world: World, nodes: BtrfsNodes) => Promise<void>,
  options: { readonly quota?: boolean } = {},
): void {
  void test(sentence, { skip: reason ?? false }, async () => {
    assert.ok(disks !== undefined);
    const harness = await disks.harness(options);
    try {
      await body(new World(harness), harness.nodes);
    } finally {
      await harness.dispose();
    }
  });
}

function btrfs(...args: readonly string[]): void {
  execFileSync("btrfs", args, { stdio: ["ignore", "ignore", "pipe"] });
}

function stagedOn(node: BtrfsNode): string[] {
  return readdirSync(join(node.root, "flocker", "staging"));
}

async function unreadable(node: BtrfsNode, dataset: DatasetId): Promise<string> {
  for (const asked of [dataset, null]) {
    const found = value(await node.backend.discover(asked));
    assert.deepEqual([found.copies, found.unreadable.map((each) => each.dataset)], [[], [dataset]]);
    if (asked === null) return found.unreadable[0]?.problem.message ?? "";
  }
  return "";
}

/** B is at the first of two snapshots of A. */
async function twoSnapshots(world: World): Promise<{ dataset: DatasetId; base: Snapshot; next: Snapshot }> {
  const dataset = await world.bornWith(world.a, { file: "1" });
  const base = await world.snapshot(world.a, dataset);
  value(await world.transfer(world.a, world.b, dataset, null, base));
  await world.use(world.a, dataset, { file: "2", large: "x".repeat(300_000) });
  return { dataset, base, next: await world.snapshot(world.a, dataset) };
}

story(
  "a subvolume inside of the data is named, and no snapshot is taken without it",
  async (world, [node]) => {
    const dataset = await world.bornWith(node, { file: "1" });
    value(await node.backend.mount(dataset));
    const inner = join(node.mountRoot, dataset, "inner");
    btrfs("subvolume", "create", inner);
    assert.match(refused(await node.backend.snapshot(dataset, "one"), "not-supported"), /\(inner\)/);
    assert.deepEqual(stagedOn(node), []);
    btrfs("subvolume", "delete", inner);
    value(await node.backend.snapshot(dataset, "one"));
  },
);

story("a subvolume that is made just before the snapshot is found as well", async (world, [node]) => {
  const dataset = await world.bornWith(node, { file: "1" });
  value(await node.backend.mount(dataset));
  const life = newLife();
  const commands: Commands = {
    ...life.commands,
    run(argv, options) {
      if (argv.includes("-r")) btrfs("subvolume", "create", join(node.mountRoot, dataset, "late"));
      return life.commands.run(argv, options);
    },
  };
  await node.start({ ...life, commands });
  assert.match(refused(await node.backend.snapshot(dataset, "one"), "not-supported"), /\(late\)/);
  assert.deepEqual((await world.seen(node, dataset)).snapshots, []);
});

story("an increment that btrfs builds on somebody's copy of the base is refused", async (world, nodes) => {
  const [a, b] = nodes;
  const dataset = await world.bornWith(a, { file: "1" });
  const base = await world.snapshot(a, dataset);
  // The older of two is the one that btrfs finds.
  const decoys = join(dirname(b.root), "decoys");
  mkdirSync(decoys);
  execFileSync("btrfs", ["-q", "receive", decoys], {
    input: await world.stream(a, dataset, null, base.guid),
    stdio: ["pipe", "ignore", "pipe"],
  });
  value(await world.transfer(a, b, dataset, null, base));
  await world.use(a, dataset, { file: "2" });
  const next = await world.snapshot(a, dataset);
  const result = await world.transfer(a, b, dataset, base.guid, next);
  assert.match(refused(result, "snapshot-missing"), /took another subvolume/);
  assert.equal((await world.seen(b, dataset)).unchangedSince, base.guid);
  assert.deepEqual(stagedOn(b), []);
  btrfs("subvolume", "delete", join(decoys, "snapshot"));
  value(await world.transfer(a, b, dataset, base.guid, next));
  assert.deepEqual(await world.contents(b, dataset), { file: "2" });
});

/** The programs that this process has started with such an argument. */
function childrenWith(argument: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const [, parent] = readFileSync(`/proc/${pid}/stat`, "utf8")
          .replace(/^.*\) /, "")
          .split(" ");
        const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        return Number(parent) === process.pid && argv.includes(argument);
      } catch {
        return false;
      }
    });
}

story("a receive that is killed leaves the copy as it was, and nothing beside it", async (world, [, b]) => {
  const { dataset, base, next } = await twoSnapshots(world);
  const increment = await world.stream(world.a, dataset, base.guid, next.guid);
  async function* killing(): AsyncGenerator<Uint8Array> {
    yield* streamOf(increment.subarray(0, increment.length / 2));
    const [pid] = childrenWith("receive");
    assert.ok(pid !== undefined, "btrfs receive is at work");
    process.kill(pid, "SIGKILL");
    yield* streamOf(increment.subarray(increment.length / 2));
  }
  const result = await b.backend.receive(requestOf(dataset, base.guid, next), killing(), never);
  refused(result, "command-failed", "transfer-interrupted", "transfer-corrupt");
  assert.equal((await world.seen(b, dataset)).unchangedSince, base.guid);
  assert.deepEqual(stagedOn(b), []);
  value(await world.transfer(world.a, b, dataset, base.guid, next));
});

story("no increment is built on a snapshot that somebody has written to", async (world, [, b]) => {
  const { dataset, base, next } = await twoSnapshots(world);
  const snapshots = join(b.copyFolder(dataset), "snapshots");
  const path = join(snapshots, readdirSync(snapshots)[0] ?? "", "snapshot");
  btrfs("property", "set", "-f", "-t", "subvol", path, "ro", "false");
  writeFileSync(join(path, "file"), "by hand");
  refused(await world.transfer(world.a, b, dataset, base.guid, next), "snapshot-missing");
  value(await world.transfer(world.a, b, dataset, null, next));
  assert.equal((await world.contents(b, dataset))["file"], "2");
});

story("a copy whose subvolume somebody has deleted is unreadable, not absent", async (world, [a, b]) => {
  const { dataset } = await twoSnapshots(world);
  value(await a.backend.mount(dataset));
  value(await a.backend.unmount(dataset));
  btrfs("subvolume", "delete", join(a.copyFolder(dataset), "data"));
  assert.match(await unreadable(a, dataset), /data/);
  refused(await a.backend.create(recordOf(dataset), null), "duplicate-id");
  // Where the copy is exactly a snapshot, that is all there is of it.
  const snapshots = join(b.copyFolder(dataset), "snapshots");
  btrfs("subvolume", "delete", join(snapshots, readdirSync(snapshots)[0] ?? "", "snapshot"));
  assert.match(await unreadable(b, dataset), /snapshot/);
});

story("another subvolume in the place of a copy's own is unreadable", async (world, [node]) => {
  const dataset = await world.bornWith(node, { file: "1" });
  const data = join(node.copyFolder(dataset), "data");
  btrfs("subvolume", "delete", data);
  btrfs("subvolume", "create", data);
  assert.match(await unreadable(node, dataset), /is another one/);
});

story("a copy that is mounted elsewhere as well is not put into the trash", async (world, [node]) => {
  const dataset = await world.bornWith(node, { file: "1" });
  const elsewhere = join(dirname(node.root), "elsewhere");
  mkdirSync(elsewhere);
  execFileSync("mount", ["--bind", join(node.copyFolder(dataset), "data"), elsewhere]);
  try {
    assert.match(refused(await node.backend.trash(dataset, 1), "busy-mount"), /elsewhere/);
    refused(await node.backend.snapshot(dataset, "one"), "busy-mount");
  } finally {
    execFileSync("umount", [elsewhere]);
  }
  value(await node.backend.trash(dataset, 1));
});

story("what somebody has unmounted is seen and mounted again", async (world, [node]) => {
  const dataset = await world.bornWith(node, { file: "1" });
  value(await node.backend.mount(dataset));
  execFileSync("umount", [join(node.mountRoot, dataset)]);
  assert.equal((await world.seen(node, dataset)).mountedAt, null);
  value(await node.backend.mount(dataset));
  assert.deepEqual(await world.contents(node, dataset), { file: "1" });
});

story("somebody's own mount at a copy's mount point stays, and is told", async (world, [node]) => {
  const dataset = await world.bornWith(node, { file: "1" });
  const point = join(node.mountRoot, dataset);
  mkdirSync(point);
  execFileSync("mount", ["-t", "tmpfs", "none", point]);
  try {
    assert.equal((await world.seen(node, dataset)).mountedAt, null);
    assert.match(refused(await node.backend.mount(dataset), "file-exists"), /tmpfs/);
  } finally {
    execFileSync("umount", [point]);
  }
  value(await node.backend.mount(dataset));
});

story("storage that is read-only is not opened, and says why", async (world, [, , c]) => {
  const dataset = await world.bornWith(c, { file: "1" });
  const disk = dirname(dirname(c.root));
  c.stop();
  execFileSync("mount", ["-o", "remount,ro", disk]);
  try {
    await assert.rejects(c.start(), /[Rr]ead-only/);
  } finally {
    execFileSync("mount", ["-o", "remount,rw", disk]);
  }
  await c.start();
  assert.deepEqual(await world.contents(c, dataset), { file: "1" });
});

story(
  "where the maximum size is reached, the writer hears of it, and the dataset still moves",
  async (world, [a, b]) => {
    const dataset = await world.born(a, 8 * 2 ** 20);
    value(await a.backend.mount(dataset));
    const large = Buffer.alloc(16 * 2 ** 20, "x");
    const error: unknown = await a.write(dataset, "large", large).catch((refusal: unknown) => refusal);
    assert.equal(problemOf(error, "Writing").code, "no-space");
    await a.remove(dataset, "large");
    await a.write(dataset, "file", Buffer.from("1"));
    value(await a.backend.unmount(dataset));
    const snapshot = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, snapshot));
    assert.deepEqual(await world.contents(b, dataset), { file: "1" });
  },
  { quota: true },
);
