import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import test from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { ProblemError, failure, success } from "@flocker/core";
import type { PeerHandler, PeerReply, Problem, Result } from "@flocker/core";
import {
  breakableProxy,
  dataChannelRig,
  observedBody,
  receiveRequest,
  testDataset,
} from "../testing/data-channel-rig.ts";
import type { BreakableProxy } from "../testing/data-channel-rig.ts";

const mebibyte = 1024 * 1024;
const never = new AbortController().signal;

/** A body that never ends by itself. */
function* endless(): Generator<Uint8Array> {
  for (;;) yield Buffer.alloc(256 * 1024, 5);
}

interface Reception {
  readonly receivedBytes: number;
  readonly complete: boolean;
  readonly problem: Problem | null;
}

/** A handler that reads all, and keeps how each reading ended. */
function recordingHandler(): { handler: PeerHandler; receptions: Promise<Reception>[] } {
  const receptions: Promise<Reception>[] = [];
  const read = async (body: AsyncIterable<Uint8Array>): Promise<Reception> => {
    let receivedBytes = 0;
    try {
      for await (const chunk of body) receivedBytes += chunk.length;
      return { receivedBytes, complete: true, problem: null };
    } catch (error) {
      assert.ok(error instanceof ProblemError);
      return { receivedBytes, complete: false, problem: error.problem };
    }
  };
  const handler: PeerHandler = async (_from, _request, body) => {
    const reception = read(body);
    receptions.push(reception);
    const { problem, receivedBytes } = await reception;
    return problem === null ? success({ kind: "receive", receivedBytes }) : { ok: false, problem };
  };
  return { handler, receptions };
}

function codeOf(result: Result<PeerReply>): string {
  return result.ok ? "ok" : result.problem.code;
}

/** Waits until a condition holds, which it must within a bound. */
async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500 && !condition(); tries += 1) await delay(10);
  assert.ok(condition());
}

async function only<Value>(values: readonly Promise<Value>[]): Promise<Value> {
  assert.equal(values.length, 1);
  return (await values[0]) as Value;
}

test("a refusal in the middle of a body stops the sender at once, which gets the refusal as it is", async () => {
  for (const refusal of [
    failure("target-holds-primary", "This node holds the primary.", "Look at `flocker explain`.", "dataset"),
    failure("no-space", "The disk is full.", "Free some."),
  ]) {
    await using rig = await dataChannelRig({
      handler: async (_from, _request, body) => {
        let receivedBytes = 0;
        for await (const chunk of body) {
          receivedBytes += chunk.length;
          if (receivedBytes > 3 * mebibyte) break;
        }
        return refusal;
      },
    });
    const body = observedBody(endless());
    const reply = await rig.peers.ask(rig.peer, receiveRequest, { body, abort: never });
    assert.deepEqual(reply, refusal);
    assert.ok(body.closed);
  }
});

test("a refusal before the first byte reaches a sender that is busy sending", async () => {
  const refusal = failure("snapshot-missing", "The base is not here.", "Send it whole.");
  await using rig = await dataChannelRig({ handler: () => Promise.resolve(refusal) });
  for (let round = 0; round < 10; round += 1) {
    const body = observedBody(endless());
    assert.deepEqual(await rig.peers.ask(rig.peer, receiveRequest, { body, abort: never }), refusal);
    assert.ok(body.closed);
  }
});

test("a receiver that has it already may say so without reading", async () => {
  const reply: PeerReply = { kind: "receive", receivedBytes: 0 };
  await using rig = await dataChannelRig({ handler: () => Promise.resolve(success(reply)) });
  const body = observedBody(endless());
  assert.deepEqual(await rig.peers.ask(rig.peer, receiveRequest, { body, abort: never }), success(reply));
  assert.ok(body.closed);
});

test("a receiver that read only a part cannot answer with success", async () => {
  await using rig = await dataChannelRig({
    handler: async (_from, _request, body) => {
      for await (const _ of body) break;
      return success({ kind: "receive", receivedBytes: 1 });
    },
  });
  const body = observedBody(endless());
  assert.equal(codeOf(await rig.peers.ask(rig.peer, receiveRequest, { body, abort: never })), "internal");
});

