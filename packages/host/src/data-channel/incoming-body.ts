import { crc32 } from "node:zlib";
import { ProblemError, assert, failure } from "@flocker/core";
import type { ByteStream, Problem } from "@flocker/core";

/** Above this many waiting bytes the connection is not read any further. */
const highWaterBytes = 1024 * 1024;
/** Below this many it is read again. */
const lowWaterBytes = 256 * 1024;

/**
 * What arrives is copied into batches of this size, which are used again: TLS hands out new memory for each
 * of its small records, and what is kept of that until a program has taken it makes the garbage collector run
 * dozens of times for each GiB.
 */
const batchBytes = 256 * 1024;

interface Batch {
  readonly memory: Buffer;
  filledBytes: number;
}

/** How far the reader is: `left` means that it stopped before the verified end. */
export type ReadingState = "unread" | "reading" | "left" | "verified" | "failed";

/**
 * A body on its way from the connection to its reader. The iteration ends normally only after the end frame
 * has proven that every byte is there and right; else it throws a ProblemError. Whoever reads must not commit
 * anything before that, but may keep what has come before a cut, to go on with it. A chunk is overwritten
 * once the next one is asked for. May be iterated once.
 */
export class IncomingBody implements ByteStream {
  readonly #flow: { readonly pause: () => void; readonly resume: () => void };
  readonly #waiting: Batch[] = [];
  readonly #spare: Batch[] = [];
  #lent: Batch | null = null;
  #checksum = 0;
  #waitingBytes = 0;
  #receivedBytes = 0;
  #full = false;
  #ending: "verified" | Problem | null = null;
  #reading: ReadingState = "unread";
  #wake: (() => void) | null = null;
  #waking = false;

  constructor(flow: { readonly pause: () => void; readonly resume: () => void }) {
    this.#flow = flow;
  }

  get reading(): ReadingState {
    return this.#reading;
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** The next bytes of the body, in order. */
  push(bytes: Uint8Array): void {
    assert(this.#ending !== "verified", "no bytes come after the end of a body");
    if (this.#ending !== null) return;
    this.#checksum = crc32(bytes, this.#checksum);
    this.#receivedBytes += bytes.length;
    this.#keep(bytes);
    if (!this.#full && this.#waitingBytes >= highWaterBytes) {
      this.#full = true;
      this.#flow.pause();
    }
    this.#wakeSoon();
  }

  /** The end, as the sender counts it. Returns the problem if it is not what has arrived. */
  end(bodyBytes: number, checksum: number): Problem | null {
    assert(this.#ending !== "verified", "a body ends once");
    if (this.#ending !== null) return this.#ending;
    const problem = this.#compare(bodyBytes, checksum);
    if (problem !== null) {
      // Nobody knows which of the bytes are wrong.
      this.#drop();
      this.fail(problem);
      return problem;
    }
    this.#ending = "verified";
    this.#wake?.();
    return null;
  }

  /** Nothing more will come: the reader gets what is still waiting, and then the problem. */
  fail(problem: Problem): void {
    // The whole body is here and verified: what happens to the connection now does not change that.
    if (this.#ending !== null) return;
    this.#ending = problem;
    this.#wake?.();
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    assert(this.#reading === "unread", "a body is iterated once");
    this.#reading = "reading";
    return {
      next: () => this.#next(),
      return: () => {
        if (this.#reading === "reading") this.#reading = "left";
        this.#drop();
        this.#wake?.();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  async #next(): Promise<IteratorResult<Uint8Array, undefined>> {
    for (;;) {
      if (this.#reading !== "reading") return { done: true, value: undefined };
      if (this.#lent !== null) this.#spare.push(this.#lent);
      this.#lent = this.#waiting.shift() ?? null;
      if (this.#lent !== null) {
        const { memory, filledBytes } = this.#lent;
        this.#waitingBytes -= filledBytes;
        this.#flowAgain();
        return { done: false, value: memory.subarray(0, filledBytes) };
      }
      if (this.#ending === "verified") {
        this.#reading = "verified";
      } else if (this.#ending !== null) {
        this.#reading = "failed";
        throw new ProblemError(this.#ending);
      } else {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = null;
      }
    }
  }

  #keep(bytes: Uint8Array): void {
    this.#waitingBytes += bytes.length;
    for (let offset = 0; offset < bytes.length;) {
      let batch = this.#waiting.at(-1);
      if (batch === undefined || batch.filledBytes === batchBytes) {
        batch = this.#spare.pop() ?? { memory: Buffer.allocUnsafe(batchBytes), filledBytes: 0 };
        batch.filledBytes = 0;
        this.#waiting.push(batch);
      }
      const piece = bytes.subarray(offset, offset + batchBytes - batch.filledBytes);
      batch.memory.set(piece, batch.filledBytes);
      batch.filledBytes += piece.length;
      offset += piece.length;
    }
  }

  /** After this turn of the loop, so that the reader gets all at once what has come at once. */
  #wakeSoon(): void {
    if (this.#wake === null || this.#waking) return;
    this.#waking = true;
    setImmediate(() => {
      this.#waking = false;
      this.#wake?.();
    });
  }

  #flowAgain(): void {
    if (this.#full && this.#waitingBytes <= lowWaterBytes) {
      this.#full = false;
      this.#flow.resume();
    }
  }

  #drop(): void {
    this.#waiting.length = 0;
    this.#waitingBytes = 0;
  }

  #compare(bodyBytes: number, checksum: number): Problem | null {
    const remedy = "The transfer starts again by itself; if this repeats, check the memory of both machines.";
    if (bodyBytes !== this.#receivedBytes) {
      const message =
        `Error while receiving data from another node: it says that it sent ${bodyBytes} bytes, ` +
        `and ${this.#receivedBytes} have arrived.`;
      return failure("transfer-corrupt", message, remedy).problem;
    }
    if (checksum !== this.#checksum) {
      const message =
        `Error while receiving data from another node: the checksum over the ${bodyBytes} bytes ` +
        "that have arrived is not that of the bytes that were sent.";
      return failure("transfer-corrupt", message, remedy).problem;
    }
    return null;
  }
}
