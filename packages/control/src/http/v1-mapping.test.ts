import assert from "node:assert/strict";
import { test } from "node:test";
import type { DatasetConfiguration, DatasetId, DatasetReport, NodeId } from "@flocker/core";
import type { DatasetView, NodeView } from "../cluster/cluster.ts";
import { absence, holding } from "../cluster/cluster-fixtures.test.ts";
import { capabilities } from "./api-fixtures.test.ts";
import { configuredDatasetText, datasetStateText, ipv4Of, leaseText, nodeStateText } from "./v1-mapping.ts";

const dataset = "16bc5d94-95ad-4d80-ae1d-000000000001" as DatasetId;
const nodeA = "aaaaaaaa-0000-4000-8000-000000000001" as NodeId;
const nodeB = "aaaaaaaa-0000-4000-8000-000000000002" as NodeId;
const now = 1_800_000_000_000;

const configuration: DatasetConfiguration = {
  dataset,
  primary: nodeA,
  maximumSizeBytes: null,
  metadata: {},
  deletion: null,
  revision: 1,
};

type Reported = readonly [NodeId, DatasetReport, silentMs?: number];

function viewOf(...reports: readonly Reported[]): DatasetView {
  return {
    dataset,
    configuration,
    ownership: null,
    conflict: false,
    lease: null,
    reports: reports.map(([node, report, silentMs = 0]) => ({
      node,
      report,
      stale: silentMs > 60_000,
      lastSeenAt: now - silentMs,
    })),
    transfer: null,
    reasons: [],
    converged: false,
  };
}

/** What /v1 shows of a dataset with these reports. */
function stateOf(...reports: readonly Reported[]): unknown {
  const text = datasetStateText(viewOf(...reports), now);
  return text === undefined ? undefined : JSON.parse(text);
}

const mounted = holding(dataset);
const unmounted = holding(dataset, {}, { mountedAt: null });

test("a configured dataset has its size only where there is one, and says whether it is deleted", () => {
  assert.equal(
    configuredDatasetText(configuration),
    `{"dataset_id": "${dataset}", "deleted": false, "metadata": {}, "primary": "${nodeA}"}`,
  );
  const deletion = { at: now, graceEndsAt: now, purged: true };
  assert.equal(
    configuredDatasetText({ ...configuration, maximumSizeBytes: 1024, deletion, metadata: { 'n"': "é" } }),
    `{"dataset_id": "${dataset}", "deleted": true, "maximum_size": 1024, "metadata": {"n\\"": "\\u00e9"}, "primary": "${nodeA}"}`,
  );
});

test("a mounted copy is shown with node and path, and its real size", () => {
  const report = holding(dataset, {}, { maximumSizeBytes: 67_108_864 });
  assert.equal(
    datasetStateText(viewOf([nodeA, report]), now),
    `{"dataset_id": "${dataset}", "maximum_size": 67108864, "path": "/flocker/${dataset}", "primary": "${nodeA}"}`,
  );
});

test("during a handoff, when nothing is mounted, a dataset is shown without node and path", () => {
  const replica = holding(dataset, { role: "replica" });
  assert.deepEqual(stateOf([nodeA, unmounted], [nodeB, replica]), { dataset_id: dataset });
});

test("of two nodes that say they have it mounted, the one of the higher epoch is shown", () => {
  const newer = holding(dataset, { epoch: { term: 1, step: 1 } });
  const expected = { dataset_id: dataset, path: `/flocker/${dataset}`, primary: nodeB };
  assert.deepEqual(stateOf([nodeA, mounted], [nodeB, newer]), expected);
  assert.deepEqual(stateOf([nodeB, newer], [nodeA, mounted]), expected);
});

test("a mounted copy goes before one of a higher epoch that is not", () => {
  const relinquished = holding(dataset, { epoch: { term: 1, step: 1 }, role: "relinquished" });
  assert.deepEqual(stateOf([nodeA, mounted], [nodeB, relinquished]), {
    dataset_id: dataset,
    path: `/flocker/${dataset}`,
    primary: nodeA,
  });
});

test("a dataset without a copy, or only with one in the trash, is not shown; one that cannot be read is", () => {
  const trashed = holding(dataset, {}, { mountedAt: null, trashedAt: now });
  const unreadable = { code: "storage-unreadable", message: "No.", remedy: "Look." } as const;
  assert.equal(stateOf(), undefined);
  assert.equal(stateOf([nodeA, absence(dataset)]), undefined);
  assert.equal(stateOf([nodeA, trashed]), undefined);
  assert.deepEqual(stateOf([nodeA, absence(dataset, { unreadable })]), { dataset_id: dataset });
});

test("a deleted dataset is hidden at once, and a copy that nobody configured is shown", () => {
  const deletion = { at: now, graceEndsAt: now + 1, purged: false };
  const view = viewOf([nodeA, mounted]);
  assert.equal(datasetStateText({ ...view, configuration: { ...configuration, deletion } }, now), undefined);
  assert.notEqual(datasetStateText({ ...view, configuration: null }, now), undefined);
});

test("what only nodes have reported that are silent for 120 seconds is hidden", () => {
  assert.notEqual(stateOf([nodeA, mounted, 119_999]), undefined);
  assert.equal(stateOf([nodeA, mounted, 120_000]), undefined);
  assert.deepEqual(stateOf([nodeA, mounted, 120_000], [nodeB, unmounted]), { dataset_id: dataset });
});

test("nodes are shown until they are silent for 120 seconds, and for as long as they are connected", () => {
  const node: NodeView = {
    node: nodeA,
    name: "a",
    era: "e",
    version: "1",
    host: "10.0.0.1",
    dataPort: 4525,
    backend: { kind: "directory", capabilities },
    capacity: null,
    connected: false,
    lastSeenAt: now - 119_999,
    stale: true,
    datasetCount: 0,
    refusedSession: null,
  };
  assert.equal(nodeStateText(node, now), `{"host": "10.0.0.1", "uuid": "${nodeA}"}`);
  assert.equal(nodeStateText(node, now + 1), undefined);
  assert.notEqual(nodeStateText({ ...node, connected: true }, now + 1), undefined);
  assert.equal(nodeStateText({ ...node, host: "node.example" }, now), undefined);
});

test("hosts are IPv4 addresses: mapped ones are unwrapped, and others are none", () => {
  const hosts = [
    "10.0.0.1",
    "::ffff:10.0.0.9",
    "::FFFF:10.0.0.9",
    "::1",
    "fd00::1",
    "node.example",
    "",
    "::ffff:a:b",
  ];
  assert.deepEqual(hosts.map(ipv4Of), [
    "10.0.0.1",
    "10.0.0.9",
    "10.0.0.9",
    "127.0.0.1",
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});

test("a lease counts the seconds that are left, as a float", () => {
  const lease = { dataset, node: nodeA, expiresAt: now + 60_000 };
  assert.equal(
    leaseText(lease, now),
    `{"dataset_id": "${dataset}", "expires": 60.0, "node_uuid": "${nodeA}"}`,
  );
  assert.match(leaseText(lease, now + 250), /"expires": 59\.75,/);
  assert.match(leaseText({ ...lease, expiresAt: null }, now), /"expires": null,/);
});
