import assert from "node:assert/strict";
import { test } from "node:test";
import { AssertionError, ProblemError, type DatasetId } from "@flocker/core";
import { holding } from "../cluster/cluster-fixtures.test.ts";
import { join, nodeA, nodeB } from "./api-fixtures.test.ts";
import { refusal, startV2 } from "./v2-fixtures.test.ts";

// All of today's API but datasets, through its own client.

const id1 = "16bc5d94-95ad-4d80-ae1d-000000000001" as DatasetId;
const missing = "99999999-95ad-4d80-ae1d-000000000009";

test("what cannot even be read is a problem too", async () => {
  await using api = await startV2();
  const cases = [
    ["POST", "/v2/datasets", "", 400, "bad-request"],
    ["POST", "/v2/datasets", "{", 400, "bad-request"],
    ["POST", "/v2/datasets", Buffer.from([0x22, 0xff, 0x22]), 400, "bad-request"],
    ["POST", "/v2/datasets", " ".repeat(1_048_577), 413, "bad-request"],
    ["GET", "/v2/datasets/%ff", undefined, 400, "bad-request"],
    ["GET", "/v2/datasets?limit=5&limit=6", undefined, 400, "bad-request"],
    ["GET", "/v2/nodes?verbose=1", undefined, 400, "bad-request"],
    ["GET", "/v2/nope", undefined, 404, "not-found"],
    ["GET", "/v2", undefined, 404, "not-found"],
    ["PUT", "/v2/datasets", "{}", 405, "method-not-allowed"],
    ["POST", "/v2/events", "{}", 405, "method-not-allowed"],
  ] as const;
  for (const [method, url, payload, status, code] of cases) {
    const response = await api.app.inject({ method, url, ...(payload === undefined ? {} : { payload }) });
    const body = JSON.parse(response.body) as v2Problem;
    assert.deepEqual(
      [response.statusCode, body.status, body.code],
      [status, status, code],
      `${method} ${url}`,
    );
    assert.equal(response.headers["content-type"], "application/problem+json");
    assert.equal(body.type, `urn:flocker:problem:${code}`);
    assert.match(body.request_id, /^dddddddd-/);
    assert.ok(body.detail.length > 20 && body.remedy.length > 20 && body.title.length > 5);
    if (status === 405) assert.match(String(response.headers["allow"]), /GET/);
  }
});

interface v2Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly remedy: string;
  readonly request_id: string;
}

test("a mistake of ours is a problem that leads to the log, without its inside", async () => {
  await using api = await startV2();
  api.cluster.nodes = () => {
    throw new Error("secret");
  };
  const answer = await api.client.listNodes({});
  assert.deepEqual(refusal(answer), [500, "internal", undefined]);
  assert.doesNotMatch(JSON.stringify(answer.body), /secret/);
  const line = api.log.entries().find((one) => one.event === "api-mistake");
  assert.equal(line?.fields["request"], answer.status === 500 ? answer.body.request_id : undefined);
});

test("a store that fails is a problem of its own, and a broken promise of ours ends the process", async () => {
  await using api = await startV2();
  api.cluster.nodes = () => {
    throw new ProblemError({
      code: "store-unreadable",
      message: "The disk is gone.",
      remedy: "Bring it back.",
    });
  };
  assert.deepEqual(refusal(await api.client.listNodes({})), [503, "store-unreadable", undefined]);
  const old = await api.app.inject({ method: "GET", url: "/v1/state/nodes" });
  assert.equal(old.statusCode, 500);
  assert.equal(api.crashes.length, 0);
  api.cluster.nodes = () => {
    throw new AssertionError("nodes are nodes");
  };
  assert.deepEqual(refusal(await api.client.listNodes({})), [500, "internal", undefined]);
  assert.deepEqual(
    api.crashes.map((error) => error.name),
    ["AssertionError"],
  );
});

test("nodes are shown with storage, connection and a refused twin", async () => {
  await using api = await startV2();
  api.cluster.sessionRefused(nodeB, "10.0.0.7");
  api.cluster.nodeDisconnected(nodeB);
  api.clock.advance(60_001);
  const answer = await api.client.getNode({ params: { node_id: nodeB.toUpperCase() } });
  assert.deepEqual(answer.body, {
    node_id: nodeB,
    name: "machine-2",
    era: "eeeeeeee-0000-4000-8000-000000000002",
    version: "1.2.3",
    host: "10.0.0.2",
    data_port: 4525,
    backend: {
      kind: "directory",
      capabilities: {
        live_snapshots: true,
        resume: false,
        quota: true,
        clone: false,
        compression: true,
        encryption: false,
      },
    },
    capacity: { total_bytes: 100, free_bytes: 40 },
    connected: false,
    stale: true,
    last_seen: "2026-11-25T12:00:00.000Z",
    dataset_count: 0,
    refused_session: { at: "2026-11-25T12:00:00.000Z", host: "10.0.0.7" },
  });
  const list = await api.client.listNodes({});
  assert.deepEqual(list.status === 200 ? list.body.nodes.map((one) => one.node_id) : list.body, [
    nodeA,
    nodeB,
  ]);
});

