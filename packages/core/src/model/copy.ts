import type { Epoch } from "./epoch.ts";
import type { DatasetId, Milliseconds, NodeId } from "./ids.ts";
import type { Problem } from "./problem.ts";

/**
 * What a copy is for: `primary` is the one writable copy; a `relinquished` one has been given up for its
 * successor.
 */
export type Role = "primary" | "relinquished" | "replica";

/**
 * The durable property that each copy carries, written atomically (design, section 5). For a `relinquished`
 * copy, `epoch` is the one that the successor takes over at, and `snapshot` is the guid that the successor
 * must hold.
 */
export interface CopyRecord {
  readonly dataset: DatasetId;
  readonly epoch: Epoch;
  readonly role: Role;
  readonly successor?: NodeId;
  readonly snapshot?: string;
}

/** Flocker's own snapshots have names that begin so; others belong to people and are left alone. */
export const snapshotNamePrefix = "flocker-";

/** A point in time of a copy. The guid is the identity across nodes; the name is unique within the copy. */
export interface Snapshot {
  readonly guid: string;
  readonly name: string;
  readonly createdAt: Milliseconds;
}

/** One copy as the backend shows it now. */
export interface ObservedCopy {
  readonly dataset: DatasetId;
  readonly record: CopyRecord;
  /** Where it is mounted read-write, or null. */
  readonly mountedAt: string | null;
  /** It is mounted, but not as a mount of ours would be: elsewhere, or read-only. */
  readonly isMountedOtherwise?: boolean;
  /** Since when it lies in the backend's trash, or null. */
  readonly trashedAt: Milliseconds | null;
  readonly maximumSizeBytes: number | null;
  readonly usedBytes: number | null;
  /** Oldest first. */
  readonly snapshots: readonly Snapshot[];
  /**
   * The guid of the newest snapshot, if the backend is sure that nothing has changed since and nothing can.
   */
  readonly unchangedSince: string | null;
  /** Bytes written since the newest snapshot, where the backend knows. */
  readonly writtenBytes: number | null;
}

/** A copy that is there but cannot be understood. It is never taken for absent. */
export interface UnreadableCopy {
  readonly dataset: DatasetId;
  readonly problem: Problem;
}

/**
 * What has arrived of a snapshot whose transfer was interrupted. It is no copy and no part of one: nobody
 * counts it as one, and whoever throws it away loses bytes that are sent again.
 */
export interface PartialReceive {
  readonly dataset: DatasetId;
  /** The guid of the snapshot that is being received. */
  readonly snapshot: string;
  /** The guid of the snapshot that the stream builds on, or null for a full one. */
  readonly base: string | null;
  /** Where the stream goes on. Only backends of the same kind understand it; each further byte changes it. */
  readonly token: string;
}

/** Bytes of the storage that the copies of a node share. */
export interface Capacity {
  readonly totalBytes: number;
  readonly freeBytes: number;
}

/**
 * What a backend shows: of one dataset, or of all. A dataset in neither list is absent, unless a part is
 * unseen.
 */
export interface Discovery {
  readonly copies: readonly ObservedCopy[];
  readonly unreadable: readonly UnreadableCopy[];
  /** Interrupted receives that can go on, at most one of a dataset; left out by who cannot resume. */
  readonly partials?: readonly PartialReceive[];
  /** A part of the storage cannot be seen, for this reason: what is in no list is unknown, and not absent. */
  readonly unseen?: Problem;
  readonly capacity: Capacity;
}
