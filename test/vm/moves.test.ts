// Moves between two virtual machines, each one node with its own pool: real agents, links and data channels,
// and a real control service outside. `FLOCKER_VM_THOROUGH=1` cuts the link 100 times, and moves under a
// writer 50 times, which takes long in emulation.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";

import type { DatasetId } from "@flocker/core";

import { checksumOf, writeRandom } from "./files.ts";
import { isThorough } from "./machine.ts";
import { VmCluster, waitFor, type VmNode } from "./vm-cluster.ts";
import { fillBelow, goOn, makeFrailPool } from "./zfs-nodes.ts";

const mebibyte = 2 ** 20;
const cluster = new VmCluster();

before(() => cluster.start());
after(() => cluster.stop());

test("a dataset moves to another machine, and comes back by an increment", async () => {
  const { a, b } = cluster;
  const dataset = await cluster.create(a, "round-trip");
  const large = await writeRandom(a, dataset, "large", 4 * mebibyte);
  await cluster.move(dataset, b);
  assert.equal(await checksumOf(b, dataset, "large"), large);
  const small = await writeRandom(b, dataset, "small", 10_000);
  const before = a.link.forwardedBytes;
  await cluster.move(dataset, a);
  assert.deepEqual(
    [await checksumOf(a, dataset, "large"), await checksumOf(a, dataset, "small")],
    [large, small],
  );
  const backBytes = a.link.forwardedBytes - before;
  assert.ok(backBytes < mebibyte, `${backBytes} bytes for one small file`);
});

test("a transfer whose link is cut again and again completes by itself, with at most 1.2 times the bytes", async (t) => {
  const { a, b } = cluster;
  const cuts = isThorough ? 100 : 4;
  const sizeBytes = isThorough ? 160 * mebibyte : 16 * mebibyte;
  const dataset = await cluster.create(a, "cut");
  const content = await writeRandom(a, dataset, "large", sizeBytes);
  const { link } = b;
  const [beforeBytes, cutsBefore] = [link.forwardedBytes, link.cutCount];
  const meanBytes = sizeBytes / (cuts + 1);
  link.cutAfter = () =>
    link.cutCount - cutsBefore < cuts ? Math.round(meanBytes * (0.5 + Math.random())) : null;
  try {
    await cluster.move(dataset, b);
  } finally {
    link.cutAfter = null;
  }
  assert.equal(await checksumOf(b, dataset, "large"), content);
  const share = (link.forwardedBytes - beforeBytes) / sizeBytes;
  t.diagnostic(`${link.cutCount - cutsBefore} cuts, ${share.toFixed(3)} times the bytes`);
  assert.ok(link.cutCount - cutsBefore > cuts / 2, `${link.cutCount - cutsBefore} cuts`);
  assert.ok(share <= 1.2, `${share} times the bytes crossed the link`);
});

test("pain 9: an encrypted dataset moves without its key: the target stays locked and says so, until it has it", async () => {
  const { a, b } = cluster;
  const key = randomBytes(32).toString("hex");
  await a.storage.sh('printf %s "$1" >/tmp/key', key);
  for (const each of [a, b]) {
    each.storage.properties = {
      encryption: "on",
      keyformat: "hex",
      keylocation: "file:///tmp/key",
      atime: "off",
    };
    await each.restartAgent();
  }
  const dataset = await cluster.create(a, "encrypted");
  const content = await writeRandom(a, dataset, "secret", mebibyte);
  await cluster.order(dataset, b);
  await cluster.explained(dataset, /its key is not loaded on this node, so it stays locked/);
  const name = b.storage.nameOf(dataset);
  await b.storage.sh('printf %s "$1" | zfs load-key -L prompt "$2"', key, name);
  await cluster.settled(dataset, b);
  assert.equal(await checksumOf(b, dataset, "secret"), content);
  assert.equal((await b.storage.sh('zfs get -H -o value atime "$1"', name)).trim(), "off");
  for (const each of [a, b]) {
    each.storage.properties = {};
    await each.restartAgent();
  }
});

