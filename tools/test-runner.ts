import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { planJobs, type Job } from "./test-run/files.ts";
import { isInconclusive, outcomesOf, type FileOutcome } from "./test-run/outcome.ts";
import { runProcess } from "./test-run/process.ts";
import { failureReport, progressLine, skipReport, totals } from "./test-run/report.ts";
import { readAllowedSkips, skipFailures } from "./test-run/skips.ts";

const usage = `Usage: npm test -- [options] [part of a path ...]

Runs every test that this machine can run, or those whose path contains one of the given texts.

  --ci         a skipped test is an error unless tools/allowed-skips.json allows its reason (also: CI=true)
  --jobs N     how many processes run at a time (default: the number of processors, at most 4)
  --bound S    kill a test file after S seconds (default: 240, stories 300)
  --root DIR   where to look for tests (default: this repository)
`;

const repository = resolve(import.meta.dirname, "..");

interface Options {
  readonly root: string;
  readonly filters: readonly string[];
  readonly strict: boolean;
  readonly jobs: number;
  readonly boundMs: number | null;
}

function readOptions(): Options {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      ci: { type: "boolean", default: process.env["CI"] === "true" },
      jobs: { type: "string", default: String(Math.min(availableParallelism(), 4)) },
      bound: { type: "string" },
      root: { type: "string", default: repository },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  return {
    root: resolve(values.root),
    filters: positionals,
    strict: values.ci,
    jobs: positiveNumber("--jobs", values.jobs),
    boundMs: values.bound === undefined ? null : positiveNumber("--bound", values.bound) * 1000,
  };
}

function positiveNumber(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0)
    throw new Error(`${name} takes a positive number, not "${text}"`);
  return value;
}

/**
 * Runs the jobs of a stage, several at a time, in order; hands out each file's outcome as soon as it is
 * known.
 */
async function runStage(
  stage: readonly Job[],
  options: Options,
  abort: AbortSignal,
  onOutcome: (outcome: FileOutcome) => void,
): Promise<void> {
  const waiting = [...stage];
  const worker = async (): Promise<void> => {
    for (let job = waiting.shift(); job !== undefined && !abort.aborted; job = waiting.shift()) {
      const bounded = { ...job, boundMs: options.boundMs ?? job.boundMs };
      const end = await runProcess(options.root, bounded, abort);
      if (abort.aborted) return;
      if (isInconclusive(bounded, end)) {
        console.log(
          `     ${bounded.files.length} files that share a process did not finish: each runs alone`,
        );
        waiting.unshift(...bounded.files.map((file) => ({ files: [file], boundMs: bounded.boundMs })));
      } else {
        outcomesOf(options.root, bounded, end).forEach(onOutcome);
      }
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, worker));
}

async function main(): Promise<number> {
  const options = readOptions();
  const allowedSkips = readAllowedSkips(join(import.meta.dirname, "allowed-skips.json"));
  const stages = planJobs(options.root, options.filters);
  if (stages.every((stage) => stage.length === 0)) {
    console.error(`No test file's path contains ${options.filters.join(" or ") || "anything"}.`);
    return 2;
  }
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());
  const startedAt = performance.now();
  const outcomes: FileOutcome[] = [];
  for (const stage of stages) {
    await runStage(stage, options, interrupted.signal, (outcome) => {
      outcomes.push(outcome);
      console.log(progressLine(outcome));
    });
  }
  const skips = outcomes.flatMap((outcome) => outcome.skips);
  const failures = [
    ...outcomes.flatMap((outcome) => outcome.failures),
    ...skipFailures(skips, allowedSkips, options.strict),
  ];
  const lines = [
    ...skipReport(skips),
    ...failureReport(failures, outcomes),
    ...(interrupted.signal.aborted ? ["", "Interrupted: what follows is incomplete."] : []),
    ...totals(outcomes, failures, performance.now() - startedAt),
  ];
  console.log(lines.join("\n"));
  if (interrupted.signal.aborted) return 130;
  return failures.length === 0 ? 0 : 1;
}

process.exitCode = await main();
