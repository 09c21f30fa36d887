import { assert } from "../assert.ts";
import type { Discovery, ObservedCopy, PartialReceive } from "../model/copy.ts";
import type { DatasetId, Milliseconds } from "../model/ids.ts";
import type { Problem, Result } from "../model/problem.ts";
import type { Local } from "../plan/lane-input.ts";
import { backoffMs } from "./backoff.ts";
import { advance, failed, freeSlot, noteBirth } from "./lanes.ts";
import { reasonOfFailure, setReasons } from "./report.ts";
import { isOutdated, laneOf, type AgentState, type Lane } from "./state.ts";

/** From so many lanes on that have to look, one look at everything is cheaper. */
const lanesPerLookMaximum = 50;

/** Changes are told by the storage where it can; this finds what it did not tell. */
const sweepIntervalMs = 2 * 3_600_000;

/** Starts a look at everything where one is due and none is under way. */
export function lookAtAll(state: AgentState, now: Milliseconds): void {
  if (state.lookingAtAll || now < state.nextLookAt) return;
  state.lookingAtAll = true;
  state.nextSweepAt = undefined;
  state.mustLookAtAll = false;
  for (const lane of state.lanes.values()) {
    lane.touchedDuringLook = lane.running !== null;
    makeStale(lane);
  }
  state.effects.push({ kind: "look", dataset: null });
}

/** A look that is under way is followed by another one. */
export function makeStale(lane: Lane): void {
  if (lane.running?.kind === "look") lane.running = { ...lane.running, isStale: true };
}

/** Chooses between many single looks and one at everything. */
export function chooseLook(state: AgentState, lanes: ReadonlySet<Lane>, now: Milliseconds): void {
  let count = 0;
  for (const lane of lanes) if (lane.mustLook && lane.running === null) count += 1;
  if (count > lanesPerLookMaximum) state.mustLookAtAll = true;
  if (state.mustLookAtAll) lookAtAll(state, now);
}

/** Takes in a look at one dataset. */
export function lookedAtOne(
  state: AgentState,
  dataset: DatasetId,
  result: Result<Discovery>,
  now: Milliseconds,
): void {
  const lane = laneOf(state, dataset);
  const { running } = lane;
  assert(running?.kind === "look", "a look that ended was running");
  lane.running = null;
  state.timed.delete(lane);
  if (result.ok) {
    state.capacity = result.value.capacity;
    see(
      state,
      lane,
      { local: localOf(dataset, result.value), partial: partialOf(dataset, result.value) },
      now,
    );
  } else {
    notSeen(state, lane, result.problem, now);
  }
  lane.mustLook ||= running.isStale;
  if (!running.isOverdue) freeSlot(state, "quick", now);
  advance(state, lane, now);
}

/**
 * Takes in a look at everything: a dataset that it does not show is absent, unless it was worked on
 * meanwhile.
 */
export function lookedAtEverything(state: AgentState, result: Result<Discovery>, now: Milliseconds): void {
  state.lookingAtAll = false;
  if (!result.ok) {
    state.lookFailures += 1;
    state.nextLookAt = now + backoffMs(state.lookFailures, state.chance());
    state.mustLookAtAll = true;
    for (const lane of state.lanes.values())
      if (lane.mustLook || lane.local.kind === "unknown" || lane.local.kind === "copy")
        notSeen(state, lane, result.problem, now);
    return;
  }
  state.lookFailures = 0;
  state.nextLookAt = 0;
  state.nextSweepAt = now + sweepIntervalMs;
  state.looked = true;
  state.capacity = result.value.capacity;
  const { unseen } = result.value;
  const partials = new Map((result.value.partials ?? []).map((partial) => [partial.dataset, partial]));
  const seen = new Map<DatasetId, Local>();
  for (const copy of result.value.copies) seen.set(copy.dataset, { kind: "copy", copy });
  for (const { dataset, problem } of result.value.unreadable)
    seen.set(dataset, { kind: "unreadable", problem });
  for (const dataset of [...seen.keys(), ...partials.keys()]) laneOf(state, dataset);
  for (const lane of state.lanes.values()) {
    const isHidden = unseen !== undefined && !seen.has(lane.dataset);
    if (lane.running !== null) {
      if (isHidden) notSeen(state, lane, unseen, now);
      else forgetUnreadable(state, lane);
      continue;
    }
    const local = seen.get(lane.dataset) ?? { kind: "absent" };
    const partial = partials.get(lane.dataset) ?? null;
    if (!lane.touchedDuringLook && isHidden) notSeen(state, lane, unseen, now);
    else if (!lane.touchedDuringLook) see(state, lane, { local, partial }, now);
    else if (lane.local.kind === "unknown") lane.mustLook = true;
    advance(state, lane, now);
  }
}

