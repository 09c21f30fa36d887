import type { FilePath } from "../files.ts";
import { corrupt } from "./frames.ts";

const blockBytes = 512;
const extensionLimitBytes = 1024 * 1024;

/** Whether a path of the tree that exists already is a symlink; false where there is nothing. */
export type IsSymlink = (path: string) => Promise<boolean>;

/**
 * Passes a tar archive on to `tar`, header by header, once each is known to stay inside the tree. GNU tar
 * protects itself against symlinks of its own archive only; a symlink that an earlier transfer brought would
 * be followed. So every path must be relative, without `..`, and no folder on the way to it may be a symlink,
 * neither one that exists (`isSymlink`) nor one of this archive. Only the kinds of header that our own sender
 * writes are let through, so that there is little for two readers to understand differently.
 */
export class TarGuard {
  readonly #isSymlink: IsSymlink;
  readonly #symlinks = new Set<string>();
  readonly #folders = new Set<string>();
  #extension: Map<string, string> | undefined;
  #ended = false;

  constructor(isSymlink: IsSymlink) {
    this.#isSymlink = isSymlink;
  }

  async *pass(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let pending: Buffer = Buffer.alloc(0);
    // Bytes of content that need no look.
    let skip = 0;
    for await (const chunk of source) {
      let data = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      if (pending.length > 0) data = Buffer.concat([pending, data]);
      let position = 0;
      while (position < data.length) {
        if (skip > 0) {
          const skipped = Math.min(skip, data.length - position);
          skip -= skipped;
          position += skipped;
          continue;
        }
        const read = await this.#readHeader(data.subarray(position));
        if (read === undefined) break;
        position += read.headerBytes;
        skip = read.contentBytes;
      }
      if (position > 0) yield data.subarray(0, position);
      // A copy: the next chunk may come in the same memory.
      pending = Buffer.from(data.subarray(position));
    }
    if (pending.length > 0 || skip > 0 || this.#extension !== undefined || !this.#ended) {
      throw corrupt("its archive has no proper end");
    }
  }

  /** Checks the header at the start of the data; undefined where more is needed to see it whole. */
  async #readHeader(data: Buffer): Promise<{ headerBytes: number; contentBytes: number } | undefined> {
    if (data.length < blockBytes) return undefined;
    const block = data.subarray(0, blockBytes);
    if (block.every((byte) => byte === 0)) {
      this.#ended = true;
      return { headerBytes: blockBytes, contentBytes: 0 };
    }
    if (this.#ended) throw corrupt("its archive goes on behind its end");
    checkHeader(block);
    const type = block.toString("latin1", 156, 157);
    const size = readNumber(block.subarray(124, 136));
    if (type === "x") {
      if (this.#extension !== undefined) throw corrupt("its archive has two extended headers in a row");
      if (size > extensionLimitBytes) throw corrupt("its archive has a header that is larger than allowed");
      const headerBytes = blockBytes + padded(size);
      if (data.length < headerBytes) return undefined;
      this.#extension = readExtension(data.subarray(blockBytes, blockBytes + size));
      return { headerBytes, contentBytes: 0 };
    }
    await this.#checkMember(block, type);
    const ownSize = this.#extension?.get("size");
    this.#extension = undefined;
    const contentBytes = ownSize === undefined ? size : readDecimal(ownSize);
    // Only regular files have content; for all others tar would look for the next header right here.
    if (type !== "0" && contentBytes !== 0) throw corrupt("its archive has content where there can be none");
    return { headerBytes: blockBytes, contentBytes: padded(contentBytes) };
  }

  async #checkMember(block: Buffer, type: string): Promise<void> {
    if (!/^[0-6]$/.test(type)) throw corrupt("its archive has a member of a kind that is never sent");
    const prefix = readText(block.subarray(345, 500));
    const name = readText(block.subarray(0, 100));
    const ownPath = prefix === "" ? name : `${prefix}/${name}`;
    const extension = this.#extension;
    if (extension !== undefined) {
      for (const key of extension.keys()) {
        if (!isKnownKey(key)) throw corrupt("its archive has an extended header that is never sent");
      }
    }
    // A sparse file has two names, of which tar takes one; both must be right.
    const ownName = extension?.get("path") ?? ownPath;
    const sparseName = extension?.get("GNU.sparse.name");
    const inside = await this.#checkPath(ownName);
    if (sparseName !== undefined) await this.#checkPath(sparseName);
    if (type === "1") await this.#checkPath(extension?.get("linkpath") ?? readText(block.subarray(157, 257)));
    if (type === "2") this.#symlinks.add(inside);
  }

