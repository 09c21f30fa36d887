// What people do to a pool by hand, behind the agent's back: it is found, told with its reason, and nothing
// is lost for it.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DatasetId } from "@flocker/core";
import {
  freshDataset,
  recordOf,
  refused,
  value,
  World,
} from "../../packages/agent/src/backends/conformance/world.ts";
import { harnessInMachine } from "./pools-machine.ts";
import type { ZfsNode } from "./zfs-nodes.ts";

const makeHarness = harnessInMachine();

interface Story {
  readonly world: World;
  readonly a: ZfsNode;
  readonly b: ZfsNode;
  readonly dataset: DatasetId;
}

function story(name: string, body: (story: Story) => Promise<void>): void {
  test(name, async () => {
    const harness = await makeHarness();
    const world = new World(harness);
    const [a, b] = harness.nodes;
    await body({ world, a, b, dataset: await world.bornWith(a, { file: "1" }) });
    await harness.dispose();
  });
}

story(
  "a clone keeps what it was made of: the reason names it, and once it is gone the copy can go",
  async (s) => {
    const { a, dataset } = s;
    const name = a.nameOf(dataset);
    await a.sh('zfs snapshot "$1@mine" && zfs clone "$1@mine" "$2/clone"', name, a.pool);
    value(await a.backend.trash(dataset, 1));
    assert.match(refused(await a.backend.destroy(dataset), "busy-mount"), /clone/);
    assert.equal((await a.sh('zfs list -H -o name "$1/clone"', a.pool)).trim(), `${a.pool}/clone`);
    await a.sh('zfs destroy "$1/clone"', a.pool);
    value(await a.backend.destroy(dataset));
    await s.world.isAbsent(a, dataset);
  },
);

story(
  "a snapshot that a person has made stays through moves to and fro",
  async ({ world, a, b, dataset }) => {
    await a.sh('zfs snapshot "$1@before-upgrade"', a.nameOf(dataset));
    const there = await world.move(a, b, dataset, null);
    await world.use(b, dataset, { file: "2" });
    await world.move(b, a, dataset, there.guid);
    const { snapshots } = await world.seen(a, dataset);
    assert.ok(snapshots.some(({ name }) => name === "before-upgrade"));
    assert.deepEqual(await world.contents(a, dataset), { file: "2" });
  },
);

story("a replica that somebody has written to takes no increment, and keeps what was written", async (s) => {
  const { world, a, b, dataset } = s;
  const base = await world.snapshot(a, dataset);
  value(await world.transfer(a, b, dataset, null, base));
  const by = `${b.mountRoot}/by-hand`;
  await b.sh(
    'zfs set readonly=off "$1" && mkdir -p "$2" && mount -t zfs -o zfsutil "$1" "$2" && echo mine >"$2/mine" && ' +
      'sync && umount "$2"',
    b.nameOf(dataset),
    by,
  );
  assert.equal((await world.seen(b, dataset)).unchangedSince, null, "it is no longer what it was sent");
  await world.use(a, dataset, { file: "2" });
  const next = await world.snapshot(a, dataset);
  refused(await world.transfer(a, b, dataset, base.guid, next), "snapshot-missing");
  assert.deepEqual(await world.contents(b, dataset), { file: "1", mine: "mine\n" });
});

story("a copy destroyed by hand is gone and not made anew: it is neither mounted nor sent", async (s) => {
  const { world, a, dataset } = s;
  await a.sh('zfs destroy -r "$1"', a.nameOf(dataset));
  await world.isAbsent(a, dataset);
  refused(await a.backend.mount(dataset), "unknown-dataset");
  refused(await a.backend.snapshot(dataset, "one"), "unknown-dataset");
  await world.isAbsent(a, dataset);
});

story("a copy that somebody has renamed away and back is the same copy", async ({ world, a, dataset }) => {
  await a.sh('zfs rename "$1" "$2/aside"', a.nameOf(dataset), a.pool);
  await world.isAbsent(a, dataset);
  await a.sh('zfs rename "$2/aside" "$1"', a.nameOf(dataset), a.pool);
  assert.deepEqual(await world.contents(a, dataset), { file: "1" });
});

story("a dataset that somebody has made below a copy keeps the copy from being destroyed", async (s) => {
  const { a, dataset } = s;
  await a.sh('zfs create -o mountpoint=none "$1/below"', a.nameOf(dataset));
  value(await a.backend.trash(dataset, 1));
  assert.match(refused(await a.backend.destroy(dataset), "busy-mount"), /below/);
});

story(
  "a copy mounted elsewhere by hand is in use: it is not taken for unmounted, nor received into",
  async (s) => {
    const { world, a, b, dataset } = s;
    const base = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, base));
    const elsewhere = `${b.mountRoot}/elsewhere`;
    await b.sh('mkdir -p "$2" && mount -t zfs -o zfsutil,ro "$1" "$2"', b.nameOf(dataset), elsewhere);
    const next = await world.snapshot(a, dataset);
    refused(await world.transfer(a, b, dataset, base.guid, next), "target-holds-primary", "busy-mount");
    await b.sh('umount "$1"', elsewhere);
    value(await world.transfer(a, b, dataset, base.guid, next));
  },
);

story("what cannot be taken over is refused with its reason, and stays as it was", async ({ a }) => {
  await a.sh(
    'zfs create -s -V 8M "$1/volume" && zfs create -p -o mountpoint=none "$1/parent/child" && ' +
      'zfs create -o mountpoint=none -o flocker:record=other "$1/taken"',
    a.pool,
  );
  const refusal = async (source: string, profile?: string): Promise<string> => {
    const origin = profile === undefined ? { source } : { source, profile };
    const result = await a.backend.create(recordOf(freshDataset()), null, origin);
    return refused(result, "source-unusable", "profile-unknown");
  };
  assert.match(await refusal(`${a.pool}/volume`), /is a volume/);
  assert.match(await refusal(`${a.pool}/parent`), /parent\/child/);
  assert.match(await refusal(`${a.pool}/taken`), /record of another/);
  assert.match(await refusal(`${a.pool}/nothing`), /no such dataset/);
  assert.match(await refusal(`${a.pool}/-o@bad`), /no name/);
  assert.match(await refusal(`${a.pool}/parent/child`, "platinum"), /only gold, silver, bronze/);
  const names = await a.sh('zfs list -H -o name -r "$1"', a.pool);
  for (const each of ["volume", "parent/child", "taken"]) assert.ok(names.includes(`${a.pool}/${each}\n`));
  await a.sh('zfs destroy "$1/volume" && zfs destroy -r "$1/parent" && zfs destroy "$1/taken"', a.pool);
});
