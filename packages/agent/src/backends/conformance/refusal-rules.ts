import assert from "node:assert/strict";

import type { Backend, DatasetId, Result } from "@flocker/core";

import type { Rules } from "../conformance.ts";
import { freshDataset, never, recordOf, refused, requestOf, streamOf, value } from "./world.ts";

/** Every method that changes or reads a copy which must be there. */
export const methods: Readonly<
  Record<string, (backend: Backend, dataset: DatasetId) => Promise<Result<unknown>>>
> = {
  writeRecord: (backend, dataset) => backend.writeRecord(recordOf(dataset)),
  mount: (backend, dataset) => backend.mount(dataset),
  unmount: (backend, dataset) => backend.unmount(dataset),
  snapshot: (backend, dataset) => backend.snapshot(dataset, "name"),
  destroySnapshots: (backend, dataset) => backend.destroySnapshots(dataset, ["guid"]),
  resize: (backend, dataset) => backend.resize(dataset, 2 ** 26),
  trash: (backend, dataset) => backend.trash(dataset, 1),
  restore: (backend, dataset) => backend.restore(dataset),
  send: (backend, dataset) => backend.send({ dataset, base: null, snapshot: "guid" }, never),
};

export const refusalRules: Rules = {
  "a dataset that is not there is unknown-dataset, and stays absent": async (world) => {
    const { a } = world;
    const dataset = freshDataset();
    for (const [name, method] of Object.entries(methods)) {
      const message = refused(await method(a.backend, dataset), "unknown-dataset");
      assert.ok(message.includes(dataset), `${name} names the dataset`);
      await world.isAbsent(a, dataset);
    }
  },

  "destroying what is not there has been done already": async ({ a }) => {
    value(await a.backend.destroy(freshDataset()));
  },

  "an increment for a copy that is not there is snapshot-missing": async (world) => {
    const { a } = world;
    const dataset = freshDataset();
    const snapshot = { guid: "7b0f1f52-63ec-4e1c-8d2a-51d7f8f0a001", name: "one", createdAt: 1 };
    const request = requestOf(dataset, "7b0f1f52-63ec-4e1c-8d2a-51d7f8f0a000", snapshot);
    refused(await a.backend.receive(request, streamOf(Buffer.from("x")), never), "snapshot-missing");
    await world.isAbsent(a, dataset);
  },

  "a copy in the trash is not mounted and takes no snapshot": async (world) => {
    const { a } = world;
    const dataset = await world.born(a);
    value(await a.backend.trash(dataset, 1));
    refused(await a.backend.mount(dataset), "dataset-deleted");
    refused(await a.backend.snapshot(dataset, "late"), "dataset-deleted");
    assert.deepEqual((await world.seen(a, dataset)).snapshots, []);
  },
};