test("a file system that is there is imported once it is free, and moves into the pool of its profile", async () => {
  const { a, b } = cluster;
  for (const each of [a, b]) {
    each.storage.carriesSnapshots = true;
    each.storage.profiles = { gold: { pool: "fast", properties: { recordsize: "16K" } } };
    await each.restartAgent();
  }
  await a.storage.sh(
    "zfs create -p -o mountpoint=/srv/pg tank/data/pg && echo rows >/srv/pg/table && zfs snapshot tank/data/pg@mine && " +
      "echo more >>/srv/pg/table",
  );
  const pid = await a.storage.sh("cd /srv/pg; sleep 1000 </dev/null >/dev/null 2>&1 & echo $!");
  const source = "tank/data/pg";
  const dataset = await cluster.declare(a, {
    name: "pg",
    source,
    metadata: { "clusterhq:flocker:profile": "gold" },
  });
  await cluster.explained(dataset, new RegExp(`cannot be unmounted: .*pid ${pid.trim()}`));
  await a.storage.sh('kill -9 "$1"', pid.trim());
  await cluster.settled(dataset, a);
  const file = `${a.storage.mountRoot}/${dataset}/table`;
  assert.equal(await a.storage.sh('cat "$1"', file), "rows\nmore\n");
  await cluster.move(dataset, b);
  assert.equal(await b.storage.sh('cat "$1"', file), "rows\nmore\n");
  const name = `fast/flocker/${dataset}`;
  assert.equal((await b.storage.sh('zfs get -H -o value recordsize "$1"', name)).trim(), "16K");
  assert.match(await b.storage.sh('zfs list -H -o name -t snapshot "$1"', name), /@mine\n/);
  await cluster.explained(await cluster.declare(a, { source }), /there is no such dataset of ZFS/);
  for (const each of [a, b]) {
    each.storage.carriesSnapshots = false;
    each.storage.profiles = {};
    await each.restartAgent();
  }
});

test("over moves under a writer no synced record is lost, none is there twice, and the order is kept", async (t) => {
  const { a, b } = cluster;
  const moves = isThorough ? 50 : 3;
  const dataset = await cluster.create(a, "written");
  const writer = startWriter(dataset, [a, b]);
  for (let count = 1; count <= moves; count += 1) await cluster.move(dataset, count % 2 === 1 ? b : a);
  const kept = await writer.stop();
  const holder = moves % 2 === 1 ? b : a;
  const found = await holder.storage.sh('cat "$1"', `${holder.storage.mountRoot}/${dataset}/log`);
  const expected = Array.from({ length: kept }, (_, index) => `${index + 1}\n`).join("");
  assert.equal(found, expected);
  t.diagnostic(`${kept} records, each synced, through ${moves} moves`);
});

/** Writes numbers in turn wherever the dataset is mounted; answers in the end how many were synced. */
function startWriter(dataset: DatasetId, nodes: readonly VmNode[]): { readonly stop: () => Promise<number> } {
  // Its working folder keeps the file system mounted until it has written. Where nothing was mounted yet when
  // it entered, it stands below the mount, on the same device as the folder above.
  const line =
    'cd "$1" 2>/dev/null && test "$(stat -c %d .)" != "$(stat -c %d ..)" || exit 0; ' +
    'test "$(tail -n 1 log 2>/dev/null)" = "$2" || echo "$2" >>log; sync log && echo kept';
  let [kept, isEnding] = [0, false];
  const writing = (async () => {
    while (!isEnding)
      for (const { storage } of nodes) {
        const said = await storage.sh(line, `${storage.mountRoot}/${dataset}`, String(kept + 1));
        if (said === "kept\n") kept += 1;
      }
    return kept;
  })();
  return {
    stop: async () => {
      isEnding = true;
      return await writing;
    },
  };
}

/** Waits until ZFS says so of a dataset of its own. */
async function becomes(node: VmNode, name: string, property: string, value: string): Promise<void> {
  await waitFor(`${property} of ${name} to be ${value}`, async () => {
    const said = await node.storage.sh('zfs get -Hp -o value "$1" "$2"', property, name);
    return said.trim() === value ? true : undefined;
  });
}

