import type { Abort, ByteStream, Snapshot } from "@flocker/core";
import { assert, ProblemError } from "@flocker/core";
import Type from "typebox";
import { Compile } from "typebox/compile";
import { crc32 } from "node:zlib";

import { refuse } from "../problems.ts";

/**
 * The stream of a directory copy: the line `flocker-directory 1`, then frames. A frame is one byte of kind,
 * four bytes of length, four bytes of CRC-32 over all contents up to and with this frame's (both big-endian),
 * and the content.
 *
 *     H  the header, JSON; the first frame
 *     D  paths to remove from the base, each closed by a NUL; any number of frames
 *     F  paths of folders to make anew, likewise
 *     T  the next piece of a GNU tar archive of what is new or changed
 *     E  the end; nothing follows
 */
export type FrameKind = "H" | "D" | "F" | "T" | "E";

export interface StreamHeader {
  readonly dataset: string;
  readonly base: string | null;
  readonly snapshot: Snapshot;
  /** Of the whole tree, as in the manifest's summary. */
  readonly digest: string;
  readonly entries: number;
  /** Whether the archive carries access control lists. */
  readonly acls: boolean;
}

const magic = Buffer.from("flocker-directory 1\n");
const frameHeaderBytes = 9;
const frameLimitBytes = 1024 * 1024;
const frameTargetBytes = 256 * 1024;

const checkHeader = Compile(
  Type.Object({
    dataset: Type.String(),
    base: Type.Union([Type.Null(), Type.String()]),
    snapshot: Type.Object({ guid: Type.String(), name: Type.String(), createdAt: Type.Number() }),
    digest: Type.String(),
    entries: Type.Number(),
    acls: Type.Boolean(),
  }),
);

/** Makes the frames of one stream, in order. */
export class FrameWriter {
  #checksum = 0;

  /** The start of the stream. */
  begin(header: StreamHeader): Buffer {
    return Buffer.concat([magic, ...this.frame("H", [Buffer.from(JSON.stringify(header))])]);
  }

  /** A frame of at most 1 MiB, as the pieces to send one after the other. The contents are not copied. */
  frame(kind: FrameKind, contents: readonly Uint8Array[]): Uint8Array[] {
    let length = 0;
    for (const content of contents) {
      this.#checksum = crc32(content, this.#checksum);
      length += content.length;
    }
    assert(length <= frameLimitBytes, "a frame is not larger than its reader allows");
    const header = Buffer.alloc(frameHeaderBytes);
    header.write(kind, 0, "latin1");
    header.writeUInt32BE(length, 1);
    header.writeUInt32BE(this.#checksum, 5);
    return [header, ...contents];
  }

  /** Puts a stream into frames that are large enough for their headers to cost nothing. */
  async *frames(kind: FrameKind, source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let pieces: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of source) {
      for (let start = 0; start < chunk.length; start += frameLimitBytes) {
        const piece = chunk.subarray(start, start + frameLimitBytes);
        if (length + piece.length > frameTargetBytes) {
          yield* this.frame(kind, pieces);
          pieces = [];
          length = 0;
        }
        pieces.push(Buffer.from(piece));
        length += piece.length;
      }
    }
    if (length > 0) yield* this.frame(kind, pieces);
  }

  end(): Uint8Array[] {
    return this.frame("E", []);
  }
}

