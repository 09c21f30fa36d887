import assert from "node:assert/strict";
import { suite, test } from "node:test";
import {
  datasetName,
  firstEpoch,
  ProblemError,
  staleAfterMs,
  type DatasetId,
  type NodeId,
} from "@flocker/core";
import { sampleDatasetId, sampleNodeId, sampleUuid } from "../store/sample-values.ts";
import {
  absence,
  alice,
  epochOf,
  graceMs,
  holding,
  problemOf,
  startedAt,
  TestCluster,
  valueOf,
} from "./cluster-fixtures.test.ts";

const complete = { begins: true, ends: true };
const lenient = { ...alice, lenient: true };

suite("changing the cluster", () => {
  test("a new dataset and its ownership record are durable in one commit, and told once", () => {
    const world = new TestCluster();
    const a = world.join(1);
    world.told();
    const dataset = world.create(a, "db");
    assert.equal(world.cluster.revision(), 1);
    const stored = world.store.current();
    assert.deepEqual(stored.datasets, [world.view(dataset).configuration]);
    assert.equal(stored.tag, world.cluster.tag());
    const record = { dataset, epoch: firstEpoch, owner: a, born: false, since: startedAt };
    assert.deepEqual(world.store.ownerships(), [record]);
    assert.deepEqual(world.view(dataset).ownership, record);
    assert.deepEqual(world.told(), [{ datasets: [dataset], nodes: [] }]);
  });

  test("a change that changes nothing makes no commit and is not told", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const dataset = world.create(a, "db");
    world.told();
    const updated = valueOf(world.cluster.updateDataset(dataset, { primary: a }, alice));
    assert.deepEqual(updated, world.view(dataset));
    valueOf(world.cluster.deleteDataset(dataset, alice));
    assert.equal(world.cluster.revision(), 2);
    valueOf(world.cluster.deleteDataset(dataset, alice));
    assert.equal(world.cluster.revision(), 2);
    assert.equal(world.told().length, 1);
  });

  test("a refused change leaves everything as it was", () => {
    const world = new TestCluster();
    const a = world.join(1);
    world.create(a, "db");
    const before = world.store.current();
    const wrong = { primary: a, maximumSizeBytes: null, metadata: { name: "db" } };
    assert.equal(problemOf(world.cluster.createDataset(wrong, alice)).code, "duplicate-name");
    const stale = { ...alice, expectedRevision: 0 };
    const other = { ...wrong, metadata: {} };
    assert.equal(problemOf(world.cluster.createDataset(other, stale)).code, "revision-mismatch");
    assert.deepEqual(world.store.current(), before);
  });

  test("names are free again after a rename and a deletion, and taken again by an undeletion", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const first = world.create(a, "db");
    valueOf(world.cluster.updateDataset(first, { metadata: { name: "old" } }, alice));
    const second = world.create(a, "db");
    valueOf(world.cluster.deleteDataset(second, alice));
    const third = world.create(a, "db");
    assert.equal(problemOf(world.cluster.undeleteDataset(second, alice)).code, "duplicate-name");
    valueOf(world.cluster.deleteDataset(third, alice));
    valueOf(world.cluster.undeleteDataset(second, alice));
    const again = { primary: a, maximumSizeBytes: null, metadata: { name: "db" } };
    assert.match(problemOf(world.cluster.createDataset(again, alice)).message, new RegExp(second));
    const names = [...world.cluster.datasets()].map(
      ({ configuration }) => configuration && datasetName(configuration),
    );
    assert.deepEqual(names, ["old", "db", "db"], "in the order of creation, deleted ones included");
  });

  test("a store that another writer has changed is noticed, not overwritten", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const dataset = world.create(a);
    const changes = [{ kind: "remove-lease", dataset }] as const;
    valueOf(world.store.commit({ expectedRevision: 1, changes, author: "intruder", at: 1 }));
    const refused = world.cluster.deleteDataset(dataset, alice);
    assert.equal(problemOf(refused).code, "revision-mismatch");
    assert.equal(world.view(dataset).configuration?.deletion, null);
  });
});

