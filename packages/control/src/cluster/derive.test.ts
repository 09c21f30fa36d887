import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { DatasetReport, NodeId } from "@flocker/core";
import { sampleDataset, sampleDatasetId, sampleNodeId, sampleOwnership } from "../store/sample-values.ts";
import { absence, epochOf, holding } from "./cluster-fixtures.test.ts";
import { isConverged, reasonsFor, type DerivationInput, type NodeLiveness } from "./derive.ts";

const dataset = sampleDatasetId(1);
const [a, b, c] = [sampleNodeId(1), sampleNodeId(2), sampleNodeId(3)];
const live: NodeLiveness = {
  name: "alpha",
  connected: true,
  stale: false,
  lastSeenAt: 5_000,
  hasReported: true,
};
const silent: NodeLiveness = { ...live, connected: false, stale: true };
const configuration = sampleDataset(1, { maximumSizeBytes: null });
const born = sampleOwnership(1, { born: true, since: 3_000 });

function world(
  parts: Partial<Omit<DerivationInput, "reports" | "liveness">>,
  reports: readonly (readonly [NodeId, DatasetReport])[],
  nodes: Readonly<Record<string, NodeLiveness | undefined>> = { [a]: live, [b]: live },
): DerivationInput {
  return {
    configuration,
    ownership: born,
    conflict: false,
    reports: new Map(reports),
    liveness: (node) => nodes[node],
    ...parts,
  };
}

suite("converged", () => {
  test("the configured primary serves at the ownership's epoch, with the right size, alone", () => {
    assert.equal(isConverged(world({}, [[a, holding(dataset)]])), true);
    const replica = [b, holding(dataset, { role: "replica" })] as const;
    assert.equal(isConverged(world({}, [[a, holding(dataset)], replica])), true);
  });

  const served = [[a, holding(dataset)]] as const;
  const notYet: Readonly<Record<string, DerivationInput>> = {
    "nothing is reported": world({}, []),
    "the primary is not mounted": world({}, [[a, holding(dataset, {}, { mountedAt: null })]]),
    "the primary lies in the trash": world({}, [[a, holding(dataset, {}, { trashedAt: 1 })]]),
    "the copy is a replica": world({}, [[a, holding(dataset, { role: "replica" })]]),
    "the size is another": world({}, [[a, holding(dataset, {}, { maximumSizeBytes: 2 ** 30 })]]),
    "the copy is of another epoch": world({}, [[a, holding(dataset, { epoch: epochOf(1, 1) })]]),
    "another node owns it": world({ ownership: { ...born, owner: b } }, served),
    "it is not known to be born": world({ ownership: { ...born, born: false } }, served),
    "there is a conflict": world({ conflict: true }, served),
    "another node has it mounted too": world({}, [...served, [b, holding(dataset)]]),
    "another node serves it": world({ ownership: { ...born, owner: b } }, [[b, holding(dataset)]]),
    "its node is silent": world({}, served, { [a]: silent }),
    "it is not configured": world({ configuration: null, ownership: null }, served),
  };
  for (const [why, input] of Object.entries(notYet))
    test(`it is not when ${why}`, () => assert.equal(isConverged(input), false));

  test("a short absence of the agent does not change what is known", () => {
    assert.equal(isConverged(world({}, served, { [a]: { ...live, connected: false } })), true);
  });
});

suite("converged after a deletion", () => {
  const deleted = (purged: boolean) => ({
    configuration: { ...configuration, deletion: { at: 1, graceEndsAt: 2, purged } },
  });
  const trashed = holding(dataset, {}, { mountedAt: null, trashedAt: 9 });
  const cases: readonly (readonly [string, boolean, DerivationInput])[] = [
    ["all copies lie in the trash", true, world(deleted(false), [[a, trashed]])],
    ["a copy is still outside the trash", false, world(deleted(false), [[a, holding(dataset)]])],
    [
      "another node's replica is still outside the trash",
      false,
      world(deleted(false), [[b, holding(dataset, { role: "replica" })]]),
    ],
    ["there is no copy", true, world(deleted(true), [])],
    ["after the purge a copy is in the trash", false, world(deleted(true), [[a, trashed]])],
    ["after the purge a node only says why", true, world(deleted(true), [[a, absence(dataset)]])],
    [
      "a copy cannot be read",
      false,
      world(deleted(true), [
        [a, absence(dataset, { unreadable: { code: "storage-unreadable", message: "m", remedy: "r" } })],
      ]),
    ],
    [
      "the owner has not reported yet",
      false,
      world(deleted(true), [], { [a]: { ...live, hasReported: false } }),
    ],
    ["the owner of a born dataset was never seen", false, world(deleted(true), [], {})],
    ["nobody can have created it", true, world({ ...deleted(true), ownership: sampleOwnership(1) }, [], {})],
    ["a silent node last had it in the trash", true, world(deleted(false), [[a, trashed]], { [a]: silent })],
  ];
  for (const [what, expected, input] of cases)
    test(`${what}: ${expected ? "done" : "not done"}`, () => assert.equal(isConverged(input), expected));
});

suite("reasons", () => {
  const agentReason = { code: "busy-mount", message: "Used by postgres.", since: 7_000 } as const;

  test("the agents' reasons come with their node", () => {
    const input = world({}, [[a, absence(dataset, { reasons: [agentReason] })]]);
    assert.deepEqual(reasonsFor(input), [{ ...agentReason, node: a }]);
  });

  test("a silent primary is named, with the time it was last heard of", () => {
    const [reason, ...others] = reasonsFor(world({}, [], { [a]: silent }));
    assert.deepEqual([reason?.code, reason?.node, reason?.since], ["node-silent", a, 5_000]);
    assert.match(reason?.message ?? "", /alpha \(11111111\).*1970-01-01T00:00:05.000Z/);
    assert.deepEqual(others, []);
  });

  test("a silent owner is named besides a live primary", () => {
    const input = world({ ownership: { ...born, owner: b } }, [], { [a]: live, [b]: silent });
    assert.deepEqual(
      reasonsFor(input).map(({ code, node }) => [code, node]),
      [["node-silent", b]],
    );
  });

  test("a session that has just ended holds up what is not done, and is no reason for what is", () => {
    const away = { [a]: { ...live, connected: false } };
    assert.equal(reasonsFor(world({}, [[a, absence(dataset)]], away))[0]?.code, "node-silent");
    assert.deepEqual(reasonsFor(world({}, [[a, holding(dataset)]], away)), []);
  });

  test("a node that was never seen is told from a silent one", () => {
    const input = world({ configuration: { ...configuration, primary: c } }, [[a, holding(dataset)]]);
    const [reason] = reasonsFor(input);
    assert.deepEqual([reason?.code, reason?.node, reason?.since], ["node-never-seen", c, 3_000]);
  });

  test("what is not configured waits for nobody", () => {
    assert.deepEqual(reasonsFor(world({ configuration: null, ownership: null }, [], {})), []);
  });
});
