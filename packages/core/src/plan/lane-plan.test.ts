// Input literal → decision literal, for every rule of the plan, and the invariants over all small worlds.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  copy,
  dataset,
  deleted,
  epoch,
  input,
  node,
  nodeA,
  nodeB,
  ownership,
  slice,
  withCopy,
} from "../testing/plan-fixtures.ts";
import type { Decision, LaneInput } from "./lane-input.ts";
import { planDataset } from "./lane-plan.ts";

function actionOf(decision: Decision): string {
  return decision.kind === "act" ? decision.action.do : decision.kind;
}

function reasonOf(decision: Decision): string | undefined {
  return decision.kind === "wait" ? decision.waits[0]?.code : undefined;
}

const mountedAt = `/flocker/${dataset}`;

test("an unborn dataset is created by its owner, at the epoch of the record", () => {
  const decision = planDataset(input({ slice: slice(nodeA, { ownership: ownership(nodeA, 0, false) }) }));
  assert.deepEqual(decision, {
    kind: "act",
    urgent: false,
    action: {
      do: "create",
      record: { dataset, epoch: epoch(0), role: "primary" },
      maximumSizeBytes: null,
      origin: {},
    },
  });
});

test("a dataset is made with its profile, and out of its source only where the backend can take it over", () => {
  const unborn = slice(nodeA, {
    ownership: ownership(nodeA, 0, false),
    desired: { primary: nodeA, maximumSizeBytes: null, deletion: null, profile: "gold", source: "tank/pg" },
  });
  assert.equal(reasonOf(planDataset(input({ slice: unborn }))), "source-unusable");
  const capabilities = { ...input().capabilities, adoption: true };
  const decision = planDataset(input({ slice: unborn, capabilities }));
  assert.ok(decision.kind === "act" && decision.action.do === "create");
  assert.deepEqual(decision.action.origin, { profile: "gold", source: "tank/pg" });
});

test("nobody but the owner creates an unborn dataset", () => {
  const decision = planDataset(input({ slice: slice(nodeA, { ownership: ownership(nodeB, 0, false) }) }));
  assert.equal(reasonOf(decision), "birthright-elsewhere");
});

test("a birth waits for a live session", () => {
  const unborn = slice(nodeA, { ownership: ownership(nodeA, 0, false) });
  assert.equal(reasonOf(planDataset(input({ slice: unborn, session: false }))), "no-session");
});

test("a dataset that was born here is never created again, whatever the record says", () => {
  const born = { state: "born", epoch: epoch(0) } as const;
  const unborn = slice(nodeA, { ownership: ownership(nodeA, 0, false) });
  assert.equal(reasonOf(planDataset(input({ slice: unborn, birth: born }))), "copy-missing");
  assert.equal(reasonOf(planDataset(input({ slice: slice(nodeA) }))), "copy-missing");
});

test("a birth that was begun but never finished may be tried again", () => {
  const begun = { state: "begun", epoch: epoch(0) } as const;
  const unborn = slice(nodeA, { ownership: ownership(nodeA, 0, false) });
  assert.equal(actionOf(planDataset(input({ slice: unborn, birth: begun }))), "create");
});

test("a renounced birthright is not used, unless a newer epoch brings it back", () => {
  const renounced = { state: "renounced", epoch: epoch(0) } as const;
  const old = slice(nodeA, { ownership: ownership(nodeA, 0, false) });
  assert.equal(reasonOf(planDataset(input({ slice: old, birth: renounced }))), "birthright-elsewhere");
  const renewed = slice(nodeA, { ownership: ownership(nodeA, 2, false) });
  assert.equal(actionOf(planDataset(input({ slice: renewed, birth: renounced }))), "create");
});

test("an unborn dataset that was moved away is renounced by its owner", () => {
  const moved = slice(nodeB, { ownership: ownership(nodeA, 0, false) });
  assert.equal(actionOf(planDataset(input({ slice: moved }))), "renounce");
  const renounced = { state: "renounced", epoch: epoch(0) } as const;
  assert.equal(actionOf(planDataset(input({ slice: moved, birth: renounced }))), "done");
});

test("a dataset that another node holds is waited for, never created", () => {
  const elsewhere = slice(nodeA, { ownership: ownership(nodeB, 3) });
  assert.equal(reasonOf(planDataset(input({ slice: elsewhere }))), "held-by-node");
  const silent = new Map([[nodeB, node(nodeB, { live: false })]]);
  const decision = planDataset(input({ slice: elsewhere, nodes: silent }));
  assert.equal(reasonOf(decision), "holder-unknown");
});

