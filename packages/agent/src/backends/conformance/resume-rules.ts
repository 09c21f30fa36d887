import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { TestContext } from "node:test";

import {
  failure,
  ProblemError,
  type DatasetId,
  type PartialReceive,
  type ReceiveRequest,
  type Snapshot,
} from "@flocker/core";

import type { BackendNode, Rule, Rules } from "../conformance.ts";
import { never, recordOf, refused, requestOf, streamOf, value, type World } from "./world.ts";

const fileCount = 6;
const fileBytes = 256 * 1024;

interface Prepared {
  readonly dataset: DatasetId;
  readonly base: Snapshot;
  readonly next: Snapshot;
  readonly files: Readonly<Record<string, string>>;
  readonly whole: Buffer;
  readonly increment: Buffer;
}

/**
 * Two snapshots on A, between which much was written that does not compress: B is at the first, C has
 * nothing.
 */
async function prepare(world: World): Promise<Prepared> {
  const { a, b } = world;
  const dataset = await world.bornWith(a, { small: "1" });
  const base = await world.snapshot(a, dataset);
  value(await world.transfer(a, b, dataset, null, base));
  const large = Array.from({ length: fileCount }, (_, index): [string, string] => [
    `large-${String(index).padStart(2, "0")}`,
    randomBytes((fileBytes * 3) / 4).toString("base64"),
  ]);
  await world.use(a, dataset, Object.fromEntries(large));
  const next = await world.snapshot(a, dataset);
  const whole = await world.stream(a, dataset, null, next.guid);
  const increment = await world.stream(a, dataset, base.guid, next.guid);
  return { dataset, base, next, files: { ...Object.fromEntries(large), small: "1" }, whole, increment };
}

/** The rule, where the backend says that it can resume. */
function ifResumable(rule: (world: World) => Promise<void>): Rule {
  return async (world, context: TestContext) => {
    if (world.a.backend.capabilities.resume) return await rule(world);
    context.skip("the backend cannot go on with an interrupted transfer");
  };
}

/** Receives that share of a stream, until the connection breaks. */
export async function interrupt(
  node: BackendNode,
  request: ReceiveRequest,
  bytes: Buffer,
  share = 0.6,
): Promise<void> {
  async function* breaking(): AsyncGenerator<Uint8Array> {
    yield* streamOf(bytes.subarray(0, Math.floor(bytes.length * share)));
    const { problem } = failure("transfer-interrupted", "The connection broke.", "It is tried again.");
    throw new ProblemError(problem);
  }
  refused(await node.backend.receive(request, breaking(), never), "transfer-interrupted");
}

async function partialOf(node: BackendNode, dataset: DatasetId): Promise<PartialReceive | undefined> {
  const one = value(await node.backend.discover(dataset)).partials ?? [];
  const all = value(await node.backend.discover(null)).partials ?? [];
  assert.deepEqual(
    all.filter((partial) => partial.dataset === dataset),
    one,
  );
  return one[0];
}

/** What is shown as left of an interrupted receive, which must be there. */
export async function requirePartial(node: BackendNode, dataset: DatasetId): Promise<PartialReceive> {
  const partial = await partialOf(node, dataset);
  assert.ok(partial !== undefined, "what has arrived is shown");
  return partial;
}

/** Goes on with what a node has; answers how many bytes that took. */
export async function goOn(from: BackendNode, to: BackendNode, request: ReceiveRequest): Promise<number> {
  const { dataset, base, snapshot } = request;
  const { token } = await requirePartial(to, dataset);
  const rest = { dataset, base, snapshot: snapshot.guid, resume: token };
  const { stream } = value(await from.backend.send(rest, never));
  let bytes = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of stream) {
      bytes += chunk.length;
      yield chunk;
    }
  }
  value(await to.backend.receive({ ...request, resume: token }, counted(), never));
  return bytes;
}

async function isWhole(world: World, node: BackendNode, { dataset, next, files }: Prepared): Promise<void> {
  assert.equal((await world.seen(node, dataset)).unchangedSince, next.guid);
  assert.equal(await partialOf(node, dataset), undefined);
  assert.deepEqual(await world.contents(node, dataset), files);
}

