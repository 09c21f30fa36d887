import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import type { DatasetId } from "@flocker/core";
import { sampleDatasetId } from "../store/sample-values.ts";
import { Deadlines } from "./deadlines.ts";

const action = fc.record({
  number: fc.nat(6),
  at: fc.option(fc.nat(20), { freq: 4 }),
  now: fc.nat(20),
  limit: fc.integer({ min: 1, max: 8 }),
});

suite("deadlines", () => {
  test("they are what a plain table of times says, after any changes", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
        const deadlines = new Deadlines();
        const model = new Map<DatasetId, number>();
        for (const { number, at, now, limit } of actions) {
          const dataset = sampleDatasetId(number);
          deadlines.set(dataset, at);
          if (at === null) model.delete(dataset);
          else model.set(dataset, at);
          const times = [...model.values()].toSorted((a, b) => a - b);
          assert.equal(deadlines.next(), times[0] ?? null);
          const due = deadlines.due(now, limit);
          const expected = times.filter((time) => time <= now).slice(0, limit);
          assert.deepEqual(
            due.map((one) => model.get(one)),
            expected,
          );
          assert.equal(new Set(due).size, due.length);
        }
      }),
    );
  });

  test("renewing one deadline a hundred thousand times costs no memory and no order", () => {
    const deadlines = new Deadlines();
    deadlines.set(sampleDatasetId(2), 5);
    for (let at = 10; at < 100_010; at += 1) deadlines.set(sampleDatasetId(1), at);
    assert.equal(deadlines.next(), 5);
    assert.deepEqual(deadlines.due(200_000, 10), [sampleDatasetId(2), sampleDatasetId(1)]);
    assert.ok(deadlines.size <= 2 * 2 + 64, `${deadlines.size} entries are kept`);
  });
});
