import { join } from "node:path";

import type { Clock, Commands, DatasetId, Ids, Log } from "@flocker/core";

import type { Exclusively } from "../concurrency.ts";
import type { Files } from "../files.ts";

/**
 * Where everything lies in the file system. Whatever is not named by a copy's state is left over from a
 * crash:
 *
 *     flocker/lock                                        held by the process that uses this storage
 *     flocker/copies/<dataset_id>/copy.json               everything durable about the copy (state.ts)
 *     flocker/copies/<dataset_id>/data                    the writable subvolume, while there is one
 *     flocker/copies/<dataset_id>/snapshots/<uuid>/snapshot   a read-only subvolume, in a folder of its uuid
 *     flocker/staging/<uuid>/                             what is being built or removed; no part of any copy
 *
 * Read-only subvolumes cannot be moved to another folder, so what moves is always the plain folder around
 * them. All are called `snapshot`, since the name travels in the streams.
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
  /** Whether the file system keeps account of each subvolume's bytes and enforces limits. */
  readonly quota: boolean;
  /** Runs steps that change a copy one after the other. */
  readonly exclusively: Exclusively<DatasetId>;
}

export const stateFile = "copy.json";
export const snapshotName = "snapshot";

/** The paths in a file system whose folder for us is `root`. Both arguments are absolute. */
export function layoutOf(root: string, mountRoot: string): Layout {
  const own = join(root, "flocker");
  return { root: own, copies: join(own, "copies"), staging: join(own, "staging"), mountRoot };
}

/** The folder of a copy. */
export function copyFolder(layout: Layout, dataset: DatasetId): string {
  return `${layout.copies}/${dataset}`;
}

/** The writable subvolume of a copy. */
export function dataPath(layout: Layout, dataset: DatasetId): string {
  return `${layout.copies}/${dataset}/data`;
}

/** The folder around a snapshot's subvolume, whose own uuid is given. */
export function snapshotFolder(layout: Layout, dataset: DatasetId, uuid: string): string {
  return `${layout.copies}/${dataset}/snapshots/${uuid}`;
}

/** A snapshot's read-only subvolume. */
export function snapshotPath(layout: Layout, dataset: DatasetId, uuid: string): string {
  return `${snapshotFolder(layout, dataset, uuid)}/${snapshotName}`;
}

/** Where a copy is mounted. */
export function mountPath(layout: Layout, dataset: DatasetId): string {
  return join(layout.mountRoot, dataset);
}
