import { answerResult, type v2 } from "@flocker/api";
import { failure, ProblemError, success, type Milliseconds, type Problem, type Result } from "@flocker/core";
import type { CommandLine } from "./command-line.ts";
import type { ClusterClient } from "./connection.ts";
import { describeState, isMounted, spanText } from "./dataset-state.ts";
import { callName, collect } from "./names.ts";
import type { Progress } from "./progress.ts";

/** What can be waited for. */
export const conditions = ["converged", "mounted"] as const;
export type Condition = (typeof conditions)[number];

export interface WaitOptions {
  readonly condition: Condition;
  readonly timeoutMs: Milliseconds;
  readonly progress: Progress;
  readonly nameOf: (nodeId: string) => string;
}

/** Looks often at first, since most changes take well under a second, then every second. */
const intervalsMs = [100, 100, 200, 200, 300, 300, 500, 500];
const intervalMs = 1000;
/** Above so many, one list costs less than asking for each. */
const oneByOneMax = 8;

/**
 * Waits until all of these datasets are as wanted, and answers them as they are then. A control service that
 * cannot be reached for a while is waited for, too: the cluster works on meanwhile. `wait-timeout` says what
 * was in the way.
 */
export async function waitForDatasets(
  cli: CommandLine,
  client: ClusterClient,
  datasets: readonly v2.Dataset[],
  options: WaitOptions,
): Promise<Result<readonly v2.Dataset[]>> {
  const { clock, interrupted } = cli;
  const start = clock.monotonic();
  const latest = new Map(datasets.map((dataset) => [dataset.dataset_id, dataset]));
  let unreachable: Problem | undefined;
  try {
    for (let round = 0; ; round += 1) {
      const waiting = [...latest.values()].filter((dataset) => !isAsWanted(dataset, options.condition));
      if (waiting.length === 0) return success([...latest.values()]);
      const passedMs = clock.monotonic() - start;
      if (passedMs >= options.timeoutMs) return timedOut(waiting, unreachable, options);
      showWaiting(waiting, unreachable, passedMs, options);
      const leftMs = options.timeoutMs - passedMs;
      await clock.sleep(Math.min(intervalsMs[round] ?? intervalMs, leftMs), interrupted);
      if (interrupted.aborted) return abandoned();
      const looked = await lookAgain(client, waiting, latest);
      if (!looked.ok && !isPassing(looked.problem)) return looked;
      unreachable = looked.ok ? undefined : looked.problem;
    }
  } finally {
    options.progress.end();
  }
}

async function lookAgain(
  client: ClusterClient,
  waiting: readonly v2.Dataset[],
  latest: Map<string, v2.Dataset>,
): Promise<Result<void>> {
  try {
    if (waiting.length > oneByOneMax) return await lookAtAll(client, latest);
    for (const { dataset_id } of waiting) {
      const found = answerResult(await client.getDataset({ params: { dataset_id } }));
      if (!found.ok) return found;
      latest.set(dataset_id, found.value);
    }
    return success();
  } catch (error) {
    if (error instanceof ProblemError) return { ok: false, problem: error.problem };
    throw error;
  }
}

async function lookAtAll(client: ClusterClient, latest: Map<string, v2.Dataset>): Promise<Result<void>> {
  const all = await collect(client, { deleted: "any" });
  if (!all.ok) return all;
  for (const dataset of all.value)
    if (latest.has(dataset.dataset_id)) latest.set(dataset.dataset_id, dataset);
  return success();
}

/** Problems that go by when the control service is back. */
function isPassing(problem: Problem): boolean {
  return problem.code === "control-unreachable" || problem.code === "deadline-exceeded";
}

function isAsWanted(dataset: v2.Dataset, condition: Condition): boolean {
  return condition === "mounted" ? isMounted(dataset) : dataset.converged;
}

function showWaiting(
  waiting: readonly v2.Dataset[],
  unreachable: Problem | undefined,
  passedMs: Milliseconds,
  { progress, nameOf }: WaitOptions,
): void {
  const [first] = waiting;
  if (first === undefined) return;
  const passed = spanText(passedMs);
  if (unreachable !== undefined) {
    progress.show(unreachable.code, `[${passed}] ${unreachable.message} Waiting for it.`);
    return;
  }
  const state = describeState(first, nameOf);
  const others = waiting.length === 1 ? "" : ` (and ${waiting.length - 1} more)`;
  // The percentage is no new stage.
  const stage = `${first.dataset_id} ${state.word.replace(/ \d+%$/, "")} ${waiting.length}`;
  progress.show(stage, `[${passed}] ${callName(first)}: ${state.sentence}${others}`);
}

function timedOut(
  waiting: readonly v2.Dataset[],
  unreachable: Problem | undefined,
  { condition, timeoutMs, nameOf }: WaitOptions,
): { ok: false; problem: Problem } {
  const states = waiting
    .slice(0, 3)
    .map(
      (dataset) => `${callName(dataset)} is ${describeState(dataset, nameOf).sentence.replace(/\.$/, "")}`,
    );
  const more = waiting.length > 3 ? `; and ${waiting.length - 3} more` : "";
  const reach = unreachable === undefined ? "" : ` ${unreachable.message}`;
  const [first] = waiting;
  return failure(
    "wait-timeout",
    `After ${spanText(timeoutMs)} not yet ${condition}: ${states.join("; ")}${more}.${reach}`,
    `The cluster goes on with it. See what is in the way with flocker explain ${first === undefined ? "" : callName(first)}, ` +
      "or wait longer with --timeout.",
  );
}

function abandoned(): { ok: false; problem: Problem } {
  return failure("wait-timeout", "The waiting was interrupted.", "The cluster goes on with what was asked.");
}
