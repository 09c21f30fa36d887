// What people complain of in other systems that move data with ZFS, as rules, on real pools. Others are shown
// in by-hand.test.ts and moves.test.ts, and those that are not about ZFS in test/system/pains.test.ts.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { DatasetId } from "@flocker/core";
import {
  goOn,
  interrupt,
  requirePartial,
} from "../../packages/agent/src/backends/conformance/resume-rules.ts";
import {
  never,
  refused,
  requestOf,
  value,
  type World,
} from "../../packages/agent/src/backends/conformance/world.ts";
import { storiesInMachine, type MachineStory } from "./pools-machine.ts";
import type { ZfsNode } from "./zfs-nodes.ts";

const mebibyte = 2 ** 20;
const story = storiesInMachine();

function pain(number: number, rule: string, body: (story: MachineStory) => Promise<void>): void {
  story(`pain ${number}: ${rule}`, body);
}

/** A primary copy with two mebibytes that do not compress. */
async function large(node: ZfsNode, world: World): Promise<{ dataset: DatasetId; content: Buffer }> {
  const dataset = await world.born(node);
  const content = randomBytes(2 * mebibyte);
  value(await node.backend.mount(dataset));
  await node.write(dataset, "large", content);
  value(await node.backend.unmount(dataset));
  return { dataset, content };
}

pain(
  10,
  "the first, raw stream of an encrypted dataset goes on where it was cut",
  async ({ world, a, b }) => {
    await a.sh('printf %s "$1" >/run/key', randomBytes(32).toString("hex"));
    a.properties = { encryption: "on", keyformat: "hex", keylocation: "file:///run/key" };
    await a.start();
    const { dataset, content } = await large(a, world);
    const snapshot = await world.snapshot(a, dataset);
    const request = requestOf(dataset, null, snapshot);
    const whole = await world.stream(a, dataset, null, snapshot.guid);
    await interrupt(b, request, whole);
    const restBytes = await goOn(a, b, request);
    assert.ok(restBytes < 0.6 * whole.length, `${restBytes} of ${whole.length} bytes were sent again`);
    await b.sh('zfs load-key -L file:///run/key "$1"', b.nameOf(dataset));
    value(await b.backend.writeRecord({ ...request.record, role: "primary" }));
    value(await b.backend.mount(dataset));
    assert.ok(content.equals((await b.files(dataset)).get("large") ?? Buffer.alloc(0)));
    value(await b.backend.unmount(dataset));
    a.properties = {};
    await a.start();
  },
);

pain(11, "a resume token that has died is said to be dead, thrown away, and blocks nothing", async (s) => {
  const { world, a, b } = s;
  const { dataset } = await large(a, world);
  const first = await world.snapshot(a, dataset);
  const whole = await world.stream(a, dataset, null, first.guid);
  await interrupt(b, requestOf(dataset, null, first), whole);
  const { token } = await requirePartial(b, dataset);
  await a.sh('zfs destroy "$1@$2"', a.nameOf(dataset), first.name);
  const second = await world.snapshot(a, dataset);
  const resumed = { dataset, base: null, snapshot: second.guid, resume: token };
  assert.match(
    refused(await a.backend.send(resumed, never), "resume-token-dead"),
    /cannot go on where it stopped/,
  );
  value(await world.transfer(a, b, dataset, null, second));
  assert.equal((await world.seen(b, dataset)).unchangedSince, second.guid);
  assert.deepEqual(value(await b.backend.discover(dataset)).partials, []);
});

pain(25, "25 empty snapshots of people between two of ours make the increment no longer", async (s) => {
  const { world, a, b } = s;
  const dataset = await world.bornWith(a, { file: "1" });
  const base = await world.snapshot(a, dataset);
  value(await world.transfer(a, b, dataset, null, base));
  await a.sh('for i in $(seq 25); do zfs snapshot "$1@mine-$i"; done', a.nameOf(dataset));
  await world.use(a, dataset, { file: "2" });
  const next = await world.snapshot(a, dataset);
  const increment = await world.stream(a, dataset, base.guid, next.guid);
  assert.ok(increment.length < mebibyte / 16, `${increment.length} bytes`);
  value(await world.transfer(a, b, dataset, base.guid, next));
  const { unchangedSince, snapshots } = await world.seen(b, dataset);
  assert.deepEqual([unchangedSince, snapshots.length], [next.guid, 2]);
  assert.equal((await world.seen(a, dataset)).snapshots.length, 27, "people's own stay where they are");
});
