import { assert } from "../assert.ts";
import type { DatasetId, Milliseconds, NodeId } from "../model/ids.ts";
import { failure } from "../model/problem.ts";
import {
  agentProtocolVersion,
  datasetsPerMessage,
  heartbeatIntervalMs,
  linkSilenceMs,
  type AgentToControl,
  type ControlToAgent,
  type DatasetReport,
  type SliceDataset,
  type SliceNode,
} from "../protocol/agent.ts";
import { resetBackoff } from "./lanes.ts";
import { reportOf } from "./report.ts";
import { laneOf, type AgentState, type Lane } from "./state.ts";

/** So many reports may be on their way unacknowledged; more are gathered into the next one. */
const unacknowledgedMaximum = 8;
/** A change of the free space by less than this share of the whole is not worth a message. */
const capacityShareShown = 0.01;

export function linkUp(state: AgentState, now: Milliseconds): void {
  state.session = "greeting";
  state.reportedAll = false;
  state.unacknowledged = 0;
  state.toAcknowledge = null;
  state.arriving = null;
  state.lastHeardAt = now;
  const { node, era, incarnation, name, version, dataAddress, backend } = state.identity;
  send(
    state,
    {
      kind: "hello",
      protocol: agentProtocolVersion,
      version,
      node,
      era,
      incarnation,
      name,
      dataAddress,
      backend,
      knownRevision: state.revision,
    },
    now,
  );
}

/** The lanes whose plans depend on the session are those that wait for it; the caller lets them all go on. */
export function linkDown(state: AgentState): void {
  state.session = "down";
  state.arriving = null;
}

/** Takes in a message of the control service; answers the lanes that have to think again. */
export function heard(state: AgentState, message: ControlToAgent, now: Milliseconds): ReadonlySet<Lane> {
  state.lastHeardAt = now;
  switch (message.kind) {
    case "welcome":
      return welcomed(state, message);
    case "refused":
      state.effects.push({ kind: "close-link", problem: message.problem });
      return none;
    case "slice":
      return sliced(state, message);
    case "state-acknowledged":
      state.unacknowledged = Math.max(0, state.unacknowledged - 1);
      return none;
    case "heartbeat":
      return none;
  }
}

const none: ReadonlySet<Lane> = new Set();

function welcomed(
  state: AgentState,
  message: Extract<ControlToAgent, { kind: "welcome" }>,
): ReadonlySet<Lane> {
  state.session = "taking-slice";
  state.clusterId = message.clusterId;
  return none;
}

function sliced(state: AgentState, message: Extract<ControlToAgent, { kind: "slice" }>): ReadonlySet<Lane> {
  const concerned = new Set<Lane>();
  const changes: { table: string; key: string; value: unknown }[] = [];
  const nodes = takeNodes(state, message.nodes, changes);
  if (message.complete?.begins === true) state.arriving = new Set();
  for (const entry of message.datasets) {
    state.arriving?.add(entry.dataset);
    const lane = laneOf(state, entry.dataset);
    if (takeEntry(state, lane, entry)) {
      changes.push({ table: "slice", key: entry.dataset, value: entry });
      concerned.add(lane);
    }
  }
  const removed = new Set<DatasetId>(message.removed);
  if (message.complete?.ends === true) {
    assert(state.arriving !== null, "a complete slice that ends has begun");
    for (const lane of state.lanes.values())
      if (lane.slice !== null && !state.arriving.has(lane.dataset)) removed.add(lane.dataset);
    state.arriving = null;
    if (state.session === "taking-slice") {
      state.session = "live";
      for (const lane of state.lanes.values()) concerned.add(lane);
    }
  }
  for (const dataset of removed) {
    const lane = state.lanes.get(dataset);
    if (lane === undefined || lane.slice === null) continue;
    takeEntry(state, lane, null);
    changes.push({ table: "slice", key: dataset, value: undefined });
    concerned.add(lane);
  }
  if (nodes.size > 0)
    for (const lane of state.lanes.values()) if (refersTo(lane, nodes)) takeNews(state, lane, concerned);
  if (message.revision !== state.revision) {
    state.revision = message.revision;
    changes.push({ table: "agent", key: "revision", value: message.revision });
  }
  if (changes.length > 0) state.effects.push({ kind: "write", changes });
  state.toAcknowledge = message.sequence;
  return concerned;
}

function takeEntry(state: AgentState, lane: Lane, entry: SliceDataset | null): boolean {
  const inputs = entry === null ? "" : JSON.stringify(entry);
  if (inputs === lane.inputs && (lane.slice === null) === (entry === null)) return false;
  lane.slice = entry;
  lane.inputs = inputs;
  resetBackoff(state, lane);
  return true;
}

/** A node came, went or moved: whoever waits for it tries again at once. */
function takeNews(state: AgentState, lane: Lane, concerned: Set<Lane>): void {
  resetBackoff(state, lane);
  concerned.add(lane);
}

function takeNodes(
  state: AgentState,
  nodes: readonly SliceNode[],
  changes: { table: string; key: string; value: unknown }[],
): ReadonlySet<NodeId> {
  const changed = new Set<NodeId>();
  for (const node of nodes) {
    const before = state.nodes.get(node.node);
    state.nodes.set(node.node, node);
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(node)) continue;
    changed.add(node.node);
    changes.push({ table: "nodes", key: node.node, value: node });
  }
  return changed;
}

