// The agent's machine, event by event: what it answers is compared with what it should do next, and nothing
// else.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DatasetId } from "../model/ids.ts";
import { failure, success } from "../model/problem.ts";
import { capacity, MachineRig as Rig, nothingSaved } from "../testing/machine-rig.ts";
import { copy, dataset, epoch, nodeA, nodeB, ownership, slice } from "../testing/plan-fixtures.ts";
import { nextWake } from "./machine.ts";

const unborn = slice(nodeA, { ownership: ownership(nodeA, 0, false) });
const mountedAt = `/flocker/${dataset}`;

test("the textbook loop: told, looks, finds none, creates, looks, reports, mounts once confirmed, then is quiet", () => {
  const rig = new Rig();
  assert.deepEqual(rig.step({ kind: "started", saved: nothingSaved }), ["look at all"]);
  assert.deepEqual(rig.looked([], null), []);
  assert.deepEqual(rig.step({ kind: "link-up" }), ["send hello"]);
  rig.step({ kind: "message", message: { kind: "welcome", protocol: 1, version: "0", clusterId: "c" } });
  assert.deepEqual(rig.told([unborn]), [
    "write nodes,nodes,slice,agent",
    "look at one",
    "report",
    "send slice-acknowledged",
  ]);
  assert.deepEqual(rig.looked([]), ["write births", "perform create", "report none/create"]);
  assert.deepEqual(rig.performed(), ["look at one"]);
  assert.deepEqual(rig.looked([copy()]), ["write births", "report primary/idle/birth-unconfirmed"]);
  assert.deepEqual(rig.told([slice(nodeA)], false), [
    "write slice",
    "perform mount",
    "report primary/mount",
    "send slice-acknowledged",
  ]);
  assert.deepEqual(rig.performed(), ["look at one"]);
  assert.deepEqual(rig.looked([copy({ mountedAt })]), ["report primary mounted/idle"]);
  let quiet = 0;
  for (let minute = 0; minute < 60; minute += 1) {
    for (let beat = 0; beat < 6; beat += 1) {
      rig.now = nextWake(rig.state) ?? Number.NaN;
      assert.deepEqual(rig.step({ kind: "woken" }), ["send heartbeat"]);
      assert.deepEqual(rig.step({ kind: "message", message: { kind: "heartbeat" } }), []);
      quiet += 1;
    }
  }
  assert.equal(quiet, 360);
});

test("what is durable is written before anybody hears of it", () => {
  const rig = new Rig();
  rig.begin();
  const effects = rig.told([unborn]);
  assert.ok(effects.indexOf("write nodes,nodes,slice,agent") < effects.indexOf("send slice-acknowledged"));
});

test("a failed action is tried again after 0.1 s, then after twice as long, and the reason is shown", () => {
  const rig = new Rig();
  rig.begin({}, [copy()]);
  assert.ok(rig.told([slice(nodeA)]).includes("perform mount"));
  const problem = failure("command-failed", "Mounting failed.", "Look.");
  assert.deepEqual(rig.step({ kind: "performed", dataset, result: problem }), ["look at one"]);
  assert.deepEqual(rig.looked([copy()]), ["report primary/idle/command-failed"]);
  assert.equal((nextWake(rig.state) ?? 0) - rig.now, 100);
  rig.now += 100;
  assert.deepEqual(rig.step({ kind: "woken" }), ["perform mount", "report primary/mount/command-failed"]);
  rig.step({ kind: "performed", dataset, result: problem });
  rig.looked([copy()]);
  assert.equal((nextWake(rig.state) ?? 0) - rig.now, 200);
});

test("a new wish ends the back-off at once", () => {
  const rig = new Rig();
  rig.begin({}, [copy()]);
  rig.told([slice(nodeA)]);
  rig.step({ kind: "performed", dataset, result: failure("command-failed", "", "") });
  rig.looked([copy()]);
  const changed = slice(nodeA, { desired: { primary: nodeA, maximumSizeBytes: 1 << 30, deletion: null } });
  assert.ok(rig.told([changed], false).includes("perform mount"));
});

