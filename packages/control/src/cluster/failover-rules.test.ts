import assert from "node:assert/strict";
import { test } from "node:test";
import { sampleDatasetId, sampleNodeId } from "../store/sample-values.ts";
import { alice, epochOf, holding, TestCluster } from "./cluster-fixtures.test.ts";

const dataset = sampleDatasetId(1);
const [a, b] = [sampleNodeId(1), sampleNodeId(2)];
const replica = holding(dataset, { role: "replica", epoch: epochOf(1, 0) });

/** A dataset that `a` owns, of which `b` has a replica. */
function cluster(): TestCluster {
  const made = new TestCluster();
  made.join(1);
  made.cluster.createDataset({ dataset, primary: a, maximumSizeBytes: null, metadata: {} }, alice);
  made.report(a, { datasets: [holding(dataset)] });
  made.join(2, replica);
  return made;
}

const consent = { to: b, acceptLoss: true };
const codeOf = (made: TestCluster, wish = consent): string => {
  const answer = made.cluster.failOver(dataset, wish, alice);
  return answer.ok ? "done" : answer.problem.code;
};

test("a failover raises the term and moves the wish in one commit, which outlives a restart", () => {
  const made = cluster();
  made.cluster.nodeDisconnected(a);
  const before = made.cluster.revision();
  assert.equal(codeOf(made, { to: b, acceptLoss: false }), "consent-needed");
  assert.equal(codeOf(made), "done");
  assert.equal(codeOf(made), "done", "asking twice changes nothing");
  assert.equal(made.cluster.revision(), before + 1);
  for (const view of [made.cluster.dataset(dataset), made.restart().dataset(dataset)]) {
    assert.deepEqual(view?.ownership?.epoch, epochOf(2, 0));
    assert.equal(view?.ownership?.owner, b);
    assert.equal(view?.configuration?.primary, b);
  }
});

test("the former owner's report of its copy changes nothing after a failover", () => {
  const made = cluster();
  made.cluster.nodeDisconnected(a);
  assert.equal(codeOf(made), "done");
  made.join(1, holding(dataset));
  const view = made.cluster.dataset(dataset);
  assert.equal(view?.ownership?.owner, b);
  assert.equal(view?.conflict, false);
});

test("a failover is refused while the owner is connected, leased, deleted, or without a replica", () => {
  const made = cluster();
  assert.equal(codeOf(made), "owner-connected");
  made.cluster.nodeDisconnected(a);
  made.cluster.acquireLease({ dataset, node: a, expiresAt: null }, alice);
  assert.equal(codeOf(made), "lease-held");
  made.cluster.releaseLease(dataset, alice);
  made.report(b, { datasets: [{ ...replica, copy: null }] });
  assert.equal(codeOf(made), "snapshot-missing");
  made.cluster.nodeDisconnected(b);
  assert.equal(codeOf(made), "peer-unreachable");
  assert.equal(codeOf(made, { to: sampleNodeId(9), acceptLoss: true }), "unknown-node");
  made.cluster.deleteDataset(dataset, alice);
  assert.equal(codeOf(made), "dataset-deleted");
});
