import assert from "node:assert/strict";

import { ProblemError, type DatasetId, type Snapshot } from "@flocker/core";

import type { BackendNode, Rules } from "../conformance.ts";
import { never, possible, refused, requestOf, streamOf, value, type World } from "./world.ts";

interface Prepared {
  readonly dataset: DatasetId;
  readonly base: Snapshot;
  readonly next: Snapshot;
  readonly whole: Buffer;
  readonly increment: Buffer;
}

const before = { changes: "1", gone: "1", stays: "1" };
const after = { changes: "22", fresh: "x".repeat(200_000), stays: "1" };

/** Two snapshots on A: B is at the first, C has nothing. */
async function prepare(world: World): Promise<Prepared> {
  const { a, b } = world;
  const dataset = await world.bornWith(a, before);
  const base = await world.snapshot(a, dataset);
  value(await world.transfer(a, b, dataset, null, base));
  await world.use(a, dataset, { ...after, gone: null });
  const next = await world.snapshot(a, dataset);
  const whole = await world.stream(a, dataset, null, next.guid);
  const increment = await world.stream(a, dataset, base.guid, next.guid);
  return { dataset, base, next, whole, increment };
}

/** That B is still at the base and C still has nothing, also after a restart. */
async function untouched(world: World, { dataset, base }: Prepared): Promise<void> {
  const { b, c } = world;
  for (const again of [false, true]) {
    if (again) await Promise.all([b.reopen(), c.reopen()]);
    const copy = await world.seen(b, dataset);
    assert.equal(copy.unchangedSince, base.guid);
    assert.deepEqual(copy.snapshots, [base]);
    assert.equal(copy.record.role, "replica");
    await world.isAbsent(c, dataset);
  }
}

/** That both streams are still taken afterwards. */
async function succeeds(world: World, prepared: Prepared): Promise<void> {
  const { dataset, base, next } = prepared;
  await receive(world.b, prepared, base.guid, prepared.increment);
  await receive(world.c, prepared, null, prepared.whole);
  for (const node of [world.b, world.c]) {
    assert.equal((await world.seen(node, dataset)).unchangedSince, next.guid);
    assert.deepEqual(await world.contents(node, dataset), after);
  }
}

async function receive(
  node: BackendNode,
  { dataset, next }: Prepared,
  base: string | null,
  bytes: Uint8Array,
): Promise<void> {
  value(await node.backend.receive(requestOf(dataset, base, next), streamOf(bytes), never));
}

/** Places in a stream: its edges and some in between. */
function places(bytes: Uint8Array): number[] {
  const shares = [0.1, 0.3, 0.5, 0.7, 0.9].map((share) => Math.floor(bytes.length * share));
  return [...new Set([0, 1, 20, ...shares, bytes.length - 1])];
}

