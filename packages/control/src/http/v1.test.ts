import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { suite, test } from "node:test";
import { compileCheck, v1Endpoints, type Endpoint } from "@flocker/api";
import type { DatasetId } from "@flocker/core";
import type { InjectOptions } from "fastify";
import { copyReport, nodeA, nodeB, nodeView, noon, testApi, type TestApi } from "./api-fixtures.test.ts";
import { playStep, type Received, type Sent, type Step } from "./v1-script-fixtures.test.ts";

// The wire of the original, as scripts in testdata/ that can be played against any server, and what needs agents.

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

for (const name of ["v1-datasets", "v1-leases", "v1-http"]) {
  suite(name, async () => {
    const steps = JSON.parse(
      readFileSync(new URL(`testdata/${name}.json`, import.meta.url), "utf8"),
    ) as Step[];
    const api = await testApi();
    const variables = new Map<string, string>();
    let checked = 0;
    for (const step of steps) {
      test(step.name, async () => {
        const { sent, received } = await playStep(step, variables, (request) => inject(api, request));
        const check = responseCheck(sent, received.status);
        if (check === undefined || received.headers["content-type"] !== "application/json") return;
        assert.deepEqual(check(JSON.parse(received.body)), []);
        checked += 1;
      });
    }
    test("answers of JSON are as the OpenAPI document says", async () => {
      assert.ok(checked >= 5);
      await api[Symbol.asyncDispose]();
    });
  });
}

const dataset = "16bc5d94-95ad-4d80-ae1d-000000000001" as DatasetId;

async function apiWithDataset(): Promise<TestApi> {
  const api = await testApi();
  api.cluster.setNode(nodeView(nodeA));
  api.cluster.setNode(nodeView(nodeB));
  const wish = { dataset, primary: nodeA, maximumSizeBytes: 67_108_864, metadata: {} };
  assert.ok(api.cluster.createDataset(wish, { author: "user-test" }).ok);
  return api;
}

async function get(api: TestApi, path: string): Promise<unknown> {
  const response = await api.app.inject({ method: "GET", url: path });
  assert.equal(response.statusCode, 200);
  return JSON.parse(response.body);
}

test("a mounted copy is shown with node and path, and its real size", async () => {
  await using api = await apiWithDataset();
  const report = copyReport(dataset, { maximumSizeBytes: 67_108_864 });
  api.cluster.setView(dataset, { reports: [{ node: nodeA, report, stale: false, lastSeenAt: noon }] });
  const response = await api.app.inject({ method: "GET", url: "/v1/state/datasets" });
  assert.equal(
    response.body,
    `[{"dataset_id": "${dataset}", "maximum_size": 67108864, "path": "/flocker/${dataset}", "primary": "${nodeA}"}]`,
  );
});

test("during a handoff, when nothing is mounted, the dataset is shown without node and path", async () => {
  await using api = await apiWithDataset();
  const at = { stale: false, lastSeenAt: noon };
  api.cluster.setView(dataset, {
    reports: [
      { node: nodeA, report: copyReport(dataset, { mountedAt: null }), ...at },
      { node: nodeB, report: copyReport(dataset, { mountedAt: null }), ...at },
    ],
  });
  assert.deepEqual(await get(api, "/v1/state/datasets"), [{ dataset_id: dataset }]);
});

test("of two nodes that say they have it mounted, the one of the higher epoch is shown", async () => {
  await using api = await apiWithDataset();
  const at = { stale: false, lastSeenAt: noon };
  api.cluster.setView(dataset, {
    reports: [
      { node: nodeA, report: copyReport(dataset), ...at },
      { node: nodeB, report: copyReport(dataset, { step: 1 }), ...at },
    ],
  });
  const expected = [{ dataset_id: dataset, path: `/flocker/${dataset}`, primary: nodeB }];
  assert.deepEqual(await get(api, "/v1/state/datasets"), expected);
});

test("a dataset that is deleted, in the trash or without a copy is not shown; one that cannot be read is", async () => {
  await using api = await apiWithDataset();
  const at = { node: nodeA, stale: false, lastSeenAt: noon };
  const report = copyReport(dataset);
  api.cluster.setView(dataset, { reports: [{ ...at, report: { ...report, copy: null } }] });
  assert.deepEqual(await get(api, "/v1/state/datasets"), []);
  api.cluster.setView(dataset, {
    reports: [{ ...at, report: copyReport(dataset, { trashedAt: noon, mountedAt: null }) }],
  });
  assert.deepEqual(await get(api, "/v1/state/datasets"), []);
  const unreadable = { code: "storage-unreadable", message: "No.", remedy: "Look." } as const;
  api.cluster.setView(dataset, { reports: [{ ...at, report: { ...report, copy: null, unreadable } }] });
  assert.deepEqual(await get(api, "/v1/state/datasets"), [{ dataset_id: dataset }]);
  api.cluster.setView(dataset, { reports: [{ ...at, report }] });
  assert.equal(((await get(api, "/v1/state/datasets")) as unknown[]).length, 1);
  api.cluster.deleteDataset(dataset, { author: "user-test" });
  assert.deepEqual(await get(api, "/v1/state/datasets"), []);
});

