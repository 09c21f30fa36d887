// What an agent shows and does while its storage as a whole cannot be looked at, and once it can again.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DatasetId } from "../model/ids.ts";
import { failure, success } from "../model/problem.ts";
import { capacity, MachineRig as Rig } from "../testing/machine-rig.ts";
import { copy, dataset, nodeA, nodeB, ownership, slice } from "../testing/plan-fixtures.ts";

const mountedAt = `/flocker/${dataset}`;
const changed = { kind: "storage-changed", datasets: null } as const;
const suspended = {
  kind: "looked",
  dataset: null,
  result: failure("storage-unreadable", "The pool is SUSPENDED.", "zpool clear."),
} as const;

/** An agent that serves a dataset, and whose storage has just said that something has changed. */
function serving(): Rig {
  const rig = new Rig();
  rig.begin({}, [copy({ mountedAt })]);
  rig.told([slice(nodeA)]);
  assert.deepEqual(rig.step(changed), ["look at all"]);
  return rig;
}

test("storage that cannot be looked at any more is the reason of every copy, and what was seen is still shown", () => {
  const rig = serving();
  const said = ["report primary mounted/idle/storage-unreadable"];
  assert.deepEqual(rig.step(suspended), said);
  rig.now += 1_000;
  assert.deepEqual(rig.step({ kind: "woken" }), ["look at all"]);
  assert.deepEqual(rig.step(suspended), said, "nothing is planned on what was seen before");
  rig.now += 1_000;
  rig.step({ kind: "woken" });
  assert.ok(rig.looked([copy({ mountedAt })], null).includes("report primary mounted/idle"));
});

test("a new wish is not acted upon on what was seen before the storage failed", () => {
  const rig = serving();
  rig.step(suspended);
  const effects = rig.told([slice(nodeB)]);
  assert.ok(!effects.some((effect) => effect.startsWith("perform")), effects.join());
});

test("a copy in a pool that is not seen is still shown while it is looked for alone", () => {
  const rig = serving();
  const unseen = { code: "storage-unreadable", message: "The pool is SUSPENDED.", remedy: "" } as const;
  const hidden = success({ copies: [], unreadable: [], capacity, unseen });
  const said = ["report primary mounted/idle/storage-unreadable"];
  assert.deepEqual(rig.step({ kind: "looked", dataset: null, result: hidden }), said);
  rig.now += 1_000;
  assert.deepEqual(rig.step({ kind: "woken" }), ["look at one"]);
  assert.deepEqual(rig.step({ ...suspended, dataset }), said);
});

test("a step that hangs with the storage says so too, until the storage is back", () => {
  const rig = new Rig();
  rig.begin({}, [copy()]);
  assert.ok(rig.told([slice(nodeA)]).includes("perform mount"));
  rig.step(changed);
  assert.ok(rig.step(suspended).includes("report primary/mount/storage-unreadable"));
  rig.step(changed);
  assert.ok(rig.looked([copy()], null).includes("report primary/mount"));
});

test("news of the storage are looked at at once, although looking has failed", () => {
  const rig = serving();
  for (let count = 0; count < 8; count += 1) {
    rig.step(suspended);
    assert.deepEqual(rig.step(changed), ["look at all"]);
  }
});

test("steps that hang keep none of the others from their turn", () => {
  const rig = new Rig();
  rig.begin();
  const entries = Array.from({ length: 20 }, (_, index) => {
    const id = `d0000000-0000-4000-8000-${String(index).padStart(12, "0")}` as DatasetId;
    return { ...slice(nodeA), ownership: ownership(nodeA, 0, false), dataset: id };
  });
  rig.told(entries);
  const created = (effects: readonly string[]): number =>
    effects.filter((effect) => effect === "perform create").length;
  for (const { dataset: id } of entries) rig.looked([], id);
  assert.equal(
    Object.values(rig.state.pools).reduce((sum, { running }) => sum + running, 0),
    16,
  );
  rig.now += 60_000;
  assert.equal(created(rig.step({ kind: "woken" })), 4, "those that had to wait");
});

test("what changes while it is looked at is looked at again", () => {
  const rig = new Rig();
  rig.begin({}, [copy({ mountedAt })]);
  rig.told([slice(nodeA)]);
  const alone = { kind: "storage-changed", datasets: new Set([dataset]) } as const;
  assert.deepEqual(rig.step(alone), ["look at one"]);
  assert.deepEqual(rig.step(alone), []);
  assert.deepEqual(rig.looked([copy({ mountedAt })]), ["look at one"]);
  assert.deepEqual(rig.step(changed), ["look at all"]);
  assert.deepEqual(rig.looked([copy({ mountedAt })]), ["look at one"]);
  assert.ok(rig.looked([copy()]).includes("perform mount"));
});
