import type { Capacity, DatasetId, Discovery, ObservedCopy, Result, UnreadableCopy } from "@flocker/core";
import { isUuid, ProblemError } from "@flocker/core";

import { findCopy, storageUnreadable } from "./copies.ts";
import { mapConcurrently } from "../concurrency.ts";
import { mountPath, type Context } from "./layout.ts";
import { lookAtMountPoint } from "./mounts.ts";
import { problemOf } from "../problems.ts";
import { publicSnapshot } from "../stored-state.ts";
import type { CopyState } from "./state.ts";

const concurrency = 16;

/** What there is: of one dataset, or of all. It costs some system calls for each copy and reads no data. */
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
    for (const seen of await mapConcurrently(datasets, concurrency, (each) => observe(context, each))) {
      if (seen === undefined) continue;
      if ("problem" in seen) unreadable.push(seen);
      else copies.push(seen);
    }
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    return { ok: false, problem: error.problem };
  }
  return { ok: true, value: { copies, unreadable, capacity } };
}

/** The ids of all copies, readable or not. */
export async function listDatasets(context: Context): Promise<DatasetId[]> {
  const names = (await context.files.list(context.copies)).map(String);
  // Nothing else is ever put there by us, and what is not named by a dataset's id cannot be told as one.
  return names.filter((name): name is DatasetId => isUuid(name)).sort();
}

async function observe(
  context: Context,
  dataset: DatasetId,
): Promise<ObservedCopy | UnreadableCopy | undefined> {
  const found = await findCopy(context, dataset);
  if (found.kind === "absent") return undefined;
  if (found.kind === "unreadable") return found.unreadable;
  try {
    const point = await lookAtMountPoint(context, dataset, found.state.tree);
    return observed(found.state, point.kind === "mounted" ? mountPath(context, dataset) : null);
  } catch (error) {
    // Whether it is mounted cannot be told, and a guess could give the data two writers.
    const problem = problemOf(error, `Looking at the mount point of dataset ${dataset}`);
    return { dataset, problem };
  }
}

function observed(state: CopyState, mountedAt: string | null): ObservedCopy {
  // A symlink that somebody else has made lets others write, whatever the state says.
  const unchangedSince = mountedAt === null ? state.unchangedSince : null;
  const newest = state.snapshots.at(-1);
  return {
    dataset: state.record.dataset,
    record: state.record,
    mountedAt,
    trashedAt: state.trashedAt,
    maximumSizeBytes: state.maximumSizeBytes,
    // To know it of a copy in use, all its entries would have to be looked at.
    usedBytes: unchangedSince === null ? null : (newest?.usedBytes ?? null),
    snapshots: state.snapshots.map(publicSnapshot),
    unchangedSince,
    writtenBytes: unchangedSince === null ? null : 0,
  };
}
