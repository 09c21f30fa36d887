import type { Capabilities, CopyOrigin } from "../backend.ts";
import type { CopyRecord, ObservedCopy, PartialReceive, Snapshot } from "../model/copy.ts";
import type { Epoch } from "../model/epoch.ts";
import type { DatasetId, Milliseconds, NodeId } from "../model/ids.ts";
import type { Problem } from "../model/problem.ts";
import type { ReasonCode } from "../model/reason.ts";
import type { PeerAddress } from "../ports.ts";
import type { Round } from "./handoff-prediction.ts";
import type { SliceDataset, SliceNode } from "../protocol/agent.ts";

/** What this node's storage shows of one dataset. `unknown`: not looked yet, or the look failed. */
export type Local =
  | { readonly kind: "unknown" }
  | { readonly kind: "absent" }
  | { readonly kind: "unreadable"; readonly problem: Problem }
  | { readonly kind: "copy"; readonly copy: ObservedCopy };

/**
 * What a node durably notes of its right to create a dataset: `begun` before it creates, `born` once it has,
 * and `renounced` when it gives the right up for good. Only a `begun` birth may be tried again: nothing was
 * mounted yet.
 */
export interface BirthNote {
  readonly state: "begun" | "born" | "renounced";
  readonly epoch: Epoch;
}

/** What another node's agent has said it holds, in this attempt of a move. */
export interface PeerKnowledge {
  readonly node: NodeId;
  readonly record: CopyRecord | null;
  readonly snapshots: readonly string[];
  readonly unchangedSince: string | null;
  /** What an interrupted transfer has left there, or null. */
  readonly partial: Omit<PartialReceive, "dataset"> | null;
}

/** A handoff that is under way; `beganAt` is monotonic. */
export interface Handoff {
  readonly beganAt: Milliseconds;
  readonly predictedMs: Milliseconds;
  readonly unmountMs: Milliseconds;
  readonly sendMs: Milliseconds;
}

/** What an agent remembers of a move while it goes on. Losing it costs time, never data. */
export interface MoveMemory {
  readonly target: NodeId;
  /** The guid of the newest snapshot that was taken for this move. */
  readonly snapshot: string | null;
  /** The transfers so far, oldest first. */
  readonly rounds: readonly Round[];
  /** This agent has unmounted the copy for this move. */
  readonly unmounted: boolean;
  /** How the handoff that is under way fares, from the unmount on; null where none is. */
  readonly handoff: Handoff | null;
  /** A step of the handoff failed after the unmount: serve again before the next attempt. */
  readonly failedSinceUnmount: boolean;
  /** The token of the newest partial that the target has shown: another one means that it has got further. */
  readonly partialToken: string | null;
  /** The token with which one side has said that it cannot go on: everything is sent anew. */
  readonly deadToken: string | null;
  /** The former successor's durable word on taking back. */
  readonly takeBack: { readonly epoch: Epoch; readonly granted: boolean } | null;
}

/** Everything that the plan for one dataset on one node depends on. */
export interface LaneInput {
  readonly self: NodeId;
  readonly dataset: DatasetId;
  /** Null where the control service has never spoken of this dataset. */
  readonly slice: SliceDataset | null;
  readonly nodes: ReadonlyMap<NodeId, SliceNode>;
  readonly local: Local;
  /** What an interrupted receive has left on this node, or null. */
  readonly partial: PartialReceive | null;
  readonly birth: BirthNote | null;
  /** No promotion at this epoch or an older one: promised to a former holder that has taken back. */
  readonly promised: Epoch | null;
  readonly peer: PeerKnowledge | null;
  readonly move: MoveMemory | null;
  /** What this agent's handoffs take besides their transfers; null where it has made none. */
  readonly handoffOverheadMs: Milliseconds | null;
  /** The newest transfers to the node that the dataset belongs on, of any dataset, oldest first. */
  readonly transfers: readonly Round[];
  /** The session with the control service is live, so that the slice is current. */
  readonly session: boolean;
  readonly capabilities: Capabilities;
}

