import type { CopyRecord, DatasetId, Problem, Result, Snapshot } from "@flocker/core";
import { isUuid } from "@flocker/core";
import Type from "typebox";
import { Compile } from "typebox/compile";

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
  tree: Type.Integer({ minimum: 1 }),
  inUse: Type.Boolean(),
  trashedAt: Type.Union([Type.Null(), Type.Number()]),
  unchangedSince: Type.Union([Type.Null(), Type.String()]),
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
  /** The data are in `tree-<number>`; any other such folder is a leftover. */
  readonly tree: number;
  /**
   * From before it is mounted until an unmount has found no user any more. It is not the same as being mounted: somebody
   * may remove the symlink while programs still write.
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
  const newest = value.snapshots.at(-1)?.guid ?? null;
  if (value.unchangedSince !== null && value.unchangedSince !== newest) {
    return broken(path, "unchangedSince is not the newest snapshot");
  }
  const { version: _, ...state } = value;
  return { ok: true, value: state as unknown as CopyState };
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