test("an abandoned handoff mounts at once, and the next attempt waits its time", () => {
  const rig = new Rig();
  rig.begin({}, [copy()]);
  rig.told([slice(nodeB)]);
  // The start in the middle of a handoff: it is unmounted, so the target is asked first.
  const problem = failure("peer-unreachable", "No answer.", "Look.");
  rig.step({ kind: "performed", dataset, result: problem });
  assert.deepEqual(rig.looked([copy()]), ["perform mount", "report primary/mount/handing-over"]);
  rig.performed();
  assert.deepEqual(rig.looked([copy({ mountedAt })]), [
    "report primary mounted/idle/peer-unreachable/handing-over",
  ]);
  rig.now += 100;
  assert.ok(rig.step({ kind: "woken" }).includes("perform describe"));
});

test("a look that fails is no absence: nothing is created, and it is tried again", () => {
  const rig = new Rig();
  rig.step({ kind: "started", saved: { ...nothingSaved, slice: [unborn] } });
  const problem = failure("storage-unreadable", "No.", "Mount it.");
  assert.deepEqual(rig.step({ kind: "looked", dataset: null, result: problem }), []);
  rig.now += 1_000;
  assert.deepEqual(rig.step({ kind: "woken" }), ["look at all"]);
});

test("where a part of the storage cannot be seen, what is shown is served and what is not is unknown", () => {
  const rig = new Rig();
  const shown = "0b8a1c5e-0000-4000-8000-00000000000f" as DatasetId;
  const entries = [unborn, { ...slice(nodeA), dataset: shown }];
  const unseen = { code: "storage-unreadable", message: "The pool fast is SUSPENDED.", remedy: "" } as const;
  rig.step({ kind: "started", saved: { ...nothingSaved, slice: entries } });
  const result = success({ copies: [copy({ dataset: shown })], unreadable: [], capacity, unseen });
  assert.deepEqual(rig.step({ kind: "looked", dataset: null, result }), ["perform mount"]);
  rig.step({ kind: "link-up" });
  rig.step({ kind: "message", message: { kind: "welcome", protocol: 1, version: "0", clusterId: "c" } });
  assert.ok(rig.told(entries).includes("report none/idle/storage-unreadable primary/mount"));
});

test("an agent that is asked while it has not looked answers once it has", () => {
  const rig = new Rig();
  rig.step({ kind: "started", saved: nothingSaved });
  assert.deepEqual(
    rig.step({ kind: "asked", id: 1, from: nodeB, request: { kind: "describe", dataset } }),
    [],
  );
  assert.deepEqual(rig.looked([], null), ["reply describe"]);
});

test("a stream is taken in by the lane alone: nothing else is done to the copy meanwhile", () => {
  const rig = new Rig();
  rig.begin();
  rig.told([slice(nodeA, { ownership: ownership(nodeB, 0) })]);
  rig.looked([]);
  const snapshot = { guid: "s1", name: "flocker-s1", createdAt: 1 };
  const request = {
    kind: "receive",
    dataset,
    epoch: epoch(0),
    base: null,
    snapshot,
    maximumSizeBytes: null,
    estimatedBytes: null,
  } as const;
  assert.deepEqual(rig.step({ kind: "asked", id: 7, from: nodeB, request }), [
    "serve",
    "report none/receive/held-by-node",
  ]);
  assert.deepEqual(
    rig.step({ kind: "asked", id: 8, from: nodeB, request: { kind: "describe", dataset } }),
    [],
  );
  const replica = copy({
    record: { dataset, epoch: epoch(0), role: "replica" },
    snapshots: [snapshot],
    unchangedSince: "s1",
  });
  const result = success({ kind: "receive", receivedBytes: 1 } as const);
  assert.deepEqual(rig.step({ kind: "served", id: 7, dataset, result }), ["reply receive", "look at one"]);
  assert.deepEqual(rig.looked([replica]), ["reply describe", "report replica/idle/held-by-node"]);
});

test("a promise to a former holder is durable before it is given, and kept", () => {
  const rig = new Rig();
  rig.begin();
  const request = { kind: "take-back", dataset, epoch: epoch(1) } as const;
  rig.told([slice(nodeB)]);
  rig.looked([]);
  assert.deepEqual(rig.step({ kind: "asked", id: 1, from: nodeB, request }), [
    "write promises",
    "reply take-back",
  ]);
  const promote = { kind: "promote", dataset, epoch: epoch(1), snapshot: "s1" } as const;
  assert.deepEqual(rig.step({ kind: "asked", id: 2, from: nodeB, request: promote }), ["reply stale-epoch"]);
});

