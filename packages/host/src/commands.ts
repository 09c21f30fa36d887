import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import { ProblemError, assert, failure, success } from "@flocker/core";
import type {
  Abort,
  ByteStream,
  CommandResult,
  Commands,
  Milliseconds,
  Problem,
  Result,
} from "@flocker/core";
import { openCommandOutput } from "./command-output.ts";
import type { CommandOutput } from "./command-output.ts";

const outputLimitBytes = 2 ** 20;
const tailBytes = 4096;
/** How long a program may tidy up after SIGTERM, before SIGKILL. */
const termGraceMs = 2000;
/** How long we wait for what comes at once: the death after SIGKILL, the end of the output after the exit. */
const settleMs = 1000;

interface StartOptions {
  readonly stdin?: ByteStream;
  readonly abort?: Abort;
  readonly cwd?: string;
}

/** Runs programs of the system, each in its own process group and in the C locale, without a shell. */
export const systemCommands: Commands = { run, stream };

async function run(
  argv: readonly string[],
  options: StartOptions & { readonly timeoutMs: Milliseconds },
): Promise<Result<CommandResult>> {
  const program = start(argv, options);
  const stdout = collected(program.stdout);
  const stderr = collected(program.stderr);
  const cancelTimer = after(options.timeoutMs, () =>
    program.stop(failed(argv, `did not end within ${options.timeoutMs} ms and was stopped`, stderr())),
  );
  const end = await program.ended;
  cancelTimer();
  if (end.problem === null) await settled([program.stdout, program.stderr]);
  program.release();
  if (end.problem !== null) return { ok: false, problem: end.problem };
  return success({ exitCode: end.exitCode, stdout: stdout(), stderr: stderr() });
}

async function* stream(argv: readonly string[], options: StartOptions): AsyncGenerator<Uint8Array> {
  const output = await openOutput(argv);
  const program = start(argv, options, output);
  const stderr = tail(program.stderr);
  try {
    // Where the program is stopped its output is cut off; how it ended tells why.
    for (let chunk = await output.next(); chunk !== undefined; chunk = await output.next()) {
      yield chunk;
    }
    const end = await program.ended;
    await settled([program.stderr]);
    if (end.problem !== null) throw new ProblemError(end.problem);
    if (end.exitCode !== 0) {
      throw new ProblemError(failed(argv, `ended with exit code ${end.exitCode}`, stderr()));
    }
  } finally {
    program.stop(failed(argv, "was stopped because its output is no longer wanted", ""));
    await program.ended;
    program.release();
  }
}

async function openOutput(argv: readonly string[]): Promise<CommandOutput> {
  try {
    return await openCommandOutput();
  } catch (error) {
    throw new ProblemError(startFailed(argv, error, undefined));
  }
}

interface End {
  /** As a shell counts: 128 plus the signal's number where a signal ended it. */
  readonly exitCode: number;
  /** Why it does not count as having run to its end, or null. */
  readonly problem: Problem | null;
}

interface Program {
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  /** Its exit, or that we have given up on it. Never rejects. */
  readonly ended: Promise<End>;
  /** Ends the process group: politely, then by force. The first reason given is the one that counts. */
  stop(problem: Problem): void;
  /** Lets go of its pipes, which somebody that the program left behind may hold open at the other end. */
  release(): void;
}

