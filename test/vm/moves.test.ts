// Moves between two virtual machines, each one node with its own pool: real agents, links and data channels,
// and a real control service outside. `FLOCKER_VM_THOROUGH=1` cuts the link 100 times, and moves under a
// writer 50 times, which takes long in emulation.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";

import type { DatasetId } from "@flocker/core";

import { checksumOf, writeRandom } from "./files.ts";
import { isThorough } from "./machine.ts";
import { VmCluster, type VmNode } from "./vm-cluster.ts";

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

test("an encrypted dataset moves without its key: the target stays locked and says so, until it has it", async () => {
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
  // Its working folder keeps the file system mounted from before it looks until it has written.
  const line =
    'cd "$1" 2>/dev/null && grep -q " $1 zfs" /proc/mounts || exit 0; ' +
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
