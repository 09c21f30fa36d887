import { reasonCodes, type Reason, type ReasonCode } from "../model/reason.ts";
import type { Problem } from "../model/problem.ts";
import type { ObservedCopy } from "../model/copy.ts";
import type { Milliseconds } from "../model/ids.ts";
import type { Wait } from "../plan/lane-input.ts";
import type { DatasetReport } from "../protocol/agent.ts";
import type { AgentState, Lane } from "./state.ts";

/** What there is to report of a lane, or null where the control service need not know of it. */
export function reportOf(lane: Lane): DatasetReport | null {
  const { local, birth } = lane;
  const copy = local.kind === "copy" ? local.copy : null;
  const lookProblem =
    local.kind === "unknown" && lane.lastFailure?.did === "look" ? lane.lastFailure.problem : null;
  const unreadable = local.kind === "unreadable" ? local.problem : lookProblem;
  const renounced = birth?.state === "renounced" && copy === null ? birth.epoch : null;
  const activity = activityOf(lane);
  if (
    copy === null &&
    unreadable === null &&
    renounced === null &&
    activity === null &&
    lane.reasons.length === 0
  )
    return null;
  return {
    dataset: lane.dataset,
    copy:
      copy === null
        ? null
        : {
            record: copy.record,
            mountedAt: copy.mountedAt,
            trashedAt: copy.trashedAt,
            maximumSizeBytes: copy.maximumSizeBytes,
            usedBytes: copy.usedBytes,
            snapshots: copy.snapshots.map((snapshot) => snapshot.guid),
            ...asOf(copy),
          },
    unreadable,
    renounced,
    activity,
    reasons: lane.reasons,
  };
}

/** What a failover to a replica would go back to. */
function asOf({ record, snapshots }: ObservedCopy): { readonly asOf?: Milliseconds } {
  const newest = snapshots.at(-1);
  return record.role === "primary" || newest === undefined ? {} : { asOf: newest.createdAt };
}

function activityOf(lane: Lane): DatasetReport["activity"] {
  const { running } = lane;
  if (running === null || running.kind === "look") return null;
  const action = running.kind === "action" ? running.action.do : running.job.request.kind;
  return { action, since: running.startedAt };
}

/**
 * Makes the waits the lane's reasons, with the time of day since when each has been one. `now` and
 * `nextTryAt` are monotonic.
 */
export function setReasons(
  state: AgentState,
  lane: Lane,
  waits: readonly Wait[],
  times: { readonly now: Milliseconds; readonly nextTryAt?: Milliseconds },
): void {
  lane.reasons = waits.map(({ code, message }): Reason => {
    const since =
      lane.reasons.find((reason) => reason.code === code)?.since ?? times.now + state.wallOffsetMs;
    if (times.nextTryAt === undefined) return { code, message, since };
    return { code, message, since, nextTryAt: times.nextTryAt + state.wallOffsetMs };
  });
}

/** A failed step as the reason why a dataset is not as configured. */
export function reasonOfFailure(did: string, problem: Problem): Wait {
  const code = (reasonCodes as readonly string[]).includes(problem.code)
    ? (problem.code as ReasonCode)
    : problem.code === "transfer-interrupted"
      ? "peer-unreachable"
      : peerProblems.has(problem.code)
        ? "peer-refused"
        : "command-failed";
  return { code, message: `${did}: ${problem.message} ${problem.remedy}`.trim() };
}

const peerProblems: ReadonlySet<string> = new Set([
  "peer-busy",
  "target-holds-primary",
  "stale-epoch",
  "snapshot-missing",
  "transfer-corrupt",
  "resume-token-dead",
]);
