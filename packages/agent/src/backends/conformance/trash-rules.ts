import assert from "node:assert/strict";

import type { Rules } from "../conformance.ts";
import { recordOf, refused, value } from "./world.ts";

export const trashRules: Rules = {
  "a copy in the trash keeps its bytes, its record and the time": async (world) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { file: "kept" });
    const snapshot = await world.snapshot(a, dataset);
    value(await a.backend.trash(dataset, 1000));
    value(await a.backend.trash(dataset, 2000));
    await a.reopen();
    const copy = await world.seen(a, dataset);
    assert.equal(copy.trashedAt, 1000);
    assert.deepEqual(copy.record, recordOf(dataset));
    assert.deepEqual(copy.snapshots, [snapshot]);
    value(await a.backend.restore(dataset));
    const back = await world.seen(a, dataset);
    assert.equal(back.trashedAt, null);
    assert.equal(back.unchangedSince, snapshot.guid);
    assert.deepEqual(await world.contents(a, dataset), { file: "kept" });
  },

  "a copy in the trash still counts: it is not created again": async (world) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { file: "kept" });
    value(await a.backend.trash(dataset, 1));
    refused(await a.backend.create(recordOf(dataset), null), "duplicate-id");
    value(await a.backend.restore(dataset));
    assert.deepEqual(await world.contents(a, dataset), { file: "kept" });
  },

  "only what lies in the trash is destroyed": async (world) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { file: "kept" });
    refused(await a.backend.destroy(dataset), "dataset-not-deleted");
    value(await a.backend.trash(dataset, 1));
    value(await a.backend.restore(dataset));
    refused(await a.backend.destroy(dataset), "dataset-not-deleted");
    assert.deepEqual(await world.contents(a, dataset), { file: "kept" });
  },

  "what is destroyed is gone, and only that": async (world) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { "deep/er/file": "gone" });
    const other = await world.bornWith(a, { file: "kept" });
    await world.snapshot(a, dataset);
    value(await a.backend.trash(dataset, 1));
    value(await a.backend.destroy(dataset));
    await world.isAbsent(a, dataset);
    await a.reopen();
    await world.isAbsent(a, dataset);
    assert.deepEqual(await world.contents(a, other), { file: "kept" });
  },
};
