import assert from "node:assert/strict";
import { test } from "node:test";
import { compileCheck, v2 } from "@flocker/api";
import type { DatasetConfiguration, DatasetId, NodeId } from "@flocker/core";
import type { DatasetView } from "../cluster/cluster.ts";
import { absence, holding } from "../cluster/cluster-fixtures.test.ts";
import { datasetBody, refusalBody, statusCounts } from "./v2-mapping.ts";

const id1 = "16bc5d94-95ad-4d80-ae1d-000000000001" as DatasetId;
const nodeA = "aaaaaaaa-0000-4000-8000-000000000001" as NodeId;
const nodeB = "aaaaaaaa-0000-4000-8000-000000000002" as NodeId;
const noon = Date.parse("2026-11-25T12:00:00.000Z");
const time = "2026-11-25T12:00:00.000Z";
const checkDataset = compileCheck(v2.Dataset);

const configuration: DatasetConfiguration = {
  dataset: id1,
  primary: nodeB,
  maximumSizeBytes: 1024,
  metadata: { name: "db" },
  deletion: { at: noon, graceEndsAt: noon + 1000, purged: false },
  revision: 4,
};

const full: DatasetView = {
  dataset: id1,
  configuration,
  ownership: { dataset: id1, epoch: { term: 2, step: 3 }, owner: nodeA, born: true, since: noon },
  conflict: true,
  lease: { dataset: id1, node: nodeA, expiresAt: null },
  reports: [
    {
      node: nodeA,
      report: {
        ...holding(id1, {}, { usedBytes: null, snapshots: ["s1", "s2"] }),
        activity: { action: "send", since: noon },
      },
      stale: true,
      lastSeenAt: noon - 1,
    },
    {
      node: nodeB,
      report: absence(id1, { unreadable: { code: "storage-unreadable", message: "No.", remedy: "Look." } }),
      stale: false,
      lastSeenAt: noon,
    },
  ],
  transfer: { from: nodeA, doneBytes: 5, totalBytes: null },
  reasons: [
    { code: "busy-mount", message: "In use.", since: noon, nextTryAt: noon + 800, node: nodeA },
    { code: "node-silent", message: "Silent.", since: noon, node: null },
  ],
  converged: false,
};

test("what should be, what is, who owns it and why it is not so stand side by side", () => {
  const body = datasetBody(full, (node, dataset) => node === nodeA && dataset === id1);
  assert.deepEqual(checkDataset(body), []);
  const { actual, ...rest } = body;
  assert.deepEqual(rest, {
    dataset_id: id1,
    name: "db",
    desired: {
      primary: nodeB,
      maximum_size: 1024,
      maximum_downtime_ms: null,
      metadata: { name: "db" },
      source: null,
      deletion: { at: time, grace_ends_at: "2026-11-25T12:00:01.000Z", purged: false },
      revision: 4,
    },
    ownership: { epoch: { term: 2, step: 3 }, owner: nodeA, born: true, since: time, conflict: true },
    lease: { node_id: nodeA, expires_at: null, acknowledged: true },
    transfer: { from: nodeA, done_bytes: 5, total_bytes: null },
    reasons: [
      {
        code: "busy-mount",
        message: "In use.",
        since: time,
        next_try_at: "2026-11-25T12:00:00.800Z",
        node_id: nodeA,
      },
      { code: "node-silent", message: "Silent.", since: time, next_try_at: null, node_id: null },
    ],
    converged: false,
  });
  assert.deepEqual(actual, [
    {
      node_id: nodeA,
      role: "primary",
      epoch: { term: 1, step: 0 },
      path: `/flocker/${id1}`,
      in_trash_since: null,
      maximum_size: null,
      used_bytes: null,
      snapshots: 2,
      unreadable: null,
      activity: { action: "send", since: time },
      stale: true,
      last_seen: "2026-11-25T11:59:59.999Z",
    },
    {
      node_id: nodeB,
      role: null,
      epoch: null,
      path: null,
      in_trash_since: null,
      maximum_size: null,
      used_bytes: null,
      snapshots: 0,
      unreadable: { code: "storage-unreadable", message: "No.", remedy: "Look." },
      activity: null,
      stale: false,
      last_seen: time,
    },
  ]);
});

test("a copy that nobody configured has nothing desired", () => {
  const bare = { ...full, configuration: null, ownership: null, lease: null, transfer: null };
  const body = datasetBody(bare, () => true);
  assert.deepEqual(checkDataset(body), []);
  assert.deepEqual(
    [body.name, body.desired, body.ownership, body.lease, body.transfer],
    [null, null, null, null, null],
  );
});

test("a dataset is counted in one state, and its reasons once each", () => {
  const deletion = { at: noon, graceEndsAt: noon, purged: true };
  const healthy = {
    ...full,
    conflict: false,
    configuration: { ...configuration, deletion: null },
    reasons: [],
    converged: true,
  };
  const silent = { code: "node-silent", message: "Silent.", since: noon } as const;
  const views: readonly DatasetView[] = [
    full,
    { ...full, configuration: { ...configuration, deletion } },
    healthy,
    { ...healthy, converged: false, reasons: [nodeA, nodeB].map((node) => ({ ...silent, node })) },
    { ...healthy, configuration: null },
  ];
  const { datasets } = statusCounts({ datasets: () => views, nodes: () => [] });
  assert.deepEqual(datasets, {
    total: 2,
    converged: 1,
    converging: 1,
    deleted: 1,
    unconfigured: 1,
    conflicts: 2,
    reasons: { "busy-mount": 2, "node-silent": 3 },
  });
});

test("what a body names and what is not there makes a bad request; what a path names is not found", () => {
  const problem = { code: "unknown-node", message: "None.", remedy: "List.", field: "primary" } as const;
  const status = (bodyFields: readonly string[]) =>
    refusalBody(problem, { bodyFields, requestId: "r" }).status;
  assert.equal(status(["primary"]), 400);
  assert.equal(status([]), 404);
  const size = {
    code: "size-out-of-range",
    message: "No.",
    remedy: "More.",
    field: "maximumSizeBytes",
  } as const;
  assert.equal(refusalBody(size, { bodyFields: [], requestId: "r" }).field, "maximum_size");
});
