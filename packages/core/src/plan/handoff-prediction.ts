import type { Milliseconds } from "../model/ids.ts";
import { failure, type Problem } from "../model/problem.ts";

/** A transfer that has been made: what it carried, and how long it took. */
export interface Round {
  readonly sentBytes: number;
  readonly durationMs: Milliseconds;
}

/** What a handoff costs besides its transfer, where none has been seen yet: programs, records, two syncs. */
export const unknownOverheadMs = 500;
/** What a transfer carries each second where none has been seen yet: a common network's worth. */
const unknownBytesPerMs = (100 * 2 ** 20) / 1000;
/** Smaller transfers tell what starting one costs, and nothing of the link. */
const tellingBytes = 4 * 2 ** 20;
/** How much a new handoff counts beside all earlier ones. */
const newestShare = 0.5;
/** What is left of a lesson each time that it has kept a handoff from being tried. */
const fadedShare = 0.8;
/** A handoff that was given up is taken to need so many times its budget. */
const overrunFactor = 1.5;

/**
 * How long a dataset will be unmounted in a handoff that has so many bytes left to send. A transfer takes
 * what starting one takes, which the smallest round tells, and then what its bytes need, which the largest
 * round tells; the rest is what earlier handoffs of this agent have taken besides (decision 11).
 */
export function predictHandoffMs(
  rounds: readonly Round[],
  deltaBytes: number,
  overheadMs: Milliseconds,
): Milliseconds {
  return Math.round(overheadMs + transferMs(rounds, deltaBytes));
}

function transferMs(rounds: readonly Round[], bytes: number): Milliseconds {
  const bySize = rounds.toSorted((a, b) => a.sentBytes - b.sentBytes);
  const [smallest, largest] = [bySize[0], bySize.at(-1)];
  if (smallest === undefined || largest === undefined) return bytes / unknownBytesPerMs;
  const isSpread = largest.sentBytes - smallest.sentBytes >= tellingBytes;
  const msPerByte = isSpread
    ? Math.max(0, largest.durationMs - smallest.durationMs) / (largest.sentBytes - smallest.sentBytes)
    : largest.sentBytes >= tellingBytes
      ? largest.durationMs / largest.sentBytes
      : 1 / unknownBytesPerMs;
  const startMs = Math.max(0, smallest.durationMs - smallest.sentBytes * msPerByte);
  return startMs + bytes * msPerByte;
}

/** What handoffs take besides their transfers, after one more has been seen. */
export function learnedOverheadMs(
  before: Milliseconds | null,
  handoff: { readonly actualMs: Milliseconds; readonly sendMs: Milliseconds },
): Milliseconds {
  const seen = Math.max(0, handoff.actualMs - handoff.sendMs);
  return before === null ? seen : before + newestShare * (seen - before);
}

/** What to think of it after a handoff was not tried for its sake. */
export function fadedOverheadMs(before: Milliseconds | null): Milliseconds | null {
  return before === null ? null : Math.min(before, Math.max(unknownOverheadMs, before * fadedShare));
}

/** What to think of it after a handoff was given up, which by its prediction should have been kept. */
export function overrunOverheadMs(
  before: Milliseconds | null,
  overrun: { readonly predictedMs: Milliseconds; readonly budgetMs: Milliseconds },
): Milliseconds {
  const missedMs = overrunFactor * overrun.budgetMs - overrun.predictedMs;
  return (before ?? unknownOverheadMs) + Math.max(0, missedMs);
}

/** A handoff that cannot keep its dataset's budget: `downtime-over-budget`. */
export function overBudget(what: string, budgetMs?: Milliseconds): Problem {
  const budget = budgetMs === undefined ? "" : `, and the dataset's budget is ${formatSeconds(budgetMs)}`;
  return failure(
    "downtime-over-budget",
    `${what}${budget}. The dataset is served here meanwhile.`,
    "It is measured again by itself. Let programs write less for a while, or allow more (flocker move --max-downtime).",
  ).problem;
}

/** The last transfer of a handoff has not ended within what was left of the dataset's budget. */
export function transferOverBudget(leftMs: Milliseconds): Problem {
  return overBudget(
    `The handoff was given up, since its transfer has not ended within ${formatSeconds(leftMs)}`,
  );
}

/** Seconds as people read them: `0.4 s`, `12 s`. */
export function formatSeconds(ms: Milliseconds): string {
  return `${ms < 9_950 ? (ms / 1000).toFixed(1) : Math.round(ms / 1000)} s`;
}