suite("deleting, and what the clock does", () => {
  test("the bytes are given free only when the grace time is over, by the control service", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const dataset = world.create(a);
    valueOf(world.cluster.deleteDataset(dataset, alice));
    const end = startedAt + graceMs;
    assert.equal(world.cluster.nextDeadline(), end);
    assert.equal(valueOf(world.cluster.purgeDue(end - 1)), 0);
    assert.equal(valueOf(world.cluster.purgeDue(end)), 1);
    assert.equal(world.view(dataset).configuration?.deletion?.purged, true);
    assert.equal(world.cluster.history(2, 5)[0]?.author, "control-service");
    assert.equal(world.cluster.nextDeadline(), null);
    assert.equal(valueOf(world.cluster.purgeDue(end + 1)), 0);
    assert.equal(problemOf(world.cluster.undeleteDataset(dataset, alice)).code, "already-purged");
  });

  test("an undeletion takes the deadline away; a restart keeps deadlines", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const [kept, gone] = [world.create(a), world.create(a)];
    for (const dataset of [kept, gone]) valueOf(world.cluster.deleteDataset(dataset, alice));
    valueOf(world.cluster.undeleteDataset(kept, alice));
    world.restart();
    assert.equal(valueOf(world.cluster.purgeDue(startedAt + graceMs)), 1);
    assert.equal(world.view(gone).configuration?.deletion?.purged, true);
    assert.equal(world.view(kept).configuration?.deletion, null);
  });

  test("very many that are due come in several commits", () => {
    const world = new TestCluster();
    const a = world.join(1);
    for (let number = 0; number < 1_100; number += 1)
      valueOf(world.cluster.deleteDataset(world.create(a), alice));
    const counts = [1, 2, 3, 4].map(() => valueOf(world.cluster.purgeDue(startedAt + graceMs)));
    assert.deepEqual(counts, [500, 500, 100, 0]);
  });

  test("leases are kept in the store, renewed, released, and end by the clock", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const dataset = world.create(a);
    const lease = { dataset, node: a, expiresAt: startedAt + 100 };
    assert.deepEqual(valueOf(world.cluster.acquireLease(lease, alice)), { created: true });
    assert.deepEqual(valueOf(world.cluster.acquireLease(lease, alice)), { created: false });
    assert.equal(world.cluster.revision(), 2, "a renewal to the same end is no commit");
    const longer = { ...lease, expiresAt: startedAt + 200 };
    assert.deepEqual(valueOf(world.cluster.acquireLease(longer, alice)), { created: false });
    world.restart();
    assert.deepEqual([...world.cluster.leases()], [longer]);
    assert.deepEqual(world.view(dataset).lease, longer);
    assert.equal(world.cluster.nextDeadline(), startedAt + 200);
    assert.equal(valueOf(world.cluster.expireLeases(startedAt + 199)), 0);
    assert.equal(valueOf(world.cluster.expireLeases(startedAt + 200)), 1);
    assert.deepEqual([...world.cluster.leases()], []);
    const forever = { ...lease, expiresAt: null };
    valueOf(world.cluster.acquireLease(forever, alice));
    assert.equal(world.cluster.nextDeadline(), null);
    assert.deepEqual(valueOf(world.cluster.releaseLease(dataset, alice)), forever);
    assert.equal(problemOf(world.cluster.releaseLease(dataset, alice)).code, "not-found");
  });

  test("a lenient lease may name a dataset that does not exist", () => {
    const world = new TestCluster();
    const lease = { dataset: sampleDatasetId(77), node: sampleNodeId(5), expiresAt: null };
    assert.deepEqual(valueOf(world.cluster.acquireLease(lease, lenient)), { created: true });
    assert.deepEqual([...world.cluster.leases()], [lease]);
    assert.deepEqual([...world.cluster.datasets()], []);
  });
});