/** Starts a program, whose output goes where it is told to, if anywhere; else it can be read. */
function start(argv: readonly string[], options: StartOptions, output?: CommandOutput): Program {
  const [command, ...args] = argv;
  assert(command !== undefined, "a command line has at least the program's name");
  if (options.abort?.aborted === true) return notStarted(aborted(argv), output);
  let child: ChildProcess;
  try {
    child = spawn(command, args, {
      detached: true,
      stdio: [options.stdin === undefined ? "ignore" : "pipe", output?.programEnd ?? "pipe", "pipe"],
      env: { ...process.env, LC_ALL: "C" },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
  } catch (error) {
    return notStarted(startFailed(argv, error, options.cwd), output);
  }
  output?.programEnd.destroy();
  return supervised(child, argv, options, output);
}

function notStarted(problem: Problem, output: CommandOutput | undefined): Program {
  output?.close();
  const nothing = (): void => undefined;
  const ended = Promise.resolve({ exitCode: -1, problem });
  return { stdout: null, stderr: null, ended, stop: nothing, release: nothing };
}

function supervised(
  child: ChildProcess,
  argv: readonly string[],
  options: StartOptions,
  output: CommandOutput | undefined,
): Program {
  let stopped: Problem | null = null;
  let over = false;
  let cancelTimer = (): void => undefined;
  const { promise: ended, resolve } = Promise.withResolvers<End>();
  const finish = (exitCode: number): void => {
    if (over) return;
    over = true;
    cancelTimer();
    options.abort?.removeEventListener("abort", onAbort);
    child.stdin?.destroy();
    resolve({ exitCode, problem: stopped });
  };
  const stop = (problem: Problem): void => {
    if (over || stopped !== null) return;
    stopped = problem;
    child.stdout?.destroy();
    output?.close();
    killGroup(child, "SIGTERM");
    cancelTimer = after(termGraceMs, () => {
      killGroup(child, "SIGKILL");
      // A program that hangs in the kernel cannot be killed; whoever waits for it must be able to go on.
      cancelTimer = after(settleMs, () => finish(-1));
    });
  };
  const onAbort = (): void => stop(aborted(argv));
  options.abort?.addEventListener("abort", onAbort, { once: true });
  child.once("error", (error) => {
    stopped ??= startFailed(argv, error, options.cwd);
    finish(-1);
  });
  child.once("exit", (code, signal) => {
    // The rest of the group of a stopped program must not outlive it.
    if (stopped !== null) killGroup(child, "SIGKILL");
    finish(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
  });
  if (options.stdin !== undefined && child.stdin !== null) {
    pump(options.stdin, child.stdin).catch((error: unknown) => {
      // Its input must not end as if it were complete: the program is stopped while it still waits for more.
      stop(
        error instanceof ProblemError ? error.problem : failed(argv, `lost its input (${String(error)})`, ""),
      );
    });
  }
  const release = (): void => {
    for (const pipe of [child.stdout, child.stderr]) pipe?.destroy();
    output?.close();
  };
  return { stdout: child.stdout, stderr: child.stderr, ended, stop, release };
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The group is gone already.
  }
}

/**
 * Writes a source into a program's input, as fast as the program reads, and ends the input with it. Rejects
 * where the source fails. A program that stops reading is no error here: its exit code tells.
 */
async function pump(source: ByteStream, sink: Writable): Promise<void> {
  const closedMark = Symbol("closed");
  let closed = false;
  let wake = (): void => undefined;
  sink.on("error", () => undefined);
  sink.once("close", () => {
    closed = true;
    wake();
  });
  // Not Promise.race over one long-lived promise: that would keep something for every chunk until the end.
  const unlessClosed = <Value>(promise: Promise<Value>): Promise<Value | typeof closedMark> =>
    new Promise((resolve, reject) => {
      wake = () => resolve(closedMark);
      if (closed) wake();
      promise.then(resolve, reject);
    });
  const iterator = source[Symbol.asyncIterator]();
  for (;;) {
    const next = await unlessClosed(iterator.next());
    if (next === closedMark) break;
    if (next.done === true) {
      sink.end();
      return;
    }
    // A chunk is the source's again once the next one is asked for. Meanwhile the program has what waits in
    // its socket.
    const written = new Promise<boolean>((resolve) => {
      sink.write(next.value, (error) => resolve(error === null || error === undefined));
    });
    if ((await unlessClosed(written)) !== true) break;
  }
  // A source that hangs would hold us up, so nobody waits for it.
  iterator.return?.().catch(() => undefined);
}

/** Reads an output to its end and keeps its beginning. */
function collected(output: Readable | null): () => string {
  const chunks: Buffer[] = [];
  let roomBytes = outputLimitBytes;
  output?.on("data", (chunk: Buffer) => {
    if (roomBytes > 0) chunks.push(chunk.subarray(0, roomBytes));
    roomBytes -= Math.min(roomBytes, chunk.length);
  });
  return () => Buffer.concat(chunks).toString("utf8");
}

/** Reads an output to its end and keeps its last words. */
function tail(output: Readable | null): () => string {
  let kept: Buffer = Buffer.alloc(0);
  output?.on("data", (chunk: Buffer) => {
    kept = Buffer.concat([kept, chunk]).subarray(-tailBytes);
  });
  return () => kept.toString("utf8");
}

/** Until these outputs have been read to their ends, or nearly so: see {@link Program.release}. */
async function settled(outputs: readonly (Readable | null)[]): Promise<void> {
  const open = outputs.filter((output) => output !== null && !output.closed);
  if (open.length === 0) return;
  await new Promise<void>((resolve) => {
    let count = open.length;
    const cancel = after(settleMs, resolve);
    for (const output of open) {
      output?.once("close", () => {
        count -= 1;
        if (count > 0) return;
        cancel();
        resolve();
      });
    }
  });
}

function after(ms: Milliseconds, then: () => void): () => void {
  // Longer than Node's timers can count is as good as that.
  const timer = setTimeout(then, Math.min(ms, 2 ** 31 - 1));
  return () => clearTimeout(timer);
}

function aborted(argv: readonly string[]): Problem {
  return failed(argv, "was stopped because what it was for is no longer wanted", "");
}

function failed(argv: readonly string[], what: string, stderr: string): Problem {
  const words = stderr.trim().slice(-tailBytes);
  const said = words === "" ? "" : ` It said: ${words}`;
  return failure(
    "command-failed",
    `The command ${JSON.stringify(argv.join(" "))} ${what}.${said}`,
    "See what the command said, put its cause right; it is tried again by itself.",
  ).problem;
}

function startFailed(argv: readonly string[], error: unknown, cwd: string | undefined): Problem {
  const code = (error as NodeJS.ErrnoException).code ?? String(error);
  const where = cwd === undefined ? "" : ` in the folder ${cwd}`;
  return failure(
    "command-failed",
    `The command ${JSON.stringify(argv.join(" "))} could not be started${where}: ${code}.`,
    code === "ENOENT"
      ? `Install the program ${argv[0]} and see that it is in PATH${cwd === undefined ? "" : ", and that the folder exists"}.`
      : "Check the program's permissions and the limits of this service; it is tried again by itself.",
  ).problem;
}