test("where the sender's body breaks, the receiver's breaks too and says why", async () => {
  const { handler, receptions } = recordingHandler();
  await using rig = await dataChannelRig({ handler });
  const broken = failure("storage-unreadable", "Reading block 7 failed.", "Replace the disk.");
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(mebibyte);
    await until(() => receptions.length > 0);
    throw new ProblemError(broken.problem);
  }
  const body = observedBody(chunks());
  assert.deepEqual(await rig.peers.ask(rig.peer, receiveRequest, { body, abort: never }), broken);
  const reception = await only(receptions);
  assert.equal(reception.complete, false);
  assert.equal(reception.problem?.code, "transfer-interrupted");
  assert.match(reception.problem.message, /Reading block 7 failed/);
});

test("what a body throws beside problems is thrown on, and the receiver sees no complete body", async () => {
  const { handler, receptions } = recordingHandler();
  await using rig = await dataChannelRig({ handler });
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(mebibyte);
    await until(() => receptions.length > 0);
    throw new TypeError("a mistake");
  }
  const body = observedBody(chunks());
  await assert.rejects(rig.peers.ask(rig.peer, receiveRequest, { body, abort: never }), /a mistake/);
  const reception = await only(receptions);
  assert.equal(reception.problem?.code, "transfer-interrupted");
});

test("an asking side that stops is done at once; its body is closed and the receiver told", async () => {
  const { handler, receptions } = recordingHandler();
  await using rig = await dataChannelRig({ handler });
  const stop = new AbortController();
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(mebibyte);
    await until(() => receptions.length > 0);
    stop.abort();
    yield* endless();
  }
  const body = observedBody(chunks());
  const reply = await rig.peers.ask(rig.peer, receiveRequest, { body, abort: stop.signal });
  assert.equal(codeOf(reply), "transfer-interrupted");
  assert.ok(body.closed);
  assert.equal((await only(receptions)).problem?.code, "transfer-interrupted");
});

test("who has stopped already asks nothing", async () => {
  const { handler, receptions } = recordingHandler();
  await using rig = await dataChannelRig({ handler });
  const body = observedBody(endless());
  const reply = await rig.peers.ask(rig.peer, receiveRequest, { body, abort: AbortSignal.abort() });
  assert.equal(codeOf(reply), "transfer-interrupted");
  assert.equal(body.yieldedBytes, 0);
  assert.deepEqual(receptions, []);
});

test("stopping while a body is slow to come does not wait for it", async () => {
  const { handler } = recordingHandler();
  await using rig = await dataChannelRig({ handler });
  let arrive: () => void = () => undefined;
  const stop = new AbortController();
  let returned = false;
  const body = {
    [Symbol.asyncIterator]: () => ({
      next: () => {
        setImmediate(() => stop.abort());
        return new Promise<never>((_, reject) => (arrive = () => reject(new Error("too late to matter"))));
      },
      return: () => {
        returned = true;
        arrive();
        return Promise.resolve({ done: true as const, value: undefined });
      },
    }),
  };
  const reply = await rig.peers.ask(rig.peer, receiveRequest, { body, abort: stop.signal });
  assert.equal(codeOf(reply), "transfer-interrupted");
  assert.ok(returned);
});

for (const direction of ["asking", "answering"] as const) {
  test(`a connection cut anywhere on the ${direction} side's way never leaves a seemingly complete body`, async () => {
    const total = 2 * mebibyte;
    const offsets = [0, 1, 5, 100, 400, 700, 1000, 1300, 1600, 2000, 2200, 2500, 2800, 3500];
    if (direction === "asking")
      offsets.push(20_000, 65_536, 300_001, mebibyte, mebibyte + 1, total - 1, total);
    for (const afterBytes of offsets) {
      const { handler, receptions } = recordingHandler();
      let proxy: BreakableProxy | undefined;
      await using rig = await dataChannelRig({
        handler,
        through: async (port) => {
          proxy = await breakableProxy(port, { direction, afterBytes });
          return proxy.port;
        },
      });
      const body = observedBody([Buffer.alloc(mebibyte, 1), Buffer.alloc(mebibyte, 2)]);
      const reply = await rig.peers.ask(rig.peer, receiveRequest, { body, abort: never });
      const reception = await receptions[0];
      const where = `cut after ${afterBytes} bytes`;
      if (direction === "asking") assert.equal(reception?.complete ?? false, false, where);
      if (reply.ok) {
        // The cut came after all that mattered.
        assert.equal(reception?.complete, true, where);
        assert.equal(direction, "answering", where);
      } else {
        assert.match(reply.problem.code, /^(?:peer-unreachable|transfer-interrupted)$/, where);
      }
      if (reception?.complete === false) assert.equal(reception.problem?.code, "transfer-interrupted", where);
      assert.ok(body.closed || body.yieldedBytes === 0, where);
      await proxy?.[Symbol.asyncDispose]();
    }
  });
}

