import assert from "node:assert/strict";

import type { CopyRecord } from "@flocker/core";

import type { Rules } from "../conformance.ts";
import { freshDataset, freshNode, recordOf, refused, stable, value } from "./world.ts";

export const lifecycleRules: Rules = {
  "a fresh storage holds nothing and tells its capacity": async ({ a }) => {
    const { copies, unreadable, capacity } = value(await a.backend.discover(null));
    assert.deepEqual([copies, unreadable], [[], []]);
    assert.ok(
      capacity.totalBytes > 0 && capacity.freeBytes >= 0 && capacity.freeBytes <= capacity.totalBytes,
    );
  },

  "a new copy is empty, not mounted, and carries its record": async (world) => {
    const { a } = world;
    const dataset = freshDataset();
    const record: CopyRecord = { dataset, epoch: { term: 3, step: 7 }, role: "primary" };
    value(await a.backend.create(record, 64 * 2 ** 20));
    const copy = await world.seen(a, dataset);
    assert.deepEqual(copy.record, record);
    assert.equal(copy.mountedAt, null);
    assert.equal(copy.trashedAt, null);
    assert.equal(copy.maximumSizeBytes, 64 * 2 ** 20);
    assert.deepEqual(copy.snapshots, []);
    assert.equal(copy.unchangedSince, null);
    assert.deepEqual(await world.contents(a, dataset), {});
  },

  "a copy is created only once, even with the same record": async (world) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { file: "precious" });
    refused(await a.backend.create(recordOf(dataset), null), "duplicate-id");
    refused(
      await a.backend.create({ ...recordOf(dataset), epoch: { term: 9, step: 9 } }, null),
      "duplicate-id",
    );
    assert.deepEqual((await world.seen(a, dataset)).record, recordOf(dataset));
    assert.deepEqual(await world.contents(a, dataset), { file: "precious" });
  },

  "of several creations at once, one succeeds": async (world) => {
    const { a } = world;
    const dataset = freshDataset();
    const results = await Promise.all(
      [1, 2, 3].map((term) => a.backend.create({ ...recordOf(dataset), epoch: { term, step: 0 } }, null)),
    );
    assert.equal(results.filter((result) => result.ok).length, 1);
    for (const result of results) if (!result.ok) refused(result, "duplicate-id");
    await world.seen(a, dataset);
  },

  "a written record replaces the old one with all its fields": async (world) => {
    const { a } = world;
    const dataset = await world.born(a);
    const relinquished: CopyRecord = {
      dataset,
      epoch: { term: 1, step: 1 },
      role: "relinquished",
      successor: freshNode(),
      snapshot: "2f1ed4b2-6c28-4a8e-9a6d-0c1f8f3d7a55",
    };
    value(await a.backend.writeRecord(relinquished));
    assert.deepEqual((await world.seen(a, dataset)).record, relinquished);
    const replica = recordOf(dataset, "replica");
    value(await a.backend.writeRecord(replica));
    assert.deepEqual((await world.seen(a, dataset)).record, replica);
  },

  "writing a record leaves the data, the snapshots and what they are at alone": async (world) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { file: "data" });
    const snapshot = await world.snapshot(a, dataset);
    const before = await world.seen(a, dataset);
    value(await a.backend.writeRecord(recordOf(dataset, "replica")));
    const after = await world.seen(a, dataset);
    assert.deepEqual(stable(after), stable({ ...before, record: recordOf(dataset, "replica") }));
    assert.equal(after.unchangedSince, snapshot.guid);
  },

  "what was answered survives a crash": async (world) => {
    const { a } = world;
    const created = await world.born(a, 2 ** 20);
    const used = await world.bornWith(a, { "folder/file": "kept" });
    const snapshot = await world.snapshot(a, used);
    value(await a.backend.writeRecord(recordOf(used, "replica")));
    value(await a.backend.resize(used, 2 ** 30));
    const trashed = await world.born(a);
    value(await a.backend.trash(trashed, 12_345));
    const before = value(await a.backend.discover(null)).copies.map(stable);
    await a.reopen();
    assert.deepEqual(value(await a.backend.discover(null)).copies.map(stable), before);
    assert.equal((await world.seen(a, created)).maximumSizeBytes, 2 ** 20);
    assert.equal((await world.seen(a, used)).unchangedSince, snapshot.guid);
    assert.equal((await world.seen(a, trashed)).trashedAt, 12_345);
    assert.deepEqual(await world.contents(a, used), { "folder/file": "kept" });
  },

  "the maximum size can be set, changed and lifted": async (world) => {
    const { a } = world;
    const dataset = await world.born(a);
    for (const size of [2 ** 26, 2 ** 27, 2 ** 27, null, null]) {
      value(await a.backend.resize(dataset, size));
      assert.equal((await world.seen(a, dataset)).maximumSizeBytes, size);
    }
  },

  "the maximum size is enforced where the backend says so": async (world, context) => {
    const { a } = world;
    if (!a.backend.capabilities.quota) return context.skip("the backend does not enforce maximum sizes");
    const dataset = await world.born(a, 64 * 2 ** 20);
    value(await a.backend.mount(dataset));
    // Bytes that cannot be compressed away.
    const { randomBytes } = await import("node:crypto");
    await assert.rejects(async () => {
      for (let part = 0; part < 12; part++) await a.write(dataset, `part-${part}`, randomBytes(8 * 2 ** 20));
    });
    value(await a.backend.resize(dataset, 256 * 2 ** 20));
    await a.write(dataset, "fits-now", randomBytes(8 * 2 ** 20));
  },

  "many copies live side by side, and each is its own": async (world) => {
    const { a } = world;
    const datasets = Array.from({ length: 30 }, freshDataset).sort();
    for (const result of await Promise.all(datasets.map((each) => a.backend.create(recordOf(each), null)))) {
      value(result);
    }
    const [first, second] = datasets;
    assert.ok(first !== undefined && second !== undefined);
    await world.use(a, first, { file: "first" });
    await world.use(a, second, { file: "second" });
    value(await a.backend.trash(second, 1));
    const shown = value(await a.backend.discover(null)).copies.map((copy) => copy.dataset);
    assert.deepEqual([...shown].sort(), datasets);
    value(await a.backend.destroy(second));
    assert.deepEqual(await world.contents(a, first), { file: "first" });
    assert.equal(value(await a.backend.discover(null)).copies.length, 29);
  },

  "what is done already succeeds again": async (world) => {
    const { a } = world;
    const dataset = await world.born(a);
    const twice = async (step: () => Promise<unknown>): Promise<void> => {
      await step();
      const before = stable(await world.seen(a, dataset));
      await step();
      assert.deepEqual(stable(await world.seen(a, dataset)), before);
    };
    await twice(async () => value(await a.backend.writeRecord(recordOf(dataset))));
    await twice(async () => value(await a.backend.resize(dataset, 2 ** 26)));
    await twice(async () => value(await a.backend.mount(dataset)));
    await twice(async () => value(await a.backend.unmount(dataset)));
    await twice(async () => value(await a.backend.snapshot(dataset, "once")));
    const [snapshot] = (await world.seen(a, dataset)).snapshots;
    assert.ok(snapshot !== undefined);
    await twice(async () => value(await a.backend.destroySnapshots(dataset, [snapshot.guid])));
    await twice(async () => value(await a.backend.trash(dataset, 5)));
    await twice(async () => value(await a.backend.restore(dataset)));
    value(await a.backend.trash(dataset, 6));
    value(await a.backend.destroy(dataset));
    value(await a.backend.destroy(dataset));
    await world.isAbsent(a, dataset);
  },
};
