import type { Capacity, DatasetId, Discovery, ObservedCopy, Result, UnreadableCopy } from "@flocker/core";
import { isUuid } from "@flocker/core";

import { mapConcurrently } from "../concurrency.ts";
import { problemOf, refuse } from "../problems.ts";
import { bodyPath, findCopy, isSubvolume, storageUnreadable } from "./copies.ts";
import { dataPath, mountPath, snapshotPath, type Context } from "./layout.ts";
import { lookAtMountPoint, readMountView, type MountView } from "./mounts.ts";
import { sweepUsage, type Usage } from "./quota.ts";
import { publicSnapshot } from "../stored-state.ts";
import type { CopyState } from "./state.ts";
import { listSubvolumes, showSubvolume, type Swept } from "./subvolumes.ts";
import { bytesWrittenSince } from "./written-bytes.ts";

const concurrency = 16;

/**
 * What there is. Looking at all copies takes one sweep over the file system's subvolumes, and for each copy
 * its state file and the existence of its subvolumes; looking at one asks only for that.
 */
export async function discoverCopies(
  context: Context,
  dataset: DatasetId | null,
): Promise<Result<Discovery>> {
  let capacity: Capacity;
  let datasets: readonly DatasetId[];
  try {
    const space = await context.files.space(context.copies);
    capacity = { totalBytes: space.blocks * space.bsize, freeBytes: space.bavail * space.bsize };
    datasets = dataset === null ? await listDatasets(context) : [dataset];
  } catch (error) {
    return { ok: false, problem: storageUnreadable(context, error) };
  }
  const copies: ObservedCopy[] = [];
  const unreadable: UnreadableCopy[] = [];
  try {
    const view = await readMountView(context);
    const measure = dataset === null ? await measureAll(context) : measureOne;
    const look = (each: DatasetId): ReturnType<typeof observe> => observe(context, view, measure, each);
    for (const seen of await mapConcurrently(datasets, concurrency, look)) {
      if (seen === undefined) continue;
      if ("problem" in seen) unreadable.push(seen);
      else copies.push(seen);
    }
  } catch (error) {
    return { ok: false, problem: problemOf(error, `Looking at the copies at ${context.root}`) };
  }
  return { ok: true, value: { copies, unreadable, capacity } };
}

/** The ids of all copies, readable or not. */
export async function listDatasets(context: Context): Promise<DatasetId[]> {
  const names = (await context.files.list(context.copies)).map(String);
  // Nothing else is ever put there by us, and what is not named by a dataset's id cannot be told as one.
  return names.filter((name): name is DatasetId => isUuid(name)).sort();
}

/** How large a copy is, and how much has been written to it since its newest snapshot. */
interface Measured {
  readonly usedBytes: number | null;
  readonly writtenBytes: number | null;
}

/** Throws where the copy's writable subvolume is not the one that the state names. */
type Measure = (context: Context, state: CopyState) => Promise<Measured>;

async function observe(
  context: Context,
  view: MountView,
  measure: Measure,
  dataset: DatasetId,
): Promise<ObservedCopy | UnreadableCopy | undefined> {
  const found = await findCopy(context, dataset);
  if (found.kind === "absent") return undefined;
  if (found.kind === "unreadable") return found.unreadable;
  const { state } = found;
  try {
    const measured = await measure(context, state);
    const isThere = await Promise.all(
      state.snapshots.map(({ uuid }) => isSubvolume(context, snapshotPath(context, dataset, uuid))),
    );
    // Somebody may have deleted one by hand; then nothing can be sent from it.
    const snapshots = state.snapshots.filter((_, index) => isThere[index]);
    const isMounted = lookAtMountPoint(context, view, dataset).kind === "mounted";
    return {
      dataset,
      record: state.record,
      mountedAt: isMounted ? mountPath(context, dataset) : null,
      trashedAt: state.trashedAt,
      maximumSizeBytes: state.maximumSizeBytes,
      usedBytes: measured.usedBytes,
      snapshots: snapshots.map(publicSnapshot),
      // There is nothing that anybody could have written to.
      unchangedSince: state.data === null ? (snapshots.at(-1)?.guid ?? null) : null,
      writtenBytes: snapshots.length === state.snapshots.length ? measured.writtenBytes : null,
    };
  } catch (error) {
    return { dataset, problem: problemOf(error, `Looking at the copy of dataset ${dataset}`) };
  }
}

async function measureOne(context: Context, state: CopyState): Promise<Measured> {
  const { dataset } = state.record;
  const doing = `Looking at dataset ${dataset}`;
  const shown = await showSubvolume(context, doing, bodyPath(context, state));
  requireNamed(context, state, shown.uuid);
  const usedBytes = shown.referencedBytes;
  const newest = state.snapshots.at(-1);
  if (state.data === null) return { usedBytes, writtenBytes: 0 };
  if (newest === undefined) return { usedBytes, writtenBytes: null };
  const path = snapshotPath(context, dataset, newest.uuid);
  if (!(await isSubvolume(context, path))) return { usedBytes, writtenBytes: null };
  const since = (await showSubvolume(context, doing, path)).generationAtCreation;
  if (shown.generation <= since) return { usedBytes, writtenBytes: 0 };
  const writtenBytes =
    shown.exclusiveBytes ?? (await bytesWrittenSince(context, dataPath(context, dataset), since));
  return { usedBytes, writtenBytes };
}

/** A measure that knows all subvolumes already. */
async function measureAll(context: Context): Promise<Measure> {
  const [swept, usage] = [await listSubvolumes(context), await sweepUsage(context)];
  return (_, state) => Promise.resolve(measureSwept(context, state, swept, usage));
}

function measureSwept(
  context: Context,
  state: CopyState,
  swept: ReadonlyMap<string, Swept>,
  usage: ReadonlyMap<number, Usage>,
): Measured {
  const newest = state.snapshots.at(-1);
  const body = swept.get(state.data ?? newest?.uuid ?? "");
  if (body === undefined) requireNamed(context, state, "none");
  const used = usage.get(body?.id ?? -1);
  const usedBytes = used?.referencedBytes ?? null;
  if (state.data === null) return { usedBytes, writtenBytes: 0 };
  const since = newest === undefined ? undefined : swept.get(newest.uuid)?.generationAtCreation;
  if (body === undefined || since === undefined) return { usedBytes, writtenBytes: null };
  // More is looked up only for a dataset that is asked for by itself.
  return { usedBytes, writtenBytes: body.generation <= since ? 0 : (used?.exclusiveBytes ?? null) };
}

function requireNamed(context: Context, state: CopyState, uuid: string): void {
  const expected = state.data ?? state.snapshots.at(-1)?.uuid;
  if (uuid === expected) return;
  throw refuse(
    "storage-unreadable",
    `The subvolume ${bodyPath(context, state)} is another one (${uuid}) than the copy's state names (${expected}).`,
    "If you have put it there on purpose, write its uuid into copy.json beside it; else put the right one back.",
  );
}
