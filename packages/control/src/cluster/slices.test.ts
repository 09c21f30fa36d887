import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import type { DatasetId, NodeId } from "@flocker/core";
import { sampleDatasetId, sampleNodeId } from "../store/sample-values.ts";
import { absence, alice, epochOf, graceMs, holding, TestCluster, valueOf } from "./cluster-fixtures.test.ts";

function concerned(world: TestCluster, dataset: DatasetId): readonly NodeId[] {
  return [...world.cluster.concernedNodes(dataset)].toSorted();
}

function sliceOf(world: TestCluster, node: NodeId): readonly DatasetId[] {
  return world.cluster.sliceFor(node).map((entry) => entry.dataset);
}

suite("slices", () => {
  test("an entry says what should be, who owns it, and the lease", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const dataset = world.create(a);
    const lease = { dataset, node: a, expiresAt: null };
    valueOf(world.cluster.acquireLease(lease, alice));
    assert.deepEqual(world.cluster.sliceFor(a), [
      {
        dataset,
        desired: { primary: a, maximumSizeBytes: null, deletion: null },
        ownership: world.view(dataset).ownership,
        conflict: false,
        lease,
        relinquishedToYou: null,
      },
    ]);
  });

  test("an entry says which profile new copies get, and what the first one is made of", () => {
    const world = new TestCluster();
    const a = world.join(1);
    const metadata = { "clusterhq:flocker:profile": "gold" };
    const request = { primary: a, maximumSizeBytes: null, metadata, source: "tank/pg" };
    const { dataset } = valueOf(world.cluster.createDataset(request, alice));
    const wish = { primary: a, maximumSizeBytes: null, deletion: null, profile: "gold", source: "tank/pg" };
    assert.deepEqual(world.cluster.sliceEntry(a, dataset)?.desired, wish);
    valueOf(world.cluster.updateDataset(dataset, { metadata: {} }, alice));
    const { profile: _, ...without } = wish;
    assert.deepEqual(world.cluster.sliceEntry(a, dataset)?.desired, without);
  });

  test("a dataset concerns its primary, its owner, and whoever has something of it", () => {
    const world = new TestCluster();
    const [a, b, c, d] = [world.join(1), world.join(2), world.join(3), world.join(4)];
    const dataset = world.create(a);
    assert.deepEqual(concerned(world, dataset), [a]);
    valueOf(world.cluster.updateDataset(dataset, { primary: b }, alice));
    assert.deepEqual(concerned(world, dataset), [a, b]);
    world.report(c, { datasets: [holding(dataset, { role: "replica" })] });
    world.report(d, { datasets: [absence(dataset)] });
    assert.deepEqual(concerned(world, dataset), [a, b, c]);
    world.report(d, { datasets: [absence(dataset, { renounced: epochOf(1, 0) })] });
    assert.deepEqual(concerned(world, dataset), [a, b, c, d]);
    assert.deepEqual(sliceOf(world, d), [dataset]);
    world.report(d, { gone: [dataset] });
    assert.deepEqual(sliceOf(world, d), []);
    assert.equal(world.cluster.sliceEntry(d, dataset), undefined);
  });

  test("a node that is never seen can be concerned, and is no slice node", () => {
    const world = new TestCluster();
    const never = sampleNodeId(9);
    const request = { primary: never, maximumSizeBytes: null, metadata: {} };
    const { dataset, reasons } = valueOf(world.cluster.createDataset(request, { ...alice, lenient: true }));
    assert.equal(reasons[0]?.code, "node-never-seen");
    assert.deepEqual(sliceOf(world, never), [dataset]);
    assert.equal(world.cluster.sliceNode(never), undefined);
  });

  test("a relinquished copy is offered to its successor until the record shows the takeover", () => {
    const world = new TestCluster();
    const [a, b] = [world.join(1), world.join(2)];
    const dataset = world.create(a);
    world.report(a, { datasets: [holding(dataset)] });
    const epoch = epochOf(1, 1);
    const relinquished = { role: "relinquished", epoch, successor: b, snapshot: "guid" } as const;
    world.report(a, { datasets: [holding(dataset, relinquished)] });
    assert.deepEqual(world.cluster.sliceEntry(b, dataset)?.relinquishedToYou, {
      from: a,
      epoch,
      snapshot: "guid",
    });
    assert.equal(world.cluster.sliceEntry(a, dataset)?.relinquishedToYou, null);
    assert.equal(world.view(dataset).ownership?.owner, a, "by itself it changes no owner");
    world.report(b, { datasets: [holding(dataset, { epoch })] });
    assert.equal(world.view(dataset).ownership?.owner, b);
    assert.equal(world.cluster.sliceEntry(b, dataset)?.relinquishedToYou, null);
  });

  test("an entry's nodes are told with their address and whether they live", () => {
    const world = new TestCluster();
    const [a, b, c] = [world.join(1), world.join(2), world.join(3)];
    const dataset = world.create(a);
    world.report(c, { datasets: [holding(dataset, { role: "replica" })] });
    valueOf(world.cluster.updateDataset(dataset, { primary: b }, alice));
    const entry = world.cluster.sliceEntry(b, dataset);
    assert.ok(entry !== undefined);
    assert.deepEqual([...world.cluster.nodesOf(entry)].toSorted(), [a, b, c]);
    world.cluster.nodeDisconnected(a);
    assert.deepEqual(world.cluster.sliceNode(a), {
      node: a,
      name: "node-1",
      dataAddress: { host: "192.0.2.1", port: 4525 },
      live: false,
      lastSeenAt: world.clock.time,
    });
  });

  test("a purged dataset leaves the slices of those who have nothing of it any more", () => {
    const world = new TestCluster();
    const [a, b] = [world.join(1), world.join(2)];
    const dataset = world.create(a);
    world.report(a, { datasets: [holding(dataset, {}, { trashedAt: 1 })] });
    world.report(b, { datasets: [absence(dataset, { renounced: epochOf(1, 0) })] });
    valueOf(world.cluster.deleteDataset(dataset, alice));
    assert.deepEqual(concerned(world, dataset), [a, b]);
    valueOf(world.cluster.purgeDue(world.clock.time + graceMs));
    assert.deepEqual(concerned(world, dataset), [a]);
    world.report(a, { gone: [dataset] });
    assert.deepEqual(concerned(world, dataset), []);
    assert.equal(world.view(dataset).converged, true);
  });

  test("the slices are the same after the control service has started again and all have reported", () => {
    const world = new TestCluster();
    const [a, b] = [world.join(1), world.join(2)];
    const dataset = world.create(a);
    const stray = sampleDatasetId(800);
    const reports = [holding(dataset), holding(stray)];
    world.report(a, { datasets: reports });
    valueOf(world.cluster.updateDataset(dataset, { primary: b }, alice));
    const before = [a, b].map((node) => world.cluster.sliceFor(node));
    world.restart();
    world.join(1, ...reports);
    world.join(2);
    assert.deepEqual(
      [a, b].map((node) => world.cluster.sliceFor(node)),
      before,
    );
  });
});

