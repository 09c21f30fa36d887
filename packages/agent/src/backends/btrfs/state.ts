import type { CopyRecord, DatasetId, Problem, Result, Snapshot } from "@flocker/core";
import { isUuid } from "@flocker/core";
import Type from "typebox";
import { Compile } from "typebox/compile";

const uuid = Type.String({ pattern: "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" });

const storedSnapshot = Type.Object({
  guid: uuid,
  name: Type.String(),
  createdAt: Type.Number(),
  uuid,
});

/**
 * A snapshot as it is kept. Its guid is the uuid that btrfs itself carries from file system to file system: the uuid of
 * the subvolume where the snapshot was taken, and the "received uuid" of every copy of it. So a stream says by itself
 * which snapshot it holds and which base it needs, and both ends check that against what was agreed.
 */
export interface StoredSnapshot extends Snapshot {
  /** The uuid of the subvolume on this file system: where the snapshot was taken, the same as the guid. */
  readonly uuid: string;
}

const storedRecord = Type.Object({
  dataset: Type.String(),
  epoch: Type.Object({ term: Type.Integer({ minimum: 0 }), step: Type.Integer({ minimum: 0 }) }),
  role: Type.Union([Type.Literal("primary"), Type.Literal("relinquished"), Type.Literal("replica")]),
  successor: Type.Optional(Type.String()),
  snapshot: Type.Optional(Type.String()),
});

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
 * Everything durable that is known about a copy, in one file, so that one rename of that file is the moment at which
 * any change becomes valid.
 */
export interface CopyState {
  readonly record: CopyRecord;
  readonly maximumSizeBytes: number | null;
  /**
   * The uuid of the writable subvolume, or null while the copy is exactly its newest snapshot: then there is nothing
   * that anybody could write to, and it is made anew for the next mount. So "unchanged since" needs no proof.
   */
  readonly data: string | null;
  readonly trashedAt: number | null;
  /** Oldest first. */
  readonly snapshots: readonly StoredSnapshot[];
}

/** The text of a copy's state file. */
export function formatState(state: CopyState): string {
  return `${JSON.stringify({ version: 1, ...state }, undefined, 2)}\n`;
}

/** Reads a copy's state file. What cannot be understood is a problem, never an empty state. */
export function parseState(dataset: DatasetId, path: string, text: string): Result<CopyState> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return broken(path, `it is no JSON (${error instanceof Error ? error.message : String(error)})`);
  }
  if (isNewer(value)) return newer(path);
  if (!checkState.Check(value)) {
    const first = checkState.Errors(value)[0];
    return broken(
      path,
      first === undefined ? "it has the wrong form" : `${first.instancePath} ${first.message}`,
    );
  }
  if (value.record.dataset !== dataset) {
    return broken(
      path,
      `it belongs to dataset ${value.record.dataset}, so the folder has been renamed or copied`,
    );
  }
  if (value.record.successor !== undefined && !isUuid(value.record.successor)) {
    return broken(path, "the successor is no node's uuid");
  }
  if (value.data === null && value.snapshots.length === 0) {
    return broken(path, "it names neither data nor a snapshot");
  }
  const { version: _, ...state } = value;
  return { ok: true, value: state as unknown as CopyState };
}

/** The newest snapshot while the copy is exactly that, or null. */
export function heldSnapshot(state: CopyState): StoredSnapshot | null {
  return state.data === null ? (state.snapshots.at(-1) ?? null) : null;
}

/** The snapshot as the contract shows it. */
export function publicSnapshot(snapshot: StoredSnapshot): Snapshot {
  return { guid: snapshot.guid, name: snapshot.name, createdAt: snapshot.createdAt };
}

/** Whether two records say the same. */
export function sameRecord(a: CopyRecord, b: CopyRecord): boolean {
  return (
    a.dataset === b.dataset &&
    a.role === b.role &&
    a.epoch.term === b.epoch.term &&
    a.epoch.step === b.epoch.step &&
    a.successor === b.successor &&
    a.snapshot === b.snapshot
  );
}

function isNewer(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    "version" in value &&
    typeof value.version === "number" &&
    value.version > 1
  );
}

function newer(path: string): { ok: false; problem: Problem } {
  return {
    ok: false,
    problem: {
      code: "store-newer",
      message: `${path} was written by a newer version of Flocker than this one.`,
      remedy: "Update the agent on this node. The data are left alone until then.",
    },
  };
}

function broken(path: string, why: string): { ok: false; problem: Problem } {
  return {
    ok: false,
    problem: {
      code: "storage-unreadable",
      message: `${path} cannot be understood: ${why}.`,
      remedy:
        "Look at that file and put it right from a backup; the data beside it are left alone until then.",
    },
  };
}
