import type { Clock, Commands, DatasetId, Ids, Log } from "@flocker/core";
import { join } from "node:path";

import type { Exclusively } from "../concurrency.ts";
import type { Files } from "../files.ts";

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
  readonly exclusively: Exclusively<DatasetId>;
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
