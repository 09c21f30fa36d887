import {
  assert,
  staleAfterMs,
  type AgentToControl,
  type Capabilities,
  type Capacity,
  type DatasetId,
  type Milliseconds,
  type NodeId,
} from "@flocker/core";
import type { KnownNode } from "../store/store.ts";
import type { NodeView } from "./cluster.ts";

export type Hello = Extract<AgentToControl, { kind: "hello" }>;

/** All that is known of one node. */
export interface NodeEntry {
  /** As it is kept in the store, but for the time, which moves on here alone. */
  known: KnownNode;
  capabilities: Capabilities | null;
  capacity: Capacity | null;
  connected: boolean;
  lastSeenAt: Milliseconds;
  /** Whether its silence has been told; what is shown is always judged by the clock. */
  toldStale: boolean;
  refusedSession: NodeView["refusedSession"];
  /** The datasets that it reports something of. */
  readonly reported: Set<DatasetId>;
  /** While a complete report is arriving: the datasets in it so far. */
  arriving: Set<DatasetId> | null;
  /** It has once reported all that it has, since the control service started. */
  hasReported: boolean;
}

/** The nodes that were ever seen. */
export class NodeTable {
  readonly #nodes = new Map<NodeId, NodeEntry>();
  readonly #eras = new Map<string, NodeId>();

  get(node: NodeId): NodeEntry | undefined {
    return this.#nodes.get(node);
  }

  /** The entry of a node whose agent has said hello. */
  required(node: NodeId): NodeEntry {
    const entry = this.#nodes.get(node);
    assert(entry !== undefined, "an agent says hello before anything else");
    return entry;
  }

  all(): IterableIterator<NodeEntry> {
    return this.#nodes.values();
  }

  byEra(era: string): NodeId | undefined {
    return this.#eras.get(era);
  }

  /** Takes in a node as the store has kept it, or as it has introduced itself. */
  put(known: KnownNode): NodeEntry {
    const entry = this.#nodes.get(known.node);
    if (entry !== undefined && this.#eras.get(entry.known.era) === known.node)
      this.#eras.delete(entry.known.era);
    this.#eras.set(known.era, known.node);
    if (entry !== undefined) {
      entry.known = known;
      return entry;
    }
    const added: NodeEntry = {
      known,
      capabilities: null,
      capacity: null,
      connected: false,
      lastSeenAt: known.lastSeenAt,
      toldStale: false,
      refusedSession: null,
      reported: new Set(),
      arriving: null,
      hasReported: false,
    };
    this.#nodes.set(known.node, added);
    return added;
  }
}

/** A node as its hello introduces it. */
export function nodeOf(hello: Hello, host: string, now: Milliseconds): KnownNode {
  return {
    node: hello.node,
    name: hello.name,
    era: hello.era,
    version: hello.version,
    backendKind: hello.backend.kind,
    host,
    dataPort: hello.dataAddress.port,
    lastSeenAt: now,
  };
}

export function isStale(entry: NodeEntry, now: Milliseconds): boolean {
  return now - entry.lastSeenAt > staleAfterMs;
}

export function nodeView(entry: NodeEntry, now: Milliseconds): NodeView {
  const { known, capabilities, capacity, connected, lastSeenAt, refusedSession, reported } = entry;
  return {
    node: known.node,
    name: known.name,
    era: known.era,
    version: known.version,
    host: known.host,
    dataPort: known.dataPort,
    backend: { kind: known.backendKind, capabilities },
    capacity,
    connected,
    lastSeenAt,
    stale: isStale(entry, now),
    datasetCount: reported.size,
    refusedSession,
  };
}