suite("the cost of a change", () => {
  test("at 20,000 datasets on 100 nodes a change is told of the concerned alone", () => {
    const world = new TestCluster();
    const nodes = Array.from({ length: 100 }, (_none, index) => world.join(index + 1));
    const datasets: DatasetId[] = [];
    for (let number = 0; number < 20_000; number += 1) {
      const primary = nodes[number % nodes.length];
      assert.ok(primary !== undefined);
      datasets.push(world.create(primary, `volume-${number}`));
    }
    world.told();
    const [a, b, c] = nodes;
    const dataset = datasets[10_000];
    assert.ok(a !== undefined && b !== undefined && c !== undefined && dataset !== undefined);
    const slices = () => nodes.map((node) => world.cluster.sliceFor(node).length);
    const before = slices();
    assert.equal(world.view(dataset).ownership?.owner, a);
    valueOf(world.cluster.updateDataset(dataset, { primary: b }, alice));
    assert.deepEqual(world.told(), [{ datasets: [dataset], nodes: [] }]);
    assert.deepEqual(concerned(world, dataset), [a, b]);
    world.report(c, { datasets: [holding(dataset, { role: "replica" })] });
    assert.deepEqual(world.told(), [{ datasets: [dataset], nodes: [] }]);
    assert.deepEqual(concerned(world, dataset), [a, b, c]);
    const more = slices().map((count, index) => count - (before[index] ?? 0));
    assert.deepEqual(more.slice(0, 4), [0, 1, 1, 0]);
    assert.equal(more.filter((count) => count !== 0).length, 2);
    world.cluster.nodeDisconnected(c);
    assert.equal(world.told()[0]?.datasets.length, 201, "a node's going concerns its own datasets alone");
  });
});

