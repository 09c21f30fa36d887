import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { compareEpochs, firstEpoch, type DatasetReport, type NodeId, type Ownership } from "@flocker/core";
import { sampleDatasetId, sampleNodeId, sampleOwnership } from "../store/sample-values.ts";
import { absence, epochOf, holding } from "./cluster-fixtures.test.ts";
import { birthRecord, decideOwnership, isBirthrightAskedBack, type OwnershipInput } from "./ownership.ts";

const dataset = sampleDatasetId(1);
const [a, b, c] = [sampleNodeId(1), sampleNodeId(2), sampleNodeId(3)];
const now = 50_000;

function decide(
  stored: Ownership | null,
  reports: readonly (readonly [NodeId, DatasetReport])[],
  parts: Partial<OwnershipInput> = {},
) {
  return decideOwnership({
    stored,
    configuredPrimary: a,
    reports: new Map(reports),
    primaryWasElsewhere: false,
    now,
    ...parts,
  });
}

const unborn = sampleOwnership(1, { owner: a });
const born = sampleOwnership(1, { owner: a, epoch: epochOf(1, 4), born: true });

suite("ownership from reports", () => {
  test("nothing reported changes nothing", () => {
    assert.deepEqual(decide(born, []), { ownership: born, conflict: null });
    assert.equal(decide(born, [[a, absence(dataset)]]).ownership, born);
  });

  test("the owner's report of its copy confirms the birth, at the same epoch", () => {
    assert.deepEqual(decide(unborn, [[a, holding(dataset)]]), {
      ownership: { ...unborn, born: true },
      conflict: null,
    });
  });

  test("any copy on any node, at any epoch, says that the dataset was born", () => {
    for (const role of ["replica", "relinquished", "primary"] as const) {
      const stored = { ...unborn, epoch: epochOf(1, 2) };
      const { ownership } = decide(stored, [[c, holding(dataset, { role, epoch: epochOf(1, 1) })]]);
      assert.deepEqual(ownership, { ...stored, born: true });
    }
  });

  test("a copy that cannot be read says nothing", () => {
    const unreadable = { code: "storage-unreadable", message: "m", remedy: "r" } as const;
    assert.equal(decide(unborn, [[a, absence(dataset, { unreadable })]]).ownership, unborn);
  });

  test("a primary of a higher epoch is the owner, by step and by term", () => {
    for (const epoch of [epochOf(1, 5), epochOf(2, 0)])
      assert.deepEqual(
        decide(born, [
          [a, holding(dataset, { epoch: born.epoch })],
          [b, holding(dataset, { epoch })],
        ]),
        { ownership: { dataset, epoch, owner: b, born: true, since: now }, conflict: null },
      );
  });

  test("a primary of a lower epoch never lowers the record, and two of them are no conflict", () => {
    const reports = [b, c].map((node) => [node, holding(dataset, { epoch: epochOf(1, 3) })] as const);
    assert.deepEqual(decide(born, reports), { ownership: born, conflict: null });
  });

  test("a relinquished copy does not change the owner, however high its epoch", () => {
    const report = holding(dataset, {
      role: "relinquished",
      epoch: epochOf(9, 9),
      successor: b,
      snapshot: "s",
    });
    assert.deepEqual(decide(born, [[a, report]]), { ownership: born, conflict: null });
  });

  test("two primaries at an equal epoch are a conflict, which no record resolves", () => {
    for (const epoch of [born.epoch, epochOf(1, 7)]) {
      const { ownership, conflict } = decide(born, [
        [a, holding(dataset, { epoch })],
        [b, holding(dataset, { epoch })],
      ]);
      assert.equal(ownership, born);
      assert.deepEqual(conflict, { epoch, nodes: [a, b] });
    }
  });

  test("a primary at the record's epoch that is not the owner is a conflict, even alone", () => {
    const reports = [[b, holding(dataset, { epoch: born.epoch })]] as const;
    assert.deepEqual(decide(born, reports).conflict, { epoch: born.epoch, nodes: [a, b] });
    const early = decide(unborn, [[b, holding(dataset)]]);
    assert.deepEqual(early, {
      ownership: { ...unborn, born: true },
      conflict: { epoch: firstEpoch, nodes: [a, b] },
    });
  });

  test("a conflict ends when the reports no longer conflict", () => {
    const higher = epochOf(2, 0);
    const { ownership, conflict } = decide(born, [
      [a, holding(dataset, { epoch: born.epoch })],
      [b, holding(dataset, { epoch: born.epoch })],
      [c, holding(dataset, { epoch: higher })],
    ]);
    assert.equal(conflict, null);
    assert.equal(ownership?.owner, c);
  });

  test("of a dataset that is not configured, only a conflict is worked out", () => {
    const one = [[a, holding(dataset)]] as const;
    assert.deepEqual(decide(null, one), { ownership: null, conflict: null });
    assert.deepEqual(decide(null, [...one, [b, holding(dataset)]]), {
      ownership: null,
      conflict: { epoch: firstEpoch, nodes: [a, b] },
    });
  });
});