test("nodes that have been silent for 120 seconds are hidden, with what they reported", async () => {
  await using api = await apiWithDataset();
  api.cluster.setNode(nodeView(nodeB, { connected: false, stale: true }));
  const report = copyReport(dataset);
  api.cluster.setView(dataset, { reports: [{ node: nodeB, report, stale: true, lastSeenAt: noon }] });
  api.clock.advance(119_999);
  assert.deepEqual(await get(api, "/v1/state/nodes"), [
    { host: "10.0.0.1", uuid: nodeA },
    { host: "10.0.0.2", uuid: nodeB },
  ]);
  assert.equal(((await get(api, "/v1/state/datasets")) as unknown[]).length, 1);
  api.clock.advance(1);
  assert.deepEqual(await get(api, "/v1/state/nodes"), [{ host: "10.0.0.1", uuid: nodeA }]);
  assert.deepEqual(await get(api, "/v1/state/datasets"), []);
});

test("hosts are IPv4 addresses: mapped ones are unwrapped, and nodes without one are left out", async () => {
  await using api = await testApi();
  const hosts = ["10.0.0.1", "::ffff:10.0.0.9", "::1", "fd00::1", "node.example", ""];
  for (const [index, host] of hosts.entries())
    api.cluster.setNode(nodeView(`aaaaaaaa-0000-4000-8000-00000000000${index}` as never, { host }));
  const shown = (await get(api, "/v1/state/nodes")) as { readonly host: string }[];
  assert.deepEqual(
    shown.map((one) => one.host),
    ["10.0.0.1", "10.0.0.9", "127.0.0.1"],
  );
});

test("a node is found by its era, in whatever case", async () => {
  await using api = await apiWithDataset();
  const era = nodeView(nodeB).era;
  assert.deepEqual(await get(api, `/v1/state/nodes/by_era/${era.toUpperCase()}`), { uuid: nodeB });
});

test("leases count the seconds that are left, and those that are over are hidden", async () => {
  await using api = await testApi();
  const acquire = (id: string, expires: number) =>
    api.app.inject({
      method: "POST",
      url: "/v1/configuration/leases",
      payload: { dataset_id: id, node_uuid: nodeA, expires },
    });
  assert.equal((await acquire(dataset, 60)).statusCode, 201);
  assert.equal((await acquire(`${dataset.slice(0, -1)}2`, 0)).statusCode, 201);
  assert.equal((await acquire(`${dataset.slice(0, -1)}3`, -1)).statusCode, 201);
  api.clock.advance(250);
  const response = await api.app.inject({ method: "GET", url: "/v1/configuration/leases" });
  assert.equal(response.body, `[{"dataset_id": "${dataset}", "expires": 59.75, "node_uuid": "${nodeA}"}]`);
});

test("the list follows every change, although its text is kept", async () => {
  await using api = await apiWithDataset();
  const before = await api.app.inject({ method: "GET", url: "/v1/configuration/datasets" });
  const again = await api.app.inject({ method: "GET", url: "/v1/configuration/datasets" });
  assert.equal(again.body, before.body);
  api.cluster.deleteDataset(dataset, { author: "user-test" });
  const after = await api.app.inject({ method: "GET", url: "/v1/configuration/datasets" });
  assert.match(after.body, /"deleted": true/);
  assert.notEqual(after.headers["x-configuration-tag"], before.headers["x-configuration-tag"]);
});

test("copies that nobody configured are state, not configuration, and cannot be moved or deleted", async () => {
  await using api = await apiWithDataset();
  const reports = [{ node: nodeA, report: copyReport(dataset), stale: false, lastSeenAt: noon }];
  api.cluster.setView(dataset, { configuration: null, reports });
  assert.deepEqual(await get(api, "/v1/configuration/datasets"), []);
  assert.equal(((await get(api, "/v1/state/datasets")) as unknown[]).length, 1);
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
  const lines = api.log.entries();
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

test("a body beyond the limit is refused in JSON", async () => {
  await using api = await testApi();
  const payload = " ".repeat(1_048_577);
  const response = await api.app.inject({ method: "POST", url: "/v1/configuration/datasets", payload });
  assert.equal(response.statusCode, 413);
  assert.equal(response.headers["content-type"], "application/json");
  assert.deepEqual(Object.keys(JSON.parse(response.body) as object), ["description"]);
});
