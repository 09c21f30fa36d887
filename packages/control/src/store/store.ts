import type {
  ContainerConfiguration,
  DatasetConfiguration,
  DatasetId,
  Lease,
  Milliseconds,
  NodeId,
  Ownership,
  Result,
} from "@flocker/core";

/**
 * One change of the configuration. The store keeps values; the rules are the cluster's (`cluster/rules.ts`).
 */
export type Change =
  | {
      readonly kind: "put-dataset";
      /** Its `revision` is set by the store to that of the commit. */
      readonly value: DatasetConfiguration;
      /** With the commit that creates the dataset, and only with it: its ownership record. */
      readonly birth?: Ownership;
      /** With a commit that fails the dataset over to another node: its new ownership record. */
      readonly failover?: Ownership;
    }
  | { readonly kind: "put-lease"; readonly value: Lease }
  | { readonly kind: "remove-lease"; readonly dataset: DatasetId }
  | { readonly kind: "put-container"; readonly value: ContainerConfiguration }
  | { readonly kind: "remove-container"; readonly name: string };

/** Changes to be made together or not at all. */
export interface CommitRequest {
  /** The revision that the change was decided on, or null to commit on whatever is current. */
  readonly expectedRevision: number | null;
  readonly changes: readonly Change[];
  /** The certificate's common name, or `control-service` for what the control service does by itself. */
  readonly author: string;
  readonly at: Milliseconds;
}

/** A commit as history keeps it: what each value was and became (null: it was not there). */
export interface Commit {
  readonly revision: number;
  readonly author: string;
  readonly at: Milliseconds;
  readonly changes: readonly (
    | {
        readonly kind: "dataset";
        readonly before: DatasetConfiguration | null;
        readonly after: DatasetConfiguration;
      }
    | {
        readonly kind: "lease";
        readonly dataset: DatasetId;
        readonly before: Lease | null;
        readonly after: Lease | null;
      }
    | {
        readonly kind: "container";
        readonly name: string;
        readonly before: ContainerConfiguration | null;
        readonly after: ContainerConfiguration | null;
      }
  )[];
}

/** A node that has spoken to the control service once. Not configuration: it has no revision. */
export interface KnownNode {
  readonly node: NodeId;
  readonly name: string;
  readonly era: string;
  readonly version: string;
  readonly backendKind: string;
  /** The address that the node was last seen at. */
  readonly host: string;
  readonly dataPort: number;
  readonly lastSeenAt: Milliseconds;
}

/** The whole configuration at one revision. */
export interface StoredConfiguration {
  /** 0 before the first commit. */
  readonly revision: number;
  /**
   * An opaque text of 32 hexadecimal digits that changes with every commit and is the same after a restart: a
   * digest chained from commit to commit, so that a restored backup that then goes another way never repeats
   * one.
   */
  readonly tag: string;
  readonly datasets: readonly DatasetConfiguration[];
  readonly leases: readonly Lease[];
  /** In the order of their names. */
  readonly containers: readonly ContainerConfiguration[];
}

/**
 * Where the configuration lives. Everything is durable when a method has answered; the cost of a commit is
 * that of its changes, whatever the size of the configuration. It offers no more than etcd could
 * (compare-and-commit, watch).
 */
export interface ConfigurationStore {
  /** A uuid, made when the store is first opened. */
  readonly clusterId: string;
  current(): StoredConfiguration;
  ownerships(): readonly Ownership[];
  nodes(): readonly KnownNode[];
  /** `revision-mismatch` where the expected revision is not the current one. */
  commit(request: CommitRequest): Result<{ readonly revision: number; readonly tag: string }>;
  /** Durably raises ownership records. One of an older epoch than the stored one is a programming mistake. */
  saveOwnerships(ownerships: readonly Ownership[]): void;
  saveNode(node: KnownNode): void;
  /** The configuration as it was at that revision; `not-found` where there was none such. */
  readAt(revision: number): Result<StoredConfiguration>;
  /** Commits after that revision, oldest first, at most `limit`. */
  history(afterRevision: number, limit: number): readonly Commit[];
  /** Calls back with each commit after it is durable. Returns what ends it. */
  watch(onCommit: (commit: Commit) => void): () => void;
  /** Writes a consistent copy to a file that must not exist (`file-exists`), while commits go on. */
  backup(path: string): Promise<Result<void>>;
  close(): void;
}
