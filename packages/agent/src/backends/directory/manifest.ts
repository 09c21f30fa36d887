import { createHash } from "node:crypto";

import type { Context } from "./layout.ts";
import { refuse } from "../problems.ts";
import { streamProgram } from "../programs.ts";

/**
 * A manifest lists every entry of a tree: what identifies its content everywhere (path, type, mode, owner,
 * size, time, link target), and what tells a change on this node (inode, time of the last status change).
 * Names are bytes, so everything is bytes. It is a sequence of records, each closed by a NUL:
 *
 *     flocker-manifest 1 <the file system's clock when the scan began, ns>
 *     <path>//<type> <mode> <uid> <gid> <size> <mtime> <ctime> <inode> <links> <blocks> <target>
 *
 * `//` never occurs in a path, so it ends the path even where a name has line breaks or blanks. Records are
 * sorted by bytes, which sorts by path. The tree itself has the path "". Sockets are left out: a socket
 * without its process is nothing.
 */
const entryFormat = "%P//%y %m %U %G %s %T@ %C@ %i %n %b %l\\0";
const formatName = "flocker-manifest 1";
const separator = Buffer.from("//");
const blockBytes = 512;

/** One entry of a manifest. */
export interface ManifestEntry {
  readonly path: Buffer;
  /** As `find` writes it: f, d, l, p, c, b. */
  readonly type: string;
  readonly mode: string;
  readonly uid: string;
  readonly gid: string;
  readonly size: number;
  readonly mtime: string;
  readonly ctime: string;
  readonly inode: string;
  readonly links: number;
  readonly usedBytes: number;
  readonly target: Buffer;
}

export interface ManifestSummary {
  /**
   * SHA-256 over what is the same on every node that holds this tree. It covers contents by size and time
   * only: the bytes themselves are covered by the check sums of the stream that brought them.
   */
  readonly digest: string;
  readonly entries: number;
  readonly usedBytes: number;
}

/** Lists a tree into a new manifest file, made durable. The tree must not change meanwhile. */
export async function writeManifest(context: Context, tree: string, path: string): Promise<ManifestSummary> {
  const doing = `Listing ${tree}`;
  const found = streamProgram(
    context.commands,
    doing,
    ["find", ".", "-xdev", "!", "-type", "s", "-printf", entryFormat],
    { cwd: tree },
  );
  const sorted = streamProgram(context.commands, doing, ["sort", "-z", "-T", context.staging], {
    stdin: found,
  });
  const writer = await context.files.createFile(path);
  try {
    await writer.write(Buffer.from(`${formatName} ${await writer.modifiedAtNs()}\0`));
    const summing = summary();
    const records = recordSplitter();
    for await (const chunk of sorted) {
      await writer.write(chunk);
      for (const record of records.push(chunk)) summing.add(record);
    }
    records.end();
    await writer.sync();
    return summing.finish();
  } finally {
    await writer.close();
  }
}

/** Collects the summary over all records of a manifest, in order. */
function summary(): { add(record: Buffer): void; finish(): ManifestSummary } {
  const hash = createHash("sha256");
  const firstOfInode = new Map<string, number>();
  let entries = 0;
  let usedBytes = 0;
  return {
    add(record) {
      const entry = parseEntry(record);
      let link = "";
      if (entry.type !== "d" && entry.links > 1) {
        // A hard-link group is named by the position of its first member, which is the same on every node.
        const first = firstOfInode.get(entry.inode);
        if (first === undefined) firstOfInode.set(entry.inode, entries);
        else link = String(first);
      }
      const size = entry.type === "f" ? entry.size : "";
      const { type, mode, uid, gid, mtime } = entry;
      hash.update(entry.path);
      hash.update(`\0${type} ${mode} ${uid} ${gid} ${size} ${mtime} ${link} `);
      hash.update(entry.target);
      hash.update("\0");
      entries += 1;
      if (link === "") usedBytes += entry.usedBytes;
    },
    finish: () => ({ digest: hash.digest("hex"), entries, usedBytes }),
  };
}

