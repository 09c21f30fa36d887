import type { CopyRecord, Milliseconds, ObservedCopy, Problem, Snapshot } from "@flocker/core";

/**
 * One file of a model volume. A block is never changed, only replaced, so copies and snapshots can share it.
 */
export interface Block {
  readonly text: string;
  readonly sizeBytes: number;
  /** The disk's transaction in which it was written: a snapshot holds it if it is at least as new. */
  readonly birth: number;
}

export type Content = ReadonlyMap<string, Block>;

export interface ModelSnapshot {
  readonly identity: Snapshot;
  readonly content: Content;
  readonly birth: number;
}

/** One copy on a model disk. */
export interface ModelCopy {
  record: CopyRecord;
  content: Map<string, Block>;
  /** A snapshot or a stream uses the same map: it must be cloned before the next write. */
  shared: boolean;
  mounted: boolean;
  readonly holders: Set<string>;
  trashedAt: Milliseconds | null;
  maximumSizeBytes: number | null;
  /** Oldest first. */
  snapshots: ModelSnapshot[];
  /** What the files that were written without a sync were before, or null where there were none. */
  readonly unsynced: Map<string, Block | null>;
  /** Something has (or may have) been written since the newest snapshot. */
  dirty: boolean;
  writtenBytes: number;
  /** Of the live content: what the maximum size limits. */
  liveBytes: number;
  /** Of the live content and of all that only snapshots still hold. */
  usedBytes: number;
  unreadable: Problem | null;
  /**
   * What the last discovery showed, until something changes: so that a discovery of all costs next to
   * nothing.
   */
  observed: ObservedCopy | null;
}

export function newCopy(record: CopyRecord, maximumSizeBytes: number | null): ModelCopy {
  return {
    record,
    content: new Map(),
    shared: false,
    mounted: false,
    holders: new Set(),
    trashedAt: null,
    maximumSizeBytes,
    snapshots: [],
    unsynced: new Map(),
    dirty: true,
    writtenBytes: 0,
    liveBytes: 0,
    usedBytes: 0,
    unreadable: null,
    observed: null,
  };
}

export function makeBlock(key: string, text: string, birth: number): Block {
  return { text, sizeBytes: Buffer.byteLength(key) + Buffer.byteLength(text), birth };
}

/** The bytes of a set of contents, counting shared blocks once. */
export function bytesOf(contents: readonly Content[]): number {
  const blocks = new Set<Block>();
  for (const content of contents) for (const block of content.values()) blocks.add(block);
  let bytes = 0;
  for (const block of blocks) bytes += block.sizeBytes;
  return bytes;
}

/** The bytes of what is in a content and not in an older one. */
export function bytesSince(content: Content, older: Content): number {
  let bytes = 0;
  for (const [key, block] of content) if (older.get(key) !== block) bytes += block.sizeBytes;
  return bytes;
}