  /**
   * Checks a path as our sender writes it (`./a/b`, folders with a `/` at the end) and gives it without that.
   */
  async #checkPath(path: string): Promise<string> {
    const inside = path.replace(/\/$/, "").replace(/^\.\/?/, "");
    if (!path.startsWith("./") || (inside !== "" && !isInside(inside))) {
      throw corrupt("its archive names a path outside of the dataset");
    }
    for (let end = inside.indexOf("/"); end !== -1; end = inside.indexOf("/", end + 1)) {
      const folder = inside.slice(0, end);
      if (this.#symlinks.has(folder)) throw corrupt("its archive names a path through a symlink");
      if (this.#folders.has(folder)) continue;
      if (await this.#isSymlink(folder)) throw corrupt("its archive names a path through a symlink");
      this.#folders.add(folder);
    }
    return inside;
  }
}

/**
 * Whether a relative path (as text or latin1 bytes) stays below where it starts and is in its plainest form.
 */
export function isInside(path: string): boolean {
  return (
    !path.includes("\0") && path.split("/").every((part) => part !== "" && part !== "." && part !== "..")
  );
}

/** A path of latin1 text below a folder, as the bytes that the system calls need. */
export function below(folder: string, path: string): FilePath {
  return Buffer.concat([Buffer.from(folder), Buffer.from("/"), Buffer.from(path, "latin1")]);
}

const knownKeys = new Set([
  "path",
  "linkpath",
  "size",
  "mtime",
  "uid",
  "gid",
  "GNU.sparse.major",
  "GNU.sparse.minor",
  "GNU.sparse.name",
  "GNU.sparse.realsize",
]);

function isKnownKey(key: string): boolean {
  return knownKeys.has(key) || key.startsWith("SCHILY.xattr.") || key.startsWith("SCHILY.acl.");
}

function checkHeader(block: Buffer): void {
  let sum = 0;
  for (let index = 0; index < blockBytes; index++) {
    // The field of the checksum itself counts as blanks.
    sum += index >= 148 && index < 156 ? 32 : (block[index] ?? 0);
  }
  if (sum !== readNumber(block.subarray(148, 156))) throw corrupt("a header of its archive is damaged");
  if (block.toString("latin1", 257, 263) !== "ustar\0") throw corrupt("its archive is of another format");
}

/** A number in octal digits, or in GNU's binary form where it is too large for them. */
function readNumber(field: Buffer): number {
  if ((field[0] ?? 0) & 0x80) {
    let value = (field[0] ?? 0) & 0x7f;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    return checkSize(value);
  }
  const text = readText(field).trim();
  if (!/^[0-7]+$/.test(text)) throw corrupt("a header of its archive has no number where one belongs");
  return checkSize(parseInt(text, 8));
}

function readDecimal(text: string): number {
  if (!/^\d{1,16}$/.test(text)) throw corrupt("a header of its archive has no number where one belongs");
  return checkSize(Number(text));
}

function checkSize(value: number): number {
  if (!Number.isSafeInteger(value)) throw corrupt("a header of its archive has a number that is too large");
  return value;
}

function readText(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString("latin1", 0, end === -1 ? field.length : end);
}

/**
 * The records of an extended header: `<length> <key>=<value>\n`, the length in decimal and of the whole
 * record.
 */
function readExtension(data: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  let position = 0;
  while (position < data.length) {
    const blank = data.indexOf(" ", position);
    const length = blank === -1 ? 0 : readDecimal(data.toString("latin1", position, blank));
    const end = position + length;
    const equals = data.indexOf("=", blank);
    if (end > data.length || equals === -1 || equals >= end || data[end - 1] !== 0x0a) {
      throw corrupt("an extended header of its archive is damaged");
    }
    const key = data.toString("latin1", blank + 1, equals);
    if (records.has(key)) throw corrupt("an extended header of its archive says something twice");
    const value = data.toString("latin1", equals + 1, end - 1);
    if (!key.startsWith("SCHILY.") && value.includes("\0")) {
      throw corrupt("an extended header of its archive is damaged");
    }
    records.set(key, value);
    position = end;
  }
  return records;
}

function padded(size: number): number {
  return Math.ceil(size / blockBytes) * blockBytes;
}