function refersTo(lane: Lane, nodes: ReadonlySet<NodeId>): boolean {
  const { slice, local } = lane;
  const successor = local.kind === "copy" ? local.copy.record.successor : undefined;
  return (
    isIn(nodes, slice?.desired?.primary) || isIn(nodes, slice?.ownership?.owner) || isIn(nodes, successor)
  );
}

function isIn(nodes: ReadonlySet<NodeId>, node: NodeId | undefined): boolean {
  return node !== undefined && nodes.has(node);
}

/**
 * Acknowledges the slice: from then on the leases in it count. So it waits while a step is under way that
 * would break one of them; once that has ended the plan sees the lease, and the reports have told what is.
 */
export function acknowledgeSlice(state: AgentState, now: Milliseconds): void {
  if (state.toAcknowledge === null || state.session === "down") return;
  for (const lane of state.lanes.values()) if (breaksLease(state, lane)) return;
  send(state, { kind: "slice-acknowledged", sequence: state.toAcknowledge }, now);
  state.toAcknowledge = null;
}

function breaksLease(state: AgentState, lane: Lane): boolean {
  return (
    lane.slice?.lease?.node === state.identity.node &&
    lane.running?.kind === "action" &&
    interruptions.has(lane.running.action.do)
  );
}

const interruptions: ReadonlySet<string> = new Set([
  "unmount",
  "snapshot",
  "send",
  "write-record",
  "trash",
  "destroy",
]);

/** Sends what has changed since the last report; the first report of a session is complete. */
export function reportChanges(state: AgentState, now: Milliseconds): void {
  if (state.session !== "live" || !state.looked) return;
  if (!state.reportedAll) return reportEverything(state, now);
  if (state.unacknowledged >= unacknowledgedMaximum) return;
  const datasets: DatasetReport[] = [];
  const gone: DatasetId[] = [];
  for (const lane of state.changed) {
    if (datasets.length + gone.length >= datasetsPerMessage) break;
    state.changed.delete(lane);
    // Its picture is old while it looks; it comes back with the new one.
    if (lane.running?.kind === "look" && !lane.running.isOverdue) continue;
    const report = reportOf(lane);
    const text = report === null ? null : JSON.stringify(report);
    if (text === lane.reported) continue;
    lane.reported = text;
    if (report === null) gone.push(lane.dataset);
    else datasets.push(report);
  }
  const capacity = capacityToShow(state);
  if (datasets.length === 0 && gone.length === 0 && capacity === null) return;
  sendState(state, { complete: null, datasets, gone, capacity }, now);
}

function reportEverything(state: AgentState, now: Milliseconds): void {
  const reports: DatasetReport[] = [];
  for (const lane of state.lanes.values()) {
    const report = reportOf(lane);
    lane.reported = report === null ? null : JSON.stringify(report);
    if (report !== null) reports.push(report);
  }
  state.changed.clear();
  state.reportedAll = true;
  const messages = Math.max(1, Math.ceil(reports.length / datasetsPerMessage));
  for (let index = 0; index < messages; index += 1) {
    const datasets = reports.slice(index * datasetsPerMessage, (index + 1) * datasetsPerMessage);
    const complete = { begins: index === 0, ends: index === messages - 1 };
    sendState(state, { complete, datasets, gone: [], capacity: index === 0 ? state.capacity : null }, now);
  }
  state.reportedCapacity = state.capacity;
}

function capacityToShow(state: AgentState): AgentState["capacity"] {
  const { capacity, reportedCapacity } = state;
  if (capacity === null) return null;
  if (reportedCapacity !== null && reportedCapacity.totalBytes === capacity.totalBytes) {
    const difference = Math.abs(capacity.freeBytes - reportedCapacity.freeBytes);
    if (difference <= capacityShareShown * capacity.totalBytes) return null;
  }
  state.reportedCapacity = capacity;
  return capacity;
}

function sendState(
  state: AgentState,
  message: Omit<Extract<AgentToControl, { kind: "state" }>, "kind" | "sequence">,
  now: Milliseconds,
): void {
  state.sequence += 1;
  state.unacknowledged += 1;
  send(state, { kind: "state", sequence: state.sequence, ...message }, now);
}

export function send(state: AgentState, message: AgentToControl, now: Milliseconds): void {
  state.lastSentAt = now;
  state.effects.push({ kind: "send", message });
}

/** Lets the control service hear of this agent, and gives up a link that has fallen silent. */
export function keepLinkAlive(state: AgentState, now: Milliseconds): void {
  if (state.session === "down") return;
  if (now - state.lastHeardAt >= linkSilenceMs) {
    const { problem } = failure(
      "control-unreachable",
      `The control service has been silent for ${linkSilenceMs / 1000} s.`,
      "The agent goes on serving and connects again by itself.",
    );
    state.effects.push({ kind: "close-link", problem });
    // The shell reports the end of the link; until then nothing more is decided on this silence.
    state.lastHeardAt = now;
    return;
  }
  if (now - state.lastSentAt >= heartbeatIntervalMs) send(state, { kind: "heartbeat" }, now);
}

/** When the link has to be looked after next, or undefined where there is none. */
export function linkDueAt(state: AgentState): Milliseconds | undefined {
  if (state.session === "down") return undefined;
  return Math.min(state.lastHeardAt + linkSilenceMs, state.lastSentAt + heartbeatIntervalMs);
}
