import type { Problem } from "@flocker/core";
import { failure } from "@flocker/core";

/*
 * The data channel's framing. A connection carries one exchange; each frame is a type (1 byte), the length of
 * its payload (4 bytes, big-endian) and the payload:
 *
 *   asking side:    request · body* · end    or, where its body breaks,    request · body* · failed
 *   answering side: reply, at any moment after the request
 *   both:           keep-alive, at any moment, so that slow work is not taken for silence
 *
 * The layout of frames is the same in every version of the protocol; the request names the version of the
 * rest.
 */

/** The version of what the frames mean. */
export const dataChannelVersion = 1;

/** A body frame carries at most this much. */
export const maximumBodyFrameBytes: number = 1024 * 1024;
/** A request is small: it names a dataset and a snapshot. */
export const maximumRequestBytes: number = 64 * 1024;
/** A reply may list all snapshots of a dataset. */
export const maximumReplyBytes: number = 4 * 1024 * 1024;

/** A frame, or for the body a piece of one: bodies are passed on as they come, and never put together. */
export type Frame =
  | { readonly type: "request" | "reply" | "failed"; readonly value: unknown }
  | { readonly type: "body"; readonly bytes: Uint8Array }
  | { readonly type: "end"; readonly bodyBytes: number; readonly checksum: number }
  | { readonly type: "keep-alive" };

type FrameType = Frame["type"];

const frameHeadBytes = 5;
const endBytes = 8 + 4;

const layouts: Readonly<
  Record<FrameType, { readonly number: number; readonly minimum: number; readonly maximum: number }>
> = {
  request: { number: 1, minimum: 2, maximum: maximumRequestBytes },
  body: { number: 2, minimum: 1, maximum: maximumBodyFrameBytes },
  end: { number: 3, minimum: endBytes, maximum: endBytes },
  reply: { number: 4, minimum: 2, maximum: maximumReplyBytes },
  "keep-alive": { number: 5, minimum: 0, maximum: 0 },
  failed: { number: 6, minimum: 2, maximum: maximumRequestBytes },
};

const typesByNumber: ReadonlyMap<number, FrameType> = new Map(
  Object.entries(layouts).map(([type, layout]) => [layout.number, type as FrameType]),
);

/** What comes before a body frame's bytes, so that these need not be copied. */
export function bodyFrameHead(bodyBytes: number): Uint8Array {
  return frameHead("body", bodyBytes);
}

/** A frame with JSON in it, or undefined where the value is too large for one. */
export function jsonFrame(type: "request" | "reply" | "failed", value: unknown): Uint8Array | undefined {
  const payload = Buffer.from(JSON.stringify(value), "utf8");
  if (payload.length > layouts[type].maximum) return undefined;
  return Buffer.concat([frameHead(type, payload.length), payload]);
}

/** The frame that ends a body: how many bytes it had, and their CRC-32. */
export function endFrame(bodyBytes: number, checksum: number): Uint8Array {
  const frame = Buffer.allocUnsafe(frameHeadBytes + endBytes);
  frame.set(frameHead("end", endBytes), 0);
  frame.writeBigUInt64BE(BigInt(bodyBytes), frameHeadBytes);
  frame.writeUInt32BE(checksum, frameHeadBytes + 8);
  return frame;
}

/** The frame that only says: I am still here. */
export const keepAliveFrame: Uint8Array = frameHead("keep-alive", 0);

function frameHead(type: FrameType, payloadBytes: number): Uint8Array {
  const head = Buffer.allocUnsafe(frameHeadBytes);
  head.writeUInt8(layouts[type].number, 0);
  head.writeUInt32BE(payloadBytes, 1);
  return head;
}

/**
 * Takes bytes as they arrive, in pieces of any size, and hands out frames. It holds at most one small frame:
 * the bytes of bodies are views of what was pushed. After a problem it takes nothing more, since nobody knows
 * where the next frame would start.
 */
