import {
  assert,
  compareEpochs,
  createAgentState,
  laneOf,
  stepAgent,
  success,
  type Action,
  type AgentEffect,
  type AgentEvent,
  type AgentRules,
  type AgentState,
  type CopyRecord,
  type DatasetReport,
  type Discovery,
  type Epoch,
  type Era,
  type Local,
  type MoveMemory,
  type NodeId,
  type PeerReply,
  type PeerRequest,
  type SliceDataset,
} from "@flocker/core";
import { answerOf, requestOf } from "./model-answers.ts";
import { failed, isLocal, performLocally, serveLocally, type CopyEvent } from "./model-disk.ts";
import {
  modelDataset,
  modelNodes,
  modelSliceNodes,
  observed,
  type ModelCopy,
  type ModelMemory,
  type ModelNode,
} from "./model-node.ts";

/** What the control service is told of a node's copy, without what is only for people. */
export interface ModelReport {
  readonly record: CopyRecord | null;
  readonly renounced: Epoch | null;
}

/** What can happen to a node. */
export type NodeEvent =
  | { readonly kind: "start" | "link-up" | "link-down" | "report-acknowledged" | "wake" }
  | { readonly kind: "slice"; readonly slice: SliceDataset | null; readonly complete: boolean }
  /** What it does on its disk ends. */
  | { readonly kind: "complete"; readonly how: "well" | "without-effect" | "badly-with-effect" }
  | { readonly kind: "crash" | "power-cut"; readonly afterEffect: boolean; readonly reverts: boolean }
  | {
      readonly kind: "asked";
      readonly id: number;
      readonly from: NodeId;
      readonly request: PeerRequest;
    }
  /** Another agent has answered, or null: nobody has. */
  | { readonly kind: "answered"; readonly reply: PeerReply | null }
  /** Nobody waits any more for what that asker has asked. */
  | { readonly kind: "orphaned"; readonly asker: number }
  | { readonly kind: "write"; readonly number: number };

/** What becomes of a node, and what others see of it. */
export interface NodeOutcome {
  readonly node: ModelNode;
  readonly request: { readonly to: number; readonly request: PeerRequest } | null;
  readonly replies: readonly { readonly id: number; readonly reply: PeerReply | null }[];
  /** Undefined where there is no news. */
  readonly report: ModelReport | null | undefined;
  readonly acknowledged: boolean;
  readonly copyEvent: CopyEvent | null;
  /**
   * It begins what it must not: to interrupt service without a live session, or to serve what it knows is
   * old.
   */
  readonly begins: "unasked-unmount" | "superseded-mount" | null;
}

/** Requests that nobody waits for have this added to the number of who asked. */
export const orphanOffset = 10;

const capacity = { totalBytes: 1, freeBytes: 1 };
/** The time of all events but waking; a lane that is held back waits for the time after it. */
const [now, later] = [0, 1];

export interface AgentParts {
  readonly rules: AgentRules;
  readonly liveSnapshots: boolean;
  readonly forgetsFsync: boolean;
}

/** The real agent's loop, put together from a node's plain data for one event, and taken apart again. */
class Run {
  readonly #parts: AgentParts;
  readonly #state: AgentState;
  #node: ModelNode;
  #request: NodeOutcome["request"] = null;
  readonly #replies: { readonly id: number; readonly reply: PeerReply | null }[] = [];
  #report: ModelReport | null | undefined;
  #acknowledged = false;
  #begins: NodeOutcome["begins"] = null;
  #time = now;
  #copyEvent: CopyEvent | null = null;

  constructor(node: ModelNode, parts: AgentParts, isReportOnItsWay: boolean) {
    this.#node = node;
    this.#parts = parts;
    this.#state = assembled(node, parts);
    this.#state.unacknowledged = isReportOnItsWay ? 8 : 0;
  }

  /** What is done on the disk has taken effect. */
  takeEffect(copy: ModelCopy | null, event: CopyEvent | null): void {
    this.#node = { ...this.#node, copy };
    this.#copyEvent = event;
  }

