import type {
  Backend,
  Capacity,
  ContainerConfiguration,
  DatasetConfiguration,
  DatasetId,
  DatasetReport,
  Lease,
  Milliseconds,
  NodeId,
  Ownership,
  Reason,
  Result,
} from "@flocker/core";
import type { Commit } from "../store/store.ts";

/** What is known of one node. */
export interface NodeView {
  readonly node: NodeId;
  readonly name: string;
  readonly era: string;
  readonly version: string;
  readonly host: string;
  readonly dataPort: number;
  readonly backend: { readonly kind: string; readonly capabilities: Backend["capabilities"] | null };
  readonly capacity: Capacity | null;
  /** Its agent has a session now. */
  readonly connected: boolean;
  readonly lastSeenAt: Milliseconds;
  /** Not heard of for `staleAfterMs`: its state is kept, and shown with the time it was last seen. */
  readonly stale: boolean;
  readonly datasetCount: number;
  /** Why a second agent with the same certificate was refused, and when, if it was. */
  readonly refusedSession: { readonly at: Milliseconds; readonly host: string } | null;
}

/** One dataset with what should be, what is, who owns it and why it is not as it should be, side by side. */
export interface DatasetView {
  readonly dataset: DatasetId;
  /** Null for copies that a node reports but that are not in the configuration. */
  readonly configuration: DatasetConfiguration | null;
  readonly ownership: Ownership | null;
  readonly conflict: boolean;
  readonly lease: Lease | null;
  /** The last report of every node that has one, with the age of that knowledge. */
  readonly reports: readonly {
    readonly node: NodeId;
    readonly report: DatasetReport;
    readonly stale: boolean;
    readonly lastSeenAt: Milliseconds;
  }[];
  readonly transfer: {
    readonly from: NodeId;
    readonly doneBytes: number;
    readonly totalBytes: number | null;
  } | null;
  /** Derived: the agents' reasons, and the control service's own (`node-silent`, `node-never-seen`). */
  readonly reasons: readonly (Reason & { readonly node: NodeId | null })[];
  /** Derived: state equals configuration. */
  readonly converged: boolean;
}

/** What a dataset is to be created with. */
export interface NewDataset {
  /** Absent: a random one. */
  readonly dataset?: DatasetId;
  readonly primary: NodeId;
  readonly maximumSizeBytes: number | null;
  readonly metadata: Readonly<Record<string, string>>;
  /** How long a handoff may take; absent: as long as it does. */
  readonly maximumDowntimeMs?: Milliseconds;
  /** What its node's backend calls the storage that it is made of; absent: it begins empty. */
  readonly source?: string;
}

/** What of a dataset is to change; what is absent stays. */
export interface DatasetUpdate {
  readonly primary?: NodeId;
  readonly maximumSizeBytes?: number | null;
  /** Null takes the limit away. */
  readonly maximumDowntimeMs?: Milliseconds | null;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Where a dataset whose owner is away is to go on from a replica. */
export interface Failover {
  readonly to: NodeId;
  /** What the replica lacks may be lost, and the owner is down and stays so until it is told. */
  readonly acceptLoss: boolean;
}

/** All containers that there shall be, and the datasets that they use. */
export interface Composition {
  readonly containers: readonly ContainerConfiguration[];
  /** Those that are not there are created; those that are keep their metadata. */
  readonly datasets: readonly (NewDataset & { readonly dataset: DatasetId })[];
}

/** Who asks, and what the answer depends on. */
export interface Caller {
  /** The certificate's common name. */
  readonly author: string;
  /** Refuse with `revision-mismatch` unless the configuration is at this revision. */
  readonly expectedRevision?: number;
  /** /v1 takes nodes that were never seen (the original did), and names that are in use; /v2 does not. */
  readonly lenient?: boolean;
}

/**
 * The cluster as the control service knows it: configuration and ownership (in the store) and what the agents
 * report (in memory). All methods are synchronous: a change is durable when they return.
 */
export interface Cluster {
  readonly clusterId: string;
  revision(): number;
  tag(): string;
  /** In order of creation, deleted ones included. */
  datasets(): Iterable<DatasetView>;
  /** The datasets as configured alone, in order of creation, deleted ones included: cheap for many. */
  configurations(): Iterable<DatasetConfiguration>;
  dataset(dataset: DatasetId): DatasetView | undefined;
  nodes(): Iterable<NodeView>;
  node(node: NodeId): NodeView | undefined;
  nodeByEra(era: string): NodeId | undefined;
  leases(): Iterable<Lease>;
  createDataset(request: NewDataset, caller: Caller): Result<DatasetView>;
  updateDataset(dataset: DatasetId, update: DatasetUpdate, caller: Caller): Result<DatasetView>;
  /** Hides it at once; the bytes stay for the grace time. Deleting twice is no error. */
  deleteDataset(dataset: DatasetId, caller: Caller): Result<DatasetView>;
  undeleteDataset(dataset: DatasetId, caller: Caller): Result<DatasetView>;
  /** Makes a node's replica the primary, since the owner is away; see {@link Failover}. */
  failOver(dataset: DatasetId, failover: Failover, caller: Caller): Result<DatasetView>;
  /** `created` is false for a renewal. */
  acquireLease(lease: Lease, caller: Caller): Result<{ readonly created: boolean }>;
  releaseLease(dataset: DatasetId, caller: Caller): Result<Lease>;
  /** In no order. */
  containers(): Iterable<ContainerConfiguration>;
  createContainer(container: ContainerConfiguration, caller: Caller): Result<ContainerConfiguration>;
  /** Its dataset moves along. */
  moveContainer(name: string, node: NodeId, caller: Caller): Result<ContainerConfiguration>;
  deleteContainer(name: string, caller: Caller): Result<void>;
  /** Leaves exactly these containers. */
  compose(composition: Composition, caller: Caller): Result<void>;
  history(afterRevision: number, limit: number): readonly Commit[];
  /** Calls back after each change of configuration or state, with the datasets and nodes concerned. */
  subscribe(listener: (change: ClusterChange) => void): () => void;
}

/** What a change concerns; what changed is read from the cluster. */
export interface ClusterChange {
  readonly datasets: readonly DatasetId[];
  readonly nodes: readonly NodeId[];
}
