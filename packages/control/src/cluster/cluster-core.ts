import type {
  AgentToControl,
  DatasetId,
  Milliseconds,
  NodeId,
  Result,
  SliceDataset,
  SliceNode,
} from "@flocker/core";
import type { Cluster } from "./cluster.ts";

/**
 * The cluster with what the agents' sessions and the service's clock need of it, besides what the API does.
 */
export interface ClusterCore extends Cluster {
  /** An agent's session begins. `host` is where its data channel is reached. */
  nodeConnected(node: NodeId, hello: Extract<AgentToControl, { kind: "hello" }>, host: string): void;
  nodeDisconnected(node: NodeId): void;
  /** The agent has let itself be heard. Kept in memory only. */
  heard(node: NodeId): void;
  /** A second agent with this node's certificate was refused. Shown until the node's next session. */
  sessionRefused(node: NodeId, host: string): void;
  /**
   * Takes in what an agent reports. What that makes of ownership is durable before anybody is told. Throws a
   * ProblemError where the store fails: the report then must not be acknowledged, and comes again with a new
   * session.
   */
  applyReport(node: NodeId, message: Extract<AgentToControl, { kind: "state" | "progress" }>): void;

  /** All datasets that concern the node. What is not configured has `desired` null. */
  sliceFor(node: NodeId): readonly SliceDataset[];
  /** Undefined where the dataset does not concern the node (any more). */
  sliceEntry(node: NodeId, dataset: DatasetId): SliceDataset | undefined;
  /** Undefined where the node was never seen. */
  sliceNode(node: NodeId): SliceNode | undefined;
  /** The nodes that an entry refers to: primary, owner, holders of copies and their successors. */
  nodesOf(entry: SliceDataset): readonly NodeId[];
  /**
   * The nodes that a dataset concerns now. Who was told before and is not in it any more has to be told so.
   */
  concernedNodes(dataset: DatasetId): Iterable<NodeId>;

  /**
   * Commits that the grace time of deleted datasets is over, some at a time; answers how many. Cheap if there
   * are none.
   */
  purgeDue(now: Milliseconds): Result<number>;
  /** Commits that leases have ended, some at a time; answers how many. Cheap if there are none. */
  expireLeases(now: Milliseconds): Result<number>;
  /** Tells of nodes that have gone stale by now. */
  noticeSilence(now: Milliseconds): void;
  /** When `purgeDue` or `expireLeases` has something to do next, or null. */
  nextDeadline(): Milliseconds | null;
}
