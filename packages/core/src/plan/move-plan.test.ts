// The planned move, step by step: which action follows from what is on disk and what the target has said.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ObservedCopy } from "../model/copy.ts";
import {
  dataset,
  epoch,
  input,
  node,
  nodeA,
  nodeB,
  ownership,
  slice,
  withCopy,
} from "../testing/plan-fixtures.ts";
import type { LaneInput, MoveMemory, PeerKnowledge } from "./lane-input.ts";
import { planDataset } from "./lane-plan.ts";

const mountedAt = `/flocker/${dataset}`;
const s1 = { guid: "s1", name: "flocker-s1", createdAt: 1 };
const s2 = { guid: "s2", name: "flocker-s2", createdAt: 2 };
const empty: PeerKnowledge = {
  node: nodeB,
  record: null,
  snapshots: [],
  unchangedSince: null,
  partial: null,
};
const moving = (rest: Partial<MoveMemory> = {}): MoveMemory => ({
  target: nodeB,
  snapshot: null,
  rounds: [],
  unmounted: false,
  handoff: null,
  failedSinceUnmount: false,
  partialToken: null,
  deadToken: null,
  takeBack: null,
  ...rest,
});
const toB = slice(nodeB);
const live = { ...input().capabilities, liveSnapshots: true };

function decide(copy: Partial<ObservedCopy>, rest: Partial<LaneInput> = {}): string {
  const decision = planDataset(withCopy(copy, { slice: toB, ...rest }));
  if (decision.kind === "act") return decision.action.do;
  if (decision.kind === "wait") return `wait ${decision.waits[0]?.code}`;
  return decision.kind === "postpone" ? `postpone ${decision.problem.code}` : "done";
}

test("a copy is not handed over before the control service has confirmed its birth", () => {
  const unborn = slice(nodeB, { ownership: ownership(nodeA, 0, false) });
  const decision = planDataset(withCopy({}, { slice: unborn }));
  assert.ok(decision.kind === "wait" && decision.waits[0]?.code === "birth-unconfirmed");
});

test("the target is asked before service is interrupted", () => {
  assert.equal(decide({ mountedAt }), "describe");
  assert.equal(decide({ mountedAt }, { peer: empty }), "unmount");
});

test("a held lease delays the move, a lease of another node does not", () => {
  const lease = { dataset, node: nodeA, expiresAt: null };
  assert.equal(decide({ mountedAt }, { slice: slice(nodeB, { lease }), peer: empty }), "wait lease-held");
  const other = slice(nodeB, { lease: { ...lease, node: nodeB } });
  assert.equal(decide({ mountedAt }, { slice: other, peer: empty }), "unmount");
});

test("the unmount of a handoff waits for a live session", () => {
  assert.equal(decide({ mountedAt }, { peer: empty, session: false }), "wait no-session");
});

test("a target that cannot be reached is waited for while the source serves", () => {
  const nodes = new Map([[nodeB, node(nodeB, { dataAddress: null })]]);
  assert.equal(decide({ mountedAt }, { nodes }), "wait peer-unreachable");
});

test("after the unmount: snapshot, send, relinquish", () => {
  assert.equal(decide({}, { peer: empty }), "snapshot");
  const snapshots = [s1];
  assert.equal(decide({ snapshots, unchangedSince: "s1" }, { peer: empty }), "send");
  const received: PeerKnowledge = { ...empty, snapshots: ["s1"], unchangedSince: "s1" };
  const decision = planDataset(withCopy({ snapshots, unchangedSince: "s1" }, { slice: toB, peer: received }));
  assert.deepEqual(decision.kind === "act" && decision.action, {
    do: "write-record",
    record: { dataset, epoch: epoch(1), role: "relinquished", successor: nodeB, snapshot: "s1" },
  });
});

test("a handoff that this agent has begun goes on past its unmount without a session", () => {
  const rest = { peer: empty, session: false };
  const held = { snapshots: [s1], unchangedSince: "s1" };
  assert.equal(decide(held, { ...rest, move: moving({ unmounted: true }) }), "send");
});

test("without a session nobody hands on what it has just been handed: the wish that it knows may be an old one", () => {
  assert.equal(decide({ snapshots: [s1], unchangedSince: "s1" }, { peer: empty, session: false }), "mount");
});