  step(event: AgentEvent, monotonicMs = now): void {
    this.#time = monotonicMs;
    for (const effect of stepAgent(this.#state, event, { monotonicMs, wallMs: monotonicMs }))
      this.#carryOut(effect, monotonicMs);
  }

  #carryOut(effect: AgentEffect, time: number): void {
    switch (effect.kind) {
      case "write":
        for (const { table, value } of effect.changes) this.#write(table, value);
        return;
      case "look": {
        const { copy } = this.#node;
        const copies = copy === null ? [] : [observed(copy)];
        const result = success<Discovery>({ copies, unreadable: [], capacity });
        return this.step({ kind: "looked", dataset: effect.dataset, result }, time);
      }
      case "perform":
        return this.#begin(effect.action);
      case "reply":
        this.#replies.push({ id: effect.id, reply: effect.result.ok ? effect.result.value : null });
        return;
      case "send":
        if (effect.message.kind === "slice-acknowledged") this.#acknowledged = true;
        if (effect.message.kind === "state")
          this.#report = shortened(effect.message.datasets.find(({ dataset }) => dataset === modelDataset));
        return;
      case "serve":
      case "handed-over":
      case "close-link":
        return;
    }
  }

  #begin(action: Action): void {
    if (!isLocal(action)) {
      this.#request = { to: modelNodes.indexOf(action.peer.node), request: requestOf(action) };
      return;
    }
    const { copy, slice } = this.#node;
    const owned = slice?.ownership?.epoch;
    if (action.do === "unmount" && this.#state.session !== "live") this.#begins = "unasked-unmount";
    if (action.do === "mount" && copy !== null && owned !== undefined)
      if (compareEpochs(owned, copy.record.epoch) > 0) this.#begins = "superseded-mount";
  }

  #write(table: string, value: unknown): void {
    // The machine writes these tables itself, in these types.
    if (table === "slice") this.#node = { ...this.#node, slice: (value ?? null) as SliceDataset | null };
    if (table === "births") this.#node = { ...this.#node, birth: value as ModelNode["birth"] };
    if (table === "promises") this.#node = { ...this.#node, promised: value as Epoch };
  }

