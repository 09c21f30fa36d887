import type { CopyRecord, DatasetId, UnreadableCopy } from "@flocker/core";
import { ProblemError } from "@flocker/core";

import { errorCode, replaceFile, temporarySuffix } from "../files.ts";
import { copyFolder, stateFile, treeFolder, type Context } from "./layout.ts";
import { problemOf, refuse } from "../problems.ts";
import { discardStaged, makeStaging, moveToStaging } from "./removal.ts";
import { formatState, parseState, type CopyState } from "./state.ts";

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
    const tree = await context.files.lstat(treeFolder(context, dataset, state.tree));
    if (tree.isDirectory()) return { kind: "copy", state };
    throw refuse(
      "storage-unreadable",
      `${treeFolder(context, dataset, state.tree)} is no folder.`,
      "Put the data folder of this copy back.",
    );
  } catch (error) {
    return { kind: "unreadable", unreadable: { dataset, problem: problemOf(error, doing) } };
  }
}

/** Throws where the folder of all copies cannot be seen, as when its disk has been taken away. */
async function requireCopiesFolder(context: Context): Promise<void> {
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
    remedy: "Mount its disk and give the agent's user access to it. Nothing is taken for lost meanwhile.",
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

/**
 * Builds a whole new copy in the staging area and moves it to its place in one step. Null makes an empty
 * tree.
 */
export async function placeNewCopy(
  context: Context,
  state: CopyState,
  data: { readonly tree: string; readonly manifest: string; readonly guid: string } | null,
): Promise<void> {
  const { files } = context;
  const staging = await makeStaging(context);
  try {
    const tree = `${staging}/tree-${state.tree}`;
    await files.makeFolder(`${staging}/snapshots`, 0o700);
    if (data === null) {
      await files.makeFolder(tree, 0o777);
      // As the original did: whoever runs in a container may write. The mode of mkdir is cut by the umask.
      await files.chmod(tree, 0o777);
      await files.syncFolder(tree);
    } else {
      await files.rename(data.tree, tree);
      await files.rename(data.manifest, `${staging}/snapshots/${data.guid}.manifest`);
    }
    await files.syncFolder(`${staging}/snapshots`);
    await replaceFile(files, staging, stateFile, formatState(state));
    await files.chmod(staging, 0o711);
    await files.rename(staging, copyFolder(context, state.record.dataset));
  } catch (error) {
    await discardStaged(context, staging);
    throw error;
  }
  await files.syncFolder(context.copies);
}

/** A copy's state at its birth. */
export function newState(record: CopyRecord, maximumSizeBytes: number | null): CopyState {
  return {
    record,
    maximumSizeBytes,
    tree: 1,
    inUse: false,
    trashedAt: null,
    unchangedSince: null,
    snapshots: [],
  };
}

/**
 * Removes what a crash has left in a copy's folder: trees, manifests and files that the state does not name.
 */
export async function tidyCopy(context: Context, dataset: DatasetId): Promise<void> {
  const found = await findCopy(context, dataset);
  // What cannot be understood may be somebody's only copy.
  if (found.kind !== "copy") return;
  const folder = copyFolder(context, dataset);
  const kept = new Set(found.state.snapshots.map(({ guid }) => `${guid}.manifest`));
  for (const bytes of await context.files.list(folder)) {
    const name = bytes.toString();
    const isOldTree = /^tree-\d+$/.test(name) && name !== `tree-${found.state.tree}`;
    if (isOldTree) await discardStaged(context, await moveToStaging(context, `${folder}/${name}`));
    if (name === stateFile + temporarySuffix) await context.files.unlink(`${folder}/${name}`);
  }
  for (const bytes of await context.files.list(`${folder}/snapshots`)) {
    const name = bytes.toString();
    const isLeftOver = /\.manifest(\.new)?$/.test(name) && !kept.has(name);
    if (isLeftOver) await context.files.unlink(`${folder}/snapshots/${name}`);
  }
}
