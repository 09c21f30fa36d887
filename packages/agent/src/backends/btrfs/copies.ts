import type { CopyRecord, DatasetId, UnreadableCopy } from "@flocker/core";
import { ProblemError } from "@flocker/core";

import { errorCode, replaceFile, temporarySuffix } from "../files.ts";
import { problemOf, refuse } from "../problems.ts";
import { copyFolder, dataPath, snapshotPath, stateFile, type Context } from "./layout.ts";
import { limitSize } from "./quota.ts";
import { discard, discardStaged, makeStaging } from "./removal.ts";
import { formatState, heldSnapshot, parseState, type CopyState } from "./state.ts";
import { createSubvolume, showSubvolume, snapshotSubvolume, subvolumeInode } from "./subvolumes.ts";

/** A copy that is there and understood, or there and not, or not there. */
export type Found =
  | { readonly kind: "copy"; readonly state: CopyState }
  | { readonly kind: "unreadable"; readonly unreadable: UnreadableCopy }
  | { readonly kind: "absent" };

/**
 * Reads one copy from the disk. Only the system's clear word that there is no folder of that name makes it
 * absent, and only while the folder of all copies is there.
 */
export async function findCopy(context: Context, dataset: DatasetId): Promise<Found> {
  const folder = copyFolder(context, dataset);
  const path = `${folder}/${stateFile}`;
  const doing = `Reading the copy of dataset ${dataset}`;
  let state: CopyState;
  try {
    const parsed = parseState(dataset, path, await context.files.readText(path));
    if (!parsed.ok) return { kind: "unreadable", unreadable: { dataset, problem: parsed.problem } };
    state = parsed.value;
  } catch (error) {
    const problem = problemOf(error, doing);
    if (errorCode(error) === "ENOENT" && !(await context.files.exists(folder))) {
      await requireCopiesFolder(context);
      return { kind: "absent" };
    }
    return { kind: "unreadable", unreadable: { dataset, problem } };
  }
  try {
    await requireSubvolume(context, bodyPath(context, state));
    return { kind: "copy", state };
  } catch (error) {
    return { kind: "unreadable", unreadable: { dataset, problem: problemOf(error, doing) } };
  }
}

/** The subvolume that the copy's bytes are in: the writable one, or its newest snapshot. */
export function bodyPath(context: Context, state: CopyState): string {
  const { dataset } = state.record;
  const held = heldSnapshot(state);
  return held === null ? dataPath(context, dataset) : snapshotPath(context, dataset, held.uuid);
}

/** Throws where a path is no subvolume. */
async function requireSubvolume(context: Context, path: string): Promise<void> {
  const stats = await context.files.lstat(path);
  if (stats.isDirectory() && stats.ino === subvolumeInode) return;
  throw refuse(
    "storage-unreadable",
    `${path} is no subvolume.`,
    "Put the subvolume of this copy back; what lies there now is left alone.",
  );
}

