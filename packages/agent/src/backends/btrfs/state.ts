import type { CopyRecord, DatasetId, Result, Snapshot } from "@flocker/core";
import Type from "typebox";
import { Compile } from "typebox/compile";

import { formatStored, parseStored, storedRecord } from "../stored-state.ts";

const uuid = Type.String({ pattern: "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" });

const storedSnapshot = Type.Object({
  guid: uuid,
  name: Type.String(),
  createdAt: Type.Number(),
  uuid,
});

/**
 * A snapshot as it is kept. Its guid is the uuid that btrfs itself carries from file system to file system:
 * the uuid of the subvolume where the snapshot was taken, and the "received uuid" of every copy of it. So a
 * stream says by itself which snapshot it holds and which base it needs, and both ends check that against
 * what was agreed.
 */
export interface StoredSnapshot extends Snapshot {
  /** The uuid of the subvolume on this file system: where the snapshot was taken, the same as the guid. */
  readonly uuid: string;
}

const storedState = Type.Object({
  version: Type.Literal(1),
  record: storedRecord,
  maximumSizeBytes: Type.Union([Type.Null(), Type.Integer({ minimum: 0 })]),
  data: Type.Union([Type.Null(), uuid]),
  trashedAt: Type.Union([Type.Null(), Type.Number()]),
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
  /**
   * The uuid of the writable subvolume, or null while the copy is exactly its newest snapshot: then there is
   * nothing that anybody could write to, and it is made anew for the next mount. So "unchanged since" needs
   * no proof.
   */
  readonly data: string | null;
  readonly trashedAt: number | null;
  /** Oldest first. */
  readonly snapshots: readonly StoredSnapshot[];
}

/** The text of a copy's state file. */
export function formatState(state: CopyState): string {
  return formatStored(state);
}

/** Reads a copy's state file. What cannot be understood is a problem, never an empty state. */
export function parseState(dataset: DatasetId, path: string, text: string): Result<CopyState> {
  const parsed = parseStored({ dataset, path, text }, checkState, ({ data, snapshots }) =>
    data === null && snapshots.length === 0 ? "it names neither data nor a snapshot" : null,
  );
  // The schema has proven it, but for the brands of ids.
  return parsed as Result<CopyState>;
}

/** The newest snapshot while the copy is exactly that, or null. */
export function heldSnapshot(state: CopyState): StoredSnapshot | null {
  return state.data === null ? (state.snapshots.at(-1) ?? null) : null;
}
