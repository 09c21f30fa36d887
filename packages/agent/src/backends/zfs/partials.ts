import type { DatasetId, PartialReceive } from "@flocker/core";

import { refuse } from "../problems.ts";
import type { Context } from "./layout.ts";
import { tryZfs, zfsFailed } from "./programs.ts";
import { parseReceiving } from "./record.ts";
import type { Swept } from "./sweep.ts";

/** Whether that suffix of a name in the staging area is the guid of a snapshot that a full stream brings. */
export function isArriving(suffix: string): boolean {
  return /^\d+$/.test(suffix);
}

/** The interrupted receive of a dataset that can go on, if there is one. */
export function partialOf(dataset: DatasetId, { live, staged }: Swept): PartialReceive | undefined {
  const increment = live?.row;
  if (increment !== undefined && increment.resumeToken !== null && increment.receiving !== null) {
    const begun = parseReceiving(dataset, increment.name, increment.receiving);
    if (!begun.ok) return undefined;
    const { snapshot, base } = begun.value;
    return { dataset, snapshot, base, token: increment.resumeToken };
  }
  for (const [suffix, { row }] of staged)
    if (row.resumeToken !== null && isArriving(suffix))
      return { dataset, snapshot: suffix, base: null, token: row.resumeToken };
  return undefined;
}

/** Throws away what an interrupted receive has left. */
export async function discardPartial(context: Context, doing: string, name: string): Promise<void> {
  const args = ["receive", "-A", name];
  const result = await tryZfs(context, args);
  if (result.exitCode === 0 || /does not have any resumable|does not exist/.test(result.stderr)) return;
  if (/busy/.test(result.stderr))
    throw refuse(
      "transfer-interrupted",
      `${doing} has to wait: an older receive into ${name} has not ended yet.`,
      "It is tried again by itself; if this stays, look for a zfs receive that hangs.",
    );
  throw await zfsFailed(context, doing, args, result);
}
