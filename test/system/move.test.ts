// A dataset under write is moved between real processes, which are killed at every step of the way.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createDataset, fileOn, move, readRecords, settled, startRig, whenDone, type Rig } from "./rig.ts";
import type { RunnableNode } from "@flocker/cli/local";
import { SequenceWriter } from "./sequence-writer.ts";

const file = "records";

/**
 * Moves while a writer goes on until the unmount, and checks that every synced record has arrived, in order.
 */
async function moveUnderWrite(
  rig: Rig,
  what: {
    dataset: string;
    from: RunnableNode;
    to: RunnableNode;
    first: number;
    disturb?: () => Promise<void>;
  },
): Promise<number> {
  const { dataset, from, to, first } = what;
  const writer = new SequenceWriter(fileOn(from, dataset, file), first).start();
  await waitForRecords(writer, 5);
  await move(rig, dataset, to);
  await what.disturb?.();
  await settled(rig, dataset, to);
  await writer.ended();
  const records = await readRecords(fileOn(to, dataset, file));
  assert.deepEqual(
    records,
    Array.from({ length: records.length }, (_, index) => index),
    "the records are in order, none is missing, none is there twice",
  );
  const last = writer.kept.at(-1) ?? first - 1;
  assert.ok(records.length > last, `record ${last} was synced, but only ${records.length} have arrived`);
  return records.length;
}

async function waitForRecords(writer: SequenceWriter, count: number): Promise<void> {
  const wanted = writer.kept.length + count;
  while (writer.kept.length < wanted) await new Promise((resolve) => setImmediate(resolve));
}

test("a dataset moves A→B→C→A under a writer and loses no synced write", async (t) => {
  const rig = await startRig(t);
  const [a, b, c] = [rig.node(0), rig.node(1), rig.node(2)];
  const dataset = await createDataset(rig, "under-write", a);
  let first = 0;
  for (const [from, to] of [
    [a, b],
    [b, c],
    [c, a],
  ] as const) {
    first = await moveUnderWrite(rig, { dataset, from, to, first });
  }
});

const steps = [
  "describe",
  "unmount",
  "snapshot",
  "send",
  "write-record",
  "hand-over",
  "write-record",
] as const;
const victims = ["source", "target", "control"] as const;

test("kill -9 of source, target and control after each step of a move: one primary, and all data", async (t) => {
  const rig = await startRig(t);
  const dataset = await createDataset(rig, "killed", rig.node(0));
  let first = 0;
  let holder = 0;
  for (const victim of victims) {
    for (const [index, step] of steps.entries()) {
      const from = rig.node(holder);
      const to = rig.node((holder + 1) % 3);
      const service = { source: from.agent, target: to.agent, control: rig.cluster.control }[victim];
      const occurrence = steps.slice(0, index).filter((earlier) => earlier === step).length + 1;
      const killed = whenDone(from, step, occurrence, async () => {
        await service.stop("SIGKILL");
        service.start();
      });
      first = await moveUnderWrite(rig, { dataset, from, to, first, disturb: () => killed });
      t.diagnostic(
        `${victim} killed after ${step}${occurrence > 1 ? ` (${occurrence})` : ""}: ${first} records`,
      );
      holder = (holder + 1) % 3;
    }
  }
});