function localOf(dataset: DatasetId, discovery: Discovery): Local {
  const copy = discovery.copies.find((found) => found.dataset === dataset);
  if (copy !== undefined) return { kind: "copy", copy };
  const unreadable = discovery.unreadable.find((found) => found.dataset === dataset);
  return unreadable === undefined ? { kind: "absent" } : { kind: "unreadable", problem: unreadable.problem };
}

function partialOf(dataset: DatasetId, { partials }: Discovery): PartialReceive | null {
  return partials?.find((found) => found.dataset === dataset) ?? null;
}

function see(
  state: AgentState,
  lane: Lane,
  { local, partial }: Pick<Lane, "local" | "partial">,
  now: Milliseconds,
): void {
  lane.local = local;
  lane.partial = partial;
  lane.mustLook = false;
  if (local.kind === "unreadable") failed(state, lane, "look", local.problem, now);
  else if (lane.lastFailure?.did === "look") {
    lane.lastFailure = null;
    lane.nextTryAt = 0;
    lane.failures = 0;
  }
  if (local.kind === "copy") noteBirthSeen(state, lane, local.copy);
}

/**
 * A copy that is there is born: noted durably before it can be mounted, so that it is never created again.
 */
function noteBirthSeen(state: AgentState, lane: Lane, copy: ObservedCopy): void {
  if (lane.birth?.state === "begun") noteBirth(state, lane, { state: "born", epoch: copy.record.epoch });
}

/** What cannot be looked at is unknown, never absent. */
function lookFailed(state: AgentState, lane: Lane, problem: Problem, now: Milliseconds): void {
  lane.local = { kind: "unknown" };
  lane.mustLook = true;
  failed(state, lane, "look", problem, now);
  setReasons(state, lane, [reasonOfFailure("look", problem)], { now, nextTryAt: lane.nextTryAt });
}

/**
 * The storage with this lane's copy could not be looked at. Of a copy that was seen before that is still
 * shown, with the reason; nothing is planned on it, and what is under way goes on.
 */
function notSeen(state: AgentState, lane: Lane, problem: Problem, now: Milliseconds): void {
  const isIdle = lane.running === null;
  if (lane.local.kind === "copy" && (!isIdle || !lane.mustLook || isOutdated(lane))) {
    if (isIdle) failed(state, lane, "look", problem, now);
    lane.mustLook ||= isIdle;
    const times = isIdle ? { now, nextTryAt: lane.nextTryAt } : { now };
    setReasons(state, lane, [reasonOfFailure("look", problem)], times);
  } else if (isIdle) lookFailed(state, lane, problem, now);
  state.changed.add(lane);
}

/** The storage can be looked at again: whatever is under way has no reason of its own. */
function forgetUnreadable(state: AgentState, lane: Lane): void {
  if (!lane.reasons.some(({ code }) => code === "storage-unreadable")) return;
  lane.reasons = lane.reasons.filter(({ code }) => code !== "storage-unreadable");
  state.changed.add(lane);
}
