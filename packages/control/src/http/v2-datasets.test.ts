import assert from "node:assert/strict";
import { test } from "node:test";
import type { v2 } from "@flocker/api";
import type { DatasetId } from "@flocker/core";
import { holding } from "../cluster/cluster-fixtures.test.ts";
import { join, nodeA, nodeB } from "./api-fixtures.test.ts";
import { refusal, startV2, type V2Client } from "./v2-fixtures.test.ts";

// Datasets over today's API, through its own client, so that requests and answers are held to the endpoint
// table.

const id1 = "16bc5d94-95ad-4d80-ae1d-000000000001" as DatasetId;
const id2 = "16bc5d94-95ad-4d80-ae1d-000000000002" as DatasetId;
const missing = "99999999-95ad-4d80-ae1d-000000000009";

test("a dataset is created, shown, changed, deleted and brought back", async () => {
  await using api = await startV2();
  const { client } = api;
  const created = await client.createDataset({
    body: {
      dataset_id: id1.toUpperCase(),
      name: "db",
      primary: nodeA,
      maximum_size: 67_108_864,
      maximum_downtime_ms: 2_000,
      metadata: { a: "1" },
    },
  });
  assert.equal(created.status, 201);
  assert.equal(created.headers["location"], `/v2/datasets/${id1}`);
  assert.equal(created.headers["etag"], '"1"');
  const expected: v2.Dataset = {
    dataset_id: id1,
    name: "db",
    desired: {
      primary: nodeA,
      maximum_size: 67_108_864,
      maximum_downtime_ms: 2_000,
      metadata: { a: "1", name: "db" },
      source: null,
      deletion: null,
      revision: 1,
    },
    actual: [],
    ownership: {
      epoch: { term: 1, step: 0 },
      owner: nodeA,
      born: false,
      since: "2026-11-25T12:00:00.000Z",
      conflict: false,
    },
    lease: null,
    transfer: null,
    reasons: [],
    converged: false,
  };
  assert.deepEqual(created.body, expected);
  const shown = await client.getDataset({ params: { dataset_id: id1 } });
  assert.deepEqual(shown.body, expected);

  const moved = await client.updateDataset({
    params: { dataset_id: id1 },
    body: { primary: nodeB, maximum_size: null, maximum_downtime_ms: null },
  });
  assert.deepEqual(moved.body, {
    ...expected,
    desired: {
      ...expected.desired,
      primary: nodeB,
      maximum_size: null,
      maximum_downtime_ms: null,
      revision: 2,
    },
  });
  const renamed = await client.updateDataset({
    params: { dataset_id: id1 },
    body: { name: null, metadata: { a: null, b: "2" } },
  });
  assert.equal(renamed.status, 200);
  assert.equal(renamed.body.name, null);
  assert.deepEqual(renamed.body.desired?.metadata, { b: "2" });

  for (const revision of [4, 4]) {
    const deleted = await client.deleteDataset({ params: { dataset_id: id1 } });
    assert.equal(deleted.status, 200);
    assert.equal(deleted.body.desired?.revision, revision);
    assert.equal(deleted.body.desired?.deletion?.at, "2026-11-25T12:00:00.000Z");
  }
  const update = await client.updateDataset({ params: { dataset_id: id1 }, body: { primary: nodeA } });
  assert.deepEqual(refusal(update), [409, "dataset-deleted", undefined]);
  const back = await client.undeleteDataset({ params: { dataset_id: id1 } });
  assert.equal(back.status === 200 ? back.body.desired?.deletion : undefined, null);
  const twice = await client.undeleteDataset({ params: { dataset_id: id1 } });
  assert.deepEqual(refusal(twice), [409, "dataset-not-deleted", undefined]);
});