suite("nodes", () => {
  test("a node is known for ever once its agent has connected, also after a restart", () => {
    const world = new TestCluster();
    const a = world.join(1);
    world.report(a, { capacity: { totalBytes: 10, freeBytes: 5 } });
    const view = world.cluster.node(a);
    assert.deepEqual([view?.connected, view?.stale, view?.capacity?.freeBytes], [true, false, 5]);
    assert.equal(world.cluster.nodeByEra(sampleUuid(1)), a);
    world.clock.time += 30_000;
    world.cluster.heard(a);
    world.cluster.nodeDisconnected(a);
    world.restart();
    const after = world.cluster.node(a);
    assert.deepEqual(
      [after?.name, after?.connected, after?.lastSeenAt, after?.capacity, after?.backend.capabilities],
      ["node-1", false, startedAt + 30_000, null, null],
    );
    assert.equal(world.cluster.nodeByEra(sampleUuid(1)), a);
  });

  test("a rebooted node is found by its new era only, and a renamed one by its new name", () => {
    const world = new TestCluster();
    const a = world.connect(1);
    world.cluster.nodeDisconnected(a);
    world.connect(1, { era: sampleUuid(50) as never, name: "renamed" });
    assert.equal(world.cluster.nodeByEra(sampleUuid(1)), undefined);
    assert.equal(world.cluster.nodeByEra(sampleUuid(50)), a);
    assert.equal(world.cluster.sliceNode(a)?.name, "renamed");
  });

  test("the silence of a node is told once when it begins and once when it ends, and its state is kept", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const dataset = world.create(a);
    world.report(a, { datasets: [holding(dataset)] });
    world.cluster.nodeDisconnected(a);
    world.told();
    world.clock.time += staleAfterMs;
    world.cluster.noticeSilence(world.clock.time);
    assert.deepEqual(world.told(), []);
    world.clock.time += 1;
    assert.equal(world.view(dataset).reports[0]?.stale, true);
    world.cluster.noticeSilence(world.clock.time);
    world.cluster.noticeSilence(world.clock.time + 1);
    assert.deepEqual(world.told(), [{ datasets: [dataset], nodes: [a] }]);
    const view = world.view(dataset);
    assert.deepEqual([view.reports.length, view.converged, view.reasons[0]?.code], [1, false, "node-silent"]);
    world.cluster.heard(a);
    world.cluster.heard(a);
    assert.deepEqual(world.told(), [{ datasets: [dataset], nodes: [a] }]);
  });

  test("heartbeats write nothing and tell nothing", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const stored = world.store.nodes();
    world.told();
    for (let beat = 0; beat < 360; beat += 1) {
      world.clock.time += 10_000;
      world.cluster.heard(a);
      world.cluster.noticeSilence(world.clock.time);
    }
    assert.deepEqual(world.told(), []);
    assert.deepEqual(world.store.nodes(), stored);
  });

  test("a refused second session is shown until the next one begins", () => {
    const world = new TestCluster();
    const a = world.connect(1);
    world.cluster.sessionRefused(a, "198.51.100.7");
    assert.deepEqual(world.cluster.node(a)?.refusedSession, { at: startedAt, host: "198.51.100.7" });
    world.cluster.nodeDisconnected(a);
    assert.notEqual(world.cluster.node(a)?.refusedSession, null);
    world.connect(1);
    assert.equal(world.cluster.node(a)?.refusedSession, null);
  });
});

