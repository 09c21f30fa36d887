import type { DatasetId } from "@flocker/core";

import { requireCopy, requireLiveCopy, writeState } from "./copies.ts";
import { errorCode } from "../files.ts";
import { findHolders, formatHolders } from "../holders.ts";
import { manifestFile, mountPath, treeFolder, type Context } from "./layout.ts";
import { refuse } from "../problems.ts";
import type { CopyState } from "./state.ts";

/** What is at a copy's mount point. */
export type MountPoint =
  | { readonly kind: "nothing" }
  | { readonly kind: "mounted" }
  /** Something that this backend has not put there, in words. */
  | { readonly kind: "foreign"; readonly what: string };

/** Looks at a copy's mount point; throws where it cannot be seen. */
export async function lookAtMountPoint(
  context: Context,
  dataset: DatasetId,
  tree: number,
): Promise<MountPoint> {
  let target: string;
  try {
    target = await context.files.readlink(mountPath(context, dataset));
  } catch (error) {
    if (errorCode(error) === "ENOENT") return { kind: "nothing" };
    if (errorCode(error) === "EINVAL") return { kind: "foreign", what: "a file or folder" };
    throw error;
  }
  if (target === treeFolder(context, dataset, tree)) return { kind: "mounted" };
  return { kind: "foreign", what: `a symlink to ${target}` };
}

/** Mounts: a symlink from the mount point to the data. */
export async function mountCopy(context: Context, dataset: DatasetId): Promise<void> {
  const state = await requireLiveCopy(context, dataset);
  const point = await lookAtMountPoint(context, dataset, state.tree);
  if (point.kind === "foreign") throw occupied(context, dataset, point.what);
  // A symlink that somebody else has made counts as mounted, but then the state does not yet know of the use.
  if (point.kind === "mounted" && state.inUse) return;
  if (state.unchangedSince !== null) await outwaitClockTick(context, dataset, state.unchangedSince);
  // Before anybody can write, it must be durable that the data are no longer those of the snapshot.
  if (!state.inUse || state.unchangedSince !== null) {
    await writeState(context, { ...state, inUse: true, unchangedSince: null });
  }
  if (point.kind === "nothing") await putSymlink(context, dataset, state.tree);
}

/**
 * Unmounts: takes the symlink away, so that nothing new can be opened, and then looks for whoever still uses
 * the data. If there is anybody, the symlink is put back.
 */
export async function unmountCopy(context: Context, dataset: DatasetId): Promise<void> {
  const state = await requireCopy(context, dataset);
  const point = await lookAtMountPoint(context, dataset, state.tree);
  if (point.kind !== "mounted" && !state.inUse) return;
  if (point.kind === "mounted") {
    await context.files.unlink(mountPath(context, dataset));
    await context.files.syncFolder(context.mountRoot);
  }
  const holders = await findHolders({ tree: treeFolder(context, dataset, state.tree) });
  if (holders.length > 0) {
    if (point.kind === "mounted") await putSymlink(context, dataset, state.tree);
    throw refuse(
      "busy-mount",
      `Dataset ${dataset} cannot be unmounted: ${formatHolders(holders)}.`,
      "Stop those programs or let them close their files; it is tried again by itself.",
    );
  }
  await writeState(context, { ...state, inUse: false, unchangedSince: null });
}

/**
 * Makes sure that a copy is unmounted and that nobody uses it. It may have lost its symlink while in use, so
 * the absence of that alone proves nothing. Gives the state as it is then.
 */
export async function requireUnmounted(
  context: Context,
  state: CopyState,
  doing: string,
): Promise<CopyState> {
  const { dataset } = state.record;
  const point = await lookAtMountPoint(context, dataset, state.tree);
  if (point.kind === "mounted") {
    throw refuse(
      "busy-mount",
      `${doing} needs dataset ${dataset} to be unmounted, and it is mounted at ${mountPath(context, dataset)}.`,
      "Unmount it first.",
    );
  }
  if (!state.inUse) return state;
  await unmountCopy(context, dataset);
  return await requireCopy(context, dataset);
}

async function putSymlink(context: Context, dataset: DatasetId, tree: number): Promise<void> {
  const { files, mountRoot } = context;
  await files.makeFolders(mountRoot);
  try {
    // One step, and never in the place of something else.
    await files.symlink(treeFolder(context, dataset, tree), mountPath(context, dataset));
  } catch (error) {
    if (errorCode(error) === "EEXIST")
      throw occupied(context, dataset, "something that has just been put there");
    throw error;
  }
  await files.syncFolder(mountRoot);
}

function occupied(context: Context, dataset: DatasetId, what: string): Error {
  return refuse(
    "file-exists",
    `Dataset ${dataset} cannot be mounted: at ${mountPath(context, dataset)} there is ${what}.`,
    "See what it is and move it away; it is never removed by Flocker.",
  );
}

/**
 * Waits until the clock of status changes has certainly moved on since the snapshot was listed, so that no
 * write after the mount looks like one from before.
 */
async function outwaitClockTick(context: Context, dataset: DatasetId, guid: string): Promise<void> {
  let listedAtMs: number;
  try {
    const stats = await context.files.lstat(manifestFile(context, dataset, guid));
    listedAtMs = Number(stats.mtimeNs / 1_000_000n);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return;
    throw error;
  }
  const ageMs = context.clock.now() - listedAtMs;
  if (ageMs >= 0 && ageMs < clockTickMs) await context.clock.sleep(clockTickMs - ageMs);
}

/** Longer than any kernel's clock of status changes stands still. */
export const clockTickMs = 55;
