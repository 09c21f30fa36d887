import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import test from "node:test";
import { firstEpoch, success } from "@flocker/core";
import type { PeerHandler, PeerReply, PeerRequest } from "@flocker/core";
import {
  answeringNode,
  askingNode,
  dataChannelRig,
  observedBody,
  receiveRequest,
  testDataset,
} from "../testing/data-channel-rig.ts";

const mebibyte = 1024 * 1024;
const never = new AbortController().signal;

/** Reads the whole body and says how much it was. */
const readAll: PeerHandler = async (_from, _request, body) => {
  let receivedBytes = 0;
  for await (const chunk of body) receivedBytes += chunk.length;
  return success({ kind: "receive", receivedBytes });
};

/** Waits until a condition holds, which it must within a bound. */
async function until(what: string, condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    if (condition()) return;
    await delay(10);
  }
  assert.fail(`waited in vain for: ${what}`);
}

test("each kind of request reaches the handler as it was asked, and the reply comes back", async () => {
  const exchanges: readonly (readonly [PeerRequest, PeerReply])[] = [
    [
      { kind: "describe", dataset: testDataset },
      {
        kind: "describe",
        record: { dataset: testDataset, epoch: firstEpoch, role: "relinquished", successor: answeringNode },
        snapshots: ["guid-1", "guid-2"],
        unchangedSince: "guid-2",
      },
    ],
    [
      { kind: "describe", dataset: testDataset },
      { kind: "describe", record: null, snapshots: [], unchangedSince: null },
    ],
    [receiveRequest, { kind: "receive", receivedBytes: 3 }],
    [
      { kind: "promote", dataset: testDataset, epoch: { term: 2, step: 7 }, snapshot: "guid-1" },
      { kind: "promote" },
    ],
    [
      { kind: "take-back", dataset: testDataset, epoch: firstEpoch },
      { kind: "take-back", granted: false },
    ],
  ];
  const seen: unknown[] = [];
  let reply: PeerReply = { kind: "promote" };
  await using rig = await dataChannelRig({
    handler: async (from, request, body) => {
      const bytes: number[] = [];
      for await (const chunk of body) bytes.push(...chunk);
      seen.push({ from, request, bytes });
      return success(reply);
    },
  });
  for (const [request, expected] of exchanges) {
    reply = expected;
    const body = request.kind === "receive" ? { body: observedBody([Buffer.of(1), Buffer.of(2, 3)]) } : {};
    assert.deepEqual(await rig.peers.ask(rig.peer, request, { abort: never, ...body }), success(expected));
    const bytes = request.kind === "receive" ? [1, 2, 3] : [];
    assert.deepEqual(seen.pop(), { from: askingNode, request, bytes });
  }
});

test("64 MiB that come in the same memory arrive unchanged, in order, with growing progress", async () => {
  const block = randomBytes(3 * mebibyte);
  const memory = Buffer.alloc(block.length);
  const sizes = [1, 3 * mebibyte, 17, mebibyte, mebibyte + 1, 0, 60_000];
  const sent = createHash("sha256");
  let total = 0;
  function* chunks(): Generator<Uint8Array> {
    for (let index = 0; total < 64 * mebibyte; index += 1) {
      const chunk = memory.subarray(0, sizes[index % sizes.length]);
      block.copy(chunk, 0, index);
      sent.update(chunk);
      total += chunk.length;
      yield chunk;
    }
  }
  const received = createHash("sha256");
  await using rig = await dataChannelRig({
    handler: async (_from, _request, body) => {
      let receivedBytes = 0;
      for await (const chunk of body) {
        received.update(chunk);
        receivedBytes += chunk.length;
      }
      return success({ kind: "receive", receivedBytes });
    },
  });
  const progress: number[] = [];
  const reply = await rig.peers.ask(rig.peer, receiveRequest, {
    body: observedBody(chunks()),
    abort: never,
    onProgress: (doneBytes) => progress.push(doneBytes),
  });
  assert.deepEqual(reply, success({ kind: "receive", receivedBytes: total }));
  assert.equal(received.digest("hex"), sent.digest("hex"));
  assert.equal(progress.at(-1), total);
  assert.deepEqual(
    progress,
    progress.toSorted((a, b) => a - b),
  );
});

test("small and large chunks in turn arrive in order, and the last small one is not held back", async () => {
  const block = randomBytes(100_000);
  const sent = createHash("sha256");
  let arrived: () => void = () => undefined;
  const allArrived = new Promise<void>((resolve) => (arrived = resolve));
  let total = 0;
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let index = 0; index < 3000; index += 1) {
      const chunk = block.subarray(0, [9, 40_000, 512, 1, 20_000][index % 5]);
      sent.update(chunk);
      total += chunk.length;
      yield chunk;
    }
    await allArrived;
  }
  const received = createHash("sha256");
  await using rig = await dataChannelRig({
    handler: async (_from, _request, body) => {
      let receivedBytes = 0;
      for await (const chunk of body) {
        received.update(chunk);
        receivedBytes += chunk.length;
        if (receivedBytes === 600 * 60_522) arrived();
      }
      return success({ kind: "receive", receivedBytes });
    },
  });
  const reply = await rig.peers.ask(rig.peer, receiveRequest, { body: observedBody(chunks()), abort: never });
  assert.deepEqual(reply, success({ kind: "receive", receivedBytes: total }));
  assert.equal(received.digest("hex"), sent.digest("hex"));
});