/** One step of an agent for one dataset, as plain data. */
export type Action =
  | {
      readonly do: "create";
      readonly record: CopyRecord;
      readonly maximumSizeBytes: number | null;
      readonly origin: CopyOrigin;
    }
  | { readonly do: "renounce"; readonly epoch: Epoch }
  | { readonly do: "mount" }
  /** For a handoff, with how long it will take. */
  | { readonly do: "unmount"; readonly predictedMs?: Milliseconds }
  | { readonly do: "resize"; readonly maximumSizeBytes: number | null }
  | { readonly do: "describe"; readonly peer: PeerAddress }
  | { readonly do: "snapshot" }
  | {
      readonly do: "send";
      readonly peer: PeerAddress;
      readonly epoch: Epoch;
      readonly base: string | null;
      readonly snapshot: Snapshot;
      readonly maximumSizeBytes: number | null;
      readonly profile?: string;
      /** The token of the target's partial that this goes on with. */
      readonly resume?: string;
    }
  | { readonly do: "hand-over"; readonly peer: PeerAddress; readonly epoch: Epoch; readonly snapshot: string }
  | { readonly do: "take-back"; readonly peer: PeerAddress; readonly epoch: Epoch }
  | { readonly do: "write-record"; readonly record: CopyRecord }
  | { readonly do: "trash" }
  | { readonly do: "restore" }
  | { readonly do: "destroy" }
  | { readonly do: "prune"; readonly guids: readonly string[] }
  | { readonly do: "discard-partial" };

/** Why nothing is done now. */
export interface Wait {
  readonly code: ReasonCode;
  readonly message: string;
}

/**
 * What to do for a dataset now. An `urgent` action restores service or safety: it does not wait for the
 * back-off of another action's failure.
 */
export type Decision =
  | { readonly kind: "act"; readonly action: Action; readonly urgent: boolean; readonly because?: Wait }
  | { readonly kind: "wait"; readonly waits: readonly Wait[] }
  /** Not now, though nothing is broken: tried again after the back-off, as if the move began. */
  | { readonly kind: "postpone"; readonly problem: Problem }
  | { readonly kind: "done" };

/** Nothing is to be done. */
export const done: Decision = { kind: "done" };

/** An action that waits for the back-off of failures before it; `because` is shown meanwhile. */
export function act(action: Action, because?: Wait): Decision {
  return because === undefined
    ? { kind: "act", action, urgent: false }
    : { kind: "act", action, urgent: false, because };
}

/** An action that restores service or safety, and so does not wait for the back-off of another's failure. */
export function actAtOnce(action: Action, because?: Wait): Decision {
  return because === undefined
    ? { kind: "act", action, urgent: true }
    : { kind: "act", action, urgent: true, because };
}

/** Nothing is done now, for this reason. */
export function wait(code: ReasonCode, message: string): Decision {
  return { kind: "wait", waits: [{ code, message }] };
}

/** A node as people know it: its name and the beginning of its id. */
export function nodeLabel(nodes: ReadonlyMap<NodeId, SliceNode>, node: NodeId): string {
  const known = nodes.get(node);
  return known === undefined ? node : `${known.name} (${node.slice(0, 8)})`;
}

/** Where a node's data channel listens, or undefined where the control service does not know. */
export function addressOf(nodes: ReadonlyMap<NodeId, SliceNode>, node: NodeId): PeerAddress | undefined {
  const address = nodes.get(node)?.dataAddress ?? null;
  return address === null ? undefined : { node, host: address.host, port: address.port };
}

/** The wait for a lease that names this node, or undefined where there is none. */
export function leaseHeld(input: LaneInput): Decision | undefined {
  const lease = input.slice?.lease ?? null;
  if (lease === null || lease.node !== input.self) return undefined;
  const end = lease.expiresAt === null ? "has no end" : `ends ${new Date(lease.expiresAt).toISOString()}`;
  return wait("lease-held", `A lease keeps the dataset on this node; it ${end} unless released before.`);
}