test("what the storage says has changed is looked at, alone", () => {
  const rig = new Rig();
  rig.begin({}, [copy({ mountedAt })]);
  rig.told([slice(nodeA)]);
  const changed = { kind: "storage-changed", datasets: new Set([dataset]) } as const;
  assert.deepEqual(rig.step(changed), ["look at one"]);
  assert.ok(rig.looked([copy()]).includes("perform mount"), "a mount that was taken away is put back");
  assert.deepEqual(rig.step(changed), [], "who is at work on it looks anyway");
});

test("everything is looked at from time to time, even if nothing says that it has changed", () => {
  const rig = new Rig();
  rig.step({ kind: "started", saved: nothingSaved });
  rig.looked([], null);
  rig.now = nextWake(rig.state) ?? Number.NaN;
  assert.deepEqual(rig.step({ kind: "woken" }), ["look at all"]);
  assert.equal(rig.now, 1_000 + 2 * 3_600_000);
});

test("a silent link is closed, and what waits for a session says so", () => {
  const rig = new Rig();
  rig.begin({}, [copy({ mountedAt })]);
  rig.told([slice(nodeA)]);
  rig.now += 30_000;
  assert.deepEqual(rig.step({ kind: "woken" }), ["close-link"]);
  assert.deepEqual(rig.step({ kind: "link-down" }), []);
});

test("many lanes that have to look are served by one look at everything", () => {
  const rig = new Rig();
  rig.begin();
  const entries = Array.from({ length: 200 }, (_, index) => {
    const id = `d0000000-0000-4000-8000-${String(index).padStart(12, "0")}` as DatasetId;
    return { ...unborn, dataset: id };
  });
  const effects = rig.told(entries);
  assert.equal(effects.filter((effect) => effect.startsWith("look")).length, 1);
  assert.ok(effects.includes("look at all"));
  const performed = rig.looked([], null).filter((effect) => effect === "perform create");
  assert.equal(performed.length, 16, "no more than the pool takes at once");
});

test("news that arrive during a handover do not disturb it", () => {
  const rig = new Rig();
  const snapshot = { guid: "s1", name: "flocker-s1", createdAt: 1 };
  const given = copy({
    record: { dataset, epoch: epoch(1), role: "relinquished", successor: nodeB, snapshot: "s1" },
    snapshots: [snapshot],
    unchangedSince: "s1",
  });
  rig.begin({}, [given]);
  rig.told([slice(nodeB)]);
  const knowledge = {
    node: nodeB,
    record: { dataset, epoch: epoch(0), role: "replica" },
    snapshots: ["s1"],
    unchangedSince: "s1",
    partial: null,
  } as const;
  rig.step({ kind: "performed", dataset, result: success({ kind: "described", knowledge }) });
  assert.ok(rig.looked([given]).includes("perform hand-over"));
  // The control service has heard of the relinquishment meanwhile, and of the successor's epoch.
  rig.told([slice(nodeB, { ownership: ownership(nodeB, 1) })], false);
  rig.performed();
  assert.ok(rig.looked([given]).includes("perform write-record"), "it settles as a replica");
});

test("an agent that waits for another's word answers it meanwhile: two that ask each other do not wait for ever", () => {
  const rig = new Rig();
  rig.begin({}, [copy({ mountedAt })]);
  assert.ok(rig.told([slice(nodeB)]).includes("perform describe"));
  const describe = { kind: "describe", dataset } as const;
  assert.deepEqual(rig.step({ kind: "asked", id: 1, from: nodeB, request: describe }), ["reply describe"]);
  const takeBack = { kind: "take-back", dataset, epoch: epoch(5) } as const;
  const asked = rig.step({ kind: "asked", id: 2, from: nodeB, request: takeBack });
  assert.deepEqual(asked, ["write promises", "reply take-back"]);
});

test("a lease is not acknowledged while a step is under way that breaks it", () => {
  const rig = new Rig();
  rig.begin({}, [copy({ mountedAt })]);
  rig.told([slice(nodeB)]);
  const knowledge = {
    node: nodeB,
    record: null,
    snapshots: [],
    unchangedSince: null,
    partial: null,
  } as const;
  rig.step({ kind: "performed", dataset, result: success({ kind: "described", knowledge }) });
  assert.ok(rig.looked([copy({ mountedAt })]).includes("perform unmount"));
  const lease = { dataset, node: nodeA, expiresAt: null };
  assert.ok(!rig.told([slice(nodeB, { lease })], false).includes("send slice-acknowledged"));
  const ended = rig.performed();
  assert.ok(ended.includes("send slice-acknowledged"));
  assert.ok(rig.looked([copy()]).includes("perform mount"), "the lease brings the old service back");
});