test("an abandoned handoff mounts only what is confirmed to be born", () => {
  const unconfirmed = slice(nodeB, { ownership: ownership(nodeA, 0, false) });
  const failed = { slice: unconfirmed, move: moving({ failedSinceUnmount: true }) };
  assert.equal(decide({}, failed), "wait birth-unconfirmed");
});

test("a step that fails after the unmount brings the old service back", () => {
  const failed = { peer: null, move: moving({ failedSinceUnmount: true }) };
  assert.equal(decide({ snapshots: [s1], unchangedSince: "s1" }, failed), "mount");
});

test("a target that is no longer known brings the old service back", () => {
  assert.equal(decide({}, { nodes: new Map() }), "mount");
});

test("a move that is called off before the relinquishment brings the old service back", () => {
  assert.equal(decide({ unchangedSince: "s1", snapshots: [s1] }, { slice: slice(nodeA) }), "mount");
});

test("an increment builds on what the target is exactly at, else everything is sent", () => {
  const held = { snapshots: [s1, s2], unchangedSince: "s2" };
  const baseOf = (peer: PeerKnowledge): unknown => {
    const decision = planDataset(withCopy(held, { slice: toB, peer }));
    return decision.kind === "act" && decision.action.do === "send" ? decision.action.base : "no send";
  };
  assert.equal(baseOf({ ...empty, snapshots: ["s1"], unchangedSince: "s1" }), "s1");
  assert.equal(baseOf({ ...empty, snapshots: ["s1", "x"], unchangedSince: "x" }), null);
  assert.equal(baseOf({ ...empty, snapshots: ["s1"], unchangedSince: null }), null);
});

const relinquished = {
  record: { dataset, epoch: epoch(1), role: "relinquished", successor: nodeB, snapshot: "s1" } as const,
  snapshots: [s1],
  unchangedSince: "s1",
};

test("what is relinquished is handed over to the successor, whatever is wanted since", () => {
  const received: PeerKnowledge = { ...empty, snapshots: ["s1"], unchangedSince: "s1" };
  assert.equal(decide(relinquished), "describe");
  assert.equal(decide(relinquished, { peer: received }), "hand-over");
  const nodeC = "c0000000-0000-4000-8000-000000000000" as typeof nodeA;
  assert.equal(decide(relinquished, { slice: slice(nodeC), peer: received }), "hand-over");
});

test("a successor that has lost its copy is sent the snapshot again", () => {
  assert.equal(decide(relinquished, { peer: empty }), "send");
});

test("once the successor is primary the old copy becomes a replica", () => {
  const record = { dataset, epoch: epoch(1), role: "primary" } as const;
  const decision = planDataset(withCopy(relinquished, { slice: toB, peer: { ...empty, record } }));
  assert.deepEqual(decision.kind === "act" && decision.action, {
    do: "write-record",
    record: { dataset, epoch: epoch(1), role: "replica" },
  });
});

test("what is relinquished is taken back only on the successor's word", () => {
  const back = { slice: slice(nodeA) };
  assert.equal(decide(relinquished, back), "take-back");
  const granted = moving({ takeBack: { epoch: epoch(1), granted: true } });
  const decision = planDataset(withCopy(relinquished, { ...back, move: granted }));
  assert.deepEqual(decision.kind === "act" && decision.action, {
    do: "write-record",
    record: { dataset, epoch: epoch(2), role: "primary" },
  });
  const taken = moving({ takeBack: { epoch: epoch(1), granted: false } });
  const settled = planDataset(withCopy(relinquished, { ...back, move: taken }));
  assert.equal(
    settled.kind === "act" && settled.action.do === "write-record" && settled.action.record.role,
    "replica",
  );
  const old = moving({ takeBack: { epoch: epoch(0), granted: true } });
  assert.equal(decide(relinquished, { ...back, move: old }), "take-back");
});

test("with live snapshots, rounds go on while the source serves, until little is left", () => {
  const rest = { capabilities: live, peer: empty };
  assert.equal(decide({ mountedAt, writtenBytes: 1e9 }, rest), "snapshot");
  const first = { mountedAt, snapshots: [s1], writtenBytes: 0 };
  assert.equal(decide(first, { ...rest, move: moving({ snapshot: "s1" }) }), "send");
  const peer: PeerKnowledge = { ...empty, snapshots: ["s1"], unchangedSince: "s1" };
  const oneRound = moving({ snapshot: "s1", rounds: [{ sentBytes: 1e9, durationMs: 1000 }] });
  assert.equal(decide({ ...first, writtenBytes: 2e8 }, { ...rest, peer, move: oneRound }), "snapshot");
  assert.equal(decide({ ...first, writtenBytes: 1e6 }, { ...rest, peer, move: oneRound }), "unmount");
});

