import assert from "node:assert/strict";
import { test } from "node:test";
import { parseClusterFile } from "./cluster-file.ts";

function problemOf(text: string, nodeMistake?: Parameters<typeof parseClusterFile>[2]) {
  const parsed = parseClusterFile(text, "cluster.yaml", nodeMistake);
  if (parsed.ok) assert.fail("it was accepted");
  assert.equal(parsed.problem.code, "configuration-invalid");
  return parsed.problem;
}

test("what the file says is taken, what it does not say stays open", () => {
  const parsed = parseClusterFile(
    `# our databases
version: 1
datasets:
  - name: pg1
    node: node-a
    size: 10GiB
    metadata: { team: blue, empty: "" }
  - { name: pg2, node: node-b }
  - { name: pg3, node: node-b, size: none }
  - { name: pg4, node: node-b, size: }
  - { name: pg5, node: node-b, size: 67108865 }
`,
    "cluster.yaml",
  );
  assert.ok(parsed.ok);
  assert.deepEqual(parsed.value, [
    { name: "pg1", node: "node-a", maximumSizeBytes: 10 * 2 ** 30, metadata: { team: "blue", empty: "" } },
    { name: "pg2", node: "node-b", maximumSizeBytes: undefined, metadata: undefined },
    { name: "pg3", node: "node-b", maximumSizeBytes: null, metadata: undefined },
    { name: "pg4", node: "node-b", maximumSizeBytes: null, metadata: undefined },
    { name: "pg5", node: "node-b", maximumSizeBytes: 67_109_888, metadata: undefined },
  ]);
});

test("an unknown key is named with its line and what was probably meant", () => {
  const problem = problemOf("datasets:\n  - name: pg1\n    node: a\n    sise: 10GiB\n");
  assert.match(problem.message, /cluster\.yaml.*line 4.*did you mean size/s);
  assert.match(problemOf("datsets: []\n").message, /line 1.*did you mean datasets/s);
});

test("all mistakes are told at once", () => {
  const { message } = problemOf(
    `datasets:
  - { name: pg1, node: a, size: huge }
  - { name: pg1, node: a, size: 1MB }
  - { name: pg2, node: a, metadata: { name: x } }
`,
  );
  assert.match(message, /line 2[^\n]*is no size/);
  assert.match(message, /line 3[^\n]*has this name/);
  assert.match(message, /line 3[^\n]*at least 64 MiB/);
  assert.match(message, /line 4[^\n]*has a name/);
});

test("nodes are judged once it is known which there are", () => {
  const text = "datasets:\n  - name: pg1\n    node: elsewhere\n";
  assert.ok(parseClusterFile(text, "cluster.yaml").ok);
  const problem = problemOf(text, () => ({ cause: "is no node", remedy: "Name one." }));
  assert.match(problem.message, /line 3.*is no node/s);
});

test("broken YAML and wrong types are refused", () => {
  for (const text of [
    "",
    "datasets: 5",
    "datasets:\n  - name: pg1",
    "datasets:\n  - node: a",
    "datasets:\n  - { name: '', node: a }",
    "datasets:\n  - { name: pg1, node: a, metadata: [x] }",
    "datasets:\n  - { name: pg1, node: a, metadata: { x: { y: z } } }",
    "datasets: [",
    "version: 2\ndatasets: []",
    "datasets: []\n---\ndatasets: []",
  ]) {
    problemOf(text);
  }
});
