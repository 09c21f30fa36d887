import type {
  Capacity,
  DatasetId,
  Discovery,
  ObservedCopy,
  PartialReceive,
  UnreadableCopy,
} from "@flocker/core";

import { understand } from "./copies.ts";
import type { Context } from "./layout.ts";
import { partialOf } from "./partials.ts";
import { sweepAll, sweepCapacity, sweepOneAndPool, type Swept } from "./sweep.ts";

/** What there is: of one dataset, or with null of all. */
export async function discoverCopies(context: Context, dataset: DatasetId | null): Promise<Discovery> {
  const doing = `Looking at the copies in ${context.live}`;
  const { swept, capacity } = await sweep(context, doing, dataset);
  const isMounted = ({ live, trashed }: Swept): boolean => (live ?? trashed)?.row.isMounted === true;
  const mounts = [...swept.values()].some(isMounted) ? await context.system.mounts() : "";
  const copies: ObservedCopy[] = [];
  const unreadable: UnreadableCopy[] = [];
  const partials: PartialReceive[] = [];
  for (const [each, found] of [...swept].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const understood = understand(context, each, found, mounts);
    if (understood.kind === "copy") copies.push(understood.state.observed);
    else if (understood.kind === "unreadable") unreadable.push(understood.unreadable);
    const partial = partialOf(each, found);
    if (partial !== undefined) partials.push(partial);
  }
  return { copies, unreadable, partials, capacity };
}

async function sweep(
  context: Context,
  doing: string,
  dataset: DatasetId | null,
): Promise<{ readonly swept: ReadonlyMap<DatasetId, Swept>; readonly capacity: Capacity }> {
  if (dataset === null) {
    const [swept, capacity] = await Promise.all([sweepAll(context, doing), sweepCapacity(context, doing)]);
    return { swept, capacity };
  }
  const { swept, capacity } = await sweepOneAndPool(context, doing, dataset);
  return { swept: new Map([[dataset, swept]]), capacity };
}