test("rounds that no longer shrink end in the handoff", () => {
  const peer: PeerKnowledge = { ...empty, snapshots: ["s1"], unchangedSince: "s1" };
  const rounds = [1e9, 0.95e9, 0.9e9].map((sentBytes) => ({ sentBytes, durationMs: 1000 }));
  const move = moving({ snapshot: "s1", rounds });
  const mounted = { mountedAt, snapshots: [s1], writtenBytes: 0.9e9 };
  assert.equal(decide(mounted, { capabilities: live, peer, move }), "unmount");
});

test("a target that keeps a primary copy from before a failover is not moved to, and interrupts nobody", () => {
  const record = { dataset, epoch: epoch(1), role: "primary" } as const;
  const peer: PeerKnowledge = { ...empty, record };
  const reason = planDataset(withCopy({ mountedAt }, { slice: toB, peer, session: true }));
  assert.equal(reason.kind === "wait" && reason.waits[0]?.code, "peer-refused");
  assert.equal(decide({}, { peer }), "mount");
});

/** What is sent to a target that has a partial, by a backend that can resume. */
function sent(
  copy: Partial<ObservedCopy>,
  partial: PeerKnowledge["partial"],
  rest: Partial<LaneInput> = {},
): unknown {
  const peer: PeerKnowledge = { ...empty, snapshots: ["s1"], unchangedSince: "s1", partial };
  const capabilities = { ...live, resume: true };
  const decision = planDataset(withCopy(copy, { slice: toB, peer, capabilities, ...rest }));
  if (decision.kind !== "act" || decision.action.do !== "send") return decision;
  const { base, snapshot, resume } = decision.action;
  return { base, snapshot: snapshot.guid, resume };
}

test("an interrupted transfer goes on, before anything newer is taken or sent", () => {
  const s3 = { guid: "s3", name: "flocker-s3", createdAt: 3 };
  const serving = { mountedAt, snapshots: [s1, s2, s3], writtenBytes: 1e9 };
  const increment = { snapshot: "s2", base: "s1", token: "half" };
  const move = moving({ snapshot: "s3" });
  assert.deepEqual(sent(serving, increment, { move }), { base: "s1", snapshot: "s2", resume: "half" });
  const full = { snapshot: "s2", base: null, token: "half" };
  assert.deepEqual(sent(serving, full), { base: null, snapshot: "s2", resume: "half" });
  const handingOver = { snapshots: [s1, s2, s3], unchangedSince: "s3" };
  assert.deepEqual(sent(handingOver, increment), { base: "s1", snapshot: "s2", resume: "half" });
});

test("what is left of a transfer is of no use without both of its snapshots, or with a dead token", () => {
  const held = { snapshots: [s1, s2], unchangedSince: "s2" };
  const anew = { base: "s1", snapshot: "s2", resume: undefined };
  assert.deepEqual(sent(held, { snapshot: "gone", base: "s1", token: "half" }), anew);
  assert.deepEqual(sent(held, { snapshot: "s2", base: "gone", token: "half" }), anew);
  const left = { snapshot: "s2", base: "s1", token: "half" };
  assert.deepEqual(sent(held, left, { move: moving({ deadToken: "half" }) }), anew);
  assert.deepEqual(sent(held, left, { capabilities: live }), anew);
});

test("a transfer that goes on, and one that has to begin anew, are told apart in the reason", () => {
  const held = { snapshots: [s1, s2], unchangedSince: "s2" };
  const message = (token: string): unknown => {
    const partial = { snapshot: "s2", base: null, token };
    const rest = { peer: { ...empty, partial }, move: moving({ deadToken: "dead" }) };
    const capabilities = { ...live, resume: true };
    const decision = planDataset(withCopy(held, { slice: toB, capabilities, ...rest }));
    return decision.kind === "act" && decision.because?.message;
  };
  assert.match(String(message("half")), /goes on where it stopped/);
  assert.match(String(message("dead")), /thrown away, and sent anew/);
});

