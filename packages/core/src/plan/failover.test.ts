// What a failover makes of the record, and of the node that it goes to.
import assert from "node:assert/strict";
import { test } from "node:test";
import { dataset, epoch, node, nodeA, nodeB, ownership, slice, withCopy } from "../testing/plan-fixtures.ts";
import { failOver } from "./failover.ts";
import { planDataset } from "./lane-plan.ts";

const failedOver = failOver(ownership(nodeB, 3), nodeA, 7);
const told = slice(nodeA, { ownership: failedOver });

test("a failover begins the next term at its first step, whatever the step was", () => {
  assert.deepEqual(failedOver, { dataset, epoch: epoch(0, 2), owner: nodeA, born: true, since: 7 });
});

test("the replica that it goes to becomes primary at its epoch, and so does what a handoff has promoted before", () => {
  const record = { dataset, epoch: epoch(0, 2), role: "primary" } as const;
  for (const role of ["replica", "primary"] as const) {
    const local = withCopy({ record: { dataset, epoch: epoch(4), role } }, { slice: told });
    assert.deepEqual(planDataset(local), {
      kind: "act",
      urgent: true,
      action: { do: "write-record", record },
    });
  }
});

test("the former holder unmounts, and keeps its copy aside", () => {
  const record = { dataset, epoch: epoch(3), role: "primary" } as const;
  const rest = { slice: slice(nodeB, { ownership: failOver(ownership(nodeA, 3), nodeB, 7) }) };
  const mounted = planDataset(withCopy({ record, mountedAt: "/flocker" }, rest));
  assert.ok(mounted.kind === "act" && mounted.urgent && mounted.action.do === "unmount");
  const aside = planDataset(withCopy({ record }, rest));
  assert.ok(aside.kind === "wait" && aside.waits[0]?.code === "superseded");
});

test("a replica of the record's own term waits for a handoff: a failover counts once", () => {
  const record = { dataset, epoch: epoch(1, 2), role: "replica" } as const;
  const nodes = new Map([[nodeA, node(nodeA)]]);
  const decision = planDataset(withCopy({ record }, { slice: told, nodes }));
  assert.equal(decision.kind, "wait");
});