suite("reports", () => {
  test("ownership is durable before anybody is told of it", () => {
    const world = new TestCluster();
    const [a, b] = [world.join(1), world.join(2)];
    const dataset = world.create(a);
    const seen: unknown[] = [];
    world.cluster.subscribe(() => {
      assert.deepEqual(world.store.ownerships(), [world.view(dataset).ownership]);
      seen.push(world.cluster.sliceEntry(a, dataset)?.ownership);
    });
    world.report(a, { datasets: [holding(dataset)] });
    world.report(b, { datasets: [holding(dataset, { epoch: epochOf(1, 1) })] });
    const bornAt = { dataset, epoch: firstEpoch, owner: a, born: true, since: startedAt };
    assert.deepEqual(seen, [bornAt, { ...bornAt, epoch: epochOf(1, 1), owner: b }]);
  });

  test("a report whose ownership cannot be saved fails, and nobody sees that ownership", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const dataset = world.create(a);
    const report = { complete, datasets: [holding(dataset)] };
    world.told();
    world.setWritable(false);
    assert.throws(() => world.report(a, report), ProblemError);
    const { ownership, reports } = world.view(dataset);
    assert.deepEqual([ownership?.born, reports.length], [false, 1]);
    // The agent was not answered, so it connects again and says all it has, which is nothing new.
    world.setWritable(true);
    world.report(a, report);
    assert.equal(world.view(dataset).ownership?.born, true);
    assert.equal(world.store.ownerships()[0]?.born, true);
    assert.deepEqual(
      world.told().map((change) => change.datasets),
      [[dataset], [dataset]],
    );
  });

  test("what the store refuses is a problem, and nothing changes", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const dataset = world.create(a);
    const before = world.view(dataset);
    world.setWritable(false);
    assert.equal(problemOf(world.cluster.deleteDataset(dataset, alice)).code, "file-unreadable");
    assert.deepEqual(world.view(dataset), before);
    world.setWritable(true);
    valueOf(world.cluster.deleteDataset(dataset, alice));
    world.setWritable(false);
    world.cluster.nodeDisconnected(a);
    world.connect(1);
    assert.equal(world.cluster.node(a)?.connected, true, "a node is served although it cannot be noted");
    assert.equal(problemOf(world.cluster.purgeDue(startedAt + graceMs)).code, "file-unreadable");
    world.setWritable(true);
    assert.equal(valueOf(world.cluster.purgeDue(startedAt + graceMs)), 1);
  });

  test("a complete report drops what is not in it, but only when it has ended", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const [first, second, third] = [world.create(a), world.create(a), world.create(a)];
    world.report(a, { datasets: [first, second, third].map((dataset) => holding(dataset)) });
    const holders = () => [first, second, third].map((dataset) => world.view(dataset).reports.length);
    world.report(a, { complete: { begins: true, ends: false }, datasets: [holding(first)] });
    assert.deepEqual(holders(), [1, 1, 1]);
    // What is said in between by ordinary deltas counts, too.
    world.report(a, { datasets: [holding(third)] });
    world.report(a, { complete: { begins: false, ends: true } });
    assert.deepEqual(holders(), [1, 0, 1]);
    assert.equal(world.cluster.node(a)?.datasetCount, 2);
    world.report(a, { gone: [third] });
    assert.deepEqual(holders(), [1, 0, 0]);
  });

  test("a complete report that was broken off drops nothing", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const dataset = world.create(a);
    world.report(a, { datasets: [holding(dataset)] });
    world.report(a, { complete: { begins: true, ends: false } });
    world.cluster.nodeDisconnected(a);
    world.connect(1);
    world.report(a, { complete: { begins: false, ends: true } });
    assert.equal(world.view(dataset).reports.length, 1);
  });

  test("saying the same again is no news", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const dataset = world.create(a);
    world.report(a, { datasets: [holding(dataset)], capacity: { totalBytes: 2, freeBytes: 1 } });
    world.told();
    world.report(a, {
      complete,
      datasets: [holding(dataset)],
      capacity: { totalBytes: 2, freeBytes: 1 },
    });
    assert.deepEqual(world.told(), []);
  });

  test("a copy that is not configured is shown as such, and its node's slice wants nothing of it", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const stray = sampleDatasetId(500);
    const configured = world.create(a);
    world.report(a, { datasets: [holding(stray)] });
    assert.deepEqual(
      [...world.cluster.datasets()].map((view) => view.dataset),
      [configured, stray],
    );
    const view = world.view(stray);
    assert.deepEqual([view.configuration, view.ownership, view.converged], [null, null, false]);
    assert.equal(world.cluster.sliceEntry(a, stray)?.desired, null);
    world.report(a, { gone: [stray] });
    assert.equal(world.cluster.dataset(stray), undefined);
    assert.equal(world.cluster.sliceEntry(a, stray), undefined);
  });

  test("creating a dataset under the id of a copy that is there takes the copy over", () => {
    const world = new TestCluster();
    const [a, b] = [world.join(1), world.join(2)];
    const dataset = sampleDatasetId(500);
    world.report(b, { datasets: [holding(dataset, { epoch: epochOf(2, 1) })] });
    const request = { dataset, primary: a, maximumSizeBytes: null, metadata: {} };
    const view = valueOf(world.cluster.createDataset(request, alice));
    const record = { dataset, epoch: epochOf(2, 1), owner: b, born: true, since: startedAt };
    assert.deepEqual([view.ownership, view.conflict], [record, false]);
    assert.deepEqual(world.store.ownerships(), [record]);
  });

  test("two primaries at one epoch are shown to all concerned until one gives way", () => {
    const world = new TestCluster();
    const [a, b] = [world.join(1), world.join(2)];
    const dataset = world.create(a);
    world.report(a, { datasets: [holding(dataset)] });
    world.report(b, { datasets: [holding(dataset)] });
    assert.equal(world.view(dataset).conflict, true);
    for (const node of [a, b]) assert.equal(world.cluster.sliceEntry(node, dataset)?.conflict, true);
    world.cluster.nodeDisconnected(b);
    assert.equal(world.view(dataset).conflict, true, "silence does not resolve it");
    world.connect(2);
    world.report(b, { datasets: [holding(dataset, { role: "replica" })] });
    assert.equal(world.view(dataset).conflict, false);
    assert.equal(world.view(dataset).ownership?.owner, a);
  });

  test("progress is shown while the transfer lasts", () => {
    const world = new TestCluster();
    const [a, b] = [world.join(1), world.join(2)];
    const dataset = world.create(a);
    world.report(a, { datasets: [holding(dataset)] });
    valueOf(world.cluster.updateDataset(dataset, { primary: b }, alice));
    const progress = (doneBytes: number) =>
      world.cluster.applyReport(a, { kind: "progress", dataset, doneBytes, totalBytes: 100 });
    progress(40);
    assert.deepEqual(world.view(dataset).transfer, { from: a, doneBytes: 40, totalBytes: 100 });
    const sending = { ...holding(dataset), activity: { action: "send", since: startedAt } };
    world.report(a, { datasets: [sending] });
    assert.notEqual(world.view(dataset).transfer, null);
    world.report(a, { datasets: [holding(dataset)] });
    assert.equal(world.view(dataset).transfer, null);
    progress(60);
    world.cluster.nodeDisconnected(a);
    assert.equal(world.view(dataset).transfer, null);
    world.cluster.applyReport(b, {
      kind: "progress",
      dataset: sampleDatasetId(9),
      doneBytes: 1,
      totalBytes: 1,
    });
    assert.equal(world.cluster.dataset(sampleDatasetId(9)), undefined);
  });
});

