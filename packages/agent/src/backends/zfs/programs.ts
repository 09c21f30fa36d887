import type { Abort, ByteStream, CommandResult, Problem } from "@flocker/core";
import { ProblemError } from "@flocker/core";

import { noSpace, refuse } from "../problems.ts";
import { poolNameOf, type Context } from "./layout.ts";

/** What a command that only reads may take. */
const readTimeoutMs = 120_000;
const reading: readonly (string | undefined)[] = ["list", "holds", "send"];
/**
 * On a pool that is suspended a change hangs in the kernel, cannot be killed, and takes effect once the pool
 * goes on. So it is waited for however long that takes, and nothing else is done to the copy meanwhile.
 */
const noDeadlineMs = 2 ** 31 - 1;
/** After so long without an end the pool is asked whether it is suspended. */
const patienceMs = 10_000;

interface Options {
  readonly stdin?: ByteStream;
  readonly abort?: Abort;
}

type Runner = Pick<Context, "commands" | "pool">;

/** Runs `zfs` with arguments that must succeed; answers its output. */
export async function zfs(context: Runner, doing: string, ...args: readonly string[]): Promise<string> {
  const result = await tryZfs(context, args);
  if (result.exitCode !== 0) throw await zfsFailed(context, doing, args, result);
  return result.stdout;
}

/** Runs `zfs` and leaves it to the caller to judge how it ended. */
export async function tryZfs(
  context: Runner,
  args: readonly string[],
  options: Options = {},
): Promise<CommandResult> {
  const timeoutMs = reading.includes(args[0]) ? readTimeoutMs : noDeadlineMs;
  const result = await context.commands.run(["zfs", ...args], { timeoutMs, ...options });
  if (result.ok) return result.value;
  if (options.abort?.aborted === true) throw new ProblemError(result.problem);
  throw new ProblemError((await poolProblem(context)) ?? result.problem);
}

/**
 * What steps that only read come to, or the problem of the pool once that lets nobody go on: they may wait
 * for a change that hangs.
 */
export async function unlessSuspended<Value>(
  context: Runner & Pick<Context, "clock">,
  steps: () => Promise<Value>,
): Promise<Value> {
  const ended = new AbortController();
  const suspended = async (): Promise<never> => {
    for (;;) {
      await context.clock.sleep(patienceMs, ended.signal);
      const problem = ended.signal.aborted ? null : await poolProblem(context);
      if (problem !== null) throw new ProblemError(problem);
      if (ended.signal.aborted) return await new Promise<never>(() => undefined);
    }
  };
  try {
    return await Promise.race([steps(), suspended()]);
  } finally {
    ended.abort();
  }
}

/** The error of a `zfs` command that has failed: of the pool if that is the cause, else of what it says. */
export async function zfsFailed(
  context: Runner,
  doing: string,
  args: readonly string[],
  result: CommandResult,
): Promise<ProblemError> {
  const said = saidBy(result);
  if (tellsOfFullPool(said)) return new ProblemError(noSpace(doing, said));
  const problem = (await poolProblem(context)) ?? readOnlyProblem(context, said);
  if (problem !== null) return new ProblemError(problem);
  return refuse(
    "command-failed",
    `${doing} failed: zfs ${args[0]} ended with code ${result.exitCode}${said === "" ? "" : `, saying: ${said}`}.`,
    "Put right what the program complains about; it is tried again by itself.",
  );
}

/** What a program has said, in one line. */
export function saidBy({ stderr }: CommandResult): string {
  return stderr.trim().split("\n").slice(-5).join("; ");
}

/** Whether ZFS complains of a pool, a quota or a reservation that is exhausted. */
export function tellsOfFullPool(said: string): boolean {
  return /out of space|no space left|quota exceeded|exceeds? (the )?(quota|available)/i.test(said);
}

/** Whether ZFS refuses a limit because more than that is in use already. */
export function tellsOfSmallLimit(said: string): boolean {
  return /less than current used/.test(said);
}

function readOnlyProblem({ pool }: Runner, said: string): Problem | null {
  if (!/pool is read-only|read-only file system/i.test(said)) return null;
  const name = poolNameOf(pool);
  return {
    code: "storage-unreadable",
    message: `The pool ${name} is imported read-only, and nothing can be changed in it: ${said}.`,
    remedy: `Import it to be written to: zpool export ${name}, then zpool import ${name}.`,
  };
}

/** Why a pool cannot be worked with at all, or null. It asks for what is known without reading the disks. */
export async function poolProblem({ commands, pool }: Runner): Promise<Problem | null> {
  const name = poolNameOf(pool);
  const argv = ["zpool", "list", "-H", "-o", "health", name];
  const result = await commands.run(argv, { timeoutMs: 10_000 });
  if (!result.ok) return null;
  const health = result.value.stdout.trim();
  if (result.value.exitCode !== 0)
    return {
      code: "storage-unreadable",
      message: `The pool ${name} is not there: ${saidBy(result.value)}.`,
      remedy: `Import it (zpool import ${name}), or find out which of its disks is missing (zpool import).`,
    };
  if (health === "ONLINE" || health === "DEGRADED") return null;
  return {
    code: "storage-unreadable",
    message: `The pool ${name} is ${health}.`,
    remedy:
      health === "SUSPENDED"
        ? `Bring its disks back, then let it go on: zpool clear ${name}. Until then nothing can be read or written.`
        : `See what zpool status ${name} says, and bring its disks back.`,
  };
}
