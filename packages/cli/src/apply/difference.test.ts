import assert from "node:assert/strict";
import { test } from "node:test";
import { nodesOf } from "../names.ts";
import { datasetOf, idNumber, nodeA, nodeB, nodeCalled } from "../dataset-fixtures.test.ts";
import type { WantedDataset } from "./cluster-file.ts";
import { differenceJson, differenceLines } from "./difference-text.ts";
import { differenceOf, type Difference } from "./difference.ts";

const nodes = nodesOf([nodeCalled("node-a", nodeA), nodeCalled("node-b", nodeB)]);

function want(name: string, node: string, more: Partial<WantedDataset> = {}): WantedDataset {
  return { name, node, maximumSizeBytes: undefined, metadata: undefined, ...more };
}

function difference(
  wanted: readonly WantedDataset[],
  existing: Parameters<typeof differenceOf>[1],
  prune = false,
): Difference {
  const result = differenceOf(wanted, existing, { nodes, prune });
  if (!result.ok) assert.fail(result.problem.message);
  return result.value;
}

function texts(of: Difference): readonly string[] {
  return differenceLines(of, nodes.nameOf).map((line) => line.text);
}

test("what is as wanted needs no step", () => {
  const existing = datasetOf({ maximumSize: 2 ** 30, metadata: { team: "blue" } });
  for (const wanted of [
    want("pg1", "node-a"),
    want("pg1", nodeA, { maximumSizeBytes: 2 ** 30 }),
    want("pg1", "node-a", { metadata: { team: "blue" } }),
  ]) {
    const { steps, unchanged } = difference([wanted], [existing]);
    assert.deepEqual([steps, unchanged], [[], [existing]]);
  }
});

test("what is missing is created, with what the file says and nothing else", () => {
  const { steps } = difference([want("pg2", "node-b", { metadata: { team: "red" } })], []);
  assert.deepEqual(steps, [
    { kind: "create", name: "pg2", node: nodeB, maximumSizeBytes: null, metadata: { team: "red" } },
  ]);
});

test("moves, sizes and metadata that differ are shown from what to what", () => {
  const existing = datasetOf({ maximumSize: 2 ** 30, metadata: { team: "blue", old: "x" } });
  const wanted = want("pg1", "node-b", { maximumSizeBytes: null, metadata: { team: "red", fresh: "y" } });
  const found = difference([wanted], [existing]);
  assert.deepEqual(texts(found), [
    "~ change  pg1  node: node-a -> node-b, size: 1 GiB -> no limit, metadata team: blue -> red, " +
      "metadata old: x -> (none), metadata fresh: (none) -> y",
    "0 to create, 1 to change, 0 to delete, 0 unchanged",
  ]);
  assert.deepEqual(differenceJson(found)["steps"], [
    {
      kind: "change",
      name: "pg1",
      dataset_id: idNumber(1),
      node_id: { from: nodeA, to: nodeB },
      maximum_size: { from: 2 ** 30, to: null },
      metadata: {
        team: { from: "blue", to: "red" },
        old: { from: "x", to: null },
        fresh: { from: null, to: "y" },
      },
    },
  ]);
});

test("a size that the file lifts differs from one that it does not mention", () => {
  const existing = datasetOf({ maximumSize: 2 ** 30 });
  assert.equal(difference([want("pg1", "node-a")], [existing]).steps.length, 0);
  assert.equal(difference([want("pg1", "node-a", { maximumSizeBytes: null })], [existing]).steps.length, 1);
});

test("what is not in the file is left alone, or deleted last where that is asked for", () => {
  const other = datasetOf({ id: idNumber(2), name: "old" });
  const nameless = datasetOf({ id: idNumber(3), name: null });
  const kept = difference([want("pg2", "node-a")], [other, nameless]);
  assert.deepEqual(kept.unmanaged, [other, nameless]);
  assert.match(texts(kept)[1] ?? "", /not in the file, left alone .*: old, d0000000-/);
  const pruned = difference([want("pg2", "node-a")], [other, nameless], true);
  assert.deepEqual(
    pruned.steps.map((step) => `${step.kind} ${step.name}`),
    ["create pg2", "delete old", `delete ${idNumber(3)}`],
  );
  assert.deepEqual(pruned.unmanaged, []);
});

test("copies that the configuration does not know are never touched", () => {
  const unconfigured = datasetOf({ more: { desired: null } });
  const found = difference([], [unconfigured], true);
  assert.deepEqual([found.steps, found.unmanaged], [[], []]);
});

test("two datasets of one name are not guessed about", () => {
  const result = differenceOf([want("pg1", "node-a")], [datasetOf(), datasetOf({ id: idNumber(2) })], {
    nodes,
    prune: false,
  });
  assert.ok(!result.ok);
  assert.match(result.problem.message, /2 datasets called "pg1"/);
});
