import { snapshotNamePrefix } from "../model/copy.ts";
import { assert } from "../assert.ts";
import type { Milliseconds, NodeId } from "../model/ids.ts";
import type { Problem, Result } from "../model/problem.ts";
import type { Action, Decision, LaneInput, MoveMemory, PeerKnowledge, Wait } from "../plan/lane-input.ts";
import { backoffMs } from "./backoff.ts";
import {
  beginHandoff,
  forgetHandoffs,
  handoffGivenUp,
  handoffLeftMs,
  handoffWentOn,
  noteTransfer,
} from "./handoffs.ts";
import { answerAtOnce, startJob } from "./jobs.ts";
import { reasonOfFailure, setReasons } from "./report.ts";
import { isOutdated, type ActionAnswer, type AgentState, type Lane, type Pool } from "./state.ts";

/** How many actions of a kind run at once: quick ones are commands, transfers fill a link. */
export const poolSizes: Readonly<Record<Pool, number>> = { quick: 16, transfer: 4 };
/**
 * A quick action that takes longer is shown as stuck. Its lane stays taken, since it may still take effect.
 */
const quickOverdueMs = 60_000;

/** Lets a lane do what is next: look, answer another agent, or what the plan says. */
export function advance(state: AgentState, lane: Lane, now: Milliseconds): void {
  if (isAsking(lane)) answerAtOnce(state, lane);
  if (lane.running !== null) return;
  state.changed.add(lane);
  if (lane.mustLook) return lookOrWait(state, lane, now);
  answerJobs(state, lane, now);
  if (lane.running === null) carryOut(state, lane, state.rules.planDataset(inputOf(state, lane)), now);
}

/** Whether the lane waits for another agent's word and meanwhile does nothing to its own copy. */
function isAsking(lane: Lane): boolean {
  return lane.running?.kind === "action" && asks.has(lane.running.action.do);
}

const asks: ReadonlySet<Action["do"]> = new Set(["describe", "send", "hand-over", "take-back"]);

function answerJobs(state: AgentState, lane: Lane, now: Milliseconds): void {
  while (lane.jobs.length > 0 && lane.running === null) startJob(state, lane, now);
}

/**
 * Nothing is planned on an old picture. Who asks meanwhile waits, unless looking fails: then they are told.
 */
function lookOrWait(state: AgentState, lane: Lane, now: Milliseconds): void {
  const waitsForAll = lane.local.kind === "unknown" || isOutdated(lane);
  const lookAtAllComes = waitsForAll && (state.lookingAtAll || state.mustLookAtAll);
  const isHeldBack = lane.lastFailure?.did === "look" && now < lane.nextTryAt;
  if (!lookAtAllComes && !isHeldBack) return startLook(state, lane, now);
  if (isHeldBack) setTimer(state, lane);
  if (isHeldBack || state.lookFailures > 0) answerJobs(state, lane, now);
}

function startLook(state: AgentState, lane: Lane, now: Milliseconds): void {
  if (!takeSlot(state, lane, "quick")) return;
  const overdueAt = now + quickOverdueMs;
  lane.running = { kind: "look", since: now, overdueAt, isOverdue: false, isStale: false };
  setTimer(state, lane);
  state.effects.push({ kind: "look", dataset: lane.dataset });
}

function carryOut(state: AgentState, lane: Lane, decision: Decision, now: Milliseconds): void {
  switch (decision.kind) {
    case "done":
      clearFailures(state, lane);
      lane.move = null;
      lane.peer = null;
      lane.reasons = [];
      return;
    case "wait":
      // What cannot be read is looked at again: nobody tells when it can.
      if (lane.local.kind === "unreadable")
        return setReasons(state, lane, decision.waits, { now, nextTryAt: lane.nextTryAt });
      clearFailures(state, lane);
      setReasons(state, lane, decision.waits, { now });
      return;
    case "postpone":
      if (lane.move !== null) lane.move = { ...lane.move, rounds: [] };
      forgetHandoffs(state, lane);
      failed(state, lane, "handoff", decision.problem, now);
      return showFailure(state, lane, undefined, now);
    case "act":
      return begin(state, lane, decision, now);
  }
}

