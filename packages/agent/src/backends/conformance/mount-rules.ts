import assert from "node:assert/strict";

import type { Rules } from "../conformance.ts";
import { possible, refused, value } from "./world.ts";

export const mountRules: Rules = {
  "a mounted copy says where it is mounted: at its dataset's id": async (world) => {
    const { a } = world;
    const dataset = await world.born(a);
    value(await a.backend.mount(dataset));
    const { mountedAt } = await world.seen(a, dataset);
    assert.ok(mountedAt?.endsWith(`/${dataset}`));
    value(await a.backend.unmount(dataset));
    assert.equal((await world.seen(a, dataset)).mountedAt, null);
    value(await a.backend.mount(dataset));
    assert.equal((await world.seen(a, dataset)).mountedAt, mountedAt);
  },

  "what is written stays, over unmounting and mounting again": async (world) => {
    const { a } = world;
    const dataset = await world.bornWith(a, { "a/b/c": "deep", top: "flat" });
    await world.use(a, dataset, { top: "changed", "a/b/c": null });
    assert.deepEqual(await world.contents(a, dataset), { top: "changed" });
  },

  "a copy in use is not unmounted, and its user is named": async (world, context) => {
    const { a } = world;
    const hold = possible(a.hold, context);
    if (hold === undefined) return;
    const dataset = await world.born(a);
    value(await a.backend.mount(dataset));
    const { mountedAt } = await world.seen(a, dataset);
    const holder = await hold(dataset);
    try {
      const message = refused(await a.backend.unmount(dataset), "busy-mount");
      assert.ok(message.includes(holder.who), `"${message}" names ${holder.who}`);
      assert.equal((await world.seen(a, dataset)).mountedAt, mountedAt);
      await a.write(dataset, "still", Buffer.from("works"));
    } finally {
      await holder.release();
    }
    value(await a.backend.unmount(dataset));
    assert.deepEqual(await world.contents(a, dataset), { still: "works" });
  },

  "a death of the agent leaves the mount as it is": async (world) => {
    const { a } = world;
    const dataset = await world.born(a);
    value(await a.backend.mount(dataset));
    const { mountedAt } = await world.seen(a, dataset);
    await a.write(dataset, "before", Buffer.from("1"));
    await a.reopen();
    assert.equal((await world.seen(a, dataset)).mountedAt, mountedAt);
    await a.write(dataset, "after", Buffer.from("2"));
    value(await a.backend.unmount(dataset));
    assert.deepEqual(await world.contents(a, dataset), { after: "2", before: "1" });
  },

  "a mounted copy is not put into the trash": async (world) => {
    const { a } = world;
    const dataset = await world.born(a);
    value(await a.backend.mount(dataset));
    refused(await a.backend.trash(dataset, 1), "busy-mount");
    const copy = await world.seen(a, dataset);
    assert.equal(copy.trashedAt, null);
    assert.notEqual(copy.mountedAt, null);
  },
};