export class FrameParser {
  readonly #head: Buffer = Buffer.alloc(frameHeadBytes);
  #headFilled = 0;
  #type: FrameType = "keep-alive";
  #payload: Buffer | null = null;
  #payloadFilled = 0;
  #bodyLeft = 0;
  #problem: Problem | null = null;

  /** The frames that these bytes complete, and the problem that ends the parsing, where there is one. */
  push(chunk: Uint8Array): { readonly frames: readonly Frame[]; readonly problem: Problem | null } {
    const frames: Frame[] = [];
    let offset = 0;
    while (offset < chunk.length && this.#problem === null) {
      if (this.#bodyLeft > 0) {
        const bytes = chunk.subarray(offset, offset + this.#bodyLeft);
        this.#bodyLeft -= bytes.length;
        offset += bytes.length;
        frames.push({ type: "body", bytes });
      } else if (this.#payload !== null) {
        offset += this.#fillPayload(this.#payload, chunk.subarray(offset), frames);
      } else {
        offset += this.#fillHead(chunk.subarray(offset), frames);
      }
    }
    return { frames, problem: this.#problem };
  }

  #fillHead(chunk: Uint8Array, frames: Frame[]): number {
    const taken = chunk.subarray(0, frameHeadBytes - this.#headFilled);
    this.#head.set(taken, this.#headFilled);
    this.#headFilled += taken.length;
    if (this.#headFilled === frameHeadBytes) {
      this.#headFilled = 0;
      this.#begin(this.#head.readUInt8(0), this.#head.readUInt32BE(1), frames);
    }
    return taken.length;
  }

  #begin(number: number, length: number, frames: Frame[]): void {
    const type = typesByNumber.get(number);
    if (type === undefined) return this.#fail(`a frame of the unknown type ${number} came`);
    const layout = layouts[type];
    if (length < layout.minimum || length > layout.maximum) {
      const allowed = `${layout.minimum} to ${layout.maximum}`;
      return this.#fail(`a frame of type ${type} has ${length} bytes where ${allowed} are allowed`);
    }
    if (type === "keep-alive") {
      frames.push({ type });
    } else if (type === "body") {
      this.#bodyLeft = length;
    } else {
      this.#type = type;
      this.#payload = Buffer.allocUnsafe(length);
      this.#payloadFilled = 0;
    }
  }

  #fillPayload(payload: Buffer, chunk: Uint8Array, frames: Frame[]): number {
    const taken = chunk.subarray(0, payload.length - this.#payloadFilled);
    payload.set(taken, this.#payloadFilled);
    this.#payloadFilled += taken.length;
    if (this.#payloadFilled === payload.length) {
      this.#payload = null;
      this.#complete(payload, frames);
    }
    return taken.length;
  }

  #complete(payload: Buffer, frames: Frame[]): void {
    const type = this.#type;
    if (type === "end") {
      const bodyBytes = payload.readBigUInt64BE(0);
      if (bodyBytes > BigInt(Number.MAX_SAFE_INTEGER))
        return this.#fail("an end frame counts too many bytes");
      frames.push({ type, bodyBytes: Number(bodyBytes), checksum: payload.readUInt32BE(8) });
    } else if (type === "request" || type === "reply" || type === "failed") {
      try {
        const text = new TextDecoder("utf-8", { fatal: true }).decode(payload);
        frames.push({ type, value: JSON.parse(text) });
      } catch {
        this.#fail(`a frame of type ${type} is not JSON in UTF-8`);
      }
    }
  }

  #fail(what: string): void {
    this.#problem = violation(what);
  }
}

/** A breach of the protocol by the other side: `what` follows "while reading what the other side sent:". */
export function violation(what: string): Problem {
  return failure(
    "protocol-violation",
    `Error while reading what the other side of the data channel sent: ${what}.`,
    "Check that a Flocker agent of a supported version listens at that address and is not reached through a proxy.",
  ).problem;
}
