import type { Epoch } from "./epoch.ts";
import type { DatasetId, Milliseconds, NodeId } from "./ids.ts";

/**
 * How far a deletion has gone. Between `hidden` and `purged` the bytes lie in the trash and can be had back.
 */
export interface Deletion {
  readonly at: Milliseconds;
  /** When the grace time ends and the control service may order the destruction. */
  readonly graceEndsAt: Milliseconds;
  /** Set by the control service, never undone: agents may destroy the copies. */
  readonly purged: boolean;
}

/** What should be, for one dataset. */
export interface DatasetConfiguration {
  readonly dataset: DatasetId;
  /** The node that should hold the primary copy. */
  readonly primary: NodeId;
  /** Null where no limit was asked for. */
  readonly maximumSizeBytes: number | null;
  /**
   * A handoff that would keep it unmounted for longer is not begun, or given up; absent: there is no limit.
   */
  readonly maximumDowntimeMs?: Milliseconds;
  /** What the backend of the first node calls the storage that the dataset was made of; absent: nothing. */
  readonly source?: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly deletion: Deletion | null;
  /** The revision of the last commit that changed this dataset. */
  readonly revision: number;
}

/**
 * Who owns a dataset, as the control service durably knows it. It is written in the commit that creates the
 * dataset; later epochs are reported by the nodes, whose own records win.
 */
export interface Ownership {
  readonly dataset: DatasetId;
  readonly epoch: Epoch;
  readonly owner: NodeId;
  /** False until the owner has durably created the copy. Then it is never created again. */
  readonly born: boolean;
  readonly since: Milliseconds;
}

/** A promise that a dataset stays mounted on a node until it ends or is released. */
export interface Lease {
  readonly dataset: DatasetId;
  readonly node: NodeId;
  /** When it ends by itself, or null for never. */
  readonly expiresAt: Milliseconds | null;
}

/** A dataset's name for people: Flocker's clients keep it in the metadata. */
export function datasetName(configuration: {
  readonly metadata: Readonly<Record<string, string>>;
}): string | undefined {
  return configuration.metadata["name"];
}

/**
 * Under this key the original, and so its clients, keep the name of the profile that a dataset is to have.
 */
export const profileKey = "clusterhq:flocker:profile";

/** The profile that a dataset's copies are made with, where one is asked for. */
export function datasetProfile(configuration: {
  readonly metadata: Readonly<Record<string, string>>;
}): string | undefined {
  return configuration.metadata[profileKey];
}