/** Where the path of a record ends. */
export function pathEnd(record: Buffer): number {
  const end = record.indexOf(separator);
  if (end === -1) throw damaged("a record has no path");
  return end;
}

/** Takes a record apart. */
export function parseEntry(record: Buffer): ManifestEntry {
  const end = pathEnd(record);
  // Every byte is one character in latin1, so lengths in the text are lengths in bytes.
  const fields = record.toString("latin1", end + separator.length).split(" ", 10);
  const [type, mode, uid, gid, size, mtime, ctime, inode, links, blocks] = fields;
  if (blocks === undefined || type === undefined || mode === undefined || uid === undefined) {
    throw damaged("a record is too short");
  }
  if (gid === undefined || mtime === undefined || ctime === undefined || inode === undefined) {
    throw damaged("a record is too short");
  }
  if (!/^[fdlpcb]$/.test(type)) {
    throw refuse(
      "not-supported",
      `${record.toString("utf8", 0, end)} is of a type that cannot be copied (${type}).`,
      "Remove it from the dataset.",
    );
  }
  let targetStart = end + separator.length;
  for (const field of fields) targetStart += field.length + 1;
  return {
    path: record.subarray(0, end),
    type,
    mode,
    uid,
    gid,
    size: Number(size),
    mtime,
    ctime,
    inode,
    links: Number(links),
    usedBytes: Number(blocks) * blockBytes,
    target: record.subarray(targetStart),
  };
}

/** Cuts a stream into the records that NULs close. */
export function recordSplitter(): { push(chunk: Uint8Array): Buffer[]; end(): void } {
  let rest: Buffer = Buffer.alloc(0);
  return {
    push(chunk) {
      // A copy: records are kept for longer than a chunk lasts.
      const data = Buffer.concat([rest, chunk]);
      const records: Buffer[] = [];
      let start = 0;
      for (let end = data.indexOf(0); end !== -1; end = data.indexOf(0, start)) {
        records.push(data.subarray(start, end));
        start = end + 1;
      }
      rest = data.subarray(start);
      return records;
    },
    end() {
      if (rest.length > 0) throw damaged("the last record is not closed");
    },
  };
}

/** Walks through a manifest file, in order. */
export class ManifestReader {
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #splitter = recordSplitter();
  #batch: Buffer[] = [];
  #index = 0;
  #ended = false;
  #scannedAtNs = 0n;

  private constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Opens a manifest; it must be closed. */
  static async open(context: Context, path: string): Promise<ManifestReader> {
    const reader = new ManifestReader(context.files.read(path));
    try {
      await reader.#begin();
    } catch (error) {
      await reader.close();
      throw error;
    }
    return reader;
  }

  async #begin(): Promise<void> {
    await this.fill();
    const first = this.current?.toString("latin1") ?? "";
    if (!first.startsWith(`${formatName} `)) throw damaged("it does not begin as a manifest does");
    this.#scannedAtNs = BigInt(first.slice(formatName.length + 1));
    this.advance();
  }

  /** The file system's clock, in nanoseconds since 1970, when the tree was listed. */
  get scannedAtNs(): bigint {
    return this.#scannedAtNs;
  }

  /** True where {@link fill} must be called before {@link current} can be trusted. */
  get needsFill(): boolean {
    return this.#index >= this.#batch.length && !this.#ended;
  }

  /** The record at this place, undefined at the end. */
  get current(): Buffer | undefined {
    return this.#batch[this.#index];
  }

  advance(): void {
    this.#index += 1;
  }

  async fill(): Promise<void> {
    while (this.needsFill) {
      const next = await this.#chunks.next();
      this.#index = 0;
      this.#batch = next.done === true ? [] : this.#splitter.push(next.value);
      if (next.done === true) {
        this.#splitter.end();
        this.#ended = true;
      }
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

function damaged(why: string): Error {
  return refuse(
    "storage-unreadable",
    `A snapshot's manifest cannot be understood: ${why}.`,
    "Destroy that snapshot; the next transfer then sends the whole dataset.",
  );
}