  outcome(): NodeOutcome {
    return {
      node: { ...this.#node, memory: takenApart(this.#state, this.#time, this.#parts) },
      request: this.#request,
      replies: this.#replies,
      report: this.#report,
      acknowledged: this.#acknowledged,
      copyEvent: this.#copyEvent,
      begins: this.#begins,
    };
  }
}

/** Lets one thing happen to a node. */
export function stepNode(
  node: ModelNode,
  event: NodeEvent,
  parts: AgentParts,
  isReportOnItsWay: boolean,
): NodeOutcome {
  switch (event.kind) {
    case "crash":
    case "power-cut":
      return ended(node, event, parts);
    case "write": {
      const { copy } = node;
      assert(copy !== null, "what is written to is there");
      return quiet({ ...node, copy: { ...copy, data: `${copy.data}${event.number}` } }, null);
    }
    case "orphaned":
      return quiet(
        { ...node, memory: node.memory === null ? null : orphaned(node.memory, event.asker) },
        null,
      );
    default: {
      const run = new Run(node, parts, isReportOnItsWay);
      happen(run, node, event, parts);
      return run.outcome();
    }
  }
}

function happen(
  run: Run,
  node: ModelNode,
  event: Exclude<NodeEvent, { kind: "crash" | "power-cut" | "write" | "orphaned" }>,
  parts: AgentParts,
): void {
  switch (event.kind) {
    case "start": {
      const births = new Map(node.birth === null ? [] : [[modelDataset, node.birth]]);
      const promises = new Map(node.promised === null ? [] : [[modelDataset, node.promised]]);
      const slice = node.slice === null ? [] : [node.slice];
      const nodes = [...modelSliceNodes.values()];
      return run.step({ kind: "started", saved: { slice, nodes, births, promises, revision: 0 } });
    }
    case "link-up":
      run.step({ kind: "link-up" });
      return run.step({
        kind: "message",
        message: { kind: "welcome", protocol: 1, version: "1", clusterId: "c" },
      });
    case "link-down":
      return run.step({ kind: "link-down" });
    case "report-acknowledged":
      return run.step({ kind: "message", message: { kind: "state-acknowledged", sequence: 0 } });
    case "wake":
      return run.step({ kind: "woken" }, later);
    case "slice":
      return run.step({ kind: "message", message: sliceMessage(event) });
    case "asked":
      return run.step(event);
    case "answered":
      return run.step({ kind: "performed", dataset: modelDataset, result: answerOf(node, event.reply) });
    case "complete":
      return complete(run, node, event.how, parts);
  }
}

function sliceMessage(event: Extract<NodeEvent, { kind: "slice" }>) {
  const { slice, complete: isComplete } = event;
  return {
    kind: "slice",
    sequence: 1,
    revision: 0,
    complete: isComplete ? { begins: true, ends: true } : null,
    datasets: slice === null ? [] : [slice],
    removed: slice === null ? [modelDataset] : [],
    nodes: [],
  } as const;
}

/** What the agent does on its disk ends, well or not. */
function complete(
  run: Run,
  node: ModelNode,
  how: Extract<NodeEvent, { kind: "complete" }>["how"],
  parts: AgentParts,
): void {
  const running = node.memory?.running ?? null;
  assert(running !== null, "what ends has been running");
  if (running.kind === "job") {
    const { id, request } = running.job;
    const served = serveLocally(node.copy, request, parts.forgetsFsync);
    takeEffect(run, served, how);
    const result = how === "well" ? served.result : failed;
    return run.step({ kind: "served", id, dataset: modelDataset, result });
  }
  const { action } = running;
  assert(isLocal(action), "what ends on the disk is done there");
  const performed = performLocally(node.copy, action, parts.forgetsFsync);
  takeEffect(run, performed, how);
  const result = how === "well" ? performed.result : failed;
  run.step({ kind: "performed", dataset: modelDataset, result });
}

function takeEffect(
  run: Run,
  outcome: { readonly copy: ModelCopy | null; readonly event: CopyEvent | null },
  how: Extract<NodeEvent, { kind: "complete" }>["how"],
): void {
  if (how === "without-effect") return;
  run.takeEffect(outcome.copy, outcome.event);
}

/** The agent's process or the whole machine ends, before or after what it is doing takes effect. */
function ended(
  node: ModelNode,
  event: Extract<NodeEvent, { kind: "crash" | "power-cut" }>,
  parts: AgentParts,
): NodeOutcome {
  const { copy, event: copyEvent } = event.afterEffect
    ? effectOf(node, parts)
    : { copy: node.copy, event: null };
  const isOff = event.kind === "power-cut";
  const kept =
    copy === null || !isOff
      ? copy
      : {
          ...copy,
          mounted: false,
          unsynced: null,
          record: event.reverts ? (copy.unsynced ?? copy.record) : copy.record,
        };
  return quiet({ ...node, copy: kept, power: isOff ? "off" : "crashed", memory: null }, copyEvent);
}

function effectOf(node: ModelNode, parts: AgentParts): { copy: ModelCopy | null; event: CopyEvent | null } {
  const running = node.memory?.running ?? null;
  assert(running !== null, "what takes effect has been running");
  if (running.kind === "job") return serveLocally(node.copy, running.job.request, parts.forgetsFsync);
  assert(isLocal(running.action), "what takes effect is done on the disk");
  return performLocally(node.copy, running.action, parts.forgetsFsync);
}

function quiet(node: ModelNode, copyEvent: CopyEvent | null): NodeOutcome {
  return {
    node,
    request: null,
    replies: [],
    report: undefined,
    acknowledged: false,
    copyEvent,
    begins: null,
  };
}

function orphaned(memory: ModelMemory, asker: number): ModelMemory {
  const rename = <Asked extends { readonly id: number }>(job: Asked): Asked =>
    job.id === asker ? { ...job, id: asker + orphanOffset } : job;
  const { running } = memory;
  return {
    ...memory,
    running: running?.kind === "job" ? { ...running, job: rename(running.job) } : running,
    jobs: memory.jobs.map(rename),
  };
}

function shortened(report: DatasetReport | undefined): ModelReport | null {
  if (report === undefined || (report.copy === null && report.renounced === null)) return null;
  const { copy, renounced } = report;
  return { record: copy?.record ?? null, renounced };
}

function localOf(copy: ModelCopy | null): Local {
  return copy === null ? { kind: "absent" } : { kind: "copy", copy: observed(copy) };
}

/** The real agent's state as this node's data say it is. Times are all zero; see {@link takenApart}. */
function assembled(node: ModelNode, parts: AgentParts): AgentState {
  const identity = {
    node: modelNodes[node.index] ?? modelNodes[0],
    era: "e0000000-0000-4000-8000-000000000000" as Era,
    incarnation: "i",
    name: "n",
    version: "1",
    dataAddress: { host: null, port: 1 },
    backend: {
      kind: "model",
      capabilities: {
        liveSnapshots: parts.liveSnapshots,
        resume: false,
        quota: false,
        clone: false,
        compression: false,
        encryption: false,
      },
    },
  };
  assert(identity.node !== undefined, "a node has its number");
  const state = createAgentState({ ...identity, node: identity.node }, () => 0.5, parts.rules);
  const { memory } = node;
  if (memory === null) return state;
  for (const known of modelSliceNodes.values()) state.nodes.set(known.node, known);
  state.session = memory.session;
  state.clusterId = "c";
  state.reportedAll = memory.reportedAll;
  state.toAcknowledge = memory.toAcknowledge ? 1 : null;
  state.capacity = capacity;
  state.reportedCapacity = capacity;
  state.looked = true;
  const lane = laneOf(state, modelDataset);
  Object.assign(lane, {
    slice: node.slice,
    inputs: node.slice === null ? "" : JSON.stringify(node.slice),
    local: localOf(node.copy),
    birth: node.birth,
    promised: node.promised,
    peer: memory.peer,
    move: memory.move,
    running: runningOf(memory),
    mustLook: false,
    failures: memory.failed === null ? 0 : 1,
    nextTryAt: memory.heldBack ? later : 0,
    lastFailure: memory.failed === null ? null : { did: memory.failed, problem: failed.problem },
    // Differs from any report, so that what there is to report is always told; the link leaves repetitions
    // out.
    reported: "?",
  });
  lane.jobs.push(...memory.jobs);
  if (memory.heldBack) state.timed.add(lane);
  state.changed.add(lane);
  if (memory.running?.kind === "job" && memory.running.job.request.kind === "receive") state.receiving = 1;
  if (memory.running?.kind === "action")
    state.pools[memory.running.action.do === "send" ? "transfer" : "quick"].running = 1;
  return state;
}

function runningOf(memory: ModelMemory) {
  const { running } = memory;
  if (running === null) return null;
  const times = { since: 0, startedAt: 0, overdueAt: null };
  if (running.kind === "job") return { ...running, ...times };
  return { ...running, ...times, pool: running.action.do === "send" ? "transfer" : "quick" };
}

/** What of the real agent's state makes a difference, without what is only shown and without times. */
function takenApart(state: AgentState, time: number, { liveSnapshots }: AgentParts): ModelMemory {
  const { session, reportedAll, toAcknowledge } = state;
  assert(session !== "greeting", "a greeting is answered at once");
  const lane = laneOf(state, modelDataset);
  const { peer, move, running, jobs, lastFailure, nextTryAt } = lane;
  assert(running?.kind !== "look", "a look ends at once");
  const heldBack = nextTryAt > time;
  return {
    session,
    reportedAll,
    toAcknowledge: toAcknowledge !== null,
    peer: peer === null || liveSnapshots ? peer : { ...peer, snapshots: [] },
    move: move === null ? null : { ...move, ...(liveSnapshots ? roundsOf(move) : noRounds) },
    running:
      running === null
        ? null
        : running.kind === "job"
          ? { kind: "job", job: jobOf(running.job) }
          : { kind: "action", action: running.action },
    jobs: jobs.map(jobOf),
    failed: heldBack ? (lastFailure?.did ?? null) : null,
    heldBack,
  };
}

/** Who does not copy while a copy is in use asks neither for its rounds nor for old snapshots elsewhere. */
const noRounds: Pick<MoveMemory, "snapshot" | "rounds"> = { snapshot: null, rounds: [] };

/** Beyond two, their number makes no difference where little is written. */
function roundsOf({ snapshot, rounds }: MoveMemory): Pick<MoveMemory, "snapshot" | "rounds"> {
  return { snapshot, rounds: rounds.slice(0, 2) };
}

function jobOf({ id, from, request }: { id: number; from: NodeId; request: PeerRequest }) {
  return { id, from, request };
}