test("an empty body is complete", async () => {
  await using rig = await dataChannelRig({ handler: readAll });
  const reply = await rig.peers.ask(rig.peer, receiveRequest, { body: observedBody([]), abort: never });
  assert.deepEqual(reply, success({ kind: "receive", receivedBytes: 0 }));
});

test("a receiver that stops reading stops the sender, and memory stays flat", async () => {
  let goOn: () => void = () => undefined;
  const hold = new Promise<void>((resolve) => (goOn = resolve));
  await using rig = await dataChannelRig({
    handler: async (_from, _request, body) => {
      let receivedBytes = 0;
      for await (const chunk of body) {
        if (receivedBytes === 0) await hold;
        receivedBytes += chunk.length;
      }
      return success({ kind: "receive", receivedBytes });
    },
  });
  const total = 256 * mebibyte;
  const chunk = Buffer.alloc(mebibyte, 7);
  const body = observedBody(Array.from({ length: total / mebibyte }, () => chunk));
  const asked = rig.peers.ask(rig.peer, receiveRequest, { body, abort: never });
  let last = 0;
  let stillFor = 0;
  await until("the sender to stand still", () => {
    stillFor = body.yieldedBytes > 0 && body.yieldedBytes === last ? stillFor + 1 : 0;
    last = body.yieldedBytes;
    return stillFor === 20;
  });
  // What the sockets' buffers in the kernel hold, our own two windows, and some slack.
  assert.ok(body.yieldedBytes < 32 * mebibyte, `${body.yieldedBytes} bytes were sent to nobody`);
  goOn();
  assert.deepEqual(await asked, success({ kind: "receive", receivedBytes: total }));
  assert.ok(body.closed);
});

test("all bodies of a process share the bandwidth limit", async () => {
  await using rig = await dataChannelRig({ handler: readAll, bandwidthLimitBytesPerSecond: 4 * mebibyte });
  const startedAt = performance.now();
  const replies = await Promise.all(
    [0, 1].map(() =>
      rig.peers.ask(rig.peer, receiveRequest, {
        body: observedBody([Buffer.alloc(mebibyte)]),
        abort: never,
      }),
    ),
  );
  const tookMs = performance.now() - startedAt;
  assert.deepEqual(
    replies.map((reply) => reply.ok),
    [true, true],
  );
  // 2 MiB at 4 MiB/s are 500 ms, of which the burst may save 100.
  assert.ok(tookMs > 380, `2 MiB took only ${tookMs} ms`);
});

/** Long enough that a process on a busy machine still says something in it. */
const silenceMs = 750;

test("long work after the end of the body is not taken for silence", async () => {
  await using rig = await dataChannelRig({
    silenceMs,
    limits: { silenceMs },
    handler: async (from, request, body, abort) => {
      const reply = await readAll(from, request, body, abort);
      await delay(3 * silenceMs);
      return reply;
    },
  });
  const reply = await rig.peers.ask(rig.peer, receiveRequest, {
    body: observedBody([Buffer.of(1)]),
    abort: never,
  });
  assert.deepEqual(reply, success({ kind: "receive", receivedBytes: 1 }));
});

test("a body that is slow to come is not taken for silence", async () => {
  await using rig = await dataChannelRig({ silenceMs, limits: { silenceMs }, handler: readAll });
  async function* chunks(): AsyncGenerator<Uint8Array> {
    await delay(3 * silenceMs);
    yield Buffer.of(1);
  }
  const reply = await rig.peers.ask(rig.peer, receiveRequest, { body: observedBody(chunks()), abort: never });
  assert.deepEqual(reply, success({ kind: "receive", receivedBytes: 1 }));
});

test("a receiver that stops reading for longer than a silence is not taken for dead, nor is the sender", async () => {
  const total = 64 * mebibyte;
  await using rig = await dataChannelRig({
    silenceMs,
    limits: { silenceMs },
    handler: async (_from, _request, body) => {
      let receivedBytes = 0;
      for await (const chunk of body) {
        if (receivedBytes === 0) await delay(3 * silenceMs);
        receivedBytes += chunk.length;
      }
      return success({ kind: "receive", receivedBytes });
    },
  });
  const body = observedBody(Array.from({ length: 64 }, () => Buffer.alloc(mebibyte)));
  const reply = await rig.peers.ask(rig.peer, receiveRequest, { body, abort: never });
  assert.deepEqual(reply, success({ kind: "receive", receivedBytes: total }));
});