test("the first mount waits until the birth is confirmed", () => {
  const unconfirmed = slice(nodeA, { ownership: ownership(nodeA, 0, false) });
  assert.equal(reasonOf(planDataset(withCopy({}, { slice: unconfirmed }))), "birth-unconfirmed");
  assert.equal(actionOf(planDataset(withCopy({}))), "mount");
});

test("a node mounts what it durably owns without a control service", () => {
  assert.equal(actionOf(planDataset(withCopy({}, { session: false }))), "mount");
});

test("a dataset that is served as configured needs nothing", () => {
  assert.deepEqual(planDataset(withCopy({ mountedAt })), { kind: "done" });
});

test("a copy that is mounted otherwise than it should be is mounted again, which puts it right or says why not", () => {
  const decision = planDataset(withCopy({ mountedAt, isMountedOtherwise: true }));
  assert.deepEqual(decision.kind === "act" && decision.action, { do: "mount" });
});

test("a new maximum size is applied where the dataset is served", () => {
  const resized = slice(nodeA, { desired: { primary: nodeA, maximumSizeBytes: 1 << 30, deletion: null } });
  const decision = planDataset(withCopy({ mountedAt }, { slice: resized }));
  assert.deepEqual(decision.kind === "act" && decision.action, { do: "resize", maximumSizeBytes: 1 << 30 });
});

test("a primary with an older epoch than the record's is not mounted, and unmounted if it is", () => {
  const newer = slice(nodeA, { ownership: ownership(nodeB, 5) });
  assert.equal(reasonOf(planDataset(withCopy({}, { slice: newer }))), "superseded");
  const decision = planDataset(withCopy({ mountedAt }, { slice: newer }));
  assert.equal(actionOf(decision), "unmount");
  assert.equal(decision.kind === "act" && decision.urgent, true);
});

test("two owners at one epoch: both stop serving, whatever is wanted", () => {
  const conflict = slice(nodeA, { conflict: true });
  assert.equal(actionOf(planDataset(withCopy({ mountedAt }, { slice: conflict }))), "unmount");
  assert.equal(reasonOf(planDataset(withCopy({}, { slice: conflict }))), "ownership-conflict");
});

test("a copy that cannot be read is never taken for absent", () => {
  const problem = { code: "storage-unreadable", message: "no.", remedy: "" } as const;
  for (const wanted of [
    slice(nodeA, { ownership: ownership(nodeA, 0, false) }),
    slice(nodeB),
    deleted(true),
  ]) {
    const decision = planDataset(input({ slice: wanted, local: { kind: "unreadable", problem } }));
    assert.equal(reasonOf(decision), "storage-unreadable");
  }
});

test("a copy that nobody configured is left as it is", () => {
  const stray = slice(nodeA, { desired: null, ownership: null });
  for (const wanted of [stray, null]) {
    assert.equal(reasonOf(planDataset(withCopy({ mountedAt }, { slice: wanted }))), "not-configured");
    assert.equal(reasonOf(planDataset(withCopy({}, { slice: wanted }))), "not-configured");
  }
});

test("deleting hides first and destroys only after the purge", () => {
  assert.equal(actionOf(planDataset(withCopy({ mountedAt }, { slice: deleted(false) }))), "unmount");
  assert.equal(actionOf(planDataset(withCopy({}, { slice: deleted(false) }))), "trash");
  assert.equal(actionOf(planDataset(withCopy({ trashedAt: 5 }, { slice: deleted(false) }))), "done");
  assert.equal(actionOf(planDataset(withCopy({ trashedAt: 5 }, { slice: deleted(true) }))), "destroy");
  assert.equal(actionOf(planDataset(withCopy({}, { slice: deleted(true) }))), "trash");
});

test("a deletion waits for a lease and for a live session", () => {
  const lease = { dataset, node: nodeA, expiresAt: null };
  const held = { ...deleted(false), lease };
  assert.equal(reasonOf(planDataset(withCopy({ mountedAt }, { slice: held }))), "lease-held");
  const away = withCopy({ mountedAt }, { slice: deleted(false), session: false });
  assert.equal(reasonOf(planDataset(away)), "no-session");
});

test("an undeleted copy is taken out of the trash", () => {
  assert.equal(actionOf(planDataset(withCopy({ trashedAt: 5 }))), "restore");
});

