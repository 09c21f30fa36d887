import type { Capacity, CopyRecord } from "../model/copy.ts";
import type { Epoch } from "../model/epoch.ts";
import type { Deletion, Lease, Ownership } from "../model/configuration.ts";
import type { Capabilities } from "../backend.ts";
import type { DatasetId, Era, Milliseconds, NodeId } from "../model/ids.ts";
import type { Problem } from "../model/problem.ts";
import type { Reason } from "../model/reason.ts";

/** The version of the messages below. Agents and control services one apart work together. */
export const agentProtocolVersion = 1;
/** How often each side lets the other hear of it. */
export const heartbeatIntervalMs = 10_000;
/** After this silence a link is taken for dead and closed. */
export const linkSilenceMs = 30_000;
/** After this silence a node's state is shown as stale. */
export const staleAfterMs = 60_000;
/** At most this many datasets in one message, so that no message is large. */
export const datasetsPerMessage = 500;

/** What one agent needs to know of another node. */
export interface SliceNode {
  readonly node: NodeId;
  readonly name: string;
  /** Where its data channel listens; null where that is not known. */
  readonly dataAddress: { readonly host: string; readonly port: number } | null;
  /** Whether its agent is connected to the control service now. */
  readonly live: boolean;
  /** When it was last heard of; null where it never was. */
  readonly lastSeenAt: Milliseconds | null;
}

/** What one agent needs to know of one dataset: what should be, who owns it, and what it must wait for. */
export interface SliceDataset {
  readonly dataset: DatasetId;
  /** Null where the dataset is not in the configuration (a copy that nobody asked for). */
  readonly desired: {
    readonly primary: NodeId;
    readonly maximumSizeBytes: number | null;
    readonly deletion: Deletion | null;
    /** How long a handoff may take; absent: as long as it does. */
    readonly maximumDowntimeMs?: Milliseconds;
    /** The profile that new copies get; absent: none was asked for. */
    readonly profile?: string;
    /** What the first copy is made of, instead of an empty one. */
    readonly source?: string;
  } | null;
  readonly ownership: Ownership | null;
  /** Two nodes claim the same epoch: both must stop serving. */
  readonly conflict: boolean;
  readonly lease: Lease | null;
  /** A holder has relinquished in favour of this agent's node, as it reported itself. */
  readonly relinquishedToYou: {
    readonly from: NodeId;
    readonly epoch: Epoch;
    readonly snapshot: string;
  } | null;
}

/** What an agent reports of one dataset. */
export interface DatasetReport {
  readonly dataset: DatasetId;
  /** Null where this node has no copy; it then reports only its reasons or a renounced birth. */
  readonly copy: {
    readonly record: CopyRecord;
    readonly mountedAt: string | null;
    readonly trashedAt: Milliseconds | null;
    readonly maximumSizeBytes: number | null;
    readonly usedBytes: number | null;
    /** Guids, oldest first. */
    readonly snapshots: readonly string[];
    /** When the newest snapshot was taken, by the clock of the node that took it; of all but primaries. */
    readonly asOf?: Milliseconds;
  } | null;
  /** The copy is there but cannot be read. */
  readonly unreadable: Problem | null;
  /** This node durably promises never to use its birthright of this epoch or an older one. */
  readonly renounced: Epoch | null;
  /** What is being done, in words of the closed list of actions, and since when. */
  readonly activity: { readonly action: string; readonly since: Milliseconds } | null;
  readonly reasons: readonly Reason[];
}

/** What an agent says to the control service; `hello` comes first and once. */
export type AgentToControl =
  | {
      readonly kind: "hello";
      readonly protocol: number;
      readonly version: string;
      readonly node: NodeId;
      readonly era: Era;
      /** Made anew at each start of the agent's process: tells one that connects again from a second one. */
      readonly incarnation: string;
      /** A name for people: the machine's host name unless configured. */
      readonly name: string;
      /** Host null: the address that the link comes from. */
      readonly dataAddress: { readonly host: string | null; readonly port: number };
      readonly backend: { readonly kind: string; readonly capabilities: Capabilities };
      /** The last revision of the configuration that the agent knows; 0 for none. */
      readonly knownRevision: number;
    }
  /**
   * What has changed since the last report. A complete report comes in one or more messages: `begins` on the
   * first makes the control service forget nothing yet, `ends` on the last makes it drop what was not in
   * them.
   */
  | {
      readonly kind: "state";
      readonly sequence: number;
      readonly complete: { readonly begins: boolean; readonly ends: boolean } | null;
      readonly datasets: readonly DatasetReport[];
      /** Datasets of which there is nothing to report any more. */
      readonly gone: readonly DatasetId[];
      readonly capacity: Capacity | null;
    }
  /** Where a transfer is; never acknowledged, may be lost. */
  | {
      readonly kind: "progress";
      readonly dataset: DatasetId;
      readonly doneBytes: number;
      readonly totalBytes: number | null;
    }
  /** The agent has durably taken in the slice up to this delta: leases in it count from now on. */
  | { readonly kind: "slice-acknowledged"; readonly sequence: number }
  | { readonly kind: "heartbeat" };

/** What the control service says to an agent; `welcome` or `refused` answers its `hello`. */
export type ControlToAgent =
  | {
      readonly kind: "welcome";
      readonly protocol: number;
      readonly version: string;
      readonly clusterId: string;
    }
  /** Ends the link after it: why this agent cannot be served, and the remedy. */
  | { readonly kind: "refused"; readonly problem: Problem }
  /**
   * A part of the slice. A complete slice comes in one or more messages and replaces all that the agent knew;
   * the others are deltas. Sequence rises by one per message.
   */
  | {
      readonly kind: "slice";
      readonly sequence: number;
      readonly revision: number;
      readonly complete: { readonly begins: boolean; readonly ends: boolean } | null;
      readonly datasets: readonly SliceDataset[];
      /** Datasets that no longer concern this agent. */
      readonly removed: readonly DatasetId[];
      readonly nodes: readonly SliceNode[];
    }
  | { readonly kind: "state-acknowledged"; readonly sequence: number }
  | { readonly kind: "heartbeat" };