/** Whether there is a subvolume at a path. */
export async function isSubvolume(context: Context, path: string): Promise<boolean> {
  try {
    const stats = await context.files.lstat(path);
    return stats.isDirectory() && stats.ino === subvolumeInode;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

/** Throws where the folder of all copies cannot be seen, as when its disk has been taken away. */
export async function requireCopiesFolder(context: Context): Promise<void> {
  try {
    await context.files.lstat(context.copies);
  } catch (error) {
    throw new ProblemError(storageUnreadable(context, error), { cause: error });
  }
}

/** The storage as a whole cannot be read. */
export function storageUnreadable(context: Context, error: unknown): ProblemError["problem"] {
  return {
    code: "storage-unreadable",
    message: `The storage at ${context.root} cannot be read: ${error instanceof Error ? error.message : String(error)}.`,
    remedy: "Mount its btrfs file system there. Nothing is taken for lost meanwhile.",
  };
}

/** Reads a copy that must be there and readable. */
export async function requireCopy(context: Context, dataset: DatasetId): Promise<CopyState> {
  const found = await findCopy(context, dataset);
  if (found.kind === "copy") return found.state;
  if (found.kind === "unreadable") throw new ProblemError(found.unreadable.problem);
  throw refuse(
    "unknown-dataset",
    `There is no copy of dataset ${dataset} on this node.`,
    "Ask for the datasets of this node (flocker list) and check the id.",
  );
}

/** Reads a copy that must be there, readable and not in the trash. */
export async function requireLiveCopy(context: Context, dataset: DatasetId): Promise<CopyState> {
  const state = await requireCopy(context, dataset);
  if (state.trashedAt === null) return state;
  throw refuse(
    "dataset-deleted",
    `The copy of dataset ${dataset} lies in the trash.`,
    "Take it back first (flocker undelete).",
  );
}

/** Replaces what is known about a copy, durably and in one step. */
export async function writeState(context: Context, state: CopyState): Promise<void> {
  const folder = copyFolder(context, state.record.dataset);
  await replaceFile(context.files, folder, stateFile, formatState(state));
}

/** Makes an empty copy in the staging area and moves it to its place in one step. */
export async function createCopy(
  context: Context,
  record: CopyRecord,
  maximumSizeBytes: number | null,
): Promise<void> {
  const { files } = context;
  const { dataset } = record;
  // Readable or not: whatever is there is not replaced.
  if (await files.exists(copyFolder(context, dataset))) {
    throw refuse(
      "duplicate-id",
      `There is a copy of dataset ${dataset} on this node already.`,
      "Use the copy that is there; a dataset is created only once.",
    );
  }
  const doing = `Creating dataset ${dataset}`;
  const staging = await makeStaging(context);
  try {
    const data = `${staging}/data`;
    await createSubvolume(context, doing, data);
    // As the original did: whoever runs in a container may write.
    await files.chmod(data, 0o777);
    await limitSize(context, doing, data, maximumSizeBytes);
    const { uuid } = await showSubvolume(context, doing, data);
    await placeCopy(context, staging, {
      record,
      maximumSizeBytes,
      data: uuid,
      trashedAt: null,
      snapshots: [],
    });
  } catch (error) {
    await discardStaged(context, staging);
    throw error;
  }
}

/**
 * Moves a whole new copy, whose subvolumes are in their places in a staging folder, to its own place in one
 * step.
 */
export async function placeCopy(context: Context, staging: string, state: CopyState): Promise<void> {
  const { files } = context;
  if (!(await files.exists(`${staging}/snapshots`))) await files.makeFolder(`${staging}/snapshots`, 0o700);
  await files.syncFolder(`${staging}/snapshots`);
  await replaceFile(files, staging, stateFile, formatState(state));
  await files.rename(staging, copyFolder(context, state.record.dataset));
  await files.syncFolder(context.copies);
}

/**
 * Makes the writable subvolume of a copy that is exactly its newest snapshot; it is no longer said to be,
 * afterwards.
 */
export async function materialize(context: Context, state: CopyState): Promise<CopyState> {
  const { dataset } = state.record;
  const doing = `Making dataset ${dataset} writable`;
  const path = dataPath(context, dataset);
  // A left-over of a crash, or of a removal that failed; the state says that it is nobody's.
  await discard(context, path);
  await snapshotSubvolume(context, doing, bodyPath(context, state), path, { readOnly: false });
  await limitSize(context, doing, path, state.maximumSizeBytes);
  const { uuid } = await showSubvolume(context, doing, path);
  const writable: CopyState = { ...state, data: uuid };
  await writeState(context, writable);
  return writable;
}

/** Removes what a crash has left in a copy's folder: subvolumes and files that the state does not name. */
export async function tidyCopy(context: Context, dataset: DatasetId): Promise<void> {
  const found = await findCopy(context, dataset);
  // What cannot be understood may be somebody's only copy.
  if (found.kind !== "copy") return;
  const { state } = found;
  const folder = copyFolder(context, dataset);
  if (state.data === null) await discard(context, dataPath(context, dataset));
  await discard(context, `${folder}/${stateFile}${temporarySuffix}`);
  const kept = new Set(state.snapshots.map(({ uuid }) => uuid));
  for (const bytes of await context.files.list(`${folder}/snapshots`)) {
    const name = bytes.toString();
    if (!kept.has(name)) await discard(context, `${folder}/snapshots/${name}`);
  }
}