suite("the birthright", () => {
  const renounced = [[a, absence(dataset, { renounced: firstEpoch })]] as const;

  test("it goes to the configured primary, a step higher, once its owner has renounced", () => {
    assert.deepEqual(decide(unborn, renounced, { configuredPrimary: b }).ownership, {
      dataset,
      epoch: epochOf(1, 1),
      owner: b,
      born: false,
      since: now,
    });
  });

  test("it stays without the owner's own word for this epoch", () => {
    const later = { ...unborn, epoch: epochOf(1, 2) };
    const parts = { configuredPrimary: b };
    assert.equal(decide(unborn, [], parts).ownership, unborn);
    assert.equal(decide(unborn, [[b, absence(dataset, { renounced: firstEpoch })]], parts).ownership, unborn);
    assert.equal(decide(later, renounced, parts).ownership, later);
  });

  test("it never passes over what the owner has renounced", () => {
    const far = [[a, absence(dataset, { renounced: epochOf(3, 7) })]] as const;
    assert.deepEqual(decide(unborn, far, { configuredPrimary: b }).ownership?.epoch, epochOf(3, 8));
  });

  test("it does not move once there is any copy, or while the dataset is deleted", () => {
    const withCopy = [...renounced, [c, holding(dataset, { role: "replica" })]] as const;
    assert.deepEqual(decide(unborn, withCopy, { configuredPrimary: b }).ownership, { ...unborn, born: true });
    assert.equal(decide(unborn, renounced, { configuredPrimary: null }).ownership, unborn);
  });

  test("an owner that is wanted again after it has renounced gets a new right, if this store can have caused it", () => {
    const back = decide(unborn, renounced, { primaryWasElsewhere: true }).ownership;
    assert.deepEqual(back, { ...unborn, epoch: epochOf(1, 1), since: now });
    // A restored old store does not know why: what was born since must not be born again.
    assert.equal(decide(unborn, renounced).ownership, unborn);
  });

  test("asking for it back is told from all else", () => {
    const asked = { stored: unborn, configuredPrimary: a, reports: new Map(renounced) };
    assert.equal(isBirthrightAskedBack(asked), true);
    assert.equal(isBirthrightAskedBack({ ...asked, configuredPrimary: b }), false);
    assert.equal(isBirthrightAskedBack({ ...asked, reports: new Map() }), false);
    assert.equal(isBirthrightAskedBack({ ...asked, stored: born }), false);
    assert.equal(isBirthrightAskedBack({ ...asked, stored: null }), false);
  });
});

suite("the record of a new dataset", () => {
  const record = (reports: readonly (readonly [NodeId, DatasetReport])[]) =>
    birthRecord(dataset, { primary: a, reports: new Map(reports), now });

  test("it is an unused right to create it once", () => {
    assert.deepEqual(record([]), { dataset, epoch: firstEpoch, owner: a, born: false, since: now });
  });

  test("a primary that is there already is taken over as the owner", () => {
    const epoch = epochOf(2, 3);
    const expected = { dataset, epoch, owner: b, born: true, since: now };
    assert.deepEqual(record([[b, holding(dataset, { epoch })]]), expected);
  });

  test("any copy that is there already says that it must not be created", () => {
    assert.equal(record([[b, holding(dataset, { role: "replica" })]]).born, true);
  });
});

const anyEpoch = fc.record({ term: fc.integer({ min: 1, max: 3 }), step: fc.nat(3) });
const anyReport = fc.oneof(
  fc.constant(absence(dataset)),
  anyEpoch.map((renounced) => absence(dataset, { renounced })),
  fc
    .record({ epoch: anyEpoch, role: fc.constantFrom("primary", "replica", "relinquished") })
    .map((record) => holding(dataset, { ...record, successor: c, snapshot: "s" })),
);
const anyInput: fc.Arbitrary<OwnershipInput> = fc.record({
  stored: fc.option(
    fc
      .record({ epoch: anyEpoch, owner: fc.constantFrom(a, b, c), born: fc.boolean() })
      .map((parts) => sampleOwnership(1, parts)),
  ),
  configuredPrimary: fc.option(fc.constantFrom(a, b, c)),
  reports: fc
    .array(fc.tuple(fc.constantFrom(a, b, c), anyReport), { maxLength: 3 })
    .map((entries) => new Map(entries)),
  primaryWasElsewhere: fc.boolean(),
  now: fc.constant(now),
});

suite("ownership in every small world", () => {
  test("a record never gets older, a birth is never undone, and deciding again changes nothing", () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const { stored } = input;
        const { ownership, conflict } = decideOwnership(input);
        assert.equal(ownership === null, stored === null);
        if (stored === null || ownership === null) return;
        assert.ok(compareEpochs(ownership.epoch, stored.epoch) >= 0);
        assert.ok(ownership.born || !stored.born);
        const copies = [...input.reports.values()].filter((report) => report.copy !== null);
        assert.ok(ownership.born || copies.length === 0, "an unborn dataset has no copies");
        // A new owner has the word of somebody for it: its own claim, or the old owner's renouncement.
        if (ownership.owner !== stored.owner) {
          const claim = input.reports.get(ownership.owner)?.copy ?? null;
          const word = input.reports.get(stored.owner)?.renounced ?? null;
          assert.ok(ownership.born ? claim?.record.role === "primary" : word !== null);
          assert.ok(compareEpochs(ownership.epoch, stored.epoch) > 0);
        }
        // Another decision on the same reports settles: the second time nothing is new.
        const primaryWasElsewhere = input.primaryWasElsewhere && ownership.owner === stored.owner;
        const again = decideOwnership({ ...input, stored: ownership, primaryWasElsewhere });
        assert.equal(again.ownership, ownership);
        assert.deepEqual(again.conflict, conflict);
      }),
      { numRuns: 3_000 },
    );
  });

  test("without a conflict, no other node than the owner claims the record's epoch or a higher one", () => {
    fc.assert(
      fc.property(anyInput, (input) => {
        const { ownership, conflict } = decideOwnership(input);
        if (ownership === null || conflict !== null) return;
        for (const [node, { copy }] of input.reports)
          if (copy?.record.role === "primary" && node !== ownership.owner)
            assert.ok(compareEpochs(copy.record.epoch, ownership.epoch) < 0);
      }),
      { numRuns: 3_000 },
    );
  });
});
