import type { CopyRecord, DatasetId, Problem, Result, Snapshot } from "@flocker/core";
import { isUuid } from "@flocker/core";
import Type from "typebox";

/** A {@link CopyRecord} on the disk, whose ids have not been looked at yet. */
export type StoredRecord = Omit<CopyRecord, "dataset" | "successor"> & {
  readonly dataset: string;
  readonly successor?: string;
};

/** The form of a {@link StoredRecord}. */
export const storedRecord: Type.TUnsafe<StoredRecord> = Type.Unsafe<StoredRecord>(
  Type.Object({
    dataset: Type.String(),
    epoch: Type.Object({ term: Type.Integer({ minimum: 0 }), step: Type.Integer({ minimum: 0 }) }),
    role: Type.Union([Type.Literal("primary"), Type.Literal("relinquished"), Type.Literal("replica")]),
    successor: Type.Optional(Type.String()),
    snapshot: Type.Optional(Type.String()),
  }),
);

/** What every backend's state file of a copy has in it. */
interface StoredState {
  readonly version: number;
  readonly record: StoredRecord;
}

/** A compiled schema. */
interface StateCheck<Stored> {
  Check(value: unknown): value is Stored;
  Errors(value: unknown): readonly { readonly instancePath: string; readonly message: string }[];
}

/** The text of a copy's state file. */
export function formatStored(state: object): string {
  return `${JSON.stringify({ version: 1, ...state }, undefined, 2)}\n`;
}

/**
 * Reads a copy's state file. What cannot be understood is a problem, never an empty state. `mistake` says
 * what else is wrong with a state of the right form, or null.
 */
export function parseStored<Stored extends StoredState>(
  file: { readonly dataset: DatasetId; readonly path: string; readonly text: string },
  check: StateCheck<Stored>,
  mistake: (state: Stored) => string | null,
): Result<Omit<Stored, "version">> {
  const { dataset, path, text } = file;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return broken(path, `it is no JSON (${error instanceof Error ? error.message : String(error)})`);
  }
  if (isNewer(value)) return newer(path);
  if (!check.Check(value)) {
    const first = check.Errors(value)[0];
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
  const why = mistake(value);
  if (why !== null) return broken(path, why);
  const { version: _, ...state } = value;
  return { ok: true, value: state };
}

/** A stored snapshot as the contract shows it. */
export function publicSnapshot(snapshot: Snapshot): Snapshot {
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
