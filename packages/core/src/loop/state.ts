import type { Capabilities } from "../backend.ts";
import type { Capacity, Discovery, PartialReceive, Snapshot } from "../model/copy.ts";
import type { Epoch } from "../model/epoch.ts";
import type { DatasetId, Era, Milliseconds, NodeId } from "../model/ids.ts";
import type { Problem, Result } from "../model/problem.ts";
import type { Reason } from "../model/reason.ts";
import type { Round } from "../plan/handoff-prediction.ts";
import { agentRules, type AgentRules } from "../plan/rules.ts";
import type { Action, BirthNote, Local, MoveMemory, PeerKnowledge } from "../plan/lane-input.ts";
import type { AgentToControl, ControlToAgent, SliceDataset, SliceNode } from "../protocol/agent.ts";
import type { PeerReply, PeerRequest } from "../protocol/peer.ts";

/** Who the agent is; it says so in its hello. */
export interface AgentIdentity {
  readonly node: NodeId;
  readonly era: Era;
  /** Made anew at each start of the process. */
  readonly incarnation: string;
  readonly name: string;
  readonly version: string;
  readonly dataAddress: { readonly host: string | null; readonly port: number };
  readonly backend: { readonly kind: string; readonly capabilities: Capabilities };
}

/** What the agent had durably noted before it was started. */
export interface SavedState {
  readonly slice: readonly SliceDataset[];
  readonly nodes: readonly SliceNode[];
  readonly births: ReadonlyMap<DatasetId, BirthNote>;
  readonly promises: ReadonlyMap<DatasetId, Epoch>;
  readonly revision: number;
}

/** What an action that succeeded has to tell. */
export type ActionAnswer =
  | { readonly kind: "done" }
  | { readonly kind: "described"; readonly knowledge: PeerKnowledge }
  | { readonly kind: "snapshot"; readonly snapshot: Snapshot }
  | { readonly kind: "sent"; readonly sentBytes: number; readonly durationMs: Milliseconds }
  | { readonly kind: "take-back"; readonly granted: boolean };

/** What happens to an agent. */
export type AgentEvent =
  | { readonly kind: "started"; readonly saved: SavedState }
  | { readonly kind: "link-up" }
  | { readonly kind: "link-down" }
  | { readonly kind: "message"; readonly message: ControlToAgent }
  | { readonly kind: "looked"; readonly dataset: DatasetId | null; readonly result: Result<Discovery> }
  | { readonly kind: "performed"; readonly dataset: DatasetId; readonly result: Result<ActionAnswer> }
  | {
      readonly kind: "progressed";
      readonly dataset: DatasetId;
      readonly doneBytes: number;
      readonly totalBytes: number | null;
    }
  | { readonly kind: "asked"; readonly id: number; readonly from: NodeId; readonly request: PeerRequest }
  | {
      readonly kind: "served";
      readonly id: number;
      readonly dataset: DatasetId;
      readonly result: Result<PeerReply>;
    }
  /** The asking side has gone away before its request was begun. */
  | { readonly kind: "withdrawn"; readonly id: number }
  /** The storage says that something has changed, behind our back or by ourselves; null: anything. */
  | { readonly kind: "storage-changed"; readonly datasets: ReadonlySet<DatasetId> | null }
  | { readonly kind: "woken" };

/** What the agent does, in order. Writes are durable before the next effect is carried out. */
export type AgentEffect =
  | {
      readonly kind: "write";
      readonly changes: readonly { readonly table: string; readonly key: string; readonly value: unknown }[];
    }
  | { readonly kind: "send"; readonly message: AgentToControl }
  | { readonly kind: "close-link"; readonly problem: Problem }
  | { readonly kind: "look"; readonly dataset: DatasetId | null }
  | {
      readonly kind: "perform";
      readonly dataset: DatasetId;
      readonly action: Action;
      /** What is not done by then is given up: `downtime-over-budget`. */
      readonly timeoutMs?: Milliseconds;
    }
  /** A handoff has ended well: for the log. Both are from the unmount here to the mount there. */
  | {
      readonly kind: "handed-over";
      readonly dataset: DatasetId;
      readonly predictedMs: Milliseconds;
      readonly actualMs: Milliseconds;
    }
  /** Carry out an accepted request: take the body into the storage, or become primary. */
  | {
      readonly kind: "serve";
      readonly id: number;
      readonly dataset: DatasetId;
      readonly request: PeerRequest;
    }
  | { readonly kind: "reply"; readonly id: number; readonly result: Result<PeerReply> };

/** A request of another agent that waits for its lane. */
export interface Job {
  readonly id: number;
  readonly from: NodeId;
  readonly request: PeerRequest;
}

/** Lanes share slots of two kinds: quick ones run commands, transfers fill a link. */
export type Pool = "quick" | "transfer";

/** What a lane is doing. `since` and `overdueAt` are monotonic, `startedAt` is the time of day for people. */
export type Running =
  | {
      readonly kind: "look";
      readonly since: Milliseconds;
      readonly overdueAt: Milliseconds | null;
      readonly isOverdue: boolean;
      /** Something has changed since it began, so that it may show what was before. */
      readonly isStale: boolean;
    }
  | {
      readonly kind: "action";
      readonly action: Action;
      /** Where it has a slot; null once it is overdue, so that what hangs takes none from the others. */
      readonly pool: Pool | null;
      readonly since: Milliseconds;
      readonly startedAt: Milliseconds;
      readonly overdueAt: Milliseconds | null;
    }
  | {
      readonly kind: "job";
      readonly job: Job;
      readonly since: Milliseconds;
      readonly startedAt: Milliseconds;
      readonly overdueAt: Milliseconds | null;
    };

