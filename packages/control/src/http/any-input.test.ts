import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { v1Endpoints, v2Endpoints, type Endpoint } from "@flocker/api";
import { nodeA } from "./api-fixtures.test.ts";
import { startV2 } from "./v2-fixtures.test.ts";

// Whatever comes in is answered, never with a mistake of ours, and always in the form that the path promises.

const id1 = "16bc5d94-95ad-4d80-ae1d-000000000001";

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.constantFrom(id1, nodeA, id1.toUpperCase(), "__proto__", "constructor", "name", ""),
);
const scalar = fc.oneof(
  text,
  fc.double(),
  fc.integer(),
  fc.constantFrom(null, true, false, 67_108_864, 1e300, 2 ** 53, -0),
);
const keys = fc.oneof(
  fc.constantFrom("primary", "dataset_id", "node_id", "node_uuid", "maximum_size", "metadata", "name"),
  fc.constantFrom("expires", "expires_in", "deleted", "__proto__"),
  text,
);
const value = fc.oneof(
  scalar,
  fc.array(scalar, { maxLength: 3 }),
  fc.dictionary(text, scalar, { maxKeys: 3 }),
);
const body = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.dictionary(keys, value, { maxKeys: 6 }).map((object) => JSON.stringify(object)),
  },
  { weight: 1, arbitrary: fc.json() },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)) },
);
const segment = fc.oneof(
  fc.constantFrom(id1, "%00", "...", "*", ":dataset_id", "a%2fb"),
  // The injection, unlike a socket, would resolve `..` before it comes to the router.
  text.filter((part) => part.isWellFormed() && !/^\.+$/.test(part)).map(encodeURIComponent),
);
const endpoint = fc.constantFrom<Endpoint>(...Object.values(v1Endpoints), ...Object.values(v2Endpoints));
const path = fc
  .tuple(endpoint, segment, fc.option(segment), fc.option(segment))
  .map(([{ path: template }, parameter, more, query]) =>
    [
      template.replaceAll(/\{\w+\}/g, parameter),
      more === null ? "" : `/${more}`,
      query === null ? "" : `?limit=${query}`,
    ].join(""),
  );
const headers = fc.record(
  {
    "content-type": fc.constantFrom("application/json", "text/plain; charset=utf-16", "nonsense", ""),
    "if-match": fc.constantFrom('"1"', "*", "nonsense", '"1","2"'),
    "x-if-configuration-matches": fc.constantFrom("", "a, b", "0".repeat(32)),
  },
  { requiredKeys: [] },
);

test("no request is answered by a mistake of ours", async () => {
  await using api = await startV2();
  await api.client.createDataset({ body: { dataset_id: id1, primary: nodeA } });
  const method = fc.constantFrom("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS" as const);
  await fc.assert(
    fc.asyncProperty(method, path, headers, body, async (verb, url, given, payload) => {
      const response = await api.app.inject({
        method: verb as "GET",
        url,
        headers: given,
        ...(verb === "GET" || verb === "HEAD" ? {} : { payload }),
      });
      assert.ok(response.statusCode >= 200 && response.statusCode < 500, response.body);
      if (verb === "HEAD" || url.startsWith("/v1")) return;
      const expected = response.statusCode < 300 ? "application/json" : "application/problem+json";
      assert.equal(response.headers["content-type"], expected);
    }),
    { numRuns: 400 },
  );
  assert.deepEqual(
    api.log.entries().filter((line) => line.level === "error"),
    [],
  );
});

test("no body changes anything unless it is answered as a success", async () => {
  await using api = await startV2();
  const writes = fc.constantFrom(
    ["POST", "/v1/configuration/datasets"],
    ["POST", "/v2/datasets"],
    ["POST", "/v1/configuration/leases"],
    ["POST", "/v2/leases"],
    ["PATCH", `/v2/datasets/${id1}`],
  );
  await fc.assert(
    fc.asyncProperty(writes, body, async ([verb, url], payload) => {
      const before = api.cluster.revision();
      const response = await api.app.inject({ method: verb as "POST", url: url ?? "", payload });
      assert.ok(response.statusCode < 500, response.body);
      if (response.statusCode >= 300) assert.equal(api.cluster.revision(), before);
    }),
    { numRuns: 300 },
  );
});
