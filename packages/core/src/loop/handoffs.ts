import type { Milliseconds, NodeId } from "../model/ids.ts";
import type { Problem } from "../model/problem.ts";
import type { Action, Handoff } from "../plan/lane-input.ts";
import {
  fadedOverheadMs,
  formatSeconds,
  learnedOverheadMs,
  overBudget,
  overrunOverheadMs,
  type Round,
} from "../plan/handoff-prediction.ts";
import type { ActionAnswer, AgentState, Lane } from "./state.ts";

// A handoff's time, from the unmount here to the mount there: measured, and held to the dataset's budget for
// as long as it can still be given up.

/** So many transfers to a node are remembered. */
const transfersKept = 6;

/** What a transfer to a node has taken, for later predictions. */
export function noteTransfer(state: AgentState, node: NodeId, { sentBytes, durationMs }: Round): void {
  const before = state.transfers.get(node) ?? [];
  state.transfers.set(node, [...before, { sentBytes, durationMs }].slice(-transfersKept));
}

/**
 * A handoff is not tried, for what earlier ones have taught: that fades, since an agent that believed one bad
 * handoff for ever would never make another, and never learn better.
 */
export function forgetHandoffs(state: AgentState, lane: Lane): void {
  state.handoffOverheadMs = fadedOverheadMs(state.handoffOverheadMs);
  if (lane.move !== null) state.transfers.delete(lane.move.target);
}

/** The unmount of a handoff begins. */
export function beginHandoff(lane: Lane, action: Action, now: Milliseconds): void {
  if (lane.move === null || action.do !== "unmount" || action.predictedMs === undefined) return;
  const { predictedMs } = action;
  lane.move = { ...lane.move, handoff: { beganAt: now, predictedMs, unmountMs: 0, sendMs: 0 } };
}

/**
 * What is left of the dataset's budget, or undefined where there is no limit: without a handoff, without a
 * budget, and once the copy is relinquished, after which nothing is given up.
 */
export function handoffLeftMs(lane: Lane, now: Milliseconds): Milliseconds | undefined {
  const handoff = lane.move?.handoff ?? null;
  const budgetMs = lane.slice?.desired?.maximumDowntimeMs;
  if (handoff === null || budgetMs === undefined || !isAbandonable(lane)) return undefined;
  return Math.max(1, budgetMs - (now - handoff.beganAt));
}

function isAbandonable({ local, move }: Lane): boolean {
  return move?.unmounted === true && local.kind === "copy" && local.copy.record.role === "primary";
}

/**
 * A step of a move has succeeded: takes its time in. Returns why the handoff is given up, where it has had
 * its time.
 */
export function handoffWentOn(
  state: AgentState,
  lane: Lane,
  step: { readonly action: Action; readonly since: Milliseconds; readonly answer: ActionAnswer },
  now: Milliseconds,
): Problem | undefined {
  const handoff = lane.move?.handoff ?? null;
  if (lane.move === null || handoff === null) return undefined;
  const { action, since, answer } = step;
  if (action.do === "hand-over") {
    handedOver(state, lane, handoff, now);
    return undefined;
  }
  const sendMs = handoff.sendMs + (answer.kind === "sent" ? answer.durationMs : 0);
  const unmountMs = action.do === "unmount" ? now - since : handoff.unmountMs;
  lane.move = { ...lane.move, handoff: { ...handoff, sendMs, unmountMs } };
  const budgetMs = lane.slice?.desired?.maximumDowntimeMs;
  const tookMs = now - handoff.beganAt;
  if (action.do === "write-record" || budgetMs === undefined || tookMs <= budgetMs) return undefined;
  lane.move = { ...lane.move, failedSinceUnmount: true };
  handoffGivenUp(state, lane);
  const what = `The handoff was given up after ${formatSeconds(tookMs)}`;
  return overBudget(what, budgetMs);
}

/**
 * The handoff has overrun the dataset's budget. Tried again on the same prediction it would do so again, and
 * interrupt service each time for nothing.
 */
export function handoffGivenUp(state: AgentState, lane: Lane): void {
  const predictedMs = lane.move?.handoff?.predictedMs;
  const budgetMs = lane.slice?.desired?.maximumDowntimeMs;
  if (predictedMs === undefined || budgetMs === undefined) return;
  state.handoffOverheadMs = overrunOverheadMs(state.handoffOverheadMs, { predictedMs, budgetMs });
}

/** The successor has the dataset. Its mount, which nobody tells us of, takes about what our unmount took. */
function handedOver(state: AgentState, lane: Lane, handoff: Handoff, now: Milliseconds): void {
  const { beganAt, predictedMs, unmountMs, sendMs } = handoff;
  const actualMs = now - beganAt + unmountMs;
  state.handoffOverheadMs = learnedOverheadMs(state.handoffOverheadMs, { actualMs, sendMs });
  state.effects.push({ kind: "handed-over", dataset: lane.dataset, predictedMs, actualMs });
  if (lane.move !== null) lane.move = { ...lane.move, handoff: null };
}
