// A handoff's time: held to the dataset's budget, told, and learned from.
import assert from "node:assert/strict";
import { test } from "node:test";
import { failure, success } from "../model/problem.ts";
import { laneOf } from "./state.ts";
import { nextWake } from "./machine.ts";
import { MachineRig as Rig } from "../testing/machine-rig.ts";
import { copy, dataset, epoch, nodeB, slice } from "../testing/plan-fixtures.ts";

const mountedAt = `/flocker/${dataset}`;

/**
 * An agent in the middle of a handoff that began at the rig's time, and may take as long as its budget says.
 */
function inHandoff(maximumDowntimeMs: number | undefined): Rig {
  const rig = new Rig();
  rig.begin({}, [copy({ mountedAt })]);
  const desired = { primary: nodeB, maximumSizeBytes: null, deletion: null };
  rig.told([
    slice(nodeB, { desired: maximumDowntimeMs === undefined ? desired : { ...desired, maximumDowntimeMs } }),
  ]);
  const knowledge = { node: nodeB, record: null, snapshots: [], unchangedSince: null, partial: null };
  rig.step({ kind: "performed", dataset, result: success({ kind: "described", knowledge }) });
  assert.ok(rig.looked([copy({ mountedAt })]).includes("perform unmount"));
  return rig;
}

const last = { guid: "s1", name: "flocker-s1", createdAt: 1 };

test("a handoff that has used its budget up is given up: the dataset is served again, and the next one waits", () => {
  const rig = inHandoff(2_000);
  rig.now += 2_001;
  rig.performed();
  assert.deepEqual(rig.looked([copy()]), ["perform mount", "report primary/mount/handing-over"]);
  rig.performed();
  assert.deepEqual(rig.looked([copy({ mountedAt })]), [
    "report primary mounted/idle/downtime-over-budget/handing-over",
  ]);
  rig.now += 100;
  assert.ok(rig.step({ kind: "woken" }).includes("perform describe"));
  const knowledge = { node: nodeB, record: null, snapshots: [], unchangedSince: null, partial: null };
  rig.step({ kind: "performed", dataset, result: success({ kind: "described", knowledge }) });
  const next = rig.looked([copy({ mountedAt })]);
  assert.ok(!next.includes("perform unmount"), "the prediction that was wrong is not believed again");
});

test("an unmount that fails begins no handoff: nothing that is sent later is held to its time", () => {
  const rig = inHandoff(2_000);
  rig.now += 60_000;
  const busy = failure("busy-mount", "It is in use.", "Close it.");
  rig.step({ kind: "performed", dataset, result: busy });
  rig.looked([copy({ mountedAt })]);
  rig.now += 100;
  rig.step({ kind: "woken" });
  assert.equal(laneOf(rig.state, dataset).move?.handoff, null);
});

test("the last transfer of a handoff gets what is left of the budget", () => {
  const rig = inHandoff(2_000);
  rig.now += 400;
  rig.performed();
  rig.looked([copy()]);
  rig.now += 100;
  rig.step({ kind: "performed", dataset, result: success({ kind: "snapshot", snapshot: last }) });
  assert.ok(rig.looked([copy({ snapshots: [last], unchangedSince: "s1" })]).includes("perform send in 1500"));
});

test("what a handoff took is told beside what was predicted, and the next prediction learns from it", () => {
  const rig = inHandoff(undefined);
  rig.now += 40;
  rig.performed();
  rig.looked([copy()]);
  rig.step({ kind: "performed", dataset, result: success({ kind: "snapshot", snapshot: last }) });
  assert.ok(rig.looked([copy({ snapshots: [last], unchangedSince: "s1" })]).includes("perform send"));
  rig.now += 1_000;
  const sent = { kind: "sent", sentBytes: 1, durationMs: 1_000 } as const;
  rig.step({ kind: "performed", dataset, result: success(sent) });
  assert.ok(rig.looked([copy({ snapshots: [last], unchangedSince: "s1" })]).includes("perform write-record"));
  rig.performed();
  const record = {
    dataset,
    epoch: epoch(1),
    role: "relinquished",
    successor: nodeB,
    snapshot: "s1",
  } as const;
  const relinquished = copy({ record, snapshots: [last], unchangedSince: "s1" });
  assert.ok(rig.looked([relinquished]).includes("perform hand-over"));
  rig.now += 60;
  assert.ok(rig.performed().includes("handed-over 500 1140"));
  assert.equal(rig.state.handoffOverheadMs, 140);
});

test("one bad handoff is not believed for ever: what it taught fades while others are not tried", () => {
  const rig = new Rig();
  rig.state.handoffOverheadMs = 12_000;
  rig.begin({}, [copy({ mountedAt })]);
  const maximumDowntimeMs = 5_000;
  const desired = { primary: nodeB, maximumSizeBytes: null, deletion: null, maximumDowntimeMs };
  rig.told([slice(nodeB, { desired })]);
  const knowledge = { node: nodeB, record: null, snapshots: [], unchangedSince: null, partial: null };
  rig.step({ kind: "performed", dataset, result: success({ kind: "described", knowledge }) });
  const tried = rig.looked([copy({ mountedAt })]);
  for (let attempt = 0; attempt < 6; attempt += 1) {
    rig.now = nextWake(rig.state) ?? rig.now;
    tried.push(...rig.step({ kind: "woken" }));
  }
  assert.ok(tried.includes("report primary mounted/idle/downtime-over-budget"), tried.join());
  assert.ok(tried.includes("perform unmount"), tried.join());
});