test("what is wrong with a request is told by code, field and each fault's place", async () => {
  await using api = await startV2();
  const { client } = api;
  const create = (body: object) => client.createDataset({ body: body as v2.NewDataset });
  const faults = await create({ primary: "node-1", maximum_size: 5, nmae: "x" });
  assert.deepEqual(refusal(faults), [400, "bad-request", undefined]);
  assert.deepEqual(faults.status === 400 ? faults.body.errors : undefined, [
    { pointer: "#/nmae", detail: "is not known here" },
    { pointer: "#/primary", detail: "must be a uuid of version 4" },
    { pointer: "#/maximum_size", detail: "must be at least 67108864" },
  ]);
  assert.deepEqual(refusal(await create({ primary: nodeA, maximum_size: 5 })), [
    400,
    "bad-request",
    "maximum_size",
  ]);
  assert.deepEqual(refusal(await create({ primary: nodeA, maximum_downtime_ms: 0 })), [
    400,
    "bad-request",
    "maximum_downtime_ms",
  ]);
  assert.deepEqual(refusal(await create({ primary: missing })), [400, "unknown-node", "primary"]);
  const two = await create({ primary: nodeA, name: "x", metadata: { name: "y" } });
  assert.deepEqual(refusal(two), [400, "bad-request", "name"]);
  assert.equal(
    (await create({ primary: nodeA, name: "x", dataset_id: id1, metadata: { name: "x" } })).status,
    201,
  );
  assert.deepEqual(refusal(await create({ primary: nodeA, name: "x" })), [
    409,
    "duplicate-name",
    "metadata.name",
  ]);
  assert.deepEqual(refusal(await create({ primary: nodeA, dataset_id: id1 })), [
    409,
    "duplicate-id",
    "dataset_id",
  ]);

  const get = await client.getDataset({ params: { dataset_id: missing } });
  assert.deepEqual(refusal(get), [404, "unknown-dataset", "dataset_id"]);
  const strange = await client.getDataset({ params: { dataset_id: "../etc" } });
  assert.deepEqual(refusal(strange), [400, "bad-request", "dataset_id"]);
  const update = await client.updateDataset({ params: { dataset_id: missing }, body: {} });
  assert.deepEqual(refusal(update), [404, "unknown-dataset", "dataset_id"]);
  const move = await client.updateDataset({ params: { dataset_id: id1 }, body: { primary: missing } });
  assert.deepEqual(refusal(move), [400, "unknown-node", "primary"]);
  const remove = await client.deleteDataset({ params: { dataset_id: missing } });
  assert.deepEqual(refusal(remove), [404, "unknown-dataset", "dataset_id"]);
  const node = await client.getNode({ params: { node_id: missing } });
  assert.deepEqual(refusal(node), [404, "unknown-node", "node_id"]);
  const query = await client.listDatasets({ query: { limit: 0 } });
  assert.deepEqual(refusal(query), [400, "bad-request", "limit"]);
  const many = Object.fromEntries(Array.from({ length: 16 }, (_, index) => [`k${index}`, ""]));
  const full = await client.updateDataset({ params: { dataset_id: id1 }, body: { metadata: many } });
  assert.deepEqual(refusal(full), [400, "bad-request", "metadata"]);
});

test("If-Match refuses a write that depends on what has changed since", async () => {
  await using api = await startV2();
  const { client } = api;
  for (const dataset_id of [id1, id2]) await client.createDataset({ body: { dataset_id, primary: nodeA } });
  const params = { dataset_id: id1 };
  const update = (etag: string) =>
    client.updateDataset({ params, headers: { "if-match": etag }, body: { primary: nodeB } });
  // id1 was changed at 1; 2 concerns another dataset.
  assert.equal((await update('"1"')).status, 200);
  assert.deepEqual(refusal(await update('"1"')), [412, "revision-mismatch", "if-match"]);
  assert.deepEqual(refusal(await update('"2"')), [412, "revision-mismatch", "if-match"]);
  assert.deepEqual(refusal(await update('"99"')), [412, "revision-mismatch", "if-match"]);
  assert.equal((await update('"1", "3"')).status, 200);
  assert.equal((await update("*")).status, 200);
  for (const header of ["5", 'W/"5"', '"x"', ""])
    assert.deepEqual(refusal(await update(header)), [400, "bad-request", "if-match"], header);
  const stale = { params, headers: { "if-match": '"1"' } };
  assert.deepEqual(refusal(await client.deleteDataset(stale)), [412, "revision-mismatch", "if-match"]);
  assert.deepEqual(refusal(await client.undeleteDataset(stale)), [412, "revision-mismatch", "if-match"]);
  const missed = { ...stale, params: { dataset_id: missing } };
  assert.deepEqual(refusal(await client.deleteDataset(missed)), [404, "unknown-dataset", "dataset_id"]);
});

