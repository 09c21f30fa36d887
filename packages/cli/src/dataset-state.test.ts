import assert from "node:assert/strict";
import { test } from "node:test";
import { actualOn, datasetOf, nodeA, nodeB, reasonOf } from "./dataset-fixtures.test.ts";
import { byWeight, describeState, isMounted, spanText, tookText } from "./dataset-state.ts";

const nameOf = (node: string): string => (node === nodeA ? "node-a" : "node-b");
const moving = { converged: false, actual: [actualOn(nodeA)] };

test("a dataset in place says where", () => {
  assert.deepEqual(describeState(datasetOf(), nameOf), {
    word: "ok",
    sentence: "in place on node-a at /flocker/x",
    colour: "green",
  });
});

test("a transfer shows how far it is, and never 100 % before the end", () => {
  const transfer = { from: nodeA, done_bytes: 2 ** 30, total_bytes: 2 ** 30 };
  const state = describeState(datasetOf({ primary: nodeB, more: { ...moving, transfer } }), nameOf);
  assert.equal(state.word, "moving 99%");
  assert.equal(state.sentence, "moving from node-a to node-b: 99 %, 1 GiB of 1 GiB");
  const unknown = describeState(
    datasetOf({ primary: nodeB, more: { ...moving, transfer: { ...transfer, total_bytes: null } } }),
    nameOf,
  );
  assert.equal(unknown.sentence, "moving from node-a to node-b: 1 GiB");
});

test("what is in the way is told before what only follows from it", () => {
  const reasons = [
    reasonOf("working", "A step is being carried out.", nodeB),
    reasonOf("held-by-node", "node-a holds it.", nodeB),
    reasonOf("lease-held", "A lease keeps it on node-a until noon."),
  ];
  assert.deepEqual(
    byWeight(reasons).map((reason) => reason.code),
    ["lease-held", "held-by-node", "working"],
  );
  const state = describeState(datasetOf({ primary: nodeB, more: { ...moving, reasons } }), nameOf);
  assert.equal(state.word, "waiting: lease-held");
  assert.match(state.sentence, /^waiting: A lease keeps it/);
});

test("without anything in the way it is creating, moving or converging", () => {
  const unborn = datasetOf({ more: { converged: false, actual: [] } });
  assert.ok(unborn.ownership);
  const creating = { ...unborn, ownership: { ...unborn.ownership, born: false } };
  assert.equal(describeState(creating, nameOf).word, "creating");
  const toB = datasetOf({ primary: nodeB, more: { ...moving } });
  assert.ok(toB.ownership);
  assert.equal(
    describeState({ ...toB, ownership: { ...toB.ownership, owner: nodeA } }, nameOf).word,
    "moving",
  );
  assert.equal(describeState(unborn, nameOf).word, "converging");
});

test("a conflict and a deletion come before all else", () => {
  const dataset = datasetOf();
  assert.ok(dataset.ownership && dataset.desired);
  const conflict = { ...dataset, ownership: { ...dataset.ownership, conflict: true } };
  assert.equal(describeState(conflict, nameOf).word, "conflict");
  const deletion = {
    at: "2026-11-25T12:00:00.000Z",
    grace_ends_at: "2026-12-02T12:00:00.000Z",
    purged: false,
  };
  const deleted = { ...dataset, desired: { ...dataset.desired, deletion } };
  assert.match(describeState(deleted, nameOf).sentence, /brings it back until 2026-12-02 12:00 UTC/);
  const purged = { ...dataset, desired: { ...dataset.desired, deletion: { ...deletion, purged: true } } };
  assert.equal(describeState(purged, nameOf).word, "purged");
});

test("mounted means: on its node, at a path, as heard lately", () => {
  assert.equal(isMounted(datasetOf()), true);
  assert.equal(isMounted(datasetOf({ more: { actual: [actualOn(nodeB)] } })), false);
  assert.equal(isMounted(datasetOf({ more: { actual: [actualOn(nodeA, { path: null })] } })), false);
  assert.equal(isMounted(datasetOf({ more: { actual: [actualOn(nodeA, { stale: true })] } })), false);
  assert.equal(isMounted(datasetOf({ more: { actual: [actualOn(nodeA, { role: "replica" })] } })), false);
});

test("lengths of time have at most two units", () => {
  assert.equal(spanText(0), "0s");
  assert.equal(spanText(45_400), "45s");
  assert.equal(spanText(3_600_000), "1h");
  assert.equal(spanText(3_725_000), "1h2m");
  assert.equal(spanText(2 * 86_400_000 + 5_000), "2d");
});

test("what took little is told with tenths of a second", () => {
  assert.equal(tookText(40), "0.0s");
  assert.equal(tookText(1260), "1.3s");
  assert.equal(tookText(9960), "10s");
  assert.equal(tookText(61_000), "1m1s");
});