/** Takes a stream apart. Whatever is wrong with it is thrown as a ProblemError, and so is the abort. */
export class FrameReader {
  readonly #abort: Abort;
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);
  #checksum = 0;
  #kind: string | undefined;
  #remaining = 0;
  #expected = 0;

  constructor(stream: ByteStream, abort: Abort) {
    this.#abort = abort;
    this.#source = stream[Symbol.asyncIterator]();
  }

  /** Reads the start of the stream. */
  async begin(): Promise<StreamHeader> {
    const start = await this.#take(magic.length);
    if (!magic.equals(start)) {
      throw corrupt("it does not begin as one of this version of the directory backend does");
    }
    if ((await this.kind()) !== "H") throw corrupt("its header is missing");
    const text = Buffer.from(await this.content()).toString();
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw corrupt("its header is no JSON");
    }
    if (!checkHeader.Check(value)) throw corrupt("its header has the wrong form");
    return value;
  }

  /** The kind of the frame at which the reader stands. */
  async kind(): Promise<FrameKind> {
    if (this.#kind === undefined) {
      const header = Buffer.from(await this.#take(frameHeaderBytes));
      this.#remaining = header.readUInt32BE(1);
      this.#expected = header.readUInt32BE(5);
      if (this.#remaining > frameLimitBytes) throw corrupt("a frame is larger than allowed");
      this.#kind = header.toString("latin1", 0, 1);
    }
    if (!isKind(this.#kind)) throw corrupt("a frame is of an unknown kind");
    return this.#kind;
  }

  /** The whole content of this frame. */
  async content(): Promise<Uint8Array> {
    const content = await this.#take(this.#remaining);
    this.#checksum = crc32(content, this.#checksum);
    this.#finishFrame();
    return content;
  }

  /** The contents of this frame and all that follow of the same kind, as they come. */
  async *contents(kind: FrameKind): AsyncGenerator<Uint8Array> {
    while ((await this.kind()) === kind) {
      while (this.#remaining > 0) {
        if (this.#rest.length === 0) await this.#fill();
        const piece = this.#rest.subarray(0, this.#remaining);
        this.#rest = this.#rest.subarray(piece.length);
        this.#remaining -= piece.length;
        this.#checksum = crc32(piece, this.#checksum);
        if (this.#remaining === 0) this.#finishFrame();
        yield piece;
        if (this.#kind === undefined) break;
      }
      if (this.#kind !== undefined) this.#finishFrame();
    }
  }

  /** Reads the end of the stream. */
  async end(): Promise<void> {
    if ((await this.kind()) !== "E") throw corrupt("its frames are in the wrong order");
    await this.content();
    const next = this.#rest.length > 0 ? false : await this.#isAtEnd();
    if (!next) throw corrupt("something follows its end");
  }

  /** Tells the source that no more is read. Nobody waits for it, since it may hang. */
  close(): void {
    // Whoever makes the stream knows why it cannot end well; nothing more is wanted from it.
    this.#source.return?.().catch(() => undefined);
  }

  #finishFrame(): void {
    if (this.#checksum !== this.#expected)
      throw corrupt("a checksum is wrong, so bytes have changed on the way");
    this.#kind = undefined;
  }

  async #take(length: number): Promise<Uint8Array> {
    while (this.#rest.length < length) await this.#fill();
    const taken = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(length);
    return taken;
  }

  async #isAtEnd(): Promise<boolean> {
    for (;;) {
      const next = await this.#next();
      if (next.done === true) return true;
      if (next.value.length > 0) return false;
    }
  }

  async #fill(): Promise<void> {
    // A copy: the next chunk may come in the same memory.
    const rest = Buffer.from(this.#rest);
    const next = await this.#next();
    if (next.done === true) throw interrupted("it ended before its end mark");
    this.#rest = rest.length === 0 ? next.value : Buffer.concat([rest, next.value]);
  }

  /** The source's next chunk, or the abort, whichever comes first: a source may hang for ever. */
  #next(): Promise<IteratorResult<Uint8Array>> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(interrupted("it was stopped"));
      if (this.#abort.aborted) return onAbort();
      this.#abort.addEventListener("abort", onAbort, { once: true });
      this.#source
        .next()
        .then(resolve, (error: unknown) => reject(broken(error)))
        .finally(() => this.#abort.removeEventListener("abort", onAbort));
    });
  }
}

function isKind(kind: string): kind is FrameKind {
  return ["H", "D", "F", "T", "E"].includes(kind);
}

/** A stream that is not what a sender makes. */
export function corrupt(why: string): ProblemError {
  return refuse(
    "transfer-corrupt",
    `The stream of a dataset is not as it was sent: ${why}.`,
    "Nothing was changed here. The transfer is tried again; if it repeats, check the network and both disks.",
  );
}

/** A stream that did not come to its end. */
export function interrupted(why: string): ProblemError {
  return refuse(
    "transfer-interrupted",
    `The stream of a dataset broke off: ${why}.`,
    "Nothing was changed here. The transfer is tried again by itself.",
  );
}

/** A failure of whoever makes the stream: its own problem if it names one, else a broken connection. */
function broken(error: unknown): ProblemError {
  if (error instanceof ProblemError) return error;
  return interrupted(error instanceof Error ? error.message : String(error));
}
