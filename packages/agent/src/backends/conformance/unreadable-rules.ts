import assert from "node:assert/strict";

import type { Rules } from "../conformance.ts";
import { methods } from "./refusal-rules.ts";
import { never, possible, recordOf, refused, requestOf, value } from "./world.ts";

export const unreadableRules: Rules = {
  "a copy whose record cannot be understood is shown as unreadable, beside the others": async (
    world,
    context,
  ) => {
    const { a } = world;
    const breakRecord = possible(a.breakRecord, context);
    if (breakRecord === undefined) return;
    const dataset = await world.bornWith(a, { file: "precious" });
    const other = await world.born(a);
    const mend = await breakRecord(dataset);
    for (const asked of [dataset, null]) {
      const { copies, unreadable } = value(await a.backend.discover(asked));
      assert.deepEqual(
        unreadable.map((each) => each.dataset),
        [dataset],
      );
      assert.ok(
        (unreadable[0]?.problem.message.length ?? 0) > 0 && (unreadable[0]?.problem.remedy.length ?? 0) > 0,
      );
      assert.deepEqual(
        copies.map((copy) => copy.dataset),
        asked === null ? [other] : [],
      );
    }
    await mend();
    assert.deepEqual(await world.contents(a, dataset), { file: "precious" });
  },

  "nothing is done to an unreadable copy": async (world, context) => {
    const { a, b } = world;
    const breakRecord = possible(a.breakRecord, context);
    if (breakRecord === undefined) return;
    const dataset = await world.bornWith(a, { file: "precious" });
    const elsewhere = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, elsewhere));
    const mend = await breakRecord(dataset);
    for (const [name, method] of Object.entries(methods)) {
      const result = await method(a.backend, dataset);
      assert.ok(
        !result.ok && result.problem.code !== "unknown-dataset",
        `${name} is refused, but not as unknown`,
      );
    }
    assert.ok(!(await a.backend.destroy(dataset)).ok, "destroy is refused");
    refused(await a.backend.create(recordOf(dataset), null), "duplicate-id");
    const { stream } = value(await b.backend.send({ dataset, base: null, snapshot: elsewhere.guid }, never));
    assert.ok(!(await a.backend.receive(requestOf(dataset, null, elsewhere), stream, never)).ok);
    await a.reopen();
    assert.equal(value(await a.backend.discover(dataset)).unreadable.length, 1);
    await mend();
    assert.deepEqual(await world.contents(a, dataset), { file: "precious" });
  },

  "where the storage as a whole cannot be read, discovery fails": async (world, context) => {
    const { a } = world;
    const breakStorage = possible(a.breakStorage, context);
    if (breakStorage === undefined) return;
    const dataset = await world.bornWith(a, { file: "precious" });
    const mend = await breakStorage();
    refused(await a.backend.discover(null), "storage-unreadable");
    refused(await a.backend.discover(dataset), "storage-unreadable");
    const destroyed = await a.backend.destroy(dataset);
    assert.ok(!destroyed.ok, "what cannot be seen has not been destroyed");
    await mend();
    assert.deepEqual(await world.contents(a, dataset), { file: "precious" });
  },
};
