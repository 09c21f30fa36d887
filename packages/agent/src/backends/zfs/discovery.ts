import type { DatasetId, Discovery, ObservedCopy, PartialReceive, UnreadableCopy } from "@flocker/core";

import { understand } from "./copies.ts";
import type { Context } from "./layout.ts";
import { partialOf } from "./partials.ts";
import { requireLayout, sweepAll, sweepOne, type Swept } from "./sweep.ts";

/** What there is: of one dataset, or with null of all, in one sweep. */
export async function discoverCopies(context: Context, dataset: DatasetId | null): Promise<Discovery> {
  const doing = `Looking at the copies in ${context.live}`;
  const [space, swept] = await Promise.all([
    requireLayout(context, doing),
    dataset === null
      ? sweepAll(context, doing)
      : sweepOne(context, doing, dataset).then((found) => new Map([[dataset, found]])),
  ]);
  const isMounted = ({ live, trashed }: Swept): boolean => (live ?? trashed)?.row.isMounted === true;
  const mounts = [...swept.values()].some(isMounted) ? await context.system.mounts() : "";
  const copies: ObservedCopy[] = [];
  const unreadable: UnreadableCopy[] = [];
  const partials: PartialReceive[] = [];
  for (const [each, found] of [...swept].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const understood = understand(each, found, mounts);
    if (understood.kind === "copy") copies.push(understood.state.observed);
    else if (understood.kind === "unreadable") unreadable.push(understood.unreadable);
    const partial = partialOf(each, found);
    if (partial !== undefined) partials.push(partial);
  }
  const { usedBytes, availableBytes } = space;
  return {
    copies,
    unreadable,
    partials,
    capacity: { totalBytes: usedBytes + availableBytes, freeBytes: availableBytes },
  };
}
