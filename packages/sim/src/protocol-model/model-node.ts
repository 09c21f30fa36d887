import type {
  Action,
  BirthNote,
  CopyRecord,
  DatasetId,
  Epoch,
  Job,
  MoveMemory,
  NodeId,
  ObservedCopy,
  PeerKnowledge,
  Snapshot,
  SliceDataset,
  SliceNode,
} from "@flocker/core";

/** The one dataset of the model, and its nodes. */
export const modelDataset = "d0000000-0000-4000-8000-000000000000" as DatasetId;
export const modelNodes: readonly NodeId[] = ["a", "b", "c"].map(
  (letter) => `${letter}0000000-0000-4000-8000-000000000000` as NodeId,
);
/**
 * All nodes are known and have an address; whether one answers shows when it is asked. That one is live makes
 * a difference to reasons alone.
 */
export const modelSliceNodes: ReadonlyMap<NodeId, SliceNode> = new Map(
  modelNodes.map((node) => [
    node,
    {
      node,
      name: node.slice(0, 1),
      dataAddress: { host: "192.0.2.1", port: 4525 },
      live: false,
      lastSeenAt: 0,
    },
  ]),
);

/**
 * A copy on a node's disk. What it holds is the text of the numbers of the writes in it, in their order; a
 * snapshot's guid is what it holds.
 */
export interface ModelCopy {
  readonly record: CopyRecord;
  /** What the record was before, where a power cut may bring that back (only with a mistake). */
  readonly unsynced: CopyRecord | null;
  readonly mounted: boolean;
  readonly data: string;
  readonly snapshots: readonly string[];
}

/** What an agent's process knows and would lose. The slice, births and promises are on its disk. */
export interface ModelMemory {
  readonly session: "down" | "taking-slice" | "live";
  readonly reportedAll: boolean;
  readonly toAcknowledge: boolean;
  readonly peer: PeerKnowledge | null;
  readonly move: MoveMemory | null;
  readonly running:
    | { readonly kind: "action"; readonly action: Action }
    | { readonly kind: "job"; readonly job: Job }
    | null;
  readonly jobs: readonly Job[];
  /** What failed last. */
  readonly failed: string | null;
  /** It waits for the end of its back-off. */
  readonly heldBack: boolean;
}

/** One node: its machine, its disk and its agent. */
export interface ModelNode {
  readonly index: number;
  /** `crashed`: the agent is gone, what is mounted stays. `off`: the machine is, with its mounts. */
  readonly power: "up" | "crashed" | "off";
  readonly copy: ModelCopy | null;
  readonly slice: SliceDataset | null;
  readonly birth: BirthNote | null;
  readonly promised: Epoch | null;
  readonly memory: ModelMemory | null;
}

export function snapshotOf(data: string): Snapshot {
  return { guid: `s${data}`, name: `flocker-s${data}`, createdAt: 0 };
}

/** The copy as the backend shows it. */
export function observed(copy: ModelCopy): ObservedCopy {
  const newest = copy.snapshots.at(-1);
  return {
    dataset: modelDataset,
    record: copy.record,
    mountedAt: copy.mounted ? "/flocker" : null,
    trashedAt: null,
    maximumSizeBytes: null,
    usedBytes: null,
    snapshots: copy.snapshots.map(snapshotOf),
    unchangedSince: !copy.mounted && newest === copy.data ? snapshotOf(newest).guid : null,
    writtenBytes: newest === copy.data ? 0 : 1,
  };
}
