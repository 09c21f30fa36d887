import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { DatasetConfiguration, NodeId } from "@flocker/core";
import {
  sampleDataset,
  sampleDatasetId,
  sampleLease,
  sampleNodeId,
  sampleOwnership,
} from "../store/sample-values.ts";
import { alice, graceMs, problemOf, startedAt, valueOf } from "./cluster-fixtures.test.ts";
import type { Caller, DatasetUpdate, NewDataset } from "./cluster.ts";
import { decideAcquire, decideExpiry, decideRelease } from "./lease-rules.ts";
import { nearCandidates } from "./near.ts";
import {
  decideCreate,
  decideDelete,
  decidePurge,
  decideUndelete,
  decideUpdate,
  type RulesView,
} from "./rules.ts";

const [one, two] = [sampleNodeId(1), sampleNodeId(2)];
const stranger = "22222222-2222-4222-8222-222222222222" as NodeId;
const lenient: Caller = { ...alice, lenient: true };
const deletion = { at: startedAt - 10, graceEndsAt: startedAt + 10, purged: false };
const purged = { ...deletion, purged: true };

/** Nodes 1 and 2, and the datasets given. */
function viewOf(datasets: readonly DatasetConfiguration[], parts: Partial<RulesView> = {}): RulesView {
  const table = new Map(datasets.map((value) => [value.dataset, value]));
  const nodes = new Map([
    [one, "alpha"],
    [two, "beta"],
  ]);
  return {
    revision: 7,
    now: startedAt,
    configuration: (dataset) => table.get(dataset),
    named: (name) =>
      datasets
        .filter((value) => value.deletion === null && value.metadata["name"] === name)
        .map((value) => value.dataset),
    datasetIds: () => table.keys(),
    nodeName: (node) => nodes.get(node),
    nodes: () => [...nodes].map(([node, name]) => ({ node, name })),
    lease: () => undefined,
    containers: { using: () => undefined },
    ...parts,
  };
}

const existing = sampleDataset(1);
const dataset = existing.dataset;

function create(parts: Partial<NewDataset>, caller: Caller = alice, view: RulesView = viewOf([existing])) {
  const request = {
    dataset: sampleDatasetId(2),
    primary: one,
    maximumSizeBytes: null,
    metadata: {},
    ...parts,
  };
  return decideCreate(request, { view, caller, birth: sampleOwnership(2) });
}

function update(parts: DatasetUpdate, caller: Caller = alice, value: DatasetConfiguration = existing) {
  return decideUpdate(dataset, parts, { view: viewOf([value, sampleDataset(3)]), caller });
}

