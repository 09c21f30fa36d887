import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Job } from "./files.ts";
import type { TestLine } from "./events.ts";

/** How much of a process's output is kept, from its end. */
const outputLimit = 256 * 1024;

/** How the process of a job ended, and what its tests said. */
export interface ProcessEnd {
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** The process was killed because its bound was over. */
  readonly timedOut: boolean;
  readonly lines: readonly TestLine[];
  readonly output: string;
  readonly durationMs: number;
}

/**
 * Runs the files of a job in one fresh process, without standard input, and ends its whole process group when
 * it is done or its bound is over, so that no test leaves anything running.
 */
export async function runProcess(root: string, job: Job, abort: AbortSignal): Promise<ProcessEnd> {
  const folder = mkdtempSync(join(tmpdir(), "flocker-test-run-"));
  const linesFile = join(folder, "lines");
  const startedAt = performance.now();
  try {
    const end = await spawnAndWait(root, argumentsFor(job, linesFile), job.boundMs, abort);
    return { ...end, lines: readLines(linesFile), durationMs: performance.now() - startedAt };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function argumentsFor(job: Job, linesFile: string): string[] {
  const reporter = [
    `--test-reporter=${new URL("events.ts", import.meta.url).href}`,
    `--test-reporter-destination=${linesFile}`,
  ];
  const several = job.files.length > 1 ? ["--test", "--test-isolation=none"] : [];
  return ["--conditions=source", ...reporter, ...several, ...job.files];
}

function spawnAndWait(
  root: string,
  args: readonly string[],
  boundMs: number,
  abort: AbortSignal,
): Promise<Pick<ProcessEnd, "exitCode" | "signal" | "timedOut" | "output">> {
  // A test that runs under this runner must not take the outer run for its own.
  const { NODE_TEST_CONTEXT: _outer, ...environment } = process.env;
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  let timedOut = false;
  const keep = (chunk: string): void => {
    output = (output + chunk).slice(-outputLimit);
  };
  child.stdout.setEncoding("utf8").on("data", keep);
  child.stderr.setEncoding("utf8").on("data", keep);
  const bound = setTimeout(() => {
    timedOut = true;
    killGroup(child.pid);
  }, boundMs);
  const onAbort = (): void => killGroup(child.pid);
  abort.addEventListener("abort", onAbort);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    // What the tests left running holds the pipes open, so the group goes first.
    child.on("exit", () => killGroup(child.pid));
    child.on("close", (exitCode, signal) => {
      clearTimeout(bound);
      abort.removeEventListener("abort", onAbort);
      resolve({ exitCode, signal, timedOut, output });
    });
  });
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The group is gone already.
  }
}

function readLines(path: string): TestLine[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    // A process that ended before its first event has written nothing.
    return [];
  }
  // The last piece is empty, or a line that a kill cut off.
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as TestLine);
}