function begin(
  state: AgentState,
  lane: Lane,
  decision: Extract<Decision, { kind: "act" }>,
  now: Milliseconds,
): void {
  const { action, urgent, because } = decision;
  if (isHeldBack(lane, action, urgent, now)) {
    setTimer(state, lane);
    return showFailure(state, lane, because, now);
  }
  if (action.do === "renounce") return renounce(state, lane, action, now);
  const pool: Pool = action.do === "send" ? "transfer" : "quick";
  if (!takeSlot(state, lane, pool)) return;
  if (lane.lastFailure === null) setReasons(state, lane, because === undefined ? [] : [because], { now });
  rememberMove(state, lane);
  beginHandoff(lane, action, now);
  if (action.do === "create") noteBirth(state, lane, { state: "begun", epoch: action.record.epoch });
  const overdueAt = pool === "quick" ? now + quickOverdueMs : null;
  lane.running = { kind: "action", action, pool, since: now, startedAt: now + state.wallOffsetMs, overdueAt };
  if (overdueAt !== null) setTimer(state, lane);
  if (state.lookingAtAll) lane.touchedDuringLook = true;
  const timeoutMs = action.do === "send" ? handoffLeftMs(lane, now) : undefined;
  const perform = { kind: "perform", dataset: lane.dataset, action } as const;
  state.effects.push(timeoutMs === undefined ? perform : { ...perform, timeoutMs });
}

/** The back-off holds all actions back, except urgent ones that are not what failed. */
function isHeldBack(lane: Lane, action: Action, urgent: boolean, now: Milliseconds): boolean {
  if (lane.lastFailure === null || now >= lane.nextTryAt) return false;
  return !urgent || lane.lastFailure.did === action.do;
}

function showFailure(state: AgentState, lane: Lane, because: Wait | undefined, now: Milliseconds): void {
  assert(lane.lastFailure !== null, "a lane that is held back has failed");
  const { did, problem } = lane.lastFailure;
  const waits = [reasonOfFailure(did, problem), ...(because === undefined ? [] : [because])];
  setReasons(state, lane, waits, { now, nextTryAt: lane.nextTryAt });
}

/** Giving up a birthright is only a note, but a durable one before anybody hears of it. */
function renounce(
  state: AgentState,
  lane: Lane,
  action: Extract<Action, { do: "renounce" }>,
  now: Milliseconds,
): void {
  noteBirth(state, lane, { state: "renounced", epoch: action.epoch });
  advance(state, lane, now);
}

export function noteBirth(state: AgentState, lane: Lane, note: NonNullable<Lane["birth"]>): void {
  lane.birth = note;
  state.effects.push({ kind: "write", changes: [{ table: "births", key: lane.dataset, value: note }] });
}

function rememberMove(state: AgentState, lane: Lane): void {
  const target = lane.slice?.desired?.primary;
  if (target === undefined || target === state.identity.node) return;
  if (lane.move?.target !== target) lane.move = beginningOf(target);
}

/** A move of which nothing has been done. */
function beginningOf(target: NodeId): MoveMemory {
  return {
    target,
    snapshot: null,
    rounds: [],
    unmounted: false,
    handoff: null,
    failedSinceUnmount: false,
    partialToken: null,
    deadToken: null,
    takeBack: null,
  };
}

/** Takes in how an action ended, and looks again at once. */
export function actionEnded(
  state: AgentState,
  lane: Lane,
  result: Result<ActionAnswer>,
  now: Milliseconds,
): void {
  const { running } = lane;
  assert(running?.kind === "action", "an action that ended was running");
  lane.running = null;
  lane.mustLook = true;
  state.timed.delete(lane);
  if (result.ok) {
    succeeded(state, lane, running.action, result.value);
    const tooLong = handoffWentOn(state, lane, { ...running, answer: result.value }, now);
    if (tooLong !== undefined) failed(state, lane, "handoff", tooLong, now);
  } else actionFailed(state, lane, running.action, result.problem, now);
  if (running.pool !== null) freeSlot(state, running.pool, now);
  advance(state, lane, now);
}

