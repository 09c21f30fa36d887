import type { CopyRecord, DatasetId, ObservedCopy, Problem, Snapshot, UnreadableCopy } from "@flocker/core";
import { ProblemError } from "@flocker/core";

import { refuse } from "../problems.ts";
import { receivingSetting, recordSetting, parseReceiving, parseRecord, type Receiving } from "./record.ts";
import {
  type Context,
  fixedProperties,
  type Layout,
  mountPath,
  receivingProperty,
  recordProperty,
  unset,
} from "./layout.ts";
import { discardPartial } from "./partials.ts";
import { saidBy, tellsOfSmallLimit, tryZfs, zfs, zfsFailed } from "./programs.ts";
import { sweepOne, type Entry, type Expectation, type Row, type Swept } from "./sweep.ts";
import { mountPoints } from "./system.ts";

/** A copy that has been understood. */
export interface CopyState {
  readonly observed: ObservedCopy;
  readonly record: CopyRecord;
  /** What ZFS calls it. */
  readonly name: string;
  readonly entry: Entry;
  /** What lies in the staging area for the dataset. */
  readonly staged: Swept["staged"];
  /** A receive that has begun and has not succeeded; what has arrived of it may be kept. */
  readonly receiving: Receiving | null;
  /** A receive that has succeeded, and whose properties are still to be written down as the copy's own. */
  readonly unsettled: Receiving | null;
  /** It was open when the power was cut: synced writes may be in the intent log alone. */
  readonly isLogUnplayed: boolean;
}

export type Found =
  | { readonly kind: "copy"; readonly state: CopyState }
  | { readonly kind: "unreadable"; readonly unreadable: UnreadableCopy }
  | { readonly kind: "absent"; readonly staged: Swept["staged"] };

/** Makes sense of what ZFS shows of one dataset. `mounts` is the text of /proc/self/mounts. */
export function understand(layout: Layout, dataset: DatasetId, swept: Swept, mounts: string): Found {
  const { live, trashed, staged } = swept;
  if (live !== undefined && trashed !== undefined)
    return unreadable(dataset, {
      code: "storage-unreadable",
      message: `There are two copies of dataset ${dataset} on this node: ${live.row.name} and ${trashed.row.name}.`,
      remedy: "Find out which is right and rename the other away; neither is touched until then.",
    });
  const entry = live ?? trashed;
  if (entry === undefined)
    return staged.has("old") ? halfReplaced(dataset, staged) : { kind: "absent", staged };
  const { row } = entry;
  if (row.record === null)
    return unreadable(dataset, {
      code: "storage-unreadable",
      message: `${row.name} carries no record of whose copy it is.`,
      remedy:
        `If somebody has removed it, set ${recordProperty} to what it was, which zpool history shows. ` +
        "If it is to become a dataset of Flocker's, rename it and take it over (flocker import); else rename it away.",
    });
  if (row.isBroken) return unreadable(dataset, brokenRow(row));
  const own = parseRecord(dataset, row.name, row.record);
  if (!own.ok) return unreadable(dataset, own.problem);
  const begun = row.receiving === null ? null : parseReceiving(dataset, row.name, row.receiving);
  if (begun?.ok === false) return unreadable(dataset, begun.problem);
  const receiving = begun?.value ?? null;
  const hasSucceeded =
    receiving !== null && entry.snapshots.some((snapshot) => snapshot.guid === receiving.snapshot);
  const trashedAt = live === undefined ? Number(row.trashedAt ?? Number.NaN) : null;
  if (Number.isNaN(trashedAt))
    return unreadable(dataset, {
      code: "storage-unreadable",
      message: `${row.name} lies in the trash, and nothing tells since when.`,
      remedy: `Rename it back, or say since when: zfs set flocker:trashed-at=MILLISECONDS ${row.name}.`,
    });
  const settled = receiving !== null && hasSucceeded ? receiving : null;
  const mountedAt = row.isMounted ? (mountPoints(mounts).get(row.name) ?? row.mountPoint ?? "?") : null;
  const isOtherwise = mountedAt !== null && (mountedAt !== mountPath(layout, dataset) || row.isReadOnly);
  const state = {
    record: settled?.record ?? own.value,
    maximumSizeBytes: settled === null ? row.quotaBytes : settled.maximumSizeBytes,
    mountedAt,
    ...(isOtherwise ? { isMountedOtherwise: true } : {}),
    trashedAt,
  };
  return {
    kind: "copy",
    state: {
      observed: observed(dataset, entry, state),
      record: state.record,
      name: row.name,
      entry,
      staged,
      receiving: settled === null ? receiving : null,
      unsettled: settled,
      isLogUnplayed: row.open !== null && !row.isMounted,
    },
  };
}