export const interruptionRules: Rules = {
  "a stream that ends early leaves the copy as it was": async (world) => {
    const prepared = await prepare(world);
    const { dataset, base, next, whole, increment } = prepared;
    for (const end of places(increment)) {
      const cut = streamOf(increment.subarray(0, end));
      const result = await world.b.backend.receive(requestOf(dataset, base.guid, next), cut, never);
      refused(result, "transfer-interrupted", "transfer-corrupt");
    }
    for (const end of places(whole)) {
      const cut = streamOf(whole.subarray(0, end));
      const result = await world.c.backend.receive(requestOf(dataset, null, next), cut, never);
      refused(result, "transfer-interrupted", "transfer-corrupt");
    }
    await untouched(world, prepared);
    await succeeds(world, prepared);
  },

  "a stream with a changed byte leaves the copy as it was": async (world) => {
    const prepared = await prepare(world);
    const { dataset, base, next, whole, increment } = prepared;
    for (const place of places(increment)) {
      const bent = Buffer.from(increment);
      bent[place] = (bent[place] ?? 0) ^ 0x10;
      const result = await world.b.backend.receive(
        requestOf(dataset, base.guid, next),
        streamOf(bent),
        never,
      );
      refused(result, "transfer-interrupted", "transfer-corrupt");
    }
    for (const place of places(whole)) {
      const bent = Buffer.from(whole);
      bent[place] = (bent[place] ?? 0) ^ 0x10;
      const result = await world.c.backend.receive(requestOf(dataset, null, next), streamOf(bent), never);
      refused(result, "transfer-interrupted", "transfer-corrupt");
    }
    await untouched(world, prepared);
    await succeeds(world, prepared);
  },

  "a stream whose source fails leaves the copy as it was, and its own problem is told": async (world) => {
    const prepared = await prepare(world);
    const { dataset, base, next, increment } = prepared;
    async function* failing(error: Error): AsyncGenerator<Uint8Array> {
      yield* streamOf(increment.subarray(0, increment.length / 2));
      throw error;
    }
    const request = requestOf(dataset, base.guid, next);
    const broken = await world.b.backend.receive(request, failing(new Error("connection reset")), never);
    assert.match(refused(broken, "transfer-interrupted"), /connection reset/);
    const problem = { code: "transfer-corrupt", message: "The checksum differs.", remedy: "Again." } as const;
    const told = await world.b.backend.receive(request, failing(new ProblemError(problem)), never);
    assert.deepEqual(told, { ok: false, problem });
    await untouched(world, prepared);
    await succeeds(world, prepared);
  },

  "a stream of something else is refused": async (world) => {
    const prepared = await prepare(world);
    const { dataset, base, next, whole, increment } = prepared;
    const { b, c } = world;
    const other = { guid: "7b0f1f52-63ec-4e1c-8d2a-51d7f8f0a0ff", name: "other", createdAt: 1 };
    for (const [node, request, bytes] of [
      [b, requestOf(dataset, base.guid, other), increment],
      [c, requestOf(dataset, null, next), increment],
      [c, requestOf(dataset, null, other), whole],
      [c, requestOf(dataset, null, next), Buffer.from("no stream of any backend".repeat(500))],
      [c, requestOf(dataset, null, next), Buffer.alloc(0)],
    ] as const) {
      const result = await node.backend.receive(request, streamOf(bytes), never);
      refused(result, "transfer-corrupt", "transfer-interrupted", "snapshot-missing");
    }
    await untouched(world, prepared);
    await succeeds(world, prepared);
  },

  "an aborted receive leaves the copy as it was": async (world) => {
    const prepared = await prepare(world);
    const { dataset, base, next, increment } = prepared;
    const abort = new AbortController();
    async function* stalling(): AsyncGenerator<Uint8Array> {
      yield* streamOf(increment.subarray(0, increment.length - 100));
      abort.abort();
      // Nothing comes any more; whoever waits here for ever would hang.
      await new Promise<void>((resolve) => setImmediate(resolve));
      yield* streamOf(increment.subarray(increment.length - 100));
    }
    const request = requestOf(dataset, base.guid, next);
    const result = await world.b.backend.receive(request, stalling(), abort.signal);
    refused(result, "transfer-interrupted", "command-failed");
    await untouched(world, prepared);
    await succeeds(world, prepared);
  },

  "an aborted receive ends although its source hangs": async (world) => {
    const prepared = await prepare(world);
    const { dataset, base, next, increment } = prepared;
    const abort = new AbortController();
    async function* hanging(): AsyncGenerator<Uint8Array> {
      yield* streamOf(increment.subarray(0, increment.length / 2));
      setImmediate(() => abort.abort());
      await new Promise<never>(() => undefined);
    }
    const request = requestOf(dataset, base.guid, next);
    const result = await world.b.backend.receive(request, hanging(), abort.signal);
    refused(result, "transfer-interrupted", "command-failed");
    await untouched(world, prepared);
  },

  "a stream that is left early does not stand in the way of the next": async (world) => {
    const prepared = await prepare(world);
    const { dataset, base, next } = prepared;
    const sending = { dataset, base: base.guid, snapshot: next.guid };
    for await (const chunk of value(await world.a.backend.send(sending, never)).stream) {
      assert.ok(chunk.length > 0);
      break;
    }
    value(await world.transfer(world.a, world.b, dataset, base.guid, next));
    value(await world.a.backend.trash(dataset, 1));
    value(await world.a.backend.destroy(dataset));
    assert.deepEqual(await world.contents(world.b, dataset), after);
  },

  "a death of the agent in the middle of a receive leaves the copy as it was": async (world) => {
    const prepared = await prepare(world);
    const { dataset, base, next, increment, whole } = prepared;
    for (const [node, from, bytes] of [
      [world.b, base.guid, increment],
      [world.c, null, whole],
    ] as const) {
      const abort = new AbortController();
      let reopened: Promise<void> | undefined;
      async function* dying(): AsyncGenerator<Uint8Array> {
        yield* streamOf(bytes.subarray(0, bytes.length / 2));
        // The old agent ends without a chance to tidy up after itself.
        reopened = node.reopen();
        await reopened;
        abort.abort();
        throw new Error("the agent is gone");
      }
      const result = await node.backend.receive(requestOf(dataset, from, next), dying(), abort.signal);
      assert.ok(!result.ok);
      await reopened;
    }
    await untouched(world, prepared);
    await succeeds(world, prepared);
  },

  "a full disk is no-space and leaves the copy as it was": async (world, context) => {
    const { a, b } = world;
    const fillDisk = possible(b.fillDisk, context);
    if (fillDisk === undefined) return;
    const dataset = await world.bornWith(a, { file: "small" });
    const base = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, base));
    value(await a.backend.mount(dataset));
    const { randomBytes } = await import("node:crypto");
    await a.write(dataset, "large", randomBytes(8 * 2 ** 20));
    value(await a.backend.unmount(dataset));
    const next = await world.snapshot(a, dataset);
    const release = await fillDisk();
    refused(await world.transfer(a, b, dataset, base.guid, next), "no-space");
    assert.equal((await world.seen(b, dataset)).unchangedSince, base.guid);
    await release();
    value(await world.transfer(a, b, dataset, base.guid, next));
    assert.equal((await world.seen(b, dataset)).unchangedSince, next.guid);
  },
};