test("what adds to the configuration depends on all of it", async () => {
  await using api = await startV2();
  const { client } = api;
  const create = (etag: string) =>
    client.createDataset({ headers: { "if-match": etag }, body: { primary: nodeA } });
  assert.equal((await create('"0"')).status, 201);
  assert.deepEqual(refusal(await create('"0"')), [412, "revision-mismatch", "if-match"]);
  const list = await client.listDatasets({});
  assert.equal((await create(list.headers["etag"] ?? "")).status, 201);
  const lease = { dataset_id: id1, node_id: nodeA, expires_in: null };
  const acquired = await client.acquireLease({ headers: { "if-match": '"1"' }, body: lease });
  assert.deepEqual(refusal(acquired), [412, "revision-mismatch", "if-match"]);
});

test("lists come in pages, and each page goes on where the last one ended", async () => {
  await using api = await startV2();
  const { client } = api;
  for (let index = 1; index <= 7; index += 1)
    await client.createDataset({ body: { name: `d${index}`, primary: nodeA } });
  const names: (string | null)[] = [];
  let cursor: string | undefined;
  for (let pages = 1; pages <= 4; pages += 1) {
    const page = await client.listDatasets({
      query: { limit: 3, ...(cursor === undefined ? {} : { cursor }) },
    });
    assert.equal(page.status, 200);
    names.push(...page.body.datasets.map((dataset) => dataset.name));
    cursor = page.body.next_cursor ?? undefined;
    if (cursor === undefined) break;
    // What is deleted between two pages does not move the others.
    const first = page.body.datasets[0]?.dataset_id ?? "";
    await client.deleteDataset({ params: { dataset_id: first } });
  }
  assert.deepEqual(names, ["d1", "d2", "d3", "d4", "d5", "d6", "d7"]);
  assert.equal(cursor, undefined);
  for (const bad of ["", "x", "bm9wZQ"]) {
    const answer = await client.listDatasets({ query: { cursor: bad } });
    assert.deepEqual(refusal(answer), [400, "bad-request", "cursor"]);
  }
});

test("a page whose last dataset is the last of all has no next one", async () => {
  await using api = await startV2();
  for (let index = 1; index <= 4; index += 1) await api.client.createDataset({ body: { primary: nodeA } });
  const page = await api.client.listDatasets({ query: { limit: 4 } });
  assert.equal(page.status === 200 ? page.body.next_cursor : undefined, null);
});

test("lists are filtered by name, node, deletion and convergence", async () => {
  await using api = await startV2();
  const { client } = api;
  await client.createDataset({ body: { dataset_id: id1, name: "one", primary: nodeA } });
  await client.createDataset({ body: { dataset_id: id2, name: "two", primary: nodeB } });
  await client.createDataset({ body: { dataset_id: missing, name: "gone", primary: nodeB } });
  await client.deleteDataset({ params: { dataset_id: missing } });
  // Of `two`, one copy is mounted where it should be, and another node has a replica.
  join(api, nodeA, { reports: [holding(id2, { role: "replica" })] });
  join(api, nodeB, { reports: [holding(id2)] });
  const names = async (query: NonNullable<Parameters<V2Client["listDatasets"]>[0]["query"]>) => {
    const page = await client.listDatasets({ query });
    return page.status === 200 ? page.body.datasets.map((dataset) => dataset.name) : page.body;
  };
  assert.deepEqual(await names({}), ["one", "two"]);
  assert.deepEqual(await names({ name: "two" }), ["two"]);
  assert.deepEqual(await names({ name: "gone" }), []);
  assert.deepEqual(await names({ name: "gone", deleted: "any" }), ["gone"]);
  assert.deepEqual(await names({ deleted: "true" }), ["gone"]);
  assert.deepEqual(await names({ node: nodeA.toUpperCase() }), ["one", "two"]);
  assert.deepEqual(await names({ node: nodeB }), ["two"]);
  assert.deepEqual(await names({ node: nodeB, deleted: "any" }), ["two", "gone"]);
  assert.deepEqual(await names({ converged: true }), ["two"]);
  assert.deepEqual(await names({ converged: false }), ["one"]);
});

test("names that mean something to JavaScript are names like others", async () => {
  await using api = await startV2();
  const metadata = JSON.parse('{"__proto__": "p", "constructor": "c", "toString": "t"}') as Record<
    string,
    string
  >;
  const created = await api.client.createDataset({ body: { dataset_id: id1, primary: nodeA, metadata } });
  assert.deepEqual(created.status === 201 ? created.body.desired?.metadata : created.body, metadata);
  const list = await api.app.inject({ method: "GET", url: "/v1/configuration/datasets" });
  assert.match(list.body, /"metadata": \{"__proto__": "p", "constructor": "c", "toString": "t"\}/);
});
