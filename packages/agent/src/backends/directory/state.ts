import type { CopyRecord, DatasetId, Result, Snapshot } from "@flocker/core";
import Type from "typebox";
import { Compile } from "typebox/compile";

import { formatStored, parseStored, storedRecord } from "../stored-state.ts";

const storedSnapshot = Type.Object({
  guid: Type.String({ pattern: "^[0-9A-Za-z-]{1,64}$" }),
  name: Type.String(),
  createdAt: Type.Number(),
  digest: Type.String({ pattern: "^[0-9a-f]{64}$" }),
  entries: Type.Integer({ minimum: 0 }),
  usedBytes: Type.Integer({ minimum: 0 }),
});

/** A snapshot as it is kept: the manifest with the entries lies beside, in `snapshots/<guid>.manifest`. */
export interface StoredSnapshot extends Snapshot {
  /** SHA-256 over what is the same on every node: see manifest.ts. */
  readonly digest: string;
  readonly entries: number;
  /** Bytes on the disk, as of the snapshot. */
  readonly usedBytes: number;
}

const storedState = Type.Object({
  version: Type.Literal(1),
  record: storedRecord,
  maximumSizeBytes: Type.Union([Type.Null(), Type.Integer({ minimum: 0 })]),
  tree: Type.Integer({ minimum: 1 }),
  inUse: Type.Boolean(),
  trashedAt: Type.Union([Type.Null(), Type.Number()]),
  unchangedSince: Type.Union([Type.Null(), Type.String()]),
  snapshots: Type.Array(storedSnapshot),
});

const checkState = Compile(storedState);

/**
 * Everything durable that is known about a copy, in one file, so that one rename of that file is the moment
 * at which any change becomes valid.
 */
export interface CopyState {
  readonly record: CopyRecord;
  readonly maximumSizeBytes: number | null;
  /** The data are in `tree-<number>`; any other such folder is a leftover. */
  readonly tree: number;
  /**
   * From before it is mounted until an unmount has found no user any more. It is not the same as being
   * mounted: somebody may remove the symlink while programs still write.
   */
  readonly inUse: boolean;
  readonly trashedAt: number | null;
  /** The guid of the newest snapshot while the data are exactly that. */
  readonly unchangedSince: string | null;
  /** Oldest first. */
  readonly snapshots: readonly StoredSnapshot[];
}

/** The text of a copy's state file. */
export function formatState(state: CopyState): string {
  return formatStored(state);
}

/** Reads a copy's state file. What cannot be understood is a problem, never an empty state. */
export function parseState(dataset: DatasetId, path: string, text: string): Result<CopyState> {
  const parsed = parseStored({ dataset, path, text }, checkState, ({ snapshots, unchangedSince }) => {
    const newest = snapshots.at(-1)?.guid ?? null;
    return unchangedSince === null || unchangedSince === newest
      ? null
      : "unchangedSince is not the newest snapshot";
  });
  // The schema has proven it, but for the brands of ids.
  return parsed as Result<CopyState>;
}
