import type { DatasetId, Snapshot } from "@flocker/core";

import { refuse } from "../problems.ts";
import { publicSnapshot, requireCopy, requireLiveCopy, type CopyState } from "./copies.ts";
import type { Context } from "./layout.ts";
import { replayLog } from "./mounts.ts";
import { saidBy, tryZfs, zfs, zfsFailed } from "./programs.ts";

/** Takes a snapshot, or answers the one that has that name. */
export async function takeSnapshot(context: Context, dataset: DatasetId, name: string): Promise<Snapshot> {
  const state = await requireLiveCopy(context, dataset);
  const known = snapshotNamed(state, name);
  if (known !== undefined) return known;
  if (state.isLogUnplayed) await replayLog(context, state);
  const doing = `Taking a snapshot of dataset ${dataset}`;
  await zfs(context, doing, "snapshot", `${state.name}@${name}`);
  const taken = snapshotNamed(await requireLiveCopy(context, dataset), name);
  if (taken !== undefined) return taken;
  throw refuse(
    "command-failed",
    `${doing} succeeded, but the snapshot ${name} is not there.`,
    "Find out who destroys snapshots on this node; it is tried again by itself.",
  );
}

function snapshotNamed({ observed }: CopyState, name: string): Snapshot | undefined {
  return observed.snapshots.find((snapshot) => snapshot.name === name);
}

/** Destroys snapshots by guid. One on which something depends stays, and that is told. */
export async function forgetSnapshots(
  context: Context,
  dataset: DatasetId,
  guids: readonly string[],
): Promise<void> {
  const state = await requireCopy(context, dataset);
  const rows = state.entry.snapshots.filter(({ guid }) => guids.includes(guid));
  if (rows.length === 0) return;
  const doing = `Destroying snapshots of dataset ${dataset}`;
  const args = ["destroy", `${state.name}@${rows.map((row) => publicSnapshot(row).name).join(",")}`];
  const result = await tryZfs(context, args);
  if (result.exitCode === 0) return;
  const cloned = rows.find(({ clones }) => clones !== null);
  if (cloned !== undefined)
    throw inUse(doing, cloned.name, `it has the clones ${cloned.clones}`, cloned.clones);
  if (/busy|held|hold/.test(result.stderr))
    throw refuse(
      "busy-mount",
      `${doing} failed, because one of them is held: ${saidBy(result)}.`,
      `See who holds it (zfs holds ${rows.map(({ name }) => name).join(" ")}); it is tried again by itself.`,
    );
  throw await zfsFailed(context, doing, args, result);
}

/** Something depends on a snapshot, so that it cannot be destroyed. */
export function inUse(doing: string, name: string, why: string, clones: string | null): Error {
  return refuse(
    "busy-mount",
    `${doing} failed, because of ${name}: ${why}.`,
    `Let the clones stand on their own (zfs promote ${clones?.split(",")[0] ?? "CLONE"}) or destroy them; ` +
      "it is tried again by itself.",
  );
}
