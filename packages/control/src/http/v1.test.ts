import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { compileCheck, v1Endpoints, type Endpoint } from "@flocker/api";
import type { DatasetId } from "@flocker/core";
import type { InjectOptions } from "fastify";
import { holding } from "../cluster/cluster-fixtures.test.ts";
import { join, nodeA, nodeB, testApi, type TestApi } from "./api-fixtures.test.ts";
import {
  playStep,
  readScript,
  scriptNames,
  unmetNeed,
  type Received,
  type Sent,
} from "../testing/v1-script.ts";

// The wire of the original, as scripts in testdata/ that can be played against any server, and what needs
// agents.

async function inject({ app }: TestApi, { method, path, headers, body }: Sent): Promise<Received> {
  const response = await app.inject({
    method: method as NonNullable<InjectOptions["method"]>,
    url: path,
    headers,
    ...(body === undefined ? {} : { payload: body }),
  });
  return { status: response.statusCode, headers: response.headers, body: response.body };
}

/** The table's schema for an answer, if it is one of JSON. */
function responseCheck(sent: Sent, status: number): ReturnType<typeof compileCheck> | undefined {
  const path = sent.path.split("?")[0] ?? "";
  const endpoint = (Object.values(v1Endpoints) as Endpoint[]).find(
    (one) =>
      one.method === sent.method && new RegExp(`^${one.path.replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(path),
  );
  const schema = endpoint?.responses[status];
  return schema === undefined ? undefined : compileCheck(schema);
}

/** A node that reports, for the scripts that need one. */
const facts = [
  ["node", nodeA],
  ["address", "10.0.0.1"],
  ["era", "eeeeeeee-0000-4000-8000-000000000001"],
] as const;

for (const name of scriptNames) {
  suite(name, async () => {
    const api = await testApi();
    const variables = new Map<string, string>();
    if (name !== "v1-http") {
      join(api, nodeA);
      for (const [key, value] of facts) variables.set(key, value);
    }
    let checked = 0;
    for (const step of readScript(name)) {
      test(step.name, async () => {
        assert.equal(unmetNeed(step, variables), undefined);
        const { sent, received } = await playStep(step, variables, (request) => inject(api, request));
        const check = responseCheck(sent, received.status);
        if (check === undefined || received.headers["content-type"] !== "application/json") return;
        assert.deepEqual(check(JSON.parse(received.body)), []);
        checked += 1;
      });
    }
    test("answers of JSON are as the OpenAPI document says", async () => {
      assert.ok(checked >= 2);
      await api[Symbol.asyncDispose]();
    });
  });
}

const dataset = "16bc5d94-95ad-4d80-ae1d-000000000001" as DatasetId;

/** An API with one dataset, which is mounted where it should be. */
async function apiWithDataset(): Promise<TestApi> {
  const api = await testApi();
  const wish = { dataset, primary: nodeA, maximumSizeBytes: null, metadata: {} };
  assert.ok(api.cluster.createDataset(wish, { author: "user-test", lenient: true }).ok);
  join(api, nodeA, { reports: [holding(dataset)] });
  join(api, nodeB, { host: "::ffff:10.0.0.9" });
  return api;
}

async function get(api: TestApi, path: string): Promise<unknown> {
  const response = await api.app.inject({ method: "GET", url: path });
  assert.equal(response.statusCode, 200);
  return JSON.parse(response.body);
}

const state = { dataset_id: dataset, path: `/flocker/${dataset}`, primary: nodeA };

test("what agents report is shown at once, and hidden when they have been silent for 120 seconds", async () => {
  await using api = await apiWithDataset();
  const nodes = [
    { host: "10.0.0.1", uuid: nodeA },
    { host: "10.0.0.9", uuid: nodeB },
  ];
  assert.deepEqual(await get(api, "/v1/state/datasets"), [state]);
  assert.deepEqual(await get(api, "/v1/state/nodes"), nodes);
  api.cluster.nodeDisconnected(nodeA);
  api.clock.advance(119_999);
  api.cluster.heard(nodeB);
  assert.deepEqual(await get(api, "/v1/state/datasets"), [state]);
  assert.deepEqual(await get(api, "/v1/state/nodes"), nodes);
  api.clock.advance(1);
  assert.deepEqual(await get(api, "/v1/state/datasets"), []);
  assert.deepEqual(await get(api, "/v1/state/nodes"), nodes.slice(1));
});

test("a deleted dataset leaves the state at once, and stays in the configuration", async () => {
  await using api = await apiWithDataset();
  const before = await api.app.inject({ method: "GET", url: "/v1/configuration/datasets" });
  const again = await api.app.inject({ method: "GET", url: "/v1/configuration/datasets" });
  assert.equal(again.body, before.body);
  const url = `/v1/configuration/datasets/${dataset}`;
  assert.equal((await api.app.inject({ method: "DELETE", url })).statusCode, 200);
  assert.deepEqual(await get(api, "/v1/state/datasets"), []);
  const after = await api.app.inject({ method: "GET", url: "/v1/configuration/datasets" });
  assert.match(after.body, /"deleted": true/);
  assert.notEqual(after.headers["x-configuration-tag"], before.headers["x-configuration-tag"]);
});

test("the tag changes with leases too, and with nothing that is only observed", async () => {
  await using api = await apiWithDataset();
  const tag = async () => {
    const response = await api.app.inject({ method: "GET", url: "/v1/configuration/datasets" });
    return response.headers["x-configuration-tag"];
  };
  const first = await tag();
  join(api, nodeA, { reports: [] });
  assert.equal(await tag(), first);
  const payload = { dataset_id: dataset, node_uuid: nodeA, expires: null };
  await api.app.inject({ method: "POST", url: "/v1/configuration/leases", payload });
  assert.notEqual(await tag(), first);
});

test("a move that changes nothing leaves the tag as it is", async () => {
  await using api = await apiWithDataset();
  const revision = api.cluster.revision();
  const url = `/v1/configuration/datasets/${dataset}`;
  for (const payload of [{}, { primary: nodeA }, { primary: nodeA.toUpperCase() }])
    assert.equal((await api.app.inject({ method: "POST", url, payload })).statusCode, 200);
  assert.equal(api.cluster.revision(), revision);
});

test("a leased dataset may be moved and deleted: its node waits for the end of the lease", async () => {
  await using api = await apiWithDataset();
  const lease = { dataset, node: nodeA, expiresAt: null };
  assert.ok(api.cluster.acquireLease(lease, { author: "user-test" }).ok);
  const url = `/v1/configuration/datasets/${dataset}`;
  const moved = await api.app.inject({ method: "POST", url, payload: { primary: nodeB } });
  assert.equal(moved.statusCode, 200);
  assert.equal((await api.app.inject({ method: "DELETE", url })).statusCode, 200);
});

test("a node is found by its era, in whatever case", async () => {
  await using api = await apiWithDataset();
  const era = "EEEEEEEE-0000-4000-8000-000000000002";
  assert.deepEqual(await get(api, `/v1/state/nodes/by_era/${era}`), { uuid: nodeB });
});

test("leases that are over are hidden, and another node may take them", async () => {
  await using api = await testApi();
  const acquire = (node: string, expires: number) =>
    api.app.inject({
      method: "POST",
      url: "/v1/configuration/leases",
      payload: { dataset_id: dataset, node_uuid: node, expires },
    });
  const statuses: number[] = [];
  for (const [node, expires] of [
    [nodeA, 0],
    [nodeB, -1],
    [nodeA, 60],
    [nodeB, 60],
  ] as const) {
    statuses.push((await acquire(node, expires)).statusCode);
    if (expires <= 0) assert.deepEqual(await get(api, "/v1/configuration/leases"), []);
  }
  assert.deepEqual(statuses, [201, 201, 201, 409]);
  api.clock.advance(250);
  const response = await api.app.inject({ method: "GET", url: "/v1/configuration/leases" });
  assert.equal(response.body, `[{"dataset_id": "${dataset}", "expires": 59.75, "node_uuid": "${nodeA}"}]`);
});

test("copies that nobody configured are state, not configuration, and cannot be moved or deleted", async () => {
  await using api = await testApi();
  join(api, nodeA, { reports: [holding(dataset)] });
  assert.deepEqual(await get(api, "/v1/configuration/datasets"), []);
  assert.deepEqual(await get(api, "/v1/state/datasets"), [state]);
  const url = `/v1/configuration/datasets/${dataset}`;
  assert.equal((await api.app.inject({ method: "DELETE", url })).statusCode, 404);
  assert.equal((await api.app.inject({ method: "POST", url, payload: {} })).statusCode, 404);
});

test("a mistake of ours is answered by the request's id alone, and the log has the rest", async () => {
  await using api = await testApi();
  api.cluster.tag = () => {
    throw new Error("the disk is on fire");
  };
  const response = await api.app.inject({ method: "GET", url: "/v1/configuration/datasets" });
  assert.equal(response.statusCode, 500);
  assert.equal(response.headers["content-type"], "application/json");
  assert.match(response.body, /^"[0-9a-f-]{36}@\/1"$/);
  const line = api.log.entries().find((one) => one.event === "api-mistake");
  assert.equal(`"${String(line?.fields["request"])}@/1"`, response.body);
  assert.match(String(line?.fields["error"]), /the disk is on fire/);
});

test("each write is one line of the log, shorter than a kilobyte, with who, what and how it went", async () => {
  await using api = await testApi();
  const metadata = Object.fromEntries(
    Array.from({ length: 16 }, (_, index) => [`k${index}`, "v".repeat(256)]),
  );
  const url = "/v1/configuration/datasets";
  await api.app.inject({ method: "POST", url, payload: { primary: nodeA, dataset_id: dataset, metadata } });
  await api.app.inject({ method: "POST", url, payload: { primary: "x".repeat(5000) } });
  await api.app.inject({ method: "GET", url });
  const lines = api.log.entries().filter((line) => line.level !== "debug");
  assert.deepEqual(
    lines.map((one) => [
      one.event,
      one.fields["author"],
      one.fields["operation"],
      one.fields["dataset"],
      one.fields["status"],
    ]),
    [
      ["api-write", "user-test", "v1.createDataset", dataset, 201],
      ["api-write-refused", "user-test", "v1.createDataset", undefined, 400],
    ],
  );
  for (const line of lines) assert.ok(JSON.stringify(line).length < 1000);
});

test("each write of every endpoint is one line below a kilobyte, at 10,000 datasets as at none", async () => {
  await using api = await testApi();
  join(api, nodeA);
  const long = "x".repeat(3000);
  for (let number = 0; number < 10_000; number += 1) {
    const wish = { primary: nodeA, maximumSizeBytes: null, metadata: { name: `volume-${number}` } };
    assert.ok(api.cluster.createDataset(wish, { author: "user-test" }).ok);
  }
  const applications = {
    version: 1,
    applications: Object.fromEntries(
      Array.from({ length: 100 }, (_none, index) => [
        `app-${index}`,
        { image: "nginx", volume: { mountpoint: "/d" } },
      ]),
    ),
  };
  const names = Object.keys(applications.applications);
  const container = { name: `c${"x".repeat(900)}`, node_uuid: nodeA, image: "nginx", environment: { long } };
  const requests = [
    ["POST", "datasets", { primary: nodeA, dataset_id: dataset, metadata: { long: "v".repeat(256) } }],
    ["POST", `datasets/${dataset}`, { primary: nodeB }],
    ["POST", `datasets/${long}`, {}],
    ["DELETE", `datasets/${dataset}`, null],
    ["POST", "leases", { dataset_id: dataset, node_uuid: nodeA, expires: null }],
    ["DELETE", `leases/${dataset}`, null],
    ["POST", "containers", container],
    ["POST", "containers", { ...container, name: long, image: 1, environment: { long: [long] } }],
    ["POST", `containers/${container.name}`, { node_uuid: nodeB }],
    ["DELETE", `containers/${container.name}`, null],
    ["POST", "_compose", { applications, deployment: { version: 1, nodes: { "10.0.0.1": names } } }],
    ["POST", "_compose", { applications: { version: 1, applications: { [long]: {} } }, deployment: {} }],
  ] as const;
  const before = api.log.entries().length;
  for (const [method, path, payload] of requests)
    await api.app.inject({
      method,
      url: `/v1/configuration/${path}`,
      ...(payload === null ? {} : { payload }),
    });
  const lines = api.log.entries().slice(before);
  assert.equal(lines.length, requests.length);
  const statuses = lines.map((line) => line.fields["status"]);
  assert.deepEqual(statuses, [201, 200, 404, 200, 201, 200, 201, 400, 200, 200, 200, 400]);
  for (const line of lines) assert.ok(JSON.stringify(line).length < 1000, JSON.stringify(line));
});

test("a body beyond the limit is refused in JSON", async () => {
  await using api = await testApi();
  const payload = " ".repeat(1_048_577);
  const response = await api.app.inject({ method: "POST", url: "/v1/configuration/datasets", payload });
  assert.equal(response.statusCode, 413);
  assert.equal(response.headers["content-type"], "application/json");
  assert.deepEqual(Object.keys(JSON.parse(response.body) as object), ["description"]);
});