function observed(
  dataset: DatasetId,
  { row, snapshots }: Entry,
  state: Pick<ObservedCopy, "record" | "maximumSizeBytes" | "mountedAt" | "isMountedOtherwise" | "trashedAt">,
): ObservedCopy {
  const newest = snapshots.at(-1);
  const isSure = state.mountedAt === null && row.open === null && row.writtenBytes === 0;
  return {
    dataset,
    ...state,
    usedBytes: row.usedBytes,
    snapshots: snapshots.map(publicSnapshot),
    unchangedSince: isSure && newest !== undefined ? newest.guid : null,
    writtenBytes: row.writtenBytes,
  };
}

/** A snapshot's row as the contract shows it. Its guid is ZFS's own, the same on every pool. */
export function publicSnapshot(row: Row): Snapshot {
  return { guid: row.guid, name: row.name.slice(row.name.indexOf("@") + 1), createdAt: row.createdAt };
}

function unreadable(dataset: DatasetId, problem: Problem): Found {
  return { kind: "unreadable", unreadable: { dataset, problem } };
}

function halfReplaced(dataset: DatasetId, staged: Swept["staged"]): Found {
  return unreadable(dataset, {
    code: "storage-unreadable",
    message: `The copy of dataset ${dataset} was to be replaced, and lies at ${staged.get("old")?.row.name}.`,
    remedy: "Restart the agent on this node: it is put back then.",
  });
}

function brokenRow(row: Row): Problem {
  return {
    code: "storage-unreadable",
    message: `The properties of ${row.name} cannot be read: one of them has a tab or a line break in it.`,
    remedy: `See zfs get all ${row.name}, and set that property right.`,
  };
}

/** Looks for a copy. It is absent only where ZFS clearly says so. */
export async function findCopy(
  context: Context,
  dataset: DatasetId,
  expected: Expectation = {},
): Promise<Found> {
  const doing = `Reading the copy of dataset ${dataset}`;
  const swept = await sweepOne(context, doing, dataset, expected);
  const isMounted = (swept.live ?? swept.trashed)?.row.isMounted === true;
  return understand(context, dataset, swept, isMounted ? await context.system.mounts() : "");
}

/** The copy, ready to be changed; throws the problem that stands in the way. */
export async function requireCopy(context: Context, dataset: DatasetId): Promise<CopyState> {
  const found = await findCopy(context, dataset);
  if (found.kind === "unreadable") throw new ProblemError(found.unreadable.problem);
  if (found.kind === "absent")
    throw refuse(
      "unknown-dataset",
      `This node has no copy of dataset ${dataset}.`,
      "See with flocker show which nodes have one.",
    );
  return await settled(context, found.state);
}

/** The copy, after what a receive that has succeeded has made of it has been written down. */
export async function settled(context: Context, state: CopyState): Promise<CopyState> {
  if (state.unsettled === null) return state;
  await settle(context, state);
  return await requireCopy(context, state.record.dataset);
}

/** The copy, which must not lie in the trash. */
export async function requireLiveCopy(context: Context, dataset: DatasetId): Promise<CopyState> {
  const state = await requireCopy(context, dataset);
  if (state.observed.trashedAt === null) return state;
  throw refuse(
    "dataset-deleted",
    `The copy of dataset ${dataset} on this node lies in the trash.`,
    "Take it back first (flocker undelete).",
  );
}

/** Writes down as the copy's own what a receive that has succeeded has made of it. */
export async function settle(context: Context, { entry, unsettled, name }: CopyState): Promise<void> {
  if (unsettled === null) return;
  const doing = `Finishing the receive into ${name}`;
  await limitSize(context, doing, entry.row, unsettled.maximumSizeBytes);
  const settings = [recordSetting(unsettled.record), `${receivingProperty}=${unset}`, "readonly=on"];
  await zfs(context, doing, "set", ...settings, name);
}