test("what arrived before the end of a broken body reaches a slow reader, who is not called off before", async () => {
  const broken = Promise.withResolvers<void>();
  const read = Promise.withResolvers<number>();
  await using rig = await dataChannelRig({
    handler: async (_from, _request, body, abort) => {
      let bytes = 0;
      try {
        for await (const chunk of body) {
          bytes += chunk.length;
          await broken.promise;
        }
      } catch (error) {
        assert.ok(error instanceof ProblemError && !abort.aborted);
      }
      read.resolve(bytes);
      return failure("transfer-interrupted", "It was cut.", "Again.");
    },
  });
  function* chunks(): Generator<Uint8Array> {
    yield Buffer.alloc(mebibyte / 2);
    throw new ProblemError(failure("storage-unreadable", "Reading failed.", "Replace the disk.").problem);
  }
  const body = observedBody(chunks());
  const reply = await rig.peers.ask(rig.peer, receiveRequest, { body, abort: never });
  assert.equal(codeOf(reply), "storage-unreadable");
  broken.resolve();
  assert.equal(await read.promise, mebibyte / 2);
});

test("a handler that goes on with a body that has ended is called off after a while", async () => {
  const stop = new AbortController();
  await using rig = await dataChannelRig({
    limits: { lingerMs: 100 },
    handler: async (_from, _request, body, abort) => {
      for await (const _ of body) {
        stop.abort();
        await until(() => abort.aborted);
        break;
      }
      return failure("transfer-interrupted", "It was called off.", "Again.");
    },
  });
  const body = observedBody(endless());
  await rig.peers.ask(rig.peer, receiveRequest, { body, abort: stop.signal });
  await rig.close();
});

test("silence on the way is found out on both sides", async () => {
  const { handler, receptions } = recordingHandler();
  let proxy: BreakableProxy | undefined;
  await using rig = await dataChannelRig({
    handler,
    silenceMs: 200,
    limits: { silenceMs: 200 },
    through: async (port) => {
      proxy = await breakableProxy(port);
      return proxy.port;
    },
  });
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(1000);
    await delay(50);
    proxy?.freeze();
    yield* endless();
  }
  const body = observedBody(chunks());
  const startedAt = performance.now();
  const reply = await rig.peers.ask(rig.peer, receiveRequest, { body, abort: never });
  assert.equal(codeOf(reply), "peer-unreachable");
  assert.match(reply.ok ? "" : reply.problem.message, /nothing was heard of it for 0.2 s/);
  assert.ok(performance.now() - startedAt < 3000);
  assert.ok(body.closed);
  assert.equal((await only(receptions)).problem?.code, "peer-unreachable");
  await proxy?.[Symbol.asyncDispose]();
});

test("a handler is told when the asking side is gone while it finishes its work", async () => {
  let abortedInTime = false;
  const stop = new AbortController();
  await using rig = await dataChannelRig({
    handler: async (_from, request, _body, abort) => {
      stop.abort();
      await until(() => abort.aborted);
      abortedInTime = abort.aborted;
      return failure("deadline-exceeded", `Gave up ${request.kind}.`, "");
    },
  });
  const reply = await rig.peers.ask(
    rig.peer,
    { kind: "describe", dataset: testDataset },
    { abort: stop.signal },
  );
  assert.equal(codeOf(reply), "transfer-interrupted");
  await rig.close();
  assert.ok(abortedInTime);
});

test("a node where nothing listens is unreachable, and one that does not speak too", async () => {
  const { handler } = recordingHandler();
  await using rig = await dataChannelRig({ handler, silenceMs: 200 });
  const mute = createServer((socket) => socket.on("error", () => undefined));
  mute.listen({ host: "127.0.0.1", port: 0 });
  await once(mute, "listening");
  const { port } = mute.address() as AddressInfo;
  const body = observedBody(endless());

  const silent = await rig.peers.ask({ ...rig.peer, port }, receiveRequest, { body, abort: never });
  assert.equal(codeOf(silent), "peer-unreachable");
  assert.match(silent.ok ? "" : silent.problem.message, /no answer within 0.2 s/);

  mute.close();
  const refused = await rig.peers.ask({ ...rig.peer, port: 1 }, receiveRequest, { body, abort: never });
  assert.equal(codeOf(refused), "peer-unreachable");
  assert.match(refused.ok ? "" : refused.problem.message, /nothing listens there/);
});
