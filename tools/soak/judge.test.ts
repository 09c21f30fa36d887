import assert from "node:assert/strict";
import { test } from "node:test";
import { judgeAuthors, judgeMounts, judgeRecords } from "./judge.ts";

const none: ReadonlySet<number> = new Set();

test("all synced records in order are right, also with some between of which nobody knew", () => {
  assert.equal(judgeRecords({ kept: [1, 2, 4], unsure: new Set([3, 5]), found: [1, 2, 3, 4] }), undefined);
});

test("a lost record, a foreign one, a wrong order and a second time are noticed", () => {
  const kept = [1, 2, 3];
  for (const found of [[1, 3], [], [1, 2], [1, 2, 3, 4], [2, 1, 3], [1, 2, 2, 3]])
    assert.ok(judgeRecords({ kept, unsure: none, found }) !== undefined, found.join());
  assert.ok(judgeRecords({ kept, unsure: new Set([4]), found: [1, 2, 3, 4, 4] }) !== undefined);
});

test("two mounts are noticed, and a leased dataset that has gone", () => {
  assert.match(String(judgeMounts(["a", "b"], undefined)), /a and b/);
  assert.match(String(judgeMounts([], { node: "a", binds: true })), /nowhere/);
  assert.match(String(judgeMounts(["b"], { node: "a", binds: true })), /on b/);
  assert.equal(judgeMounts(["b"], { node: "a", binds: false }), undefined);
  assert.equal(judgeMounts(["a"], { node: "a", binds: true }), undefined);
  assert.equal(judgeMounts([], undefined), undefined);
});

test("an agent that changes configuration is noticed", () => {
  assert.equal(judgeAuthors(["user-local", "control-service"]), undefined);
  assert.match(String(judgeAuthors(["user-local", "node-1"])), /node-1/);
});
