import type { Clock, Commands, DatasetId, Ids, Log } from "@flocker/core";
import { join } from "node:path";

import type { Files } from "./files.ts";

/**
 * Where everything lies below the backend's root:
 *
 *     lock                                     held by the process that uses this root
 *     copies/<dataset_id>/copy.json            everything durable about the copy (state.ts)
 *     copies/<dataset_id>/tree-<n>/            the data; the state names the valid one
 *     copies/<dataset_id>/snapshots/<guid>.manifest
 *     staging/<uuid>/                          what is being built or removed; no part of any copy
 */
export interface Layout {
  readonly root: string;
  readonly copies: string;
  readonly staging: string;
  readonly mountRoot: string;
}

/** What all parts of the backend work with. */
export interface Context extends Layout {
  readonly files: Files;
  readonly commands: Commands;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log | undefined;
  /** Runs steps that change a copy one after the other. */
  readonly exclusively: <Value>(dataset: DatasetId, steps: () => Promise<Value>) => Promise<Value>;
}

export const stateFile = "copy.json";

/** The paths below a root. Both arguments are absolute. */
export function layoutOf(root: string, mountRoot: string): Layout {
  return { root, copies: join(root, "copies"), staging: join(root, "staging"), mountRoot };
}

/** The folder of a copy. */
export function copyFolder(layout: Layout, dataset: DatasetId): string {
  return `${layout.copies}/${dataset}`;
}

/** The folder of a copy's data. */
export function treeFolder(layout: Layout, dataset: DatasetId, tree: number): string {
  return `${layout.copies}/${dataset}/tree-${tree}`;
}

/** The file with a snapshot's entries. */
export function manifestFile(layout: Layout, dataset: DatasetId, guid: string): string {
  return `${layout.copies}/${dataset}/snapshots/${guid}.manifest`;
}

/** Where a copy is mounted. */
export function mountPath(layout: Layout, dataset: DatasetId): string {
  return join(layout.mountRoot, dataset);
}

/** Runs steps under the same key one after the other, and those under different keys side by side. */
export function serializer(): Context["exclusively"] {
  const tails = new Map<string, Promise<unknown>>();
  return async (key, steps) => {
    const before = tails.get(key);
    const mine = (async () => {
      // An error of the step before was answered to whoever asked for it.
      await before?.catch(() => undefined);
      return await steps();
    })();
    tails.set(key, mine);
    try {
      return await mine;
    } finally {
      if (tails.get(key) === mine) tails.delete(key);
    }
  };
}

/** Applies a function to all items, at most so many at a time, and keeps their order. */
export async function mapConcurrently<Item, Value>(
  items: readonly Item[],
  concurrency: number,
  apply: (item: Item) => Promise<Value>,
): Promise<Value[]> {
  const values: Value[] = [];
  const work = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of work) values[index] = await apply(item);
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker));
  return values;
}