suite("creating", () => {
  test("the dataset comes with its ownership record, in one change", () => {
    const changes = valueOf(create({ metadata: { name: "db" }, maximumSizeBytes: 2 ** 26 }));
    const metadata = { name: "db" };
    const value = { ...sampleDataset(2, { metadata, maximumSizeBytes: 2 ** 26 }), revision: 0 };
    assert.deepEqual(changes, [{ kind: "put-dataset", value, birth: sampleOwnership(2) }]);
  });

  test("a node that was never seen is refused with those that may be meant, unless the caller is lenient", () => {
    const near = sampleNodeId(9);
    const problem = problemOf(create({ primary: near }));
    assert.equal(problem.code, "unknown-node");
    assert.equal(problem.field, "primary");
    assert.match(problem.message, new RegExp(near));
    assert.match(problem.remedy, /flocker nodes.*Did you mean .*\(alpha\) or .*\(beta\)\?/);
    assert.doesNotMatch(problemOf(create({ primary: stranger })).remedy, /Did you mean/);
    const empty = viewOf([], { nodes: () => [], nodeName: () => undefined });
    assert.match(problemOf(create({}, alice, empty)).remedy, /start one first/);
    valueOf(create({ primary: stranger }, lenient));
  });

  test("a name in use is refused, unless the caller is lenient or its holder is deleted", () => {
    const metadata = { name: "volume-1" };
    const problem = problemOf(create({ metadata }));
    assert.deepEqual([problem.code, problem.field], ["duplicate-name", "metadata.name"]);
    assert.match(problem.message, new RegExp(dataset));
    valueOf(create({ metadata }, lenient));
    valueOf(create({ metadata }, alice, viewOf([{ ...existing, deletion }])));
  });

  test("an id in use is refused, also that of a deleted dataset and also for lenient callers", () => {
    for (const [value, remedy] of [
      [existing, /Leave the id out/],
      [{ ...existing, deletion }, /Undelete it/],
      [{ ...existing, deletion: purged }, /^Leave the id out/],
    ] as const) {
      const problem = problemOf(create({ dataset }, lenient, viewOf([value])));
      assert.deepEqual([problem.code, problem.field], ["duplicate-id", "dataset"]);
      assert.match(problem.remedy, remedy);
    }
  });

  test("sizes are at least 64 MiB, whole kibibytes and exact numbers; none means no limit", () => {
    const mebibyte = 2 ** 20;
    for (const size of [null, 64 * mebibyte, 64 * mebibyte + 1024, Number.MAX_SAFE_INTEGER - 1023])
      valueOf(create({ maximumSizeBytes: size }));
    const wrong = [
      0,
      -1,
      1024,
      64 * mebibyte - 1024,
      64 * mebibyte + 1,
      2 ** 53,
      1e300,
      Number.NaN,
      2 ** 27 + 0.5,
    ];
    for (const size of wrong)
      for (const caller of [alice, lenient]) {
        const problem = problemOf(create({ maximumSizeBytes: size }, caller));
        assert.deepEqual([problem.code, problem.field], ["size-out-of-range", "maximumSizeBytes"], `${size}`);
        assert.notEqual(problem.remedy, "");
      }
    const rounded = problemOf(create({ maximumSizeBytes: 64 * mebibyte + 1 }));
    assert.match(rounded.remedy, /67108864 or 67109888/);
  });

  test("metadata have at most 16 keys of 1 to 256 characters, with values of at most 256", () => {
    const keys = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_none, index) => [`k${index}`, ""]));
    for (const metadata of [keys(16), { ["😀".repeat(256)]: "😀".repeat(256) }])
      valueOf(create({ metadata }));
    for (const [metadata, field] of [
      [keys(17), "metadata"],
      [{ "": "x" }, "metadata"],
      [{ ["k".repeat(257)]: "x" }, "metadata"],
      [{ key: "v".repeat(257) }, "metadata.key"],
    ] as const) {
      const problem = problemOf(create({ metadata }, lenient));
      assert.deepEqual([problem.code, problem.field], ["bad-request", field]);
    }
  });

  test("a decision on another revision is refused before all else", () => {
    const problem = problemOf(create({ primary: stranger }, { ...alice, expectedRevision: 6 }));
    assert.equal(problem.code, "revision-mismatch");
    assert.match(problem.message, /revision 6 .* revision 7/);
    valueOf(create({}, { ...alice, expectedRevision: 7 }));
  });
});

