// That those who judge a simulation see what is wrong: each rule is broken once, and each loss is made once.
import assert from "node:assert/strict";
import { test } from "node:test";
import { firstEpoch } from "@flocker/core";
import type { Backend, Result } from "@flocker/core";
import { watchInvariants } from "./invariants.ts";
import { Bench, dataset, okValue, recordOf } from "./testing/model-bench.ts";
import { startWorkload } from "./workload.ts";

type Call = (backend: Backend) => Promise<Result<unknown>>;

const create: Call = (backend) => backend.create(recordOf("primary"), null);
const mount: Call = (backend) => backend.mount(dataset);
const unmount: Call = (backend) => backend.unmount(dataset);
const demote: Call = (backend) => backend.writeRecord(recordOf("replica"));
const trash: Call = (backend) => backend.trash(dataset, 0);
const destroy: Call = (backend) => backend.destroy(dataset);

/** Makes the calls on their nodes, in order, under the eyes of the invariants. */
async function played(
  calls: readonly (readonly ["a" | "b", Call])[],
  mayDestroy: boolean = false,
): Promise<void> {
  const bench = new Bench();
  watchInvariants(bench.world, { mayDestroy: () => mayDestroy });
  for (const [name, call] of calls) {
    okValue(await bench.world.settle(call(bench.world.node(name).ports.backend)));
  }
}

test("an orderly life breaks no rule", async () => {
  await played(
    [
      ["a", create],
      ["a", mount],
      ["a", unmount],
      ["a", trash],
      ["a", destroy],
    ],
    true,
  );
});

test("a second birth is seen, also after the first copy was destroyed", async () => {
  await assert.rejects(
    played([
      ["a", create],
      ["b", create],
    ]),
    /born a second time, on b/,
  );
  const again = played(
    [
      ["a", create],
      ["a", trash],
      ["a", destroy],
      ["a", create],
    ],
    true,
  );
  await assert.rejects(again, /born a second time, on a/);
});

test("a copy that is destroyed without having been deleted is seen", async () => {
  await assert.rejects(
    played([
      ["a", create],
      ["a", trash],
      ["a", destroy],
    ]),
    /on a is destroyed/,
  );
});

test("a mounted copy that is not the primary is seen", async () => {
  await assert.rejects(
    played([
      ["a", create],
      ["a", mount],
      ["a", demote],
    ]),
    /on a is mounted and its role is replica/,
  );
  await assert.rejects(
    played([
      ["a", create],
      ["a", demote],
      ["a", mount],
    ]),
    /on a is mounted and its role is replica/,
  );
});

test("two mounts, and two primaries of one epoch, are seen", async () => {
  const replicated = async (): Promise<Bench> => {
    const bench = new Bench();
    watchInvariants(bench.world);
    await bench.mounted(bench.a);
    okValue(await bench.transfer(null, await bench.snapshot(bench.a, "first")));
    return bench;
  };
  const promote =
    (step: number): Call =>
    (backend) =>
      backend.writeRecord({ ...recordOf("primary"), epoch: { ...firstEpoch, step } });
  const same = await replicated();
  await assert.rejects(same.call(same.b, promote(0)), /a and b are both primary of .* at 1\.0/);
  const higher = await replicated();
  okValue(await higher.call(higher.b, promote(1)));
  await assert.rejects(higher.call(higher.b, mount), /mounted read-write on a and b/);
});

test("a workload writes where the dataset is mounted, and sees what is lost or should not be there", async () => {
  const bench = new Bench();
  const { a, b, world } = bench;
  const workload = startWorkload(world, { dataset, everyMs: 10, recordsMax: 5 });
  await world.runFor(100);
  assert.equal(workload.acknowledgedCount, 0);
  assert.equal(workload.finding(a.disk), "there is no copy");
  await bench.mounted(a);
  await world.runFor(200);
  const early = await bench.snapshot(a, "early");
  await world.runFor(200);
  okValue(await bench.call(a, unmount));
  const { acknowledgedCount } = workload;
  await world.runFor(100);
  assert.ok(acknowledgedCount > 20);
  assert.equal(
    workload.acknowledgedCount,
    acknowledgedCount,
    "nothing is acknowledged while it is not mounted",
  );
  assert.equal(workload.finding(a.disk), undefined);
  okValue(await bench.transfer(null, early));
  assert.match(workload.finding(b.disk) ?? "", /5 acknowledged records are missing/);
  okValue(await bench.transfer(null, await bench.snapshot(a, "late")));
  assert.equal(workload.finding(b.disk), undefined);
  workload.stop();
  okValue(await bench.call(a, mount));
  okValue(a.disk.write(bench.path("records/stale"), "x"));
  assert.match(workload.finding(a.disk) ?? "", /1 files should not be there/);
});
