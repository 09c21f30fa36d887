import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeA, nodeB, nodeCalled } from "./dataset-fixtures.test.ts";
import { nodesOf } from "./names.ts";

const nodes = nodesOf([nodeCalled("node-a", nodeA), nodeCalled("node-b", nodeB)]);

function found(word: string, among = nodes): string {
  const result = among.find(word);
  if (!result.ok) assert.fail(result.problem.message);
  return result.value;
}

function problemOf(word: string, among = nodes) {
  const result = among.find(word);
  if (result.ok) assert.fail(result.value);
  return result.problem;
}

test("a node is found by name, uuid, and what begins only one of them", () => {
  assert.equal(found("node-a"), nodeA);
  assert.equal(found(nodeB), nodeB);
  assert.equal(found(nodeB.toUpperCase()), nodeB);
  assert.equal(found("bbbb"), nodeB);
  assert.equal(found("BBBB"), nodeB);
});

test("a whole uuid need not be known yet", () => {
  const fresh = "cccccccc-0000-4000-8000-000000000003";
  assert.equal(found(fresh), fresh);
});

test("what fits several nodes is refused, and they are listed", () => {
  const problem = problemOf("node");
  assert.equal(problem.code, "bad-request");
  assert.match(problem.message, /fits 2 nodes: node-a \(aaaaaaaa.*, node-b \(bbbbbbbb/);
});

test("a whole name wins over the beginning of another", () => {
  const among = nodesOf([nodeCalled("db", nodeA), nodeCalled("db2", nodeB)]);
  assert.equal(found("db", among), nodeA);
});

test("an unknown node is answered with what was probably meant, or with what there is", () => {
  assert.match(problemOf("node-c").remedy, /Did you mean node-/);
  assert.match(problemOf("elsewhere").remedy, /The nodes are: node-a, node-b/);
  assert.match(problemOf("x", nodesOf([])).remedy, /none yet/);
  assert.equal(problemOf("").code, "unknown-node");
});

test("nodes of one name are shown with the beginning of their ids", () => {
  const among = nodesOf([nodeCalled("db", nodeA), nodeCalled("db", nodeB)]);
  assert.equal(among.nameOf(nodeA), "db (aaaaaaaa)");
  assert.equal(nodes.nameOf(nodeA), "node-a");
  assert.equal(nodes.nameOf("elsewhere"), "elsewhere");
});
