import type { DatasetId, Snapshot } from "@flocker/core";

import { requireLiveCopy, writeState } from "./copies.ts";
import { errorCode, temporarySuffix } from "../files.ts";
import { copyFolder, manifestFile, treeFolder, type Context } from "./layout.ts";
import { writeManifest, type ManifestSummary } from "./manifest.ts";
import { requireUnmounted } from "./mounts.ts";
import { runProgram } from "../programs.ts";
import { publicSnapshot } from "../stored-state.ts";

/**
 * Takes a snapshot of an unmounted copy: the list of its entries. The bytes themselves are not kept twice, so
 * a snapshot can be sent only as long as the copy is not mounted again; afterwards it still serves as the
 * base of an incremental transfer.
 */
export async function takeSnapshot(context: Context, dataset: DatasetId, name: string): Promise<Snapshot> {
  const doing = `A snapshot of dataset ${dataset}`;
  const before = await requireLiveCopy(context, dataset);
  const existing = before.snapshots.find((snapshot) => snapshot.name === name);
  if (existing !== undefined) return publicSnapshot(existing);
  const state = await requireUnmounted(context, before, doing);
  const tree = treeFolder(context, dataset, state.tree);
  // All that was written must be on the disk before anybody builds on the snapshot.
  await runProgram(context.commands, doing, ["sync", "--file-system", tree]);
  const guid = context.ids.uuid();
  const summary = await listTree(context, dataset, guid, tree);
  const snapshot = { guid, name, createdAt: context.clock.now(), ...summary };
  await writeState(context, { ...state, unchangedSince: guid, snapshots: [...state.snapshots, snapshot] });
  return publicSnapshot(snapshot);
}

/** Lists a copy's tree into the manifest of a snapshot, durably, replacing the one that is there. */
export async function listTree(
  context: Context,
  dataset: DatasetId,
  guid: string,
  tree: string,
): Promise<ManifestSummary> {
  const path = manifestFile(context, dataset, guid);
  const temporary = path + temporarySuffix;
  if (await context.files.exists(temporary)) await context.files.unlink(temporary);
  const summary = await writeManifest(context, tree, temporary);
  await context.files.rename(temporary, path);
  await context.files.syncFolder(`${copyFolder(context, dataset)}/snapshots`);
  return summary;
}

/** Forgets snapshots. Without the newest one nothing says any more that the data are unchanged. */
export async function forgetSnapshots(
  context: Context,
  dataset: DatasetId,
  guids: readonly string[],
): Promise<void> {
  const state = await requireLiveCopy(context, dataset);
  const kept = state.snapshots.filter(({ guid }) => !guids.includes(guid));
  if (kept.length === state.snapshots.length) return;
  const unchangedSince = kept.some(({ guid }) => guid === state.unchangedSince) ? state.unchangedSince : null;
  await writeState(context, { ...state, snapshots: kept, unchangedSince });
  // What a crash leaves of these is removed at the next start.
  for (const { guid } of state.snapshots) {
    if (kept.some((snapshot) => snapshot.guid === guid)) continue;
    try {
      await context.files.unlink(manifestFile(context, dataset, guid));
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error;
    }
  }
}