/**
 * What failed before and has now been done is no reason any more. The count of failures stays until all is
 * done.
 */
function succeeded(state: AgentState, lane: Lane, action: Action, answer: ActionAnswer): void {
  applyAnswer(lane, action, answer);
  if (action.do === "send" && answer.kind === "sent") noteTransfer(state, action.peer.node, answer);
  if (lane.lastFailure?.did !== action.do) return;
  lane.lastFailure = null;
  lane.nextTryAt = 0;
  state.timed.delete(lane);
}

function actionFailed(
  state: AgentState,
  lane: Lane,
  action: Action,
  problem: Problem,
  now: Milliseconds,
): void {
  failed(state, lane, action.do, problem, now);
  if (problem.code === "downtime-over-budget") handoffGivenUp(state, lane);
  // It is still served: no handoff has begun.
  if (lane.move !== null && action.do === "unmount") lane.move = { ...lane.move, handoff: null };
  lane.peer = null;
  if (lane.move !== null && problem.code === "resume-token-dead" && action.do === "send")
    lane.move = { ...lane.move, deadToken: action.resume ?? null };
  if (lane.move !== null && stepsOfHandoff.has(action.do))
    lane.move = { ...lane.move, failedSinceUnmount: true };
}

const stepsOfHandoff: ReadonlySet<Action["do"]> = new Set(["describe", "snapshot", "send", "write-record"]);

export function failed(
  state: AgentState,
  lane: Lane,
  did: string,
  problem: Problem,
  now: Milliseconds,
): void {
  lane.failures += 1;
  lane.nextTryAt = now + backoffMs(lane.failures, state.chance());
  lane.lastFailure = { did, problem };
  setTimer(state, lane);
}

function applyAnswer(lane: Lane, action: Action, answer: ActionAnswer): void {
  const { move, peer } = lane;
  switch (answer.kind) {
    case "described":
      lane.peer = answer.knowledge;
      notePartial(lane, answer.knowledge);
      return;
    case "snapshot":
      if (move !== null) lane.move = { ...move, snapshot: answer.snapshot.guid };
      return;
    case "sent":
      assert(action.do === "send", "only a send is answered by what was sent");
      // What is carried along of people's snapshots says nothing of how much is written meanwhile.
      if (move !== null && action.snapshot.name.startsWith(snapshotNamePrefix))
        lane.move = withRound(move, answer);
      if (peer !== null) lane.peer = holding(peer, action.snapshot.guid);
      return;
    case "take-back":
      assert(action.do === "take-back", "only a question to take back is answered so");
      lane.move = {
        ...beginningOf(action.peer.node),
        takeBack: { epoch: action.epoch, granted: answer.granted },
      };
      return;
    case "done":
      return applyDone(lane, action);
  }
}

function applyDone(lane: Lane, action: Action): void {
  switch (action.do) {
    case "mount":
      if (lane.move !== null)
        lane.move = { ...lane.move, unmounted: false, failedSinceUnmount: false, handoff: null };
      lane.peer = null;
      return;
    case "unmount":
      // What has failed while it was served is no failure of the handoff that begins now.
      if (lane.move !== null) lane.move = { ...lane.move, unmounted: true, failedSinceUnmount: false };
      return;
    case "hand-over":
      // What was known of the peer may have been forgotten for news that came meanwhile; this is certain.
      lane.peer = {
        node: action.peer.node,
        record: { dataset: lane.dataset, epoch: action.epoch, role: "primary" },
        snapshots: [action.snapshot],
        unchangedSince: null,
        partial: null,
      };
      return;
    case "write-record":
      if (action.record.role !== "relinquished") lane.move = null;
      return;
    default:
      return;
  }
}

/**
 * A transfer that was cut but has brought something is no failure to back off from: it goes on at once, and
 * so it ends however often it is cut.
 */
function notePartial(lane: Lane, { partial }: PeerKnowledge): void {
  if (lane.move === null || partial === null || partial.token === lane.move.partialToken) return;
  lane.move = { ...lane.move, partialToken: partial.token };
  if (lane.lastFailure?.did !== "send") return;
  lane.failures = 0;
  lane.nextTryAt = 0;
}

