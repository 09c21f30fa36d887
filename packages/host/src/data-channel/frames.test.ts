import assert from "node:assert/strict";
import test from "node:test";
import { crc32 } from "node:zlib";
import { ProblemError } from "@flocker/core";
import fc from "fast-check";
import {
  FrameParser,
  bodyFrameHead,
  endFrame,
  jsonFrame,
  keepAliveFrame,
  maximumBodyFrameBytes,
  maximumRequestBytes,
} from "./frames.ts";
import type { Frame } from "./frames.ts";
import { IncomingBody } from "./incoming-body.ts";

/** Frames as values that can be compared: the pieces of a body between two other frames put together. */
function comparable(frames: readonly Frame[]): unknown[] {
  const result: unknown[] = [];
  let body: number[] | null = null;
  for (const frame of frames) {
    if (frame.type === "body") {
      if (body === null) result.push((body = []));
      body.push(...frame.bytes);
    } else {
      body = null;
      result.push(frame);
    }
  }
  return result;
}

function encoded(frame: Frame): Uint8Array {
  switch (frame.type) {
    case "body":
      return Buffer.concat([bodyFrameHead(frame.bytes.length), frame.bytes]);
    case "end":
      return endFrame(frame.bodyBytes, frame.checksum);
    case "keep-alive":
      return keepAliveFrame;
    case "request":
    case "reply":
    case "failed": {
      const bytes = jsonFrame(frame.type, frame.value);
      assert.ok(bytes);
      return bytes;
    }
  }
}

const plain = { noNullPrototype: true };

const anyFrame: fc.Arbitrary<Frame> = fc.oneof(
  fc.record(
    {
      type: fc.constantFrom("request" as const, "reply" as const, "failed" as const),
      // As JSON carries it: there is no negative zero.
      value: fc
        .dictionary(fc.string(), fc.jsonValue())
        .map((value): unknown => JSON.parse(JSON.stringify(value))),
    },
    plain,
  ),
  fc.record(
    { type: fc.constant("body" as const), bytes: fc.uint8Array({ minLength: 1, maxLength: 300 }) },
    plain,
  ),
  fc.record(
    {
      type: fc.constant("end" as const),
      bodyBytes: fc.maxSafeNat(),
      checksum: fc.nat({ max: 2 ** 32 - 1 }),
    },
    plain,
  ),
  fc.constant({ type: "keep-alive" as const }),
);

/** The bytes, cut at these places. */
function chunked(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const places = cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b);
  return [0, ...places].map((start, index) => bytes.subarray(start, places[index] ?? bytes.length));
}

test("the same frames come out however the bytes are cut", () => {
  fc.assert(
    fc.property(
      fc.array(anyFrame, { maxLength: 12 }),
      fc.array(fc.nat(), { maxLength: 20 }),
      (frames, cuts) => {
        const parser = new FrameParser();
        const bytes = Buffer.concat(frames.map(encoded));
        const out = chunked(bytes, cuts).flatMap((chunk) => {
          const { frames: parsed, problem } = parser.push(chunk);
          assert.equal(problem, null);
          return parsed;
        });
        assert.deepEqual(comparable(out), comparable(frames));
      },
    ),
  );
});

test("any bytes are frames or a problem, the same one however they are cut, and never an exception", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.array(fc.nat(), { maxLength: 5 }), (bytes, cuts) => {
      const whole = new FrameParser().push(bytes);
      const parser = new FrameParser();
      const parts = chunked(bytes, cuts).map((chunk) => parser.push(chunk));
      assert.deepEqual(comparable(parts.flatMap((part) => part.frames)), comparable(whole.frames));
      assert.deepEqual(parts.at(-1)?.problem, whole.problem);
    }),
  );
});

const head = (type: number, length: number): Buffer => {
  const bytes = Buffer.alloc(5);
  bytes.writeUInt8(type, 0);
  bytes.writeUInt32BE(length, 1);
  return bytes;
};

