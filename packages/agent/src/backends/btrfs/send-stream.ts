import type { Abort, ByteStream } from "@flocker/core";
import { ProblemError } from "@flocker/core";

import { refuse } from "../problems.ts";

/*
 * The format of `btrfs send`, version 1: a magic text and the version, then commands. A command is the length
 * of its attributes (4 bytes), its kind (2 bytes), and a CRC-32C of all of it (4 bytes), in little endian; an
 * attribute is its kind (2 bytes), its length (2 bytes) and its bytes. The first command names the snapshot;
 * the last says that the stream is whole. https://btrfs.readthedocs.io/en/latest/dev/dev-send-stream.html
 */
const magic = Buffer.from("btrfs-stream\0");
const streamHeaderBytes = magic.length + 4;
const commandHeaderBytes = 10;
const firstCommandLimitBytes = 16 * 1024;

const commands = { subvolume: 1, snapshot: 2, end: 21 } as const;
const attributes = { uuid: 1, path: 15, cloneUuid: 20 } as const;

/** What a stream says of itself in its first command. */
export interface StreamHeader {
  /** The name of the subvolume that will be made. */
  readonly name: string;
  readonly uuid: string;
  /** The uuid of the base that it needs, or null where it is whole. */
  readonly baseUuid: string | null;
}

/**
 * Passes a send stream on once its first command has been checked, and fails where it does not end properly.
 * The btrfs program checks every command's checksum, but to it the end of its input is a good end: a stream
 * that was cut off between two commands would become a snapshot that lacks files.
 */
export async function* guardStream(
  source: ByteStream,
  check: (header: StreamHeader) => void,
): AsyncGenerator<Uint8Array> {
  const walk = new CommandWalk();
  let pending: Buffer = Buffer.alloc(0);
  let begun = false;
  for await (const chunk of source) {
    if (begun) {
      walk.pass(chunk);
      yield chunk;
      continue;
    }
    pending = Buffer.concat([pending, chunk]);
    const header = readHeader(pending);
    if (header === undefined) continue;
    check(header);
    begun = true;
    walk.pass(pending.subarray(streamHeaderBytes));
    yield pending;
  }
  if (!begun) throw interrupted("it ended before its beginning was whole");
  walk.finish();
}

/** Reads the first command; undefined where more is needed to see it whole. */
export function readHeader(bytes: Buffer): StreamHeader | undefined {
  const known = bytes.subarray(0, magic.length);
  if (!known.equals(magic.subarray(0, known.length))) throw corrupt("it is no stream of btrfs send");
  if (bytes.length < streamHeaderBytes + commandHeaderBytes) return undefined;
  const version = bytes.readUInt32LE(magic.length);
  if (version < 1 || version > 2) throw corrupt(`it has the unknown version ${version}`);
  const length = bytes.readUInt32LE(streamHeaderBytes);
  const kind = bytes.readUInt16LE(streamHeaderBytes + 4);
  if (kind !== commands.subvolume && kind !== commands.snapshot) {
    throw corrupt("it does not begin with a subvolume");
  }
  if (length > firstCommandLimitBytes) throw corrupt("its first command is longer than it can be");
  const start = streamHeaderBytes + commandHeaderBytes;
  if (bytes.length < start + length) return undefined;
  const found = readAttributes(bytes.subarray(start, start + length));
  const uuid = uuidOf(found.get(attributes.uuid));
  const name = found.get(attributes.path)?.toString("utf8");
  if (name === undefined || uuid === undefined) throw corrupt("its first command names no subvolume");
  if (kind === commands.subvolume) return { name, uuid, baseUuid: null };
  const baseUuid = uuidOf(found.get(attributes.cloneUuid));
  if (baseUuid === undefined) throw corrupt("its first command names no base");
  return { name, uuid, baseUuid };
}

function readAttributes(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let position = 0; position < bytes.length;) {
    const end = position + 4 <= bytes.length ? position + 4 + bytes.readUInt16LE(position + 2) : Infinity;
    if (end > bytes.length) throw corrupt("its first command is damaged");
    found.set(bytes.readUInt16LE(position), bytes.subarray(position + 4, end));
    position = end;
  }
  return found;
}

function uuidOf(bytes: Buffer | undefined): string | undefined {
  if (bytes?.length !== 16) return undefined;
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Goes from command to command through the chunks of a stream, without a look at their content. */
class CommandWalk {
  readonly #header: Buffer = Buffer.alloc(commandHeaderBytes);
  #headerBytes = 0;
  #skipBytes = 0;
  #ended = false;

  pass(chunk: Uint8Array): void {
    for (let position = 0; position < chunk.length;) {
      if (this.#skipBytes > 0) {
        const skipped = Math.min(this.#skipBytes, chunk.length - position);
        this.#skipBytes -= skipped;
        position += skipped;
        continue;
      }
      if (this.#ended) throw corrupt("it goes on behind its end");
      const taken = Math.min(commandHeaderBytes - this.#headerBytes, chunk.length - position);
      this.#header.set(chunk.subarray(position, position + taken), this.#headerBytes);
      this.#headerBytes += taken;
      position += taken;
      if (this.#headerBytes < commandHeaderBytes) return;
      this.#headerBytes = 0;
      this.#skipBytes = this.#header.readUInt32LE(0);
      this.#ended = this.#header.readUInt16LE(4) === commands.end;
    }
  }

  finish(): void {
    if (!this.#ended || this.#skipBytes > 0) throw interrupted("it ended before its end mark");
  }
}

/** The stream is not what it should be. */
export function corrupt(why: string): ProblemError {
  return refuse(
    "transfer-corrupt",
    `The stream cannot be taken: ${why}. Nothing has been changed.`,
    "It is sent again by itself; if this goes on, look for faulty memory, disks or network on both nodes.",
  );
}

/** The stream broke off. */
export function interrupted(why: string): ProblemError {
  return refuse(
    "transfer-interrupted",
    `The transfer broke off: ${why}. Nothing has been changed.`,
    "It is tried again by itself.",
  );
}

/** Makes a problem of whatever a source fails with, and stops waiting for it when aborted. */
export async function* readable(source: ByteStream, abort: Abort): AsyncGenerator<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await nextUnlessAborted(iterator, abort);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    // A source that hangs would hold us up, so nobody waits for it.
    iterator.return?.().catch(() => undefined);
  }
}

async function nextUnlessAborted(
  iterator: AsyncIterator<Uint8Array>,
  abort: Abort,
): Promise<IteratorResult<Uint8Array>> {
  if (abort.aborted) throw interrupted("it was stopped");
  let onAbort = (): void => undefined;
  try {
    return await new Promise((resolve, reject) => {
      onAbort = () => reject(interrupted("it was stopped"));
      abort.addEventListener("abort", onAbort, { once: true });
      iterator.next().then(resolve, (error: unknown) => {
        if (error instanceof ProblemError) reject(error);
        else reject(interrupted(error instanceof Error ? error.message : String(error)));
      });
    });
  } finally {
    abort.removeEventListener("abort", onAbort);
  }
}