export const resumeRules: Rules = {
  "an interrupted receive goes on, sends only the rest, and ends with exactly the snapshot": ifResumable(
    async (world) => {
      const prepared = await prepare(world);
      const { dataset, base, next, whole, increment } = prepared;
      for (const [node, from, bytes] of [
        [world.b, base.guid, increment],
        [world.c, null, whole],
      ] as const) {
        const request = requestOf(dataset, from, next);
        await interrupt(node, request, bytes);
        const { snapshot, base: shownBase } = await requirePartial(node, dataset);
        assert.deepEqual([snapshot, shownBase], [next.guid, from]);
        const rest = await goOn(world.a, node, request);
        assert.ok(rest < 0.6 * bytes.length, `${rest} of ${bytes.length} bytes were sent again`);
        await isWhole(world, node, prepared);
      }
    },
  ),

  "it may be interrupted again and again": ifResumable(async (world) => {
    const prepared = await prepare(world);
    const { dataset, next, whole } = prepared;
    const request = requestOf(dataset, null, next);
    await interrupt(world.c, request, whole, 0.3);
    const first = await requirePartial(world.c, dataset);
    const sending = { dataset, base: null, snapshot: next.guid, resume: first.token };
    const chunks: Uint8Array[] = [];
    for await (const chunk of value(await world.a.backend.send(sending, never)).stream)
      chunks.push(Uint8Array.from(chunk));
    await interrupt(world.c, { ...request, resume: first.token }, Buffer.concat(chunks), 0.5);
    assert.notEqual((await requirePartial(world.c, dataset)).token, first.token);
    const rest = await goOn(world.a, world.c, request);
    assert.ok(rest < 0.6 * whole.length, `${rest} of ${whole.length} bytes were sent again`);
    await isWhole(world, world.c, prepared);
  }),

  "what has arrived is no copy, and outlives the agent": ifResumable(async (world) => {
    const prepared = await prepare(world);
    const { dataset, base, next, whole, increment } = prepared;
    await interrupt(world.b, requestOf(dataset, base.guid, next), increment);
    await interrupt(world.c, requestOf(dataset, null, next), whole);
    for (const again of [false, true]) {
      if (again) await Promise.all([world.b.reopen(), world.c.reopen()]);
      await world.isAbsent(world.c, dataset);
      const copy = await world.seen(world.b, dataset);
      assert.deepEqual([copy.unchangedSince, copy.snapshots], [base.guid, [base]]);
      await requirePartial(world.b, dataset);
      await requirePartial(world.c, dataset);
    }
    await goOn(world.a, world.b, requestOf(dataset, base.guid, next));
    await goOn(world.a, world.c, requestOf(dataset, null, next));
    await isWhole(world, world.b, prepared);
    await isWhole(world, world.c, prepared);
  }),

  "a rest without its beginning is refused as a dead token, by the receiver and by the sender": ifResumable(
    async (world) => {
      const prepared = await prepare(world);
      const { dataset, base, next, whole } = prepared;
      const request = requestOf(dataset, null, next);
      await interrupt(world.c, request, whole);
      const { token } = await requirePartial(world.c, dataset);
      const sending = { dataset, base: null, snapshot: next.guid, resume: token };
      const rest = async () => value(await world.a.backend.send(sending, never)).stream;
      const receive = async (to: BackendNode, asked: ReceiveRequest, with_: string) =>
        await to.backend.receive({ ...asked, resume: with_ }, await rest(), never);
      refused(await receive(world.c, request, "no token of any backend"), "resume-token-dead");
      refused(await receive(world.b, request, token), "resume-token-dead");
      const other = { ...next, guid: base.guid, name: base.name };
      refused(await receive(world.c, requestOf(dataset, null, other), token), "resume-token-dead");
      const dead = { ...sending, resume: "no token of any backend" };
      refused(await world.a.backend.send(dead, never), "resume-token-dead");
      refused(await world.a.backend.send({ ...sending, snapshot: base.guid }, never), "resume-token-dead");
      await goOn(world.a, world.c, request);
      await isWhole(world, world.c, prepared);
    },
  ),

  "a stream from its beginning throws away what an interrupted one has left": ifResumable(async (world) => {
    const prepared = await prepare(world);
    const { dataset, base, next, whole, increment } = prepared;
    await interrupt(world.b, requestOf(dataset, base.guid, next), increment);
    await interrupt(world.c, requestOf(dataset, null, next), whole);
    value(await world.transfer(world.a, world.b, dataset, base.guid, next));
    value(await world.transfer(world.a, world.c, dataset, null, next));
    await isWhole(world, world.b, prepared);
    await isWhole(world, world.c, prepared);
  }),

  "what has arrived goes with its copy, and when it is told to": ifResumable(async (world) => {
    const { dataset, base, next, whole, increment } = await prepare(world);
    const { b, c } = world;
    await interrupt(c, requestOf(dataset, null, next), whole);
    value((await c.backend.discardPartial?.(dataset)) ?? { ok: true, value: undefined });
    assert.equal(await partialOf(c, dataset), undefined);
    await world.isAbsent(c, dataset);
    await interrupt(b, requestOf(dataset, base.guid, next), increment);
    value(await b.backend.trash(dataset, 1));
    assert.equal(await partialOf(b, dataset), undefined);
    value(await b.backend.restore(dataset));
    await interrupt(b, requestOf(dataset, base.guid, next), increment);
    value(await b.backend.writeRecord(recordOf(dataset)));
    assert.equal(await partialOf(b, dataset), undefined);
    assert.equal((await world.seen(b, dataset)).unchangedSince, base.guid);
  }),
};