test("a suspended pool is the reason of its copies, which stay shown; others go on, and after zpool clear all does", async () => {
  const { b } = cluster;
  const beside = await cluster.create(b, "beside-suspended");
  await makeFrailPool(b.storage);
  b.storage.profiles = { frail: { pool: "frail", properties: {} } };
  await b.restartAgent();
  const metadata = { "clusterhq:flocker:profile": "frail" };
  const dataset = await cluster.declare(b, { name: "suspended", metadata });
  await cluster.settled(dataset, b);
  const content = await writeRandom(b, dataset, "file", 10_000);
  const more = `${b.storage.mountRoot}/${dataset}/more`;
  await fillBelow(b.storage);
  const writing = '(dd if=/dev/urandom of="$1" bs=1M count=4 && sync -f "$1") </dev/null >/dev/null 2>&1 &';
  await b.storage.sh(writing, more);
  await cluster.explained(dataset, /The pool frail is SUSPENDED.*zpool clear frail/);
  const copy = (await cluster.show(dataset)).actual.find(({ node_id }) => node_id === b.local.node);
  assert.deepEqual([copy?.role, copy?.path], ["primary", `${b.storage.mountRoot}/${dataset}`]);
  for (const each of [dataset, beside]) await cluster.resize(each, 64 * mebibyte);
  await becomes(b, b.storage.nameOf(beside), "refquota", String(64 * mebibyte));
  await goOn(b.storage);
  await becomes(b, `frail/flocker/${dataset}`, "refquota", String(64 * mebibyte));
  await cluster.settled(dataset, b);
  assert.deepEqual((await cluster.show(dataset)).reasons, []);
  assert.equal(await checksumOf(b, dataset, "file"), content);
});

test("properties that somebody sets by hand are put right or explained", async (t) => {
  const { a } = cluster;
  const dataset = await cluster.create(a, "by-hand");
  await cluster.resize(dataset, 64 * mebibyte);
  const name = a.storage.nameOf(dataset);
  const place = `${a.storage.mountRoot}/${dataset}`;
  const get = async (property: string): Promise<string> =>
    (await a.storage.sh('zfs get -Hp -o value "$1" "$2"', property, name)).trim();
  const set = (setting: string): Promise<string> => a.storage.sh('zfs set "$1" "$2"', setting, name);
  await becomes(a, name, "refquota", String(64 * mebibyte));

  await t.test("refquota: set back with the next look, as ZFS tells nobody of it", async () => {
    await set("refquota=none");
    await a.storage.sh('zfs snapshot "$1@mine"', name);
    await becomes(a, name, "refquota", String(64 * mebibyte));
  });
  await t.test("readonly: set back, under the programs that use it", async () => {
    await a.storage.sh('exec 3>"$1/open" && zfs set readonly=on "$2"', place, name);
    await becomes(a, name, "readonly", "off");
    await writeRandom(a, dataset, "file", 10);
  });
  await t.test("canmount: what it has unmounted is mounted again, and nobody else mounts it", async () => {
    await set("canmount=off");
    await becomes(a, name, "mounted", "yes");
    assert.equal(await get("canmount"), "noauto");
  });
  await t.test(
    "mountpoint: the place is named, and once it is free the copy is back at its own",
    async () => {
      await set("mountpoint=/elsewhere");
      await cluster.explained(dataset, /mounted at \/elsewhere by somebody else.*zfs unmount/);
      await a.storage.sh('zfs unmount "$1"', name);
      await becomes(a, name, "mountpoint", place);
      await becomes(a, name, "mounted", "yes");
    },
  );
  await t.test(
    "flocker:record: nothing is done to the copy until it is back, and its remedy is named",
    async () => {
      const record = await get("flocker:record");
      await a.storage.sh('zfs inherit flocker:record "$1"', name);
      await cluster.explained(dataset, /carries no record of whose copy it is.*zpool history/);
      await set(`flocker:record=${record}`);
      await cluster.settled(dataset, a);
    },
  );
});