test("a replica becomes primary by the relayed word of its holder, of exactly that snapshot", () => {
  const offer = { from: nodeB, epoch: epoch(1), snapshot: "s1" };
  const offered = slice(nodeA, { ownership: ownership(nodeB, 0), relinquishedToYou: offer });
  const record = { dataset, epoch: epoch(0), role: "replica" } as const;
  const decision = planDataset(withCopy({ record, unchangedSince: "s1" }, { slice: offered }));
  assert.deepEqual(decision.kind === "act" && decision.action, {
    do: "write-record",
    record: { dataset, epoch: epoch(1), role: "primary" },
  });
  assert.equal(
    reasonOf(planDataset(withCopy({ record, unchangedSince: "s0" }, { slice: offered }))),
    "held-by-node",
  );
  const promised = withCopy({ record, unchangedSince: "s1" }, { slice: offered, promised: epoch(1) });
  assert.equal(reasonOf(planDataset(promised)), "held-by-node");
});

test("old snapshots of our own are dropped, people's are kept", () => {
  const snapshots = ["flocker-1", "mine", "flocker-2", "flocker-3", "flocker-4"].map((name, index) => ({
    name,
    guid: `g${index}`,
    createdAt: index,
  }));
  const decision = planDataset(withCopy({ mountedAt, snapshots }));
  assert.deepEqual(decision.kind === "act" && decision.action, { do: "prune", guids: ["g0"] });
});

test("what an interrupted receive builds on is not dropped", () => {
  const snapshots = ["1", "2", "3", "4", "5"].map((name, index) => ({
    name: `flocker-${name}`,
    guid: `g${index}`,
    createdAt: index,
  }));
  const record = { dataset, epoch: epoch(0), role: "replica" } as const;
  const partial = { dataset, snapshot: "g9", base: "g0", token: "half" };
  // Without a session nothing is thrown away.
  const world = withCopy({ record, snapshots }, { slice: slice(nodeB), session: false, partial });
  const decision = planDataset(world);
  assert.deepEqual(decision.kind === "act" && decision.action, { do: "prune", guids: ["g1"] });
});

test("what has arrived for a move that is no longer wanted is thrown away, and nothing else is", () => {
  const partial = { dataset, snapshot: "s1", base: null, token: "half" };
  const elsewhere = slice(nodeB, { ownership: ownership(nodeB, 0) });
  const discards = (rest: Partial<LaneInput>): boolean => {
    const decision = planDataset(input({ slice: elsewhere, partial, ...rest }));
    return decision.kind === "act" && decision.action.do === "discard-partial";
  };
  assert.ok(discards({}));
  assert.ok(discards({ slice: deleted(false) }));
  const record = { dataset, epoch: epoch(0), role: "replica" } as const;
  assert.ok(discards({ local: { kind: "copy", copy: copy({ record }) } }));
  assert.ok(!discards({ session: false }));
  assert.ok(!discards({ slice: slice(nodeA, { ownership: ownership(nodeB, 0) }) }));
  const offer = { from: nodeB, epoch: epoch(1), snapshot: "s1" };
  assert.ok(!discards({ slice: { ...elsewhere, relinquishedToYou: offer } }));
});