function withRound(move: MoveMemory, sent: { sentBytes: number; durationMs: Milliseconds }): MoveMemory {
  const { sentBytes, durationMs } = sent;
  return { ...move, rounds: [...move.rounds, { sentBytes, durationMs }] };
}

function holding(peer: PeerKnowledge, guid: string): PeerKnowledge {
  return {
    ...peer,
    snapshots: [...peer.snapshots.filter((held) => held !== guid), guid],
    unchangedSince: guid,
    partial: null,
  };
}

/** A new wish, a new owner, or a peer that came back: whatever failed before is tried again at once. */
export function resetBackoff(state: AgentState, lane: Lane): void {
  const unseen = isOutdated(lane) ? lane.lastFailure : null;
  clearFailures(state, lane);
  lane.lastFailure = unseen;
  lane.peer = null;
  if (lane.local.kind === "unreadable") lane.mustLook = true;
}

function clearFailures(state: AgentState, lane: Lane): void {
  lane.failures = 0;
  lane.nextTryAt = 0;
  lane.lastFailure = null;
  if (lane.running === null) state.timed.delete(lane);
}

/** Shows actions that take longer than they should. They are not given up: they may still take effect. */
export function showOverdue(state: AgentState, lane: Lane, now: Milliseconds): void {
  const { running } = lane;
  assert(running !== null && running.overdueAt !== null, "what is overdue is running");
  const did =
    running.kind === "action"
      ? running.action.do
      : running.kind === "job"
        ? running.job.request.kind
        : "look";
  const seconds = Math.round((now - running.since) / 1000);
  const wait: Wait = {
    code: "command-failed",
    message:
      `${did} has been running for ${seconds} s, which is too long. ` +
      "Nothing else is done for this dataset until it ends: look at the storage.",
  };
  setReasons(state, lane, [wait], { now });
  const overdueAt = now + quickOverdueMs;
  const hadSlot =
    (running.kind === "look" && !running.isOverdue) || (running.kind === "action" && running.pool !== null);
  if (running.kind === "look") lane.running = { ...running, overdueAt, isOverdue: true };
  else if (running.kind === "action") lane.running = { ...running, overdueAt, pool: null };
  else lane.running = { ...running, overdueAt };
  state.changed.add(lane);
  if (hadSlot) freeSlot(state, "quick", now);
}

/** When this lane has something to do by itself, or undefined. */
export function dueAt(lane: Lane): Milliseconds | undefined {
  if (lane.running !== null) return lane.running.overdueAt ?? undefined;
  return lane.nextTryAt > 0 ? lane.nextTryAt : undefined;
}

function setTimer(state: AgentState, lane: Lane): void {
  state.timed.add(lane);
}

function takeSlot(state: AgentState, lane: Lane, name: Pool): boolean {
  const pool = state.pools[name];
  if (pool.running >= poolSizes[name]) {
    pool.waiting.add(lane);
    return false;
  }
  pool.waiting.delete(lane);
  pool.running += 1;
  return true;
}

/** Gives a slot back, and the first lane that waits for one its turn. */
export function freeSlot(state: AgentState, name: Pool, now: Milliseconds): void {
  const pool = state.pools[name];
  assert(pool.running > 0, "a slot that is given back was taken");
  pool.running -= 1;
  // Whoever waited may need it no more: then it is the next one's turn.
  for (const next of pool.waiting) {
    if (pool.running >= poolSizes[name]) return;
    pool.waiting.delete(next);
    advance(state, next, now);
  }
}

function inputOf(state: AgentState, lane: Lane): LaneInput {
  const { dataset, slice, local, partial, birth, promised, peer, move } = lane;
  const { identity, nodes, handoffOverheadMs } = state;
  const target = slice?.desired?.primary;
  return {
    self: identity.node,
    dataset,
    slice,
    nodes,
    local,
    partial,
    birth,
    promised,
    peer,
    move,
    handoffOverheadMs,
    transfers: (target === undefined ? undefined : state.transfers.get(target)) ?? [],
    session: state.session === "live",
    capabilities: identity.backend.capabilities,
  };
}