test("a copy that cannot be read is looked at again, ever more rarely, until it can", () => {
  const rig = new Rig();
  rig.begin({}, [copy()]);
  rig.told([slice(nodeA)]);
  const problem = { code: "storage-unreadable", message: "No.", remedy: "Look." } as const;
  const looked = (): string[] =>
    rig.step({
      kind: "looked",
      dataset,
      result: success({ copies: [], unreadable: [{ dataset, problem }], capacity }),
    });
  rig.performed();
  assert.ok(looked().includes("report none/idle/storage-unreadable"));
  for (const delayMs of [100, 200, 400]) {
    assert.equal((nextWake(rig.state) ?? 0) - rig.now, delayMs);
    rig.now += delayMs;
    assert.deepEqual(rig.step({ kind: "woken" }), ["look at one"]);
    looked();
  }
  rig.now += 800;
  rig.step({ kind: "woken" });
  assert.ok(rig.looked([copy()]).includes("perform mount"));
});

/** An agent that moves to B with a backend that can resume, up to the first description of B. */
function transferring(): Rig {
  const rig = new Rig({ liveSnapshots: true, resume: true });
  rig.begin({}, [serving]);
  rig.told([slice(nodeB)]);
  return rig;
}

const s1 = { guid: "s1", name: "flocker-s1", createdAt: 1 };
const serving = copy({ mountedAt, snapshots: [s1] });

function described(rig: Rig, token: string | null): string[] {
  const partial = token === null ? null : { snapshot: "s1", base: null, token };
  const knowledge = { node: nodeB, record: null, snapshots: [], unchangedSince: null, partial };
  rig.step({ kind: "performed", dataset, result: success({ kind: "described", knowledge }) });
  return rig.looked([serving]);
}

function sendFails(rig: Rig, code: "transfer-interrupted" | "resume-token-dead"): number {
  rig.step({ kind: "performed", dataset, result: failure(code, "It broke.", "Again.") });
  rig.looked([serving]);
  const delayMs = (nextWake(rig.state) ?? 0) - rig.now;
  rig.now += delayMs;
  rig.step({ kind: "woken" });
  return delayMs;
}

test("a transfer that brings something each time goes on at once, however often it is cut", () => {
  const rig = transferring();
  described(rig, "0");
  for (let cut = 1; cut <= 20; cut += 1) {
    assert.equal(sendFails(rig, "transfer-interrupted"), 100);
    assert.ok(described(rig, `${cut}`).includes("perform send"));
  }
  // Cuts that leave the target where it was are backed off from.
  const delaysMs = [1, 2, 3].map(() => {
    const delayMs = sendFails(rig, "transfer-interrupted");
    described(rig, "20");
    return delayMs;
  });
  assert.deepEqual(delaysMs, [100, 200, 400]);
});

test("a transfer that was cut while the dataset was served does not interrupt it for nothing later", () => {
  const rig = transferring();
  described(rig, null);
  rig.step({ kind: "performed", dataset, result: success({ kind: "snapshot", snapshot: s1 }) });
  rig.looked([serving]);
  sendFails(rig, "transfer-interrupted");
  assert.ok(described(rig, null).includes("perform send"));
  rig.step({ kind: "performed", dataset, result: success({ kind: "sent", sentBytes: 9, durationMs: 1 }) });
  assert.ok(rig.looked([{ ...serving, writtenBytes: 0 }]).includes("perform unmount"));
  rig.performed();
  const unmounted = copy({ snapshots: [s1], mountedAt: null, writtenBytes: 0 });
  assert.ok(rig.looked([unmounted]).includes("perform snapshot"), "the handoff goes on");
});

test("a dead token is not tried twice", () => {
  const rig = transferring();
  assert.ok(described(rig, "half").includes("perform send"));
  sendFails(rig, "resume-token-dead");
  described(rig, "half");
  const { running } = rig.state.lanes.get(dataset) ?? {};
  assert.ok(running?.kind === "action" && running.action.do === "snapshot", "a fresh round begins");
});
