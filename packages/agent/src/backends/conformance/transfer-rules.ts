import assert from "node:assert/strict";

import type { ByteStream } from "@flocker/core";

import type { Rules } from "../conformance.ts";
import { never, recordOf, refused, requestOf, streamOf, value } from "./world.ts";

/** A stream that nobody may read. */
const unread: ByteStream = {
  [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error("the stream was read")) }),
};

export const transferRules: Rules = {
  "a full stream makes an equal, unmounted copy that is at the snapshot": async (world) => {
    const { a, b } = world;
    const files = { "a/b": "1", empty: "", "name with blanks": "2" };
    const dataset = await world.bornWith(a, files);
    const snapshot = await world.snapshot(a, dataset);
    const request = {
      ...requestOf(dataset, null, snapshot),
      record: { ...recordOf(dataset, "replica"), epoch: { term: 4, step: 2 } },
      maximumSizeBytes: 2 ** 28,
    };
    const sending = { dataset, base: null, snapshot: snapshot.guid };
    const { stream, estimatedBytes } = value(await a.backend.send(sending, never));
    assert.ok(estimatedBytes === null || estimatedBytes > 0);
    value(await b.backend.receive(request, stream, never));
    const copy = await world.seen(b, dataset);
    assert.deepEqual(copy.record, request.record);
    assert.equal(copy.mountedAt, null);
    assert.equal(copy.maximumSizeBytes, 2 ** 28);
    assert.deepEqual(copy.snapshots, [snapshot]);
    assert.equal(copy.unchangedSince, snapshot.guid);
    await b.reopen();
    assert.deepEqual((await world.seen(b, dataset)).unchangedSince, snapshot.guid);
    assert.deepEqual(await world.contents(b, dataset), files);
    assert.deepEqual(await world.contents(a, dataset), files);
  },

  "an empty copy can be sent": async (world) => {
    const { a, b } = world;
    const dataset = await world.born(a);
    value(await world.transfer(a, b, dataset, null, await world.snapshot(a, dataset)));
    assert.deepEqual(await world.contents(b, dataset), {});
  },

  "an increment brings what changed, and takes away what was removed": async (world) => {
    const { a, b } = world;
    const dataset = await world.bornWith(a, { stays: "1", changes: "1", "gone/deep": "1", "gone/too": "1" });
    const base = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, base));
    await world.use(a, dataset, { changes: "22", "gone/deep": null, "new/deep": "3" });
    const next = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, base.guid, next));
    const copy = await world.seen(b, dataset);
    assert.equal(copy.unchangedSince, next.guid);
    assert.deepEqual(copy.snapshots, [base, next]);
    const expected = { changes: "22", "gone/too": "1", "new/deep": "3", stays: "1" };
    assert.deepEqual(await world.contents(b, dataset), expected);
    assert.deepEqual(await world.contents(a, dataset), expected);
  },

  "an increment without changes still brings the snapshot": async (world) => {
    const { a, b } = world;
    const dataset = await world.bornWith(a, { file: "1" });
    const base = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, base));
    const next = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, base.guid, next));
    assert.equal((await world.seen(b, dataset)).unchangedSince, next.guid);
    assert.deepEqual(await world.contents(b, dataset), { file: "1" });
  },

  "an increment is smaller than the whole": async (world) => {
    const { a, b } = world;
    const dataset = await world.bornWith(a, { large: "x".repeat(3_000_000), small: "1" });
    const base = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, base));
    await world.use(a, dataset, { small: "2" });
    const next = await world.snapshot(a, dataset);
    const bytes = await world.stream(a, dataset, base.guid, next.guid);
    assert.ok(bytes.length < 1_000_000, `${bytes.length} bytes for one small file`);
    value(await b.backend.receive(requestOf(dataset, base.guid, next), streamOf(bytes), never));
    // And on the way back, from a copy that has itself been received.
    await world.demote(a, dataset);
    value(await b.backend.writeRecord(recordOf(dataset)));
    await world.use(b, dataset, { small: "3" });
    const back = await world.snapshot(b, dataset);
    const backBytes = await world.stream(b, dataset, next.guid, back.guid);
    assert.ok(backBytes.length < 1_000_000, `${backBytes.length} bytes for one small file`);
  },

  "a dataset moves around and comes back by increments": async (world) => {
    const { a, b, c } = world;
    const dataset = await world.bornWith(a, { log: "a\n", "only/a": "1" });
    const first = await world.move(a, b, dataset, null);
    await world.use(b, dataset, { log: "a\nb\n", "only/b": "2" });
    const second = await world.move(b, c, dataset, null);
    await world.use(c, dataset, { log: "a\nb\nc\n", "only/a": null });
    // C was never at the first snapshot and A never at the second; B has been at both.
    const third = await world.move(c, b, dataset, second.guid);
    value(await world.transfer(b, a, dataset, first.guid, third));
    assert.equal((await world.seen(a, dataset)).unchangedSince, third.guid);
    const expected = { log: "a\nb\nc\n", "only/b": "2" };
    for (const node of [a, b, c]) assert.deepEqual(await world.contents(node, dataset), expected);
  },

  "an increment may span several snapshots": async (world) => {
    const { a, b } = world;
    const dataset = await world.bornWith(a, { one: "1" });
    const base = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, base));
    await world.use(a, dataset, { two: "2", one: null });
    await world.snapshot(a, dataset);
    await world.use(a, dataset, { three: "3" });
    const last = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, base.guid, last));
    assert.equal((await world.seen(b, dataset)).unchangedSince, last.guid);
    assert.deepEqual(await world.contents(b, dataset), { three: "3", two: "2" });
  },

  "a full stream replaces a replica of another past": async (world) => {
    const { a, b } = world;
    const dataset = await world.bornWith(a, { old: "1" });
    value(await world.transfer(a, b, dataset, null, await world.snapshot(a, dataset)));
    await world.use(a, dataset, { old: null, young: "2" });
    const whole = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, whole));
    const copy = await world.seen(b, dataset);
    assert.equal(copy.unchangedSince, whole.guid);
    assert.deepEqual(copy.snapshots.at(-1), whole);
    assert.deepEqual(await world.contents(b, dataset), { young: "2" });
  },

  "a snapshot that is held already is not read again, but its record is written": async (world) => {
    const { a, b } = world;
    const dataset = await world.bornWith(a, { file: "1" });
    const snapshot = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, snapshot));
    const record = { ...recordOf(dataset, "replica"), epoch: { term: 2, step: 5 } };
    const request = { ...requestOf(dataset, null, snapshot), record, maximumSizeBytes: 2 ** 30 };
    value(await b.backend.receive(request, unread, never));
    const copy = await world.seen(b, dataset);
    assert.deepEqual([copy.record, copy.maximumSizeBytes], [record, 2 ** 30]);
    assert.deepEqual(await world.contents(b, dataset), { file: "1" });
  },

  "a primary copy is never received into": async (world) => {
    const { a, b } = world;
    const dataset = await world.bornWith(a, { file: "a" });
    const snapshot = await world.snapshot(a, dataset);
    value(await b.backend.create(recordOf(dataset), null));
    await world.use(b, dataset, { file: "b" });
    refused(await world.transfer(a, b, dataset, null, snapshot), "target-holds-primary");
    assert.deepEqual((await world.seen(b, dataset)).record, recordOf(dataset));
    assert.deepEqual(await world.contents(b, dataset), { file: "b" });
  },

  "a mounted copy is never received into, whatever its record says": async (world) => {
    const { a, b } = world;
    const dataset = await world.bornWith(a, { file: "a" });
    const base = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, base));
    await world.use(a, dataset, { file: "aa" });
    const next = await world.snapshot(a, dataset);
    value(await b.backend.writeRecord(recordOf(dataset)));
    value(await b.backend.mount(dataset));
    value(await b.backend.writeRecord(recordOf(dataset, "replica")));
    await b.write(dataset, "file", Buffer.from("b"));
    for (const from of [base.guid, null]) {
      refused(await world.transfer(a, b, dataset, from, next), "target-holds-primary");
    }
    assert.notEqual((await world.seen(b, dataset)).mountedAt, null);
    value(await b.backend.unmount(dataset));
    assert.deepEqual(await world.contents(b, dataset), { file: "b" });
  },

  "a copy in the trash is not received into": async (world) => {
    const { a, b } = world;
    const dataset = await world.bornWith(a, { file: "a" });
    value(await world.transfer(a, b, dataset, null, await world.snapshot(a, dataset)));
    value(await b.backend.trash(dataset, 7));
    const next = await world.snapshot(a, dataset);
    refused(await world.transfer(a, b, dataset, null, next), "dataset-deleted");
    assert.equal((await world.seen(b, dataset)).trashedAt, 7);
  },

  "an increment goes only onto exactly its base": async (world) => {
    const { a, b } = world;
    const dataset = await world.bornWith(a, { file: "1" });
    const one = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, one));
    await world.use(a, dataset, { file: "2" });
    const two = await world.snapshot(a, dataset);
    await world.use(a, dataset, { file: "3" });
    const three = await world.snapshot(a, dataset);
    refused(await world.transfer(a, b, dataset, two.guid, three), "snapshot-missing");
    assert.equal((await world.seen(b, dataset)).unchangedSince, one.guid);
    // A copy that has been written to is no longer at its snapshot.
    value(await b.backend.writeRecord(recordOf(dataset)));
    await world.use(b, dataset, { file: "mine" });
    value(await b.backend.writeRecord(recordOf(dataset, "replica")));
    refused(await world.transfer(a, b, dataset, one.guid, three), "snapshot-missing");
    assert.deepEqual(await world.contents(b, dataset), { file: "mine" });
  },

  "a snapshot or base that is not there cannot be sent": async (world) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { file: "1" });
    const { guid } = await world.snapshot(a, dataset);
    const unknown = "7b0f1f52-63ec-4e1c-8d2a-51d7f8f0a00f";
    refused(await a.backend.send({ dataset, base: null, snapshot: unknown }, never), "snapshot-missing");
    refused(await a.backend.send({ dataset, base: unknown, snapshot: guid }, never), "snapshot-missing");
  },
};
