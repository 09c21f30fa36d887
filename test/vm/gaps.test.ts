// Those of the fourteen gaps of the original's moves that are about ZFS, closed on real pools. All fourteen
// are shown on whole clusters in test/system/original-gaps.test.ts, and moves over cuts of the power in
// moves.test.ts.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { nextStep, type DatasetId, type Snapshot } from "@flocker/core";
import {
  freshNode,
  never,
  refused,
  requestOf,
  value,
} from "../../packages/agent/src/backends/conformance/world.ts";
import { storiesInMachine, type MachineStory } from "./pools-machine.ts";
import type { ZfsNode } from "./zfs-nodes.ts";

const mebibyte = 2 ** 20;
const maximumSizeBytes = 64 * mebibyte;
const story = storiesInMachine();

function gap(number: number, rule: string, body: (story: MachineStory) => Promise<void>): void {
  story(`gap ${number}: ${rule}`, body);
}

async function get(node: ZfsNode, dataset: DatasetId, property: string): Promise<string> {
  return (await node.sh('zfs get -Hp -o value "$1" "$2"', property, node.nameOf(dataset))).trim();
}

gap(
  1,
  "what is written between a snapshot and the unmount goes along, and nothing after it is written",
  async ({ world, a, b }) => {
    const dataset = await world.born(a);
    value(await a.backend.mount(dataset));
    await a.write(dataset, "before", Buffer.from("1"));
    const base = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, base));
    await a.write(dataset, "between", Buffer.from("2"));
    value(await a.backend.unmount(dataset));
    await world.move(a, b, dataset, base.guid);
    refused(await a.backend.mount(dataset), "stale-epoch");
    assert.equal(
      await get(a, dataset, "readonly"),
      "on",
      "nor can anybody write to it who mounts it by hand",
    );
    assert.deepEqual(await world.contents(b, dataset), { before: "1", between: "2" });
  },
);

gap(
  2,
  "an agent that dies between the halves of a handoff finds its copy given up, and by whom it is owned",
  async ({ world, a }) => {
    const dataset = await world.bornWith(a, { file: "1" });
    const { guid: snapshot } = await world.snapshot(a, dataset);
    const { record } = await world.seen(a, dataset);
    const successor = freshNode();
    const given = {
      ...record,
      role: "relinquished",
      epoch: nextStep(record.epoch),
      successor,
      snapshot,
    } as const;
    value(await a.backend.writeRecord(given));
    await a.reopen();
    assert.deepEqual((await world.seen(a, dataset)).record, given);
    refused(await a.backend.mount(dataset), "stale-epoch");
  },
);

gap(
  3,
  "a zfs send that dies breaks the stream, and the other side keeps what it had",
  async ({ world, a, b }) => {
    const dataset = await world.bornWith(a, { file: "1" });
    const base = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, base));
    value(await a.backend.mount(dataset));
    await a.write(dataset, "large", randomBytes(8 * mebibyte));
    value(await a.backend.unmount(dataset));
    const next = await world.snapshot(a, dataset);
    const request = { dataset, base: base.guid, snapshot: next.guid };
    const { stream } = value(await a.backend.send(request, never));
    async function* untilItDies(): AsyncGenerator<Uint8Array> {
      let isAlive = true;
      for await (const chunk of stream) {
        yield chunk;
        if (isAlive) await a.sh("kill -9 $(pgrep -f '^zfs send')");
        isAlive = false;
      }
    }
    const received = await b.backend.receive(requestOf(dataset, base.guid, next), untilItDies(), never);
    assert.match(refused(received, "command-failed", "transfer-interrupted"), /zfs send/);
    assert.deepEqual((await world.seen(b, dataset)).unchangedSince, base.guid);
  },
);

gap(13, "a copy that is in use stays where it is, under its name, and whose it was", async ({ world, a }) => {
  const dataset = await world.born(a);
  value(await a.backend.mount(dataset));
  const before = await world.seen(a, dataset);
  const { who, release } = await a.hold(dataset);
  const said = refused(await a.backend.unmount(dataset), "busy-mount");
  assert.ok(said.includes(who), said);
  const seen = await world.seen(a, dataset);
  assert.deepEqual([seen.mountedAt, seen.record], [before.mountedAt, before.record]);
  assert.equal(await get(a, dataset, "mountpoint"), `${a.mountRoot}/${dataset}`);
  await release();
  value(await a.backend.unmount(dataset));
});

/** One dataset, from node to node: what there was to see after each move. */
interface Hop {
  readonly node: ZfsNode;
  readonly mountPoint: string;
  readonly refquota: number;
  readonly names: readonly string[];
}
const hops: Hop[] = [];
let wanderer: DatasetId;

gap(
  11,
  "a dataset goes round three pools, and the copies that it leaves behind are in nobody's way",
  async ({ world, a, b, c }) => {
    wanderer = await world.born(a, maximumSizeBytes);
    const held = new Map<ZfsNode, Snapshot>();
    let from = a;
    for (const [index, to] of [b, c, a, b].entries()) {
      await world.use(from, wanderer, { [`file-${index}`]: String(index) });
      const { snapshots: common } = await world.seen(from, wanderer);
      const base = common.find(({ guid }) => guid === held.get(to)?.guid)?.guid ?? null;
      const snapshot = await world.snapshot(from, wanderer);
      const { stream } = value(
        await from.backend.send({ dataset: wanderer, base, snapshot: snapshot.guid }, never),
      );
      value(
        await to.backend.receive({ ...requestOf(wanderer, base, snapshot), maximumSizeBytes }, stream, never),
      );
      await world.demote(from, wanderer);
      const { record, snapshots } = await world.seen(to, wanderer);
      value(await to.backend.writeRecord({ ...record, role: "primary" }));
      for (const each of [from, to]) held.set(each, snapshot);
      // As the agents do: what no increment starts from any more goes.
      const isNeeded = (guid: string): boolean => [...held.values()].some((kept) => kept.guid === guid);
      const old = snapshots.map(({ guid }) => guid).filter((guid) => !isNeeded(guid));
      value(await to.backend.destroySnapshots(wanderer, old));
      hops.push(await lookAt(to));
      from = to;
    }
    assert.deepEqual(await world.contents(b, wanderer), {
      "file-0": "0",
      "file-1": "1",
      "file-2": "2",
      "file-3": "3",
    });
    for (const each of [a, c]) refused(await each.backend.mount(wanderer), "stale-epoch");
  },
);

async function lookAt(node: ZfsNode): Promise<Hop> {
  const listed = await node.sh('zfs list -Hp -d 1 -t snapshot -o name "$1"', node.nameOf(wanderer));
  return {
    node,
    mountPoint: await get(node, wanderer, "mountpoint"),
    refquota: Number(await get(node, wanderer, "refquota")),
    names: listed.trim().split("\n"),
  };
}

test("gap 12: the size is the copy's on every pool as soon as it is there", () => {
  assert.deepEqual(new Set(hops.map(({ refquota }) => refquota)), new Set([maximumSizeBytes]));
});

test("gap 14: the mount point is the mount root's and the id, whoever owns the dataset", () => {
  assert.equal(hops.length, 4);
  for (const { node, mountPoint } of hops) assert.equal(mountPoint, `${node.mountRoot}/${wanderer}`);
});

test("gap 6: of the moves' snapshots only those stay that an increment can start from", () => {
  assert.equal(hops.length, 4);
  for (const { names } of hops) assert.ok(names.length <= 3, names.join(" "));
});