const number = fc.integer({ min: 1, max: 3 });
const action = fc.oneof(
  fc.record({ do: fc.constant("create" as const), number, node: number }),
  fc.record({ do: fc.constant("move" as const), number, node: number }),
  fc.record({ do: fc.constantFrom("delete" as const, "undelete" as const), number, node: number }),
  fc.record({
    do: fc.constantFrom("gone" as const, "renounce" as const, "purge" as const),
    number,
    node: number,
  }),
  fc.record({
    do: fc.constant("hold" as const),
    number,
    node: number,
    role: fc.constantFrom("primary", "relinquished", "replica"),
    step: fc.nat(2),
  }),
);

function play(
  world: TestCluster,
  one: typeof action extends fc.Arbitrary<infer Action> ? Action : never,
): void {
  const dataset = sampleDatasetId(one.number);
  const node = sampleNodeId(one.node);
  const { cluster } = world;
  switch (one.do) {
    case "create":
      return void cluster.createDataset(
        { dataset, primary: node, maximumSizeBytes: null, metadata: {} },
        alice,
      );
    case "move":
      return void cluster.updateDataset(dataset, { primary: node }, alice);
    case "delete":
      return void cluster.deleteDataset(dataset, alice);
    case "undelete":
      return void cluster.undeleteDataset(dataset, alice);
    case "purge":
      world.clock.time += graceMs;
      return void cluster.purgeDue(world.clock.time);
    case "gone":
      return world.report(node, { gone: [dataset] });
    case "renounce":
      return world.report(node, { datasets: [absence(dataset, { renounced: epochOf(1, 1) })] });
    case "hold": {
      const record = {
        role: one.role,
        epoch: epochOf(1, one.step),
        successor: sampleNodeId(1),
        snapshot: "s",
      };
      return world.report(node, { datasets: [holding(dataset, record)] });
    }
  }
}

suite("the indexes", () => {
  test("after any changes they say what going through everything would", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
        const world = new TestCluster();
        const nodes = [world.join(1), world.join(2), world.join(3)];
        for (const one of actions) {
          play(world, one);
          const views = [...world.cluster.datasets()];
          for (const node of nodes) {
            const expected = views
              .map((view) => view.dataset)
              .filter((id) => concerned(world, id).includes(node));
            assert.deepEqual([...sliceOf(world, node)].toSorted(), expected.toSorted());
          }
          for (const { dataset, configuration, ownership, reports } of views) {
            const isPurged = configuration?.deletion?.purged === true;
            const expected = new Set<NodeId>();
            if (configuration !== null && !isPurged) expected.add(configuration.primary);
            if (ownership !== null && !isPurged) expected.add(ownership.owner);
            for (const { node, report } of reports) {
              if (report.copy !== null || (report.renounced !== null && !isPurged)) expected.add(node);
              if (report.copy?.record.role === "relinquished" && !isPurged) expected.add(sampleNodeId(1));
            }
            assert.deepEqual(concerned(world, dataset), [...expected].toSorted());
          }
          const configured = views.filter((view) => view.configuration !== null);
          assert.deepEqual(
            world.store.current().datasets,
            configured.map((view) => view.configuration),
          );
          const owned = configured.map((view) => view.ownership);
          assert.deepEqual(
            [...world.store.ownerships()].toSorted((x, y) => (x.dataset < y.dataset ? -1 : 1)),
            owned.toSorted((x, y) => ((x?.dataset ?? "") < (y?.dataset ?? "") ? -1 : 1)),
          );
        }
      }),
      { numRuns: 150 },
    );
  });
});
