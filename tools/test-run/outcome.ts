import { relative } from "node:path";
import type { Job } from "./files.ts";
import type { ProcessEnd } from "./process.ts";
import type { TestLine } from "./events.ts";

export interface Failure {
  readonly file: string;
  /** The test's name, or what went wrong with the file itself. */
  readonly name: string;
  readonly error: string;
}

export interface Skip {
  readonly file: string;
  readonly name: string;
  readonly reason: string | null;
}

/** What became of one test file. */
export interface FileOutcome {
  readonly file: string;
  readonly passed: number;
  readonly failures: readonly Failure[];
  readonly skips: readonly Skip[];
  readonly durationMs: number;
  /** What the process wrote, shown where something failed. */
  readonly output: string;
}

/** Reads the outcome of each file of a job from how its process ended. */
export function outcomesOf(root: string, job: Job, end: ProcessEnd): FileOutcome[] {
  if (job.files.length === 1) return job.files.map((file) => aloneOutcome(file, end));
  return job.files.map((file) => {
    const lines = end.lines.filter((line) => line.kind !== "finished" && relative(root, line.file) === file);
    const outcome = tally(file, lines, end);
    return isEmpty(outcome) ? failed(outcome, noTests) : outcome;
  });
}

/**
 * Whether a process of several files ended in a way that cannot be laid to one of them, so that each should
 * be run again by itself to find the culprit.
 */
export function isInconclusive(job: Job, end: ProcessEnd): boolean {
  const failedTests = end.lines.some((line) => line.kind === "result" && line.outcome === "failed");
  return job.files.length > 1 && (!isFinished(end) || (end.exitCode !== 0 && !failedTests));
}

const noTests = {
  name: "the file reported no tests",
  error: "It defines none, or its process ended before the first was finished.",
};

function aloneOutcome(file: string, end: ProcessEnd): FileOutcome {
  const outcome = tally(file, end.lines, end);
  if (end.timedOut) {
    return failed(outcome, {
      name: "the file did not end in time and was killed",
      error: runningIn(end.lines),
    });
  }
  if (outcome.failures.length > 0) return outcome;
  const error = "What it wrote, if anything, is below.";
  if (end.signal !== null) {
    return failed(outcome, { name: `the file's process was ended by ${end.signal}`, error });
  }
  if (end.exitCode !== 0) {
    return failed(outcome, { name: `the file's process ended with exit code ${end.exitCode}`, error });
  }
  if (isEmpty(outcome)) return failed(outcome, noTests);
  if (!isFinished(end)) {
    return failed(outcome, { name: "the file's process ended before its tests were finished", error });
  }
  return outcome;
}

function failed(outcome: FileOutcome, failure: Omit<Failure, "file">): FileOutcome {
  return { ...outcome, failures: [...outcome.failures, { file: outcome.file, ...failure }] };
}

function isEmpty(outcome: FileOutcome): boolean {
  return outcome.passed + outcome.failures.length + outcome.skips.length === 0;
}

function isFinished(end: ProcessEnd): boolean {
  return end.lines.some((line) => line.kind === "finished");
}

function tally(file: string, lines: readonly TestLine[], end: ProcessEnd): FileOutcome {
  const results = lines.filter((line) => line.kind === "result");
  // Where files share a process, node reports one without tests as a passed test with the file's name.
  const own = results.filter((line) => !(line.name === file && line.outcome === "passed"));
  return {
    file,
    passed: own.filter((line) => line.outcome === "passed" && !line.suite).length,
    failures: own
      .filter((line) => line.outcome === "failed")
      .map((line) => ({ file, name: line.name, error: line.error ?? "no error was given" })),
    skips: own
      .filter((line) => line.outcome === "skipped")
      .map((line) => ({ file, name: line.name, reason: line.skipReason })),
    durationMs: end.durationMs,
    output: end.output,
  };
}

/** What was still running, outermost first. */
function runningIn(lines: readonly TestLine[]): string {
  const running: string[] = [];
  for (const line of lines) {
    if (line.kind === "started") running.push(line.name);
    if (line.kind === "completed") running.splice(running.lastIndexOf(line.name), 1);
  }
  if (running.length === 0) return "All its tests had ended: something it opened or started keeps it alive.";
  return `Still running: ${running.join(" > ")}`;
}