for (const [what, bytes, expected] of [
  ["of an unknown type", head(9, 4), /unknown type 9/],
  ["of HTTP", Buffer.from("GET / HTTP/1.1\r\n"), /unknown type 71/],
  ["with too long a request", head(1, maximumRequestBytes + 1), /type request has 65537 bytes/],
  ["with an empty request", head(1, 0), /type request has 0 bytes/],
  ["with an empty body", head(2, 0), /type body has 0 bytes/],
  ["with too long a body", head(2, maximumBodyFrameBytes + 1), /type body has 1048577 bytes/],
  ["with a short end", head(3, 11), /type end has 11 bytes/],
  ["with too long a reply", head(4, 0xffff_ffff), /type reply has 4294967295 bytes/],
  ["with a keep-alive that carries something", head(5, 1), /type keep-alive has 1 bytes/],
  ["with broken JSON", Buffer.concat([head(1, 3), Buffer.from("{a}")]), /not JSON/],
  ["with broken UTF-8", Buffer.concat([head(4, 4), Buffer.of(0x22, 0xff, 0xfe, 0x22)]), /not JSON/],
  ["with an impossible count", Buffer.concat([head(3, 12), Buffer.alloc(12, 0xff)]), /counts too many/],
] as const) {
  test(`a frame ${what} is a problem, and nothing after it is believed`, () => {
    const parser = new FrameParser();
    const { frames, problem } = parser.push(bytes);
    assert.deepEqual(frames, []);
    assert.equal(problem?.code, "protocol-violation");
    assert.match(problem?.message ?? "", expected);
    assert.deepEqual(parser.push(keepAliveFrame), { frames: [], problem });
  });
}

test("what does not fit into its frame is not framed", () => {
  assert.equal(jsonFrame("request", { text: "x".repeat(maximumRequestBytes) }), undefined);
});

/** Feeds a body with these bytes and this end, and reads it. */
async function readBody(bytes: Uint8Array, bodyBytes: number, checksum: number): Promise<number> {
  const body = new IncomingBody({ pause: () => undefined, resume: () => undefined });
  body.push(bytes);
  body.end(bodyBytes, checksum);
  let readBytes = 0;
  for await (const chunk of body) readBytes += chunk.length;
  return readBytes;
}

const isCorrupt = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ProblemError);
  assert.equal(error.problem.code, "transfer-corrupt");
  assert.match(error.problem.message, pattern);
  return true;
};

test("a body ends normally only if count and checksum are those that the sender names", async () => {
  const bytes = Buffer.from("the only copy");
  const checksum = crc32(bytes);
  assert.equal(await readBody(bytes, bytes.length, checksum), bytes.length);

  await assert.rejects(readBody(bytes, bytes.length + 1, checksum), isCorrupt(/sent 14 bytes, and 13 have/));
  await assert.rejects(readBody(bytes, bytes.length - 1, checksum), isCorrupt(/sent 12 bytes/));
  for (let bit = 0; bit < bytes.length * 8; bit += 7) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    await assert.rejects(readBody(flipped, bytes.length, checksum), isCorrupt(/checksum over the 13 bytes/));
  }
});

test("a broken body gives what came before the break, and then throws", async () => {
  const body = new IncomingBody({ pause: () => undefined, resume: () => undefined });
  body.push(Buffer.of(1));
  body.fail({ code: "transfer-interrupted", message: "cut", remedy: "" });
  body.push(Buffer.of(2));
  const iterator = body[Symbol.asyncIterator]();
  assert.deepEqual(await iterator.next(), { done: false, value: Buffer.of(1) });
  await assert.rejects(iterator.next(), ProblemError);
  assert.equal(body.reading, "failed");
});

test("of a body whose checksum is wrong nothing more is given", async () => {
  const body = new IncomingBody({ pause: () => undefined, resume: () => undefined });
  body.push(Buffer.of(1));
  assert.equal(body.end(1, 0)?.code, "transfer-corrupt");
  await assert.rejects(body[Symbol.asyncIterator]().next(), ProblemError);
});

test("a body asks for a pause when much is waiting, and to go on when most of it is read", async () => {
  const calls: string[] = [];
  const body = new IncomingBody({ pause: () => calls.push("pause"), resume: () => calls.push("resume") });
  const piece = Buffer.alloc(64 * 1024);
  for (let index = 0; index < 15; index += 1) body.push(piece);
  assert.deepEqual(calls, []);
  body.push(piece);
  body.push(piece);
  assert.deepEqual(calls, ["pause"]);
  const iterator = body[Symbol.asyncIterator]();
  for (let readBytes = 0; readBytes <= piece.length * 13;) {
    assert.deepEqual(calls, readBytes < piece.length * 13 ? ["pause"] : ["pause", "resume"]);
    readBytes += (await iterator.next()).value?.length ?? 0;
  }
  assert.deepEqual(calls, ["pause", "resume"]);
});

test("leaving a body early ends its iteration, a waiting one too", async () => {
  const body = new IncomingBody({ pause: () => undefined, resume: () => undefined });
  const iterator = body[Symbol.asyncIterator]();
  const waiting = iterator.next();
  await iterator.return?.();
  assert.deepEqual(await waiting, { done: true, value: undefined });
  assert.equal(body.reading, "left");
});
