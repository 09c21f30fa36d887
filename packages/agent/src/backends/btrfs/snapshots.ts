import type { DatasetId, Snapshot } from "@flocker/core";

import { refuse } from "../problems.ts";
import { runProgram } from "../programs.ts";
import { materialize, requireLiveCopy, writeState } from "./copies.ts";
import { dataPath, copyFolder, snapshotFolder, snapshotName, snapshotPath, type Context } from "./layout.ts";
import { lookAtMountPoint, readMountView, requireUnmounted } from "./mounts.ts";
import { discard, discardStaged, makeStaging } from "./removal.ts";
import { publicSnapshot } from "../stored-state.ts";
import { heldSnapshot, type StoredSnapshot } from "./state.ts";
import { showSubvolume, snapshotSubvolume } from "./subvolumes.ts";

/**
 * Takes a snapshot, of a mounted copy as well. An unmounted copy is exactly its snapshot afterwards, and its
 * writable subvolume is given up until it is mounted again.
 */
export async function takeSnapshot(context: Context, dataset: DatasetId, name: string): Promise<Snapshot> {
  const doing = `Taking a snapshot of dataset ${dataset}`;
  const before = await requireLiveCopy(context, dataset);
  const existing = before.snapshots.find((snapshot) => snapshot.name === name);
  if (existing !== undefined) return publicSnapshot(existing);
  const isMounted = lookAtMountPoint(context, await readMountView(context), dataset).kind === "mounted";
  if (!isMounted) await requireUnmounted(context, before, doing);
  // A snapshot straight of a received one would inherit its identity, so it goes through a writable
  // subvolume.
  const state = before.data === null ? await materialize(context, before) : before;
  const staging = await makeStaging(context);
  let snapshot: StoredSnapshot;
  try {
    const path = `${staging}/${snapshotName}`;
    await snapshotSubvolume(context, doing, dataPath(context, dataset), path, { readOnly: true });
    // Afterwards, since whatever was there when the snapshot was taken is seen now as well.
    await requireNothingNested(context, doing, dataset);
    const { uuid } = await showSubvolume(context, doing, path);
    snapshot = { guid: uuid, name, createdAt: context.clock.now(), uuid };
    await adopt(context, dataset, staging, uuid);
  } catch (error) {
    await discardStaged(context, staging);
    throw error;
  }
  const data = isMounted ? state.data : null;
  await writeState(context, { ...state, data, snapshots: [...state.snapshots, snapshot] });
  if (data === null) await discard(context, dataPath(context, dataset));
  return publicSnapshot(snapshot);
}

/** Moves a staging folder with a snapshot in it, durably, to where the state can name it. */
export async function adopt(
  context: Context,
  dataset: DatasetId,
  staging: string,
  uuid: string,
): Promise<void> {
  await context.files.rename(staging, snapshotFolder(context, dataset, uuid));
  await context.files.syncFolder(`${copyFolder(context, dataset)}/snapshots`);
}

/**
 * Throws where somebody has made subvolumes inside the data: a snapshot holds empty folders in their place,
 * so a move would lose them.
 */
async function requireNothingNested(context: Context, doing: string, dataset: DatasetId): Promise<void> {
  const path = dataPath(context, dataset);
  const { stdout } = await runProgram(context.commands, doing, ["btrfs", "subvolume", "list", "-o", path]);
  if (stdout.trim() === "") return;
  const nested = stdout.trim().split("\n").slice(0, 3);
  const names = nested.map((line) => line.replace(/^.* path (.*\/data\/)?/, ""));
  throw refuse(
    "not-supported",
    `${doing} failed: there are subvolumes inside of it (${names.join(", ")}), which no snapshot would contain.`,
    "Replace them by plain folders (cp --archive --reflink, then btrfs subvolume delete); it is tried again by itself.",
  );
}

/** Forgets snapshots. What the copy consists of is kept, as its writable subvolume. */
export async function forgetSnapshots(
  context: Context,
  dataset: DatasetId,
  guids: readonly string[],
): Promise<void> {
  const before = await requireLiveCopy(context, dataset);
  const forgotten = before.snapshots.filter(({ guid }) => guids.includes(guid));
  if (forgotten.length === 0) return;
  const held = heldSnapshot(before);
  const state = held !== null && forgotten.includes(held) ? await materialize(context, before) : before;
  const snapshots = state.snapshots.filter((snapshot) => !forgotten.includes(snapshot));
  await writeState(context, { ...state, snapshots });
  // What a crash leaves of these is removed at the next start.
  for (const { uuid } of forgotten) await discard(context, snapshotFolder(context, dataset, uuid));
}

/** A snapshot's subvolume. */
export function pathOf(context: Context, dataset: DatasetId, snapshot: StoredSnapshot): string {
  return snapshotPath(context, dataset, snapshot.uuid);
}
