// What people do to a pool by hand, behind the agent's back: it is found, told with its reason, and nothing
// is lost for it.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { pollUntil } from "@flocker/cli/local";
import type { DatasetId } from "@flocker/core";
import { systemClock } from "@flocker/host";
import {
  freshDataset,
  never,
  recordOf,
  refused,
  value,
  World,
} from "../../packages/agent/src/backends/conformance/world.ts";
import { storiesInMachine, type MachineStory } from "./pools-machine.ts";
import { fillBelow, goOn, makeFrailPool, ZfsNode } from "./zfs-nodes.ts";

const tell = storiesInMachine();

interface Story extends MachineStory {
  readonly dataset: DatasetId;
}

function story(name: string, body: (story: Story) => Promise<void>): void {
  tell(name, async (given) => {
    await body({ ...given, dataset: await given.world.bornWith(given.a, { file: "1" }) });
  });
}

story(
  "pain 13: a clone keeps what it was made of: the reason names it, and once it is gone the copy can go",
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

story(
  "pain 24: a replica that somebody has written to takes no increment, and keeps what was written",
  async (s) => {
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
  },
);

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
  assert.match(await refusal(`${a.pool}/flocker-trash`), /keeps its own copies/);
  assert.match(await a.sh('zfs get -H -o value flocker:record "$1/flocker-trash"', a.pool), /^-$/m);
  assert.match(await refusal(`${a.pool}/-o@bad`), /no name/);
  assert.match(await refusal(`${a.pool}/parent/child`, "platinum"), /only gold, silver, bronze/);
  const names = await a.sh('zfs list -H -o name -r "$1"', a.pool);
  for (const each of ["volume", "parent/child", "taken"]) assert.ok(names.includes(`${a.pool}/${each}\n`));
  await a.sh('zfs destroy "$1/volume" && zfs destroy -r "$1/parent" && zfs destroy "$1/taken"', a.pool);
});

story(
  "what is being sent cannot be destroyed meanwhile; afterwards, and after the agent has died, nothing is held",
  async (s) => {
    const { world, a, dataset } = s;
    const snapshot = await world.snapshot(a, dataset);
    const name = `${a.nameOf(dataset)}@${snapshot.name}`;
    const holds = async (): Promise<string> =>
      (await a.sh('zfs get -Hp -o value userrefs "$1"', name)).trim();
    const begin = async (): Promise<AsyncIterator<Uint8Array>> => {
      const request = { dataset, base: null, snapshot: snapshot.guid };
      const iterator = value(await a.backend.send(request, never)).stream[Symbol.asyncIterator]();
      await iterator.next();
      return iterator;
    };
    const sending = await begin();
    assert.equal(await holds(), "1");
    assert.match(await a.sh('zfs destroy "$1" 2>&1 || true', name), /busy|held/);
    while ((await sending.next()).done !== true);
    assert.equal(await holds(), "0");
    await begin();
    assert.equal(await holds(), "1");
    await a.reopen();
    assert.equal(await holds(), "0");
    await a.sh('zfs destroy "$1"', name);
  },
);

tell(
  "a mirror that has lost a disk serves on, and a pool that is imported read-only is named with its remedy",
  async ({ a: { machine } }) => {
    const node = new ZfsNode(machine, "pair");
    await node.sh(
      "truncate -s 96M /run/left /run/right && " +
        "zpool create -O mountpoint=none -O canmount=off -o cachefile=none pair mirror /run/left /run/right",
    );
    await node.start();
    const world = new World({ nodes: [node, node, node], dispose: () => Promise.resolve() });
    const dataset = await world.bornWith(node, { file: "1" });
    await node.sh("zpool offline pair /run/left");
    await world.use(node, dataset, { file: "2" });
    assert.deepEqual(await world.contents(node, dataset), { file: "2" });
    await node.sh("zpool export pair && zpool import -d /run -N -o readonly=on pair");
    await node.reopen();
    assert.equal((await world.seen(node, dataset)).record.role, "primary");
    for (const result of [
      await node.backend.mount(dataset),
      await node.backend.create(recordOf(freshDataset()), null),
    ]) {
      assert.match(refused(result, "storage-unreadable"), /The pool pair is imported read-only/);
      assert.ok(!result.ok && /zpool export pair.*zpool import pair/.test(result.problem.remedy));
    }
    await node.sh("zpool export pair && zpool import -d /run -N pair");
    assert.deepEqual(await world.contents(node, dataset), { file: "2" });
    await node.sh("zpool destroy pair");
  },
);