/** One dataset's private queue in an agent: what is known of it, what is being done, and why not more. */
export interface Lane {
  readonly dataset: DatasetId;
  slice: SliceDataset | null;
  /** What the back-off depends on: it starts anew when this changes. */
  inputs: string;
  local: Local;
  /** What an interrupted receive has left here. */
  partial: PartialReceive | null;
  birth: BirthNote | null;
  promised: Epoch | null;
  peer: PeerKnowledge | null;
  move: MoveMemory | null;
  running: Running | null;
  mustLook: boolean;
  /**
   * Something was done while a look at everything was under way, so that its result is too old for this lane.
   */
  touchedDuringLook: boolean;
  readonly jobs: Job[];
  failures: number;
  nextTryAt: Milliseconds;
  lastFailure: { readonly did: string; readonly problem: Problem } | null;
  reasons: readonly Reason[];
  /** The last report that was sent, as text, or null where the control service knows of nothing. */
  reported: string | null;
}

/** Whether its copy was seen earlier, and could not be looked at since. */
export function isOutdated({ local, mustLook, lastFailure }: Lane): boolean {
  return local.kind === "copy" && mustLook && lastFailure?.did === "look";
}

/** How far the session with the control service has come; only when it is `live` is the slice current. */
export type SessionPhase = "down" | "greeting" | "taking-slice" | "live";

/** Everything an agent knows in memory. Losing it costs a look and a report, never data. */
export interface AgentState {
  readonly identity: AgentIdentity;
  readonly rules: AgentRules;
  /** From 0 up to 1, for the jitter of the back-off. */
  readonly chance: () => number;
  /** What the time of day is ahead of the monotonic time; reports carry the time of day. */
  wallOffsetMs: Milliseconds;
  readonly lanes: Map<DatasetId, Lane>;
  readonly nodes: Map<NodeId, SliceNode>;
  session: SessionPhase;
  clusterId: string | null;
  revision: number;
  lastHeardAt: Milliseconds;
  lastSentAt: Milliseconds;
  /** The datasets of a complete slice that is still arriving. */
  arriving: Set<DatasetId> | null;
  sequence: number;
  /** The part of the slice that was taken in last and is not acknowledged yet. */
  toAcknowledge: number | null;
  unacknowledged: number;
  /** A complete report has been sent in this session. */
  reportedAll: boolean;
  capacity: Capacity | null;
  reportedCapacity: Capacity | null;
  /** A look at everything has succeeded since the start. */
  looked: boolean;
  lookingAtAll: boolean;
  mustLookAtAll: boolean;
  lookFailures: number;
  /** When everything is looked at even if nothing says that it has changed. */
  nextSweepAt: Milliseconds | undefined;
  nextLookAt: Milliseconds;
  /** Streams of other agents that are being taken in. */
  receiving: number;
  /** What handoffs take besides their transfers; null where there were none. */
  handoffOverheadMs: Milliseconds | null;
  /** The newest transfers to each node, which tell how long one will take. */
  readonly transfers: Map<NodeId, readonly Round[]>;
  readonly changed: Set<Lane>;
  /** Lanes that have something to do at a time. */
  readonly timed: Set<Lane>;
  readonly pools: Record<Pool, { running: number; readonly waiting: Set<Lane> }>;
  /** Effects of the event that is being handled. */
  effects: AgentEffect[];
}

/**
 * The state of an agent that was just started. `rules` are the agents' own unless somebody tries out others.
 */
export function createAgentState(
  identity: AgentIdentity,
  chance: () => number,
  rules: AgentRules = agentRules,
): AgentState {
  return {
    identity,
    rules,
    chance,
    wallOffsetMs: 0,
    lanes: new Map(),
    nodes: new Map(),
    session: "down",
    clusterId: null,
    revision: 0,
    lastHeardAt: 0,
    lastSentAt: 0,
    arriving: null,
    sequence: 0,
    toAcknowledge: null,
    unacknowledged: 0,
    reportedAll: false,
    capacity: null,
    reportedCapacity: null,
    looked: false,
    lookingAtAll: false,
    mustLookAtAll: false,
    lookFailures: 0,
    nextSweepAt: undefined,
    nextLookAt: 0,
    receiving: 0,
    handoffOverheadMs: null,
    transfers: new Map(),
    changed: new Set(),
    timed: new Set(),
    pools: { quick: { running: 0, waiting: new Set() }, transfer: { running: 0, waiting: new Set() } },
    effects: [],
  };
}

/** The lane of a dataset, made where there is none yet. */
export function laneOf(state: AgentState, dataset: DatasetId): Lane {
  const known = state.lanes.get(dataset);
  if (known !== undefined) return known;
  const lane: Lane = {
    dataset,
    slice: null,
    inputs: "",
    local: { kind: "unknown" },
    partial: null,
    birth: null,
    promised: null,
    peer: null,
    move: null,
    running: null,
    mustLook: true,
    touchedDuringLook: false,
    jobs: [],
    failures: 0,
    nextTryAt: 0,
    lastFailure: null,
    reasons: [],
    reported: null,
  };
  state.lanes.set(dataset, lane);
  return lane;
}