test("leases are acquired, renewed, refused, listed and released", async () => {
  await using api = await startV2();
  const { client } = api;
  const body = { dataset_id: id1, node_id: nodeA, expires_in: 90.5 };
  const expires_at = "2026-11-25T12:01:30.500Z";
  const lease = { dataset_id: id1, node_id: nodeA, expires_at, acknowledged: false };
  assert.deepEqual(refusal(await client.acquireLease({ body })), [400, "unknown-dataset", "dataset_id"]);
  await client.createDataset({ body: { dataset_id: id1, primary: nodeA } });
  const first = await client.acquireLease({ body });
  assert.deepEqual([first.status, first.body], [201, lease]);
  const renewed = await client.acquireLease({ body: { ...body, expires_in: null } });
  assert.deepEqual([renewed.status, renewed.body], [200, { ...lease, expires_at: null }]);
  const other = await client.acquireLease({ body: { ...body, node_id: nodeB } });
  assert.deepEqual(refusal(other), [409, "lease-held", "node_id"]);
  const stranger = await client.acquireLease({ body: { ...body, node_id: missing } });
  assert.deepEqual(refusal(stranger), [400, "unknown-node", "node_id"]);
  const never = await client.acquireLease({ body: { ...body, expires_in: 0 } });
  assert.deepEqual(refusal(never), [400, "bad-request", "expires_in"]);
  const leased = async () => {
    const shown = await client.getDataset({ params: { dataset_id: id1 } });
    return shown.status === 200 ? shown.body.lease : shown.body;
  };
  assert.deepEqual(await leased(), { node_id: nodeA, expires_at: null, acknowledged: false });
  api.acknowledge(id1);
  assert.deepEqual(await leased(), { node_id: nodeA, expires_at: null, acknowledged: true });
  const all = { leases: [{ ...lease, expires_at: null, acknowledged: true }], revision: 3 };
  assert.deepEqual((await client.listLeases({})).body, all);
  const foreign = await client.releaseLease({ params: { dataset_id: id1 }, query: { node: nodeB } });
  assert.deepEqual(refusal(foreign), [404, "not-found", "dataset_id"], "another node's lease stays");
  const released = await client.releaseLease({ params: { dataset_id: id1.toUpperCase() } });
  assert.deepEqual([released.status, released.body], [200, { ...lease, expires_at: null }]);
  const again = await client.releaseLease({ params: { dataset_id: id1 } });
  assert.deepEqual(refusal(again), [404, "not-found", "dataset_id"]);
});

test("history tells who changed what, and goes on after any revision", async () => {
  await using api = await startV2();
  const { client } = api;
  await client.createDataset({ body: { dataset_id: id1, primary: nodeA } });
  await client.updateDataset({ params: { dataset_id: id1 }, body: { primary: nodeB } });
  await client.acquireLease({ body: { dataset_id: id1, node_id: nodeA, expires_in: null } });
  const first = await client.history({ query: { limit: 2 } });
  assert.equal(first.status, 200);
  assert.deepEqual(
    first.body.commits.map((commit) => [commit.revision, commit.author, commit.at]),
    [
      [1, "user-test", "2026-11-25T12:00:00.000Z"],
      [2, "user-test", "2026-11-25T12:00:00.000Z"],
    ],
  );
  const [change] = first.body.commits[1]?.changes ?? [];
  assert.equal(
    change?.kind === "dataset" ? `${change.before?.primary} ${change.after.primary}` : "",
    `${nodeA} ${nodeB}`,
  );
  assert.equal(first.body.next_after, 2);
  const rest = await client.history({ query: { after: 2 } });
  assert.deepEqual(rest.body, {
    commits: [
      {
        revision: 3,
        author: "user-test",
        at: "2026-11-25T12:00:00.000Z",
        changes: [
          {
            kind: "lease",
            dataset_id: id1,
            before: null,
            after: { dataset_id: id1, node_id: nodeA, expires_at: null },
          },
        ],
      },
    ],
    next_after: null,
    revision: 3,
  });
});

test("the status counts datasets and nodes, and tells when the certificate ends", async () => {
  await using api = await startV2();
  const { client } = api;
  await client.createDataset({ body: { dataset_id: id1, primary: nodeA } });
  join(api, nodeA, { reports: [holding(id1)] });
  const before = await client.status({});
  assert.deepEqual(before.body, {
    cluster_id: api.cluster.clusterId,
    version: "1.2.3",
    revision: 1,
    datasets: {
      total: 1,
      converged: 1,
      converging: 0,
      deleted: 0,
      unconfigured: 0,
      conflicts: 0,
      reasons: {},
    },
    nodes: { total: 2, connected: 2, stale: 0 },
    certificate: { not_after: "2026-12-06T00:00:00.000Z", days_left: 10 },
  });
  api.cluster.nodeDisconnected(nodeA);
  api.clock.advance(86_400_000 * 11);
  const after = await client.status({});
  assert.equal(after.status, 200);
  assert.deepEqual(after.body.nodes, { total: 2, connected: 1, stale: 2 });
  assert.equal(after.body.certificate.days_left, -1);
  assert.deepEqual([after.body.datasets.converging, after.body.datasets.reasons["node-silent"]], [1, 1]);
});

test("health, version and the OpenAPI document", async () => {
  await using api = await startV2();
  const { client } = api;
  assert.deepEqual((await client.health({})).body, { serving: "ok", store: "ok" });
  api.storeOk = false;
  const failing = await client.health({});
  assert.deepEqual([failing.status, failing.body], [503, { serving: "ok", store: "failing" }]);
  assert.deepEqual((await client.version({})).body, { flocker: "1.2.3", api: "v2" });
  const document = await client.openapi({});
  assert.equal(document.status === 200 ? document.body["openapi"] : undefined, "3.1.0");
  const head = await api.app.inject({ method: "HEAD", url: "/v2/version" });
  assert.deepEqual([head.statusCode, head.body], [200, ""]);
});