/** 100 MiB/s, and 50 ms to begin with. */
const rounds = [
  { sentBytes: 1000 * 2 ** 20, durationMs: 10_050 },
  { sentBytes: 10 * 2 ** 20, durationMs: 150 },
];

const budget = (maximumDowntimeMs: number): Partial<LaneInput> => ({
  transfers: rounds,
  slice: slice(nodeB, {
    desired: { primary: nodeB, maximumSizeBytes: null, deletion: null, maximumDowntimeMs },
  }),
  capabilities: live,
  handoffOverheadMs: 300,
});
const holdsS1: PeerKnowledge = { ...empty, snapshots: ["s1"], unchangedSince: "s1" };
test("with a budget for its downtime, a handoff begins when its prediction fits, and not before a round has told", () => {
  const copy = { mountedAt, snapshots: [s1], writtenBytes: 10 * 2 ** 20 };
  const move = moving({ snapshot: "s1", rounds });
  assert.equal(decide(copy, { ...budget(500), peer: holdsS1, move: moving() }), "snapshot");
  assert.equal(decide(copy, { ...budget(500), peer: holdsS1, move }), "unmount");
  assert.equal(decide(copy, { ...budget(400), peer: holdsS1, move }), "snapshot");
});

test("where rounds bring nothing, a handoff over its budget is postponed, and one without a budget begins", () => {
  const copy = { mountedAt, snapshots: [s1], writtenBytes: 100 * 2 ** 20 };
  const stuck = [...rounds, rounds[1], rounds[1]].map((round) => round ?? { sentBytes: 0, durationMs: 0 });
  const rest = { peer: holdsS1, move: moving({ snapshot: "s1", rounds: stuck }) };
  assert.equal(decide(copy, { ...budget(1_000), ...rest }), "postpone downtime-over-budget");
  assert.equal(decide(copy, { capabilities: live, ...rest }), "unmount");
});

test("where only an unmounted copy can be sent, all of it counts against the budget", () => {
  const capabilities = input().capabilities;
  const large = { mountedAt, usedBytes: 10 * 2 ** 30 };
  assert.equal(
    decide(large, { ...budget(2_000), capabilities, peer: empty }),
    "postpone downtime-over-budget",
  );
  assert.equal(
    decide({ mountedAt, usedBytes: 4096 }, { ...budget(2_000), capabilities, peer: empty }),
    "unmount",
  );
});

test("snapshots of people go along where they are carried, oldest first, and else only the newest is sent", () => {
  const [mine, later] = [
    { guid: "m1", name: "before-upgrade", createdAt: 0 },
    { guid: "m2", name: "after-upgrade", createdAt: 3 },
  ];
  const snapshots = [mine, s1, later, s2];
  const capabilities = { ...live, carriesSnapshots: true };
  const sent = (peer: PeerKnowledge, rest: Partial<LaneInput> = {}): readonly [string | null, string] => {
    const move = moving({ snapshot: "s2" });
    const decision = planDataset(
      withCopy({ mountedAt, snapshots }, { slice: toB, capabilities, peer, move, ...rest }),
    );
    assert.ok(decision.kind === "act" && decision.action.do === "send");
    return [decision.action.base, decision.action.snapshot.guid];
  };
  const at = (guid: string): PeerKnowledge => ({ ...empty, snapshots: [guid], unchangedSince: guid });
  assert.deepEqual(sent(empty), [null, "m1"]);
  assert.deepEqual(sent(at("m1")), ["m1", "m2"]);
  assert.deepEqual(sent(at("s1")), ["s1", "m2"]);
  assert.deepEqual(sent(at("m2")), ["m2", "s2"]);
  assert.deepEqual(sent(empty, { capabilities: live }), [null, "s2"]);
});

test("the target makes its copy with the dataset's profile", () => {
  const desired = { primary: nodeB, maximumSizeBytes: null, deletion: null, profile: "gold" };
  const wish = slice(nodeB, { desired });
  const move = moving({ snapshot: "s1" });
  const rest = { slice: wish, capabilities: live, peer: empty, move };
  const decision = planDataset(withCopy({ mountedAt, snapshots: [s1] }, rest));
  assert.ok(decision.kind === "act" && decision.action.do === "send");
  assert.equal(decision.action.profile, "gold");
});
