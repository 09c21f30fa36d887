import type { DatasetId, Milliseconds } from "@flocker/core";
import { ProblemError } from "@flocker/core";

import { refuse } from "../problems.ts";
import { findCopy, requireCopy, type CopyState } from "./copies.ts";
import { trashedAtProperty, unset, type Context } from "./layout.ts";
import { requireUnmounted } from "./mounts.ts";
import { saidBy, tryZfs, zfs, zfsFailed } from "./programs.ts";
import { inUse } from "./snapshots.ts";
import { discardPartial, isArriving } from "./partials.ts";
import { sweepOne, type Entry, type Swept } from "./sweep.ts";

/** Puts a copy into the trash: the rename is what makes it so, and the time is there before it. */
export async function trashCopy(context: Context, dataset: DatasetId, at: Milliseconds): Promise<void> {
  const state = await requireCopy(context, dataset);
  if (state.observed.trashedAt !== null) return;
  const doing = `Deleting dataset ${dataset}`;
  requireUnmounted(state, "Deleting");
  if (state.entry.row.resumeToken !== null) await discardPartial(context, doing, state.name);
  await destroyArrived(context, doing, state.staged);
  await zfs(context, doing, "set", `${trashedAtProperty}=${at}`, state.name);
  await renameCopy(context, doing, state, `${context.trash}/${dataset}`);
}

/** Takes a copy back out of the trash. */
export async function restoreCopy(context: Context, dataset: DatasetId): Promise<void> {
  const state = await requireCopy(context, dataset);
  if (state.observed.trashedAt === null) return;
  const doing = `Restoring dataset ${dataset}`;
  const name = `${context.live}/${dataset}`;
  await renameCopy(context, doing, state, name);
  await zfs(context, doing, "set", `${trashedAtProperty}=${unset}`, name);
}

async function renameCopy(context: Context, doing: string, state: CopyState, to: string): Promise<void> {
  await context.names.alone(() => zfs(context, doing, "rename", state.name, to));
}

/** Destroys a copy that lies in the trash, with what is kept aside of it. */
export async function destroyCopy(context: Context, dataset: DatasetId): Promise<void> {
  const found = await findCopy(context, dataset);
  if (found.kind === "unreadable") throw new ProblemError(found.unreadable.problem);
  const doing = `Destroying dataset ${dataset}`;
  const { staged } = found.kind === "copy" ? found.state : found;
  if (found.kind === "copy") {
    if (found.state.observed.trashedAt === null)
      throw refuse(
        "dataset-not-deleted",
        `The copy of dataset ${dataset} does not lie in the trash, and only from there copies are destroyed.`,
        "Delete the dataset first (flocker delete).",
      );
    requireUnmounted(found.state, "Destroying");
    await destroyEntry(context, doing, found.state.entry);
  }
  for (const entry of staged.values()) await destroyEntry(context, doing, entry);
}

/** Destroys a dataset of ZFS with its snapshots, but nothing that anybody else has made on top of it. */
export async function destroyEntry(context: Context, doing: string, entry: Entry): Promise<void> {
  const { row, snapshots, children } = entry;
  if (children.length > 0)
    throw refuse(
      "busy-mount",
      `${doing} failed, because somebody has made datasets below it: ${children.slice(0, 3).join(", ")}.`,
      "Move them elsewhere (zfs rename) or destroy them; it is tried again by itself.",
    );
  const cloned = snapshots.find(({ clones }) => clones !== null);
  if (cloned !== undefined)
    throw inUse(doing, cloned.name, `it has the clones ${cloned.clones}`, cloned.clones);
  if (row.resumeToken !== null) await discardPartial(context, doing, row.name);
  const args = ["destroy", "-r", row.name];
  const result = await tryZfs(context, args);
  if (result.exitCode === 0 || /does not exist/.test(result.stderr)) return;
  if (/busy|held|hold/.test(result.stderr))
    throw refuse(
      "busy-mount",
      `${doing} failed, because something uses it: ${saidBy(result)}.`,
      `See zfs holds -r ${row.name}@SNAPSHOT and whether a zfs send or receive of it runs; it is tried again by itself.`,
    );
  throw await zfsFailed(context, doing, args, result);
}

/** Throws away all that interrupted receives have left of a dataset. */
export async function discardArrived(context: Context, dataset: DatasetId): Promise<void> {
  const doing = `Throwing away what has arrived of dataset ${dataset}`;
  const { live, staged } = await sweepOne(context, doing, dataset);
  if (live !== undefined && live.row.resumeToken !== null)
    await discardPartial(context, doing, live.row.name);
  await destroyArrived(context, doing, staged);
}

/** Destroys full streams that have arrived, whole or in part, and were not made the copy. */
export async function destroyArrived(
  context: Context,
  doing: string,
  staged: Swept["staged"],
): Promise<void> {
  for (const [suffix, entry] of staged) if (isArriving(suffix)) await destroyEntry(context, doing, entry);
}