suite("the birthright follows the configuration", () => {
  const renounce = (world: TestCluster, node: NodeId, dataset: DatasetId, step = 0) =>
    world.report(node, { datasets: [absence(dataset, { renounced: epochOf(1, step) })] });

  test("a change of the primary of an unborn dataset moves it only with the owner's word", () => {
    const world = new TestCluster();
    const [a, b] = [world.join(1), world.join(2)];
    const dataset = world.create(a);
    valueOf(world.cluster.updateDataset(dataset, { primary: b }, alice));
    assert.equal(world.view(dataset).ownership?.owner, a);
    renounce(world, a, dataset);
    const record = { dataset, epoch: epochOf(1, 1), owner: b, born: false, since: startedAt };
    assert.deepEqual(world.view(dataset).ownership, record);
    assert.deepEqual(world.store.ownerships(), [record]);
  });

  test("back and forth, in any order, somebody always has the right to create it", () => {
    const world = new TestCluster();
    const [a, b] = [world.join(1), world.join(2)];
    const dataset = world.create(a);
    const move = (primary: NodeId) => valueOf(world.cluster.updateDataset(dataset, { primary }, alice));
    move(b);
    move(a);
    // The word of A was on its way while A was wanted again.
    renounce(world, a, dataset);
    assert.deepEqual(world.view(dataset).ownership?.epoch, epochOf(1, 1));
    assert.equal(world.view(dataset).ownership?.owner, a);
    move(b);
    renounce(world, a, dataset, 1);
    move(a);
    renounce(world, b, dataset, 2);
    const { ownership } = world.view(dataset);
    assert.deepEqual([ownership?.owner, ownership?.epoch, ownership?.born], [a, epochOf(1, 3), false]);
  });

  test("the same holds when the control service has started again in between", () => {
    const world = new TestCluster();
    const [a, b] = [world.join(1), world.join(2)];
    const dataset = world.create(a);
    for (const primary of [b, a]) valueOf(world.cluster.updateDataset(dataset, { primary }, alice));
    world.restart();
    world.join(1);
    renounce(world, a, dataset);
    assert.deepEqual(world.view(dataset).ownership?.epoch, epochOf(1, 1));
  });

  test("a renouncement that this store cannot have caused creates no second right", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const dataset = world.create(a);
    // As after the restoring of a backup: A gave the right to another node, which is not heard of now.
    world.restart();
    world.join(1);
    renounce(world, a, dataset);
    assert.deepEqual(world.view(dataset).ownership?.epoch, firstEpoch);
  });
});
