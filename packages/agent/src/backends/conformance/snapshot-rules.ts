import assert from "node:assert/strict";

import type { Rules } from "../conformance.ts";
import { refused, value } from "./world.ts";

export const snapshotRules: Rules = {
  "a snapshot is listed with its name, its own guid and its time": async (world) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { file: "1" });
    const one = value(await a.backend.snapshot(dataset, "one"));
    await world.use(a, dataset, { file: "2" });
    const two = value(await a.backend.snapshot(dataset, "two"));
    assert.equal(one.name, "one");
    assert.notEqual(one.guid, two.guid);
    assert.ok(one.createdAt <= two.createdAt);
    assert.deepEqual((await world.seen(a, dataset)).snapshots, [one, two]);
  },

  "a name that is taken answers the snapshot that has it": async (world) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { file: "1" });
    const first = value(await a.backend.snapshot(dataset, "same"));
    await world.use(a, dataset, { file: "2" });
    assert.deepEqual(value(await a.backend.snapshot(dataset, "same")), first);
    const copy = await world.seen(a, dataset);
    assert.deepEqual(copy.snapshots, [first]);
    assert.equal(copy.unchangedSince, null);
  },

  "a copy is unchanged since its newest snapshot until somebody may write": async (world) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { file: "1" });
    assert.equal((await world.seen(a, dataset)).unchangedSince, null);
    const one = await world.snapshot(a, dataset);
    assert.equal((await world.seen(a, dataset)).unchangedSince, one.guid);
    const two = await world.snapshot(a, dataset);
    assert.equal((await world.seen(a, dataset)).unchangedSince, two.guid);
    await a.reopen();
    assert.equal((await world.seen(a, dataset)).unchangedSince, two.guid);
    value(await a.backend.mount(dataset));
    assert.equal((await world.seen(a, dataset)).unchangedSince, null);
    await a.reopen();
    assert.equal((await world.seen(a, dataset)).unchangedSince, null);
    await a.write(dataset, "file", Buffer.from("2"));
    value(await a.backend.unmount(dataset));
    assert.equal((await world.seen(a, dataset)).unchangedSince, null);
    const three = await world.snapshot(a, dataset);
    assert.equal((await world.seen(a, dataset)).unchangedSince, three.guid);
  },

  "destroyed snapshots are gone, unknown ones are no error": async (world) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { file: "1" });
    const one = await world.snapshot(a, dataset);
    const two = await world.snapshot(a, dataset);
    const three = await world.snapshot(a, dataset);
    value(await a.backend.destroySnapshots(dataset, [two.guid, "1f7a5a54-0000-4000-8000-000000000000"]));
    const copy = await world.seen(a, dataset);
    assert.deepEqual(copy.snapshots, [one, three]);
    assert.equal(copy.unchangedSince, three.guid);
    value(await a.backend.destroySnapshots(dataset, [one.guid, three.guid]));
    await a.reopen();
    const bare = await world.seen(a, dataset);
    assert.deepEqual([bare.snapshots, bare.unchangedSince], [[], null]);
    assert.deepEqual(await world.contents(a, dataset), { file: "1" });
  },

  "a snapshot of a mounted copy is exact, or refused where the backend cannot take it": async (world) => {
    const { a, b } = world;
    const dataset = await world.bornWith(a, { file: "before" });
    value(await a.backend.mount(dataset));
    const result = await a.backend.snapshot(dataset, "live");
    if (!a.backend.capabilities.liveSnapshots) {
      refused(result, "busy-mount");
      assert.deepEqual((await world.seen(a, dataset)).snapshots, []);
      assert.notEqual((await world.seen(a, dataset)).mountedAt, null);
      return;
    }
    const snapshot = value(result);
    assert.equal((await world.seen(a, dataset)).unchangedSince, null);
    await a.write(dataset, "file", Buffer.from("after"));
    value(await world.transfer(a, b, dataset, null, snapshot));
    assert.deepEqual(await world.contents(b, dataset), { file: "before" });
  },
};