suite("changing", () => {
  test("what is as asked for already needs no commit", () => {
    const { primary, maximumSizeBytes } = existing;
    for (const parts of [{}, { primary }, { primary, maximumSizeBytes, metadata: { ...existing.metadata } }])
      assert.deepEqual(valueOf(update(parts)), []);
  });

  test("only what is given changes", () => {
    assert.deepEqual(valueOf(update({ primary: two })), [
      { kind: "put-dataset", value: { ...existing, primary: two } },
    ]);
    assert.deepEqual(valueOf(update({ maximumSizeBytes: null, metadata: {} })), [
      { kind: "put-dataset", value: { ...existing, maximumSizeBytes: null, metadata: {} } },
    ]);
  });

  test("each field is checked as at the creation", () => {
    assert.equal(problemOf(update({ primary: stranger })).code, "unknown-node");
    assert.equal(problemOf(update({ maximumSizeBytes: 5 })).code, "size-out-of-range");
    assert.equal(problemOf(update({ metadata: { "": "" } })).code, "bad-request");
    assert.equal(problemOf(update({ metadata: { name: "volume-3" } })).code, "duplicate-name");
    valueOf(update({ primary: stranger, metadata: { name: "volume-3" } }, lenient));
  });

  test("what stays is not judged again", () => {
    const odd = { ...existing, primary: stranger, maximumSizeBytes: 5, metadata: { name: "volume-3" } };
    valueOf(update({ metadata: { name: "volume-3", more: "x" } }, alice, odd));
    valueOf(update({ primary: two }, alice, odd));
  });

  test("an unknown dataset is refused with the ids that may be meant", () => {
    const view = viewOf([existing]);
    const problem = problemOf(decideUpdate(sampleDatasetId(5), {}, { view, caller: lenient }));
    assert.equal(problem.code, "unknown-dataset");
    assert.match(problem.remedy, new RegExp(`Did you mean ${dataset}`));
  });

  test("a deleted dataset is not changed", () => {
    const problem = problemOf(update({}, lenient, { ...existing, deletion }));
    assert.equal(problem.code, "dataset-deleted");
    assert.match(problem.remedy, /Undelete/);
    assert.match(problemOf(update({}, alice, { ...existing, deletion: purged })).remedy, /Create a new/);
  });
});

suite("deleting and undeleting", () => {
  const context = (value: DatasetConfiguration, ...more: readonly DatasetConfiguration[]) => ({
    view: viewOf([value, ...more]),
    caller: alice,
  });

  test("a deletion begins the grace time; a second one changes nothing", () => {
    const changes = valueOf(decideDelete(dataset, { ...context(existing), graceMs }));
    const begun = { at: startedAt, graceEndsAt: startedAt + graceMs, purged: false };
    assert.deepEqual(changes, [{ kind: "put-dataset", value: { ...existing, deletion: begun } }]);
    for (const gone of [deletion, purged])
      assert.deepEqual(
        valueOf(decideDelete(dataset, { ...context({ ...existing, deletion: gone }), graceMs })),
        [],
      );
    const other = decideDelete(sampleDatasetId(5), { ...context(existing), graceMs });
    assert.equal(problemOf(other).code, "unknown-dataset");
  });

  test("undeleting works until the purge, also after the end of the grace time", () => {
    for (const graceEndsAt of [startedAt + 1, startedAt - 1]) {
      const value = { ...existing, deletion: { ...deletion, graceEndsAt } };
      assert.deepEqual(valueOf(decideUndelete(dataset, context(value))), [
        { kind: "put-dataset", value: existing },
      ]);
    }
    const problem = problemOf(decideUndelete(dataset, context({ ...existing, deletion: purged })));
    assert.equal(problem.code, "already-purged");
  });

  test("undeleting what is not deleted is refused", () => {
    assert.equal(problemOf(decideUndelete(dataset, context(existing))).code, "dataset-not-deleted");
  });

  test("undeleting is refused where the name was taken meanwhile, unless the caller is lenient", () => {
    const taken = context({ ...existing, deletion }, sampleDataset(4, { metadata: { name: "volume-1" } }));
    const problem = problemOf(decideUndelete(dataset, taken));
    assert.equal(problem.code, "duplicate-name");
    assert.match(problem.message, new RegExp(sampleDatasetId(4)));
    valueOf(decideUndelete(dataset, { ...taken, caller: lenient }));
  });

  test("a purge takes those whose grace time is over, and no others", () => {
    const over = { ...sampleDataset(2), deletion: { ...deletion, graceEndsAt: startedAt } };
    const running = { ...sampleDataset(3), deletion };
    const done = { ...sampleDataset(4), deletion: { ...purged, graceEndsAt: startedAt } };
    const all = [existing, over, running, done];
    const changes = decidePurge([...all.map((value) => value.dataset), sampleDatasetId(9)], viewOf(all));
    assert.deepEqual(changes, [
      { kind: "put-dataset", value: { ...over, deletion: { ...over.deletion, purged: true } } },
    ]);
  });
});

