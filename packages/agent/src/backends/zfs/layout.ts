import type { Clock, Commands, DatasetId, Ids, Log } from "@flocker/core";

import type { serializer } from "../concurrency.ts";
import type { SharedLock } from "./pool-lock.ts";
import type { ZfsSystem } from "./system.ts";

/**
 * Where everything lies below the dataset that the agent is given:
 *
 *     <pool>/flocker/<dataset_id>                  a copy; its user properties say the rest
 *     <pool>/flocker-trash/<dataset_id>            a copy in the trash
 *     <pool>/flocker-staging/<dataset_id>-new      what is being created
 *     <pool>/flocker-staging/<dataset_id>-<guid>   a full stream that is being received, of that snapshot
 *     <pool>/flocker-staging/<dataset_id>-old      what a full stream is about to replace
 *     <pool>/flocker-staging/<dataset_id>-kept-…   what one has replaced, with snapshots of people
 *
 * A name below `flocker` or `flocker-trash` is a copy from the moment on at which it has that name: the
 * rename is what makes it valid. Names do not tell who owns a copy, so the mount point never changes.
 */
export interface Layout {
  readonly pool: string;
  readonly live: string;
  readonly trash: string;
  readonly staging: string;
  readonly mountRoot: string;
}

/** What all parts of the backend work with. */
export interface Context extends Layout {
  readonly commands: Commands;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log | undefined;
  readonly system: ZfsSystem;
  /**
   * Properties of ZFS that a new copy gets, such as `compression=zstd`, by the name of its profile; throws
   * `profile-unknown`.
   */
  readonly settingsFor: (profile: string | undefined) => readonly string[];
  /** Runs steps that change a copy one after the other. */
  readonly exclusively: ReturnType<typeof serializer>;
  /** Renames happen alone, sweeps side by side: so no sweep misses a copy that is being renamed. */
  readonly names: SharedLock;
}

/** The copy's record, as JSON. */
export const recordProperty = "flocker:record";
/**
 * What a receive that has begun makes of the copy; it counts from the moment on at which its snapshot is
 * there.
 */
export const receivingProperty = "flocker:receiving";
/** Milliseconds since 1970. */
export const trashedAtProperty = "flocker:trashed-at";
/**
 * Set from before the mount until after a clean unmount. Where it is set without a mount, the power was cut,
 * and writes that were synced may be in the intent log alone, which only a mount replays.
 */
export const openProperty = "flocker:open";
/** How a property is unset without a second command. */
export const unset = "none";
/** The tags of holds that live as long as a transfer. */
export const holdTagPrefix = "flocker-send-";

/** The names below a pool, or below a dataset in one. */
export function layoutOf(pool: string, mountRoot: string): Layout {
  return {
    pool,
    live: `${pool}/flocker`,
    trash: `${pool}/flocker-trash`,
    staging: `${pool}/flocker-staging`,
    mountRoot,
  };
}

/** Whether that can be the name of a pool, or of a dataset in one. */
export function isDatasetName(name: string): boolean {
  return /^[A-Za-z][A-Za-z0-9_.: -]*(\/[A-Za-z0-9_.: -]+)*$/.test(name);
}

/** The pool's own name, where a dataset in one may be named as well. */
export function poolNameOf(name: string): string {
  return name.split("/", 1)[0] ?? name;
}

/** Properties that a dataset of ZFS has from its creation on, and takes along wherever it is sent. */
const inborn = /^(encryption|keyformat|keylocation|pbkdf2iters|casesensitivity|normalization|utf8only)=/;

/** Whether a property, with its value, can be set on what has been received. */
export function isChangeable(setting: string): boolean {
  return !inborn.test(setting);
}

/** Where a copy is mounted. */
export function mountPath(layout: Layout, dataset: DatasetId): string {
  return `${layout.mountRoot === "/" ? "" : layout.mountRoot}/${dataset}`;
}

/**
 * What every copy has, whatever its role: nobody but the agent mounts it, at one place, over nothing that is
 * there.
 */
export function fixedProperties(layout: Layout, dataset: DatasetId): readonly string[] {
  return ["canmount=noauto", `mountpoint=${mountPath(layout, dataset)}`, "overlay=off"];
}