/** All combinations of a few values of every field: some 20,000 small worlds. */
function* worlds(): Generator<LaneInput> {
  const slices = [
    null,
    slice(nodeA, { desired: null, ownership: null }),
    deleted(false),
    deleted(true),
    ...[nodeA, nodeB].flatMap((primary) =>
      [
        ownership(nodeA, 1, false),
        ownership(nodeA, 1),
        ownership(nodeB, 1),
        ownership(nodeB, 2),
        null,
      ].flatMap((owner) =>
        [false, true].flatMap((conflict) =>
          [null, { dataset, node: nodeA, expiresAt: null }].flatMap((lease) =>
            [null, { from: nodeB, epoch: epoch(2), snapshot: "s1" }].map((relinquishedToYou) =>
              slice(primary, { ownership: owner, conflict, lease, relinquishedToYou }),
            ),
          ),
        ),
      ),
    ),
  ];
  const records = [
    { dataset, epoch: epoch(1), role: "primary" },
    { dataset, epoch: epoch(1), role: "replica" },
    { dataset, epoch: epoch(2), role: "relinquished", successor: nodeB, snapshot: "s1" },
  ] as const;
  const snapshots = [{ guid: "s1", name: "flocker-s1", createdAt: 1 }];
  const locals: LaneInput["local"][] = [
    { kind: "unknown" },
    { kind: "absent" },
    { kind: "unreadable", problem: { code: "storage-unreadable", message: "", remedy: "" } },
    ...records.flatMap((record) =>
      [null, mountedAt].flatMap((mounted) =>
        [null, "s1"].flatMap((unchangedSince) =>
          [null, 7].map((trashedAt) => ({
            kind: "copy" as const,
            copy: copy({ record, mountedAt: mounted, unchangedSince, trashedAt, snapshots }),
          })),
        ),
      ),
    ),
  ];
  const peers: LaneInput["peer"][] = [
    null,
    { node: nodeB, record: null, snapshots: [], unchangedSince: null, partial: null },
    {
      node: nodeB,
      record: { dataset, epoch: epoch(1), role: "replica" },
      snapshots: ["s1"],
      unchangedSince: "s1",
      partial: { snapshot: "s1", base: null, token: "1" },
    },
  ];
  for (const world of slices)
    for (const local of locals)
      for (const peer of peers)
        for (const session of [true, false]) yield input({ slice: world, local, peer, session });
}

test("in every small world the plan keeps the invariants", () => {
  let count = 0;
  for (const world of worlds()) {
    count += 1;
    const decision = planDataset(world);
    if (decision.kind !== "act") continue;
    const { action } = decision;
    const { slice: told, local, session } = world;
    const held = local.kind === "copy" ? local.copy : null;
    const context = JSON.stringify({ world, action });
    switch (action.do) {
      case "create":
        assert.equal(local.kind, "absent", context);
        assert.ok(told?.ownership?.owner === nodeA && !told.ownership.born && session, context);
        break;
      case "mount":
        assert.equal(held?.record.role, "primary", context);
        assert.equal(told?.conflict, false, context);
        assert.ok((told?.ownership?.epoch.step ?? 0) <= (held?.record.epoch.step ?? -1), context);
        break;
      case "unmount":
        // Only a wrongly mounted copy or a conflict breaks a lease.
        if ((told?.lease ?? null) !== null) assert.ok(decision.urgent, context);
        if (!decision.urgent) assert.ok(session, context);
        break;
      case "destroy":
        assert.ok(session && told?.desired?.deletion?.purged === true && held?.trashedAt !== null, context);
        break;
      case "trash":
        assert.ok(session && (told?.desired?.deletion ?? null) !== null && told?.lease === null, context);
        break;
      case "write-record":
        assert.equal(held?.mountedAt, null, context);
        if (action.record.role === "relinquished") {
          assert.equal(held?.unchangedSince, action.record.snapshot, context);
          assert.equal(world.peer?.unchangedSince, action.record.snapshot, context);
          assert.ok(action.record.epoch.step > (held?.record.epoch.step ?? 99), context);
        }
        break;
      default:
        break;
    }
  }
  assert.ok(count > 5_000, `only ${count} worlds`);
});

test("a failover makes this node's copy the primary, whatever it was at the older term", () => {
  const failedOver = slice(nodeA, { ownership: { ...ownership(nodeA, 0), epoch: { term: 2, step: 0 } } });
  const expected = { dataset, epoch: { term: 2, step: 0 }, role: "primary" };
  for (const role of ["replica", "relinquished", "primary"] as const) {
    const relinquished = role === "relinquished" ? { successor: nodeB, snapshot: "s" } : {};
    const record = { dataset, epoch: epoch(1), role, ...relinquished };
    const decision = planDataset(withCopy({ record }, { slice: failedOver }));
    assert.deepEqual(decision.kind === "act" && decision.action, { do: "write-record", record: expected });
  }
});

test("a failover to another node leaves a replica as it is, and a former owner unmounts", () => {
  const elsewhere = slice(nodeB, { ownership: { ...ownership(nodeB, 0), epoch: { term: 2, step: 0 } } });
  const replica = { record: { dataset, epoch: epoch(1), role: "replica" } } as const;
  assert.equal(actionOf(planDataset(withCopy(replica, { slice: elsewhere }))), "done");
  assert.equal(actionOf(planDataset(withCopy({ mountedAt }, { slice: elsewhere }))), "unmount");
  assert.equal(reasonOf(planDataset(withCopy({}, { slice: elsewhere }))), "superseded");
});