/**
 * Limits the size, or lifts the limit. A limit that the data are already above is left to the primary: what
 * has been received is kept in any case.
 */
export async function limitSize(
  context: Context,
  doing: string,
  row: Pick<Row, "name" | "quotaBytes">,
  maximumSizeBytes: number | null,
): Promise<void> {
  if (row.quotaBytes === maximumSizeBytes) return;
  const args = ["set", `refquota=${maximumSizeBytes ?? "none"}`, row.name];
  const result = await tryZfs(context, args);
  if (result.exitCode === 0) return;
  if (!tellsOfSmallLimit(result.stderr)) throw await zfsFailed(context, doing, args, result);
  context.log?.write("warn", "size-not-limited", { name: row.name, maximumSizeBytes, said: saidBy(result) });
}

/**
 * Writes a record, and that whatever receive had begun is no longer wanted: both in one transaction of ZFS.
 */
export async function writeRecord(context: Context, record: CopyRecord): Promise<void> {
  const state = await requireCopy(context, record.dataset);
  const settings = [recordSetting(record)];
  const doing = `Writing the record of dataset ${record.dataset}`;
  if (state.entry.row.resumeToken !== null) await discardPartial(context, doing, state.name);
  if (state.entry.row.receiving !== null) settings.push(`${receivingProperty}=${unset}`);
  // A change while it is mounted would mount it anew, and take the copy from the programs that write to it;
  // the unmount makes up for it.
  if (state.observed.mountedAt === null) settings.push(readOnlyFor(record));
  await zfs(context, doing, "set", ...settings, state.name);
}

/** Nobody can write to what is not the primary copy, even where it is mounted by hand. */
export function readOnlyFor(record: CopyRecord): string {
  return `readonly=${record.role === "primary" ? "off" : "on"}`;
}

/** Makes an empty copy beside the others, and makes it valid by renaming it. */
export async function createCopy(
  context: Context,
  record: CopyRecord,
  maximumSizeBytes: number | null,
  profile: string | undefined,
): Promise<void> {
  const { dataset } = record;
  const doing = `Creating dataset ${dataset}`;
  const staged = await requireAbsent(context, dataset);
  const begun = staged.get("new");
  if (begun !== undefined) await zfs(context, doing, "destroy", "-r", begun.row.name);
  const name = `${context.staging}/${dataset}-new`;
  const settings = [
    ...context.settingsFor(profile),
    ...fixedProperties(context, dataset),
    readOnlyFor(record),
  ];
  if (maximumSizeBytes !== null) settings.push(`refquota=${maximumSizeBytes}`);
  settings.push(recordSetting(record));
  await zfs(context, doing, "create", ...settings.flatMap((setting) => ["-o", setting]), name);
  await place(context, doing, name, dataset);
}

/** Throws where there is a copy; answers what lies in the staging area. */
export async function requireAbsent(context: Context, dataset: DatasetId): Promise<Swept["staged"]> {
  const found = await findCopy(context, dataset, { isAbsent: true });
  if (found.kind === "absent") return found.staged;
  throw refuse(
    "duplicate-id",
    found.kind === "copy"
      ? `This node has a copy of dataset ${dataset} already.`
      : `This node has a copy of dataset ${dataset} already, which cannot be read: ${found.unreadable.problem.message}`,
    found.kind === "copy" ? "Use the copy that is there." : found.unreadable.problem.remedy,
  );
}

/** Renames what lies in the staging area to the copy that it is to be. */
export async function place(
  context: Context,
  doing: string,
  from: string,
  dataset: DatasetId,
): Promise<void> {
  await context.names.alone(() => zfs(context, doing, "rename", from, `${context.live}/${dataset}`));
}

/** What marks a receive on a copy that it is to change; it counts once its snapshot is there. */
export async function noteReceiving(context: Context, state: CopyState, receiving: Receiving): Promise<void> {
  const doing = `Beginning a receive into ${state.name}`;
  await zfs(context, doing, "set", receivingSetting(receiving), "readonly=on", state.name);
}
