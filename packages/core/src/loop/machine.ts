import { unreachable } from "../assert.ts";
import type { DatasetId, Milliseconds } from "../model/ids.ts";
import { jobEnded, queueJob, withdrawn } from "./jobs.ts";
import { actionEnded, advance, dueAt, showOverdue } from "./lanes.ts";
import { chooseLook, lookAtAll, lookedAtEverything, lookedAtOne, makeStale } from "./looks.ts";
import {
  acknowledgeSlice,
  heard,
  keepLinkAlive,
  linkDown,
  linkDueAt,
  linkUp,
  reportChanges,
  send,
} from "./session.ts";
import {
  laneOf,
  type AgentEffect,
  type AgentEvent,
  type AgentState,
  type Lane,
  type SavedState,
} from "./state.ts";

/**
 * The node agent's loop as a state machine: takes in what happened and answers what to do, in order. It never
 * waits, and it decides by monotonic time alone, so that a clock that jumps changes nothing; the time of day
 * is for people. The state is changed in place.
 *
 * Discover, report, calculate, execute, again: a look leads to a report and a plan, a plan to an action, the
 * end of an action to the next look, at once. When nothing is to be done it answers nothing until something
 * happens.
 */
export function stepAgent(
  state: AgentState,
  event: AgentEvent,
  time: { readonly monotonicMs: Milliseconds; readonly wallMs: Milliseconds },
): readonly AgentEffect[] {
  const now = time.monotonicMs;
  state.wallOffsetMs = time.wallMs - now;
  handle(state, event, now);
  reportChanges(state, now);
  acknowledgeSlice(state, now);
  const { effects } = state;
  state.effects = [];
  return effects;
}

/** When the machine wants to be woken if nothing happens before, or undefined for never. */
export function nextWake(state: AgentState): Milliseconds | undefined {
  let next = linkDueAt(state);
  const consider = (at: Milliseconds | undefined): void => {
    if (at !== undefined && (next === undefined || at < next)) next = at;
  };
  for (const lane of state.timed) consider(dueAt(lane));
  if (!state.lookingAtAll) consider(state.mustLookAtAll ? state.nextLookAt : state.nextSweepAt);
  return next;
}

function handle(state: AgentState, event: AgentEvent, now: Milliseconds): void {
  switch (event.kind) {
    case "started":
      return started(state, event.saved, now);
    case "link-up":
      return linkUp(state, now);
    case "link-down":
      linkDown(state);
      return advanceAll(state, new Set(state.lanes.values()), now);
    case "message":
      return advanceAll(state, heard(state, event.message, now), now);
    case "looked":
      if (event.dataset === null) return lookedAtEverything(state, event.result, now);
      return lookedAtOne(state, event.dataset, event.result, now);
    case "performed":
      return actionEnded(state, laneOf(state, event.dataset), event.result, now);
    case "progressed":
      return progressed(state, event, now);
    case "asked": {
      const lane = laneOf(state, event.request.dataset);
      queueJob(state, lane, event);
      return advance(state, lane, now);
    }
    case "served": {
      const lane = laneOf(state, event.dataset);
      jobEnded(state, lane, event);
      return advance(state, lane, now);
    }
    case "withdrawn":
      return withdrawn(state, event.id);
    case "storage-changed":
      return storageChanged(state, event.datasets, now);
    case "woken":
      return woken(state, now);
    default:
      return unreachable(event);
  }
}

function started(state: AgentState, saved: SavedState, now: Milliseconds): void {
  state.revision = saved.revision;
  for (const node of saved.nodes) state.nodes.set(node.node, node);
  for (const entry of saved.slice) {
    const lane = laneOf(state, entry.dataset);
    lane.slice = entry;
    lane.inputs = JSON.stringify(entry);
  }
  for (const [dataset, birth] of saved.births) laneOf(state, dataset).birth = birth;
  for (const [dataset, epoch] of saved.promises) laneOf(state, dataset).promised = epoch;
  state.mustLookAtAll = true;
  lookAtAll(state, now);
}

function advanceAll(state: AgentState, lanes: ReadonlySet<Lane>, now: Milliseconds): void {
  chooseLook(state, lanes, now);
  for (const lane of lanes) advance(state, lane, now);
}

function progressed(
  state: AgentState,
  event: Extract<AgentEvent, { kind: "progressed" }>,
  now: Milliseconds,
): void {
  if (state.session !== "live") return;
  const { dataset, doneBytes, totalBytes } = event;
  send(state, { kind: "progress", dataset, doneBytes, totalBytes }, now);
}

function storageChanged(state: AgentState, datasets: ReadonlySet<DatasetId> | null, now: Milliseconds): void {
  if (datasets === null) {
    state.mustLookAtAll = true;
    // What could not be looked at may be back.
    state.nextLookAt = 0;
    return lookAtAll(state, now);
  }
  const lanes = new Set<Lane>();
  for (const dataset of datasets) {
    const lane = laneOf(state, dataset);
    // Whoever is at work on it looks anyway once that has ended.
    makeStale(lane);
    if (lane.running !== null) continue;
    lane.mustLook = true;
    lanes.add(lane);
  }
  advanceAll(state, lanes, now);
}

function woken(state: AgentState, now: Milliseconds): void {
  keepLinkAlive(state, now);
  if (state.nextSweepAt !== undefined && now >= state.nextSweepAt) state.mustLookAtAll = true;
  if (state.mustLookAtAll) lookAtAll(state, now);
  for (const lane of state.timed) {
    const due = dueAt(lane);
    if (due === undefined) state.timed.delete(lane);
    else if (due <= now) wakeLane(state, lane, now);
  }
}

function wakeLane(state: AgentState, lane: Lane, now: Milliseconds): void {
  if (lane.running !== null) return showOverdue(state, lane, now);
  state.timed.delete(lane);
  if (lane.local.kind === "unreadable") lane.mustLook = true;
  advance(state, lane, now);
}
