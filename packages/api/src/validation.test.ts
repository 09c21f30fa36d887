import assert from "node:assert/strict";
import { test } from "node:test";
import { compileCheck, decodeParameters } from "./validation.ts";
import { DatasetPatch, DatasetQuery, NewDataset, NewLease } from "./v2/schemas.ts";

const id = "4f1a2c3d-0000-4000-8000-000000000001";
const checkNew = compileCheck(NewDataset);
const checkPatch = compileCheck(DatasetPatch);

test("a body as specified has no faults", () => {
  assert.deepEqual(checkNew({ primary: id }), []);
  assert.deepEqual(
    checkNew({
      primary: id,
      name: "x",
      dataset_id: id,
      maximum_size: 67_108_864,
      metadata: { a: "", "ü\n": "z" },
    }),
    [],
  );
  assert.deepEqual(checkNew({ primary: id, maximum_size: null }), []);
  assert.deepEqual(checkPatch({ name: null, metadata: { a: null, b: "c" } }), []);
  assert.deepEqual(compileCheck(NewLease)({ dataset_id: id, node_id: id, expires_in: null }), []);
});

test("each fault is named once, at its place", () => {
  assert.deepEqual(checkNew({ maximum_size: 1, nmae: "x", "a/b~": 1, metadata: { k: 5 } }), [
    { pointer: "#/primary", detail: "is missing" },
    { pointer: "#/nmae", detail: "is not known here" },
    { pointer: "#/a~1b~0", detail: "is not known here" },
    { pointer: "#/maximum_size", detail: "must be at least 67108864" },
    { pointer: "#/metadata/k", detail: "must be string" },
  ]);
  assert.deepEqual(checkNew({ primary: "node-1", maximum_size: "10GiB" }), [
    { pointer: "#/primary", detail: "must be a uuid of version 4" },
    { pointer: "#/maximum_size", detail: "must be integer or null" },
  ]);
  assert.deepEqual(checkNew([]), [{ pointer: "#", detail: "must be object" }]);
  assert.deepEqual(checkNew(null), [{ pointer: "#", detail: "must be object" }]);
});

test("metadata has at most 16 names of 1 to 256 characters, and values of at most 256", () => {
  const many = Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`k${index}`, "v"]));
  assert.deepEqual(
    checkNew({ primary: id, metadata: many }).map((fault) => fault.pointer),
    ["#/metadata"],
  );
  for (const metadata of [{ "": "v" }, { ["k".repeat(257)]: "v" }, { k: "v".repeat(257) }])
    assert.equal(checkNew({ primary: id, metadata }).length, 1);
});

test("sizes are multiples of 1 KiB that a number holds exactly", () => {
  for (const maximum_size of [67_108_865, 67_108_864.5, 2 ** 60, true])
    assert.deepEqual(
      checkNew({ primary: id, maximum_size }).map((fault) => fault.pointer),
      ["#/maximum_size"],
      String(maximum_size),
    );
});

test("a body with thousands of faults is answered with some of them", () => {
  const body = Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`k${index}`, 1]));
  assert.equal(checkNew(body).length, 50);
});

test("parameters of a URL are read by their schema; what cannot be read becomes a fault", () => {
  assert.deepEqual(decodeParameters(DatasetQuery, { limit: "10", converged: "false", name: "7" }), {
    limit: 10,
    converged: false,
    name: "7",
  });
  const check = compileCheck(DatasetQuery);
  const pointers = (raw: Record<string, string | string[]>) =>
    check(decodeParameters(DatasetQuery, raw)).map((fault) => `${fault.pointer} ${fault.detail}`);
  assert.deepEqual(pointers({ limit: "1e3" }), ["#/limit must be integer"]);
  assert.deepEqual(pointers({ limit: "0" }), ["#/limit must be at least 1"]);
  assert.deepEqual(pointers({ converged: "yes" }), ["#/converged must be boolean"]);
  assert.deepEqual(pointers({ name: ["a", "b"] }), ["#/name must be string"]);
  assert.deepEqual(pointers({ deleted: "maybe" }), ["#/deleted must be one of false, true, any"]);
  assert.deepEqual(pointers({ nmae: "a" }), ["#/nmae is not known here"]);
});