suite("leases", () => {
  const lease = sampleLease(1, { node: one, expiresAt: startedAt + 100 });
  const acquire = (asked: Partial<typeof lease>, held?: typeof lease, caller: Caller = alice) =>
    decideAcquire({ ...lease, ...asked }, { view: viewOf([existing], { lease: () => held }), caller });

  test("a free dataset's lease is created, the same node's renewed", () => {
    assert.deepEqual(valueOf(acquire({})), { created: true, change: { kind: "put-lease", value: lease } });
    const longer = { ...lease, expiresAt: null };
    assert.deepEqual(valueOf(acquire(longer, lease)), {
      created: false,
      change: { kind: "put-lease", value: longer },
    });
    assert.deepEqual(valueOf(acquire({}, lease)), { created: false, change: null });
  });

  test("another node's lease is in the way until it has ended", () => {
    const problem = problemOf(acquire({ node: two }, lease));
    assert.equal(problem.code, "lease-held");
    assert.match(problem.message, new RegExp(`${one} \\(alpha\\) holds one that ends 20`));
    assert.match(problemOf(acquire({ node: two }, { ...lease, expiresAt: null })).message, /has no end/);
    assert.equal(valueOf(acquire({ node: two }, { ...lease, expiresAt: startedAt })).created, true);
  });

  test("dataset, node and end are checked, but for lenient callers as little as the original did", () => {
    const nowhere = sampleDatasetId(5);
    assert.equal(problemOf(acquire({ dataset: nowhere })).code, "unknown-dataset");
    assert.equal(problemOf(acquire({ node: stranger })).code, "unknown-node");
    const past = problemOf(acquire({ expiresAt: startedAt }));
    assert.deepEqual([past.code, past.field], ["bad-request", "expiresAt"]);
    const gone = viewOf([{ ...existing, deletion }]);
    assert.equal(problemOf(decideAcquire(lease, { view: gone, caller: alice })).code, "dataset-deleted");
    for (const parts of [{ dataset: nowhere }, { node: stranger }, { expiresAt: startedAt }])
      assert.equal(valueOf(acquire(parts, undefined, lenient)).created, true);
  });

  test("an end that is no time is refused for everybody", () => {
    for (const expiresAt of [8.64e15 + 1, Infinity, Number.NaN])
      assert.equal(problemOf(acquire({ expiresAt }, undefined, lenient)).code, "bad-request");
  });

  test("releasing answers the lease that was, or that there was none", () => {
    const view = viewOf([], { lease: () => lease });
    assert.deepEqual(valueOf(decideRelease(dataset, { view, caller: alice })), lease);
    assert.equal(problemOf(decideRelease(dataset, { view: viewOf([]), caller: alice })).code, "not-found");
    const stale = { ...alice, expectedRevision: 1 };
    assert.equal(problemOf(decideRelease(dataset, { view, caller: stale })).code, "revision-mismatch");
  });

  test("only leases whose end has come expire", () => {
    const ends = new Map([
      [sampleDatasetId(1), startedAt],
      [sampleDatasetId(2), startedAt + 1],
    ]);
    const view = viewOf([], {
      lease: (id) => {
        const expiresAt = ends.get(id);
        return expiresAt === undefined ? undefined : { ...lease, dataset: id, expiresAt };
      },
    });
    assert.deepEqual(decideExpiry([1, 2, 3].map(sampleDatasetId), view), [
      { kind: "remove-lease", dataset: sampleDatasetId(1) },
    ]);
  });
});

suite("near candidates", () => {
  test("they share the beginning or differ in up to three places, and are at most three", () => {
    assert.deepEqual(
      nearCandidates("abcdefgh-1", ["abcdefgh-22", "abcdefgh-1", "zzzdefgh-1", "zzzzefgh-1"]),
      ["abcdefgh-22", "zzzdefgh-1"],
    );
    assert.equal(nearCandidates("aaaa", ["aaab", "aaac", "aaad", "aaae"]).length, 3);
  });
});