tell(
  "a change that hangs because its pool is suspended is waited for, and what can be seen meanwhile is said",
  async ({ a: { machine } }) => {
    const node = new ZfsNode(machine, "frail");
    const world = new World({ nodes: [node, node, node], dispose: () => Promise.resolve() });
    await makeFrailPool(node);
    await node.start();
    const dataset = await world.bornWith(node, { file: "1" });
    value(await node.backend.mount(dataset));
    await fillBelow(node);
    // The change is what brings this to the disk.
    await node.sh("echo 600 >/sys/module/zfs/parameters/zfs_txg_timeout");
    await node.write(dataset, "more", randomBytes(4 * 2 ** 20));
    let hasEnded = false;
    const resizing = node.backend.resize(dataset, 2 ** 26).finally(() => (hasEnded = true));
    const look = "zpool list -H -o health frail | grep SUSPENDED";
    await node.sh(`for i in $(seq 100); do ${look} && exit 0; usleep 100000; done; exit 1`);
    for (const asked of [dataset, null]) {
      const looked = await node.backend.discover(asked);
      assert.match(refused(looked, "storage-unreadable"), /The pool frail is SUSPENDED/);
      assert.ok(!looked.ok && looked.problem.remedy.includes("zpool clear frail"));
    }
    refused(await node.backend.create(recordOf(freshDataset()), null), "storage-unreadable");
    assert.ok(!hasEnded, "it may still take effect");
    await goOn(node);
    value(await resizing);
    assert.equal((await world.seen(node, dataset)).maximumSizeBytes, 2 ** 26);
    assert.equal((await node.files(dataset)).get("more")?.length, 4 * 2 ** 20);
    value(await node.backend.unmount(dataset));
    await node.sh("echo 5 >/sys/module/zfs/parameters/zfs_txg_timeout; zpool destroy frail");
  },
);

story("a profile's pool that is missing hides what is in it, and only that, until it is back", async (s) => {
  const { a, dataset: usual } = s;
  const { pool } = s.c;
  a.profiles = { gold: { pool, properties: { recordsize: "16K" } } };
  await a.start();
  const gold = freshDataset();
  value(await a.backend.create(recordOf(gold), null, { profile: "gold" }));
  assert.match(await a.sh('zfs get -H -o value recordsize "$1/flocker/$2"', pool, gold), /16K/);
  await a.sh('zpool export -f "$1"', pool);
  await a.start();
  const seen = value(await a.backend.discover(null));
  assert.ok(seen.copies.some(({ dataset }) => dataset === usual));
  assert.match(seen.unseen?.message ?? "", new RegExp(`${pool} is not there`));
  value(await a.backend.mount(usual));
  value(await a.backend.unmount(usual));
  refused(await a.backend.discover(gold), "storage-unreadable");
  refused(await a.backend.create(recordOf(gold), null), "storage-unreadable");
  await a.sh('zpool import -d /dev -N "$1"', pool);
  value(await a.backend.mount(gold));
  value(await a.backend.unmount(gold));
  a.profiles = {};
  await a.start();
});

story(
  "a change by hand is told with its dataset, and what else lives in the pool wakes nobody",
  async ({ world, a, dataset }) => {
    const told: (DatasetId | undefined)[] = [];
    const stop = a.backend.watch?.((changed) => void told.push(changed));
    const isTold = async (which: DatasetId): Promise<void> => {
      const ask = (): Promise<true | undefined> => Promise.resolve(told.includes(which) || undefined);
      const waitingFor = `a change of ${which} to be told`;
      value(await pollUntil(systemClock, { waitingFor, timeoutMs: 60_000, ask }));
    };
    // What has happened before is told first.
    await isTold(await world.born(a));
    told.length = 0;
    await a.sh(
      'zfs create -o mountpoint=none "$1/elsewhere" && zfs snapshot "$1/elsewhere@daily" && ' +
        'zfs destroy -r "$1/elsewhere" && zfs set com.example:note=mine "$2"',
      a.pool,
      a.nameOf(dataset),
    );
    await isTold(dataset);
    assert.ok(!told.includes(undefined), "nothing is told of that may concern any dataset");
    stop?.();
  },
);
