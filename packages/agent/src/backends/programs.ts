import type { Abort, ByteStream, Commands, CommandResult } from "@flocker/core";
import { need, ProblemError } from "@flocker/core";

import { noSpace, refuse, tellsOfNoSpace } from "./problems.ts";

/** As long as a timer can be set for, 24 days: how long a transfer takes is bounded by whoever aborts it. */
const noDeadlineMs = 2 ** 31 - 1;

/** Runs a program that must succeed. */
export async function runProgram(
  commands: Commands,
  doing: string,
  argv: readonly string[],
  options: { readonly cwd?: string; readonly abort?: Abort; readonly stdin?: ByteStream } = {},
): Promise<CommandResult> {
  const result = await tryProgram(commands, argv, options);
  if (result.exitCode !== 0) throw programFailed(doing, argv, result.exitCode, result.stderr);
  return result;
}

/** Runs a program to its end and leaves it to the caller to judge. */
export async function tryProgram(
  commands: Commands,
  argv: readonly string[],
  options: { readonly cwd?: string; readonly abort?: Abort; readonly stdin?: ByteStream } = {},
): Promise<CommandResult> {
  return need(await commands.run(argv, { timeoutMs: noDeadlineMs, ...options }));
}

/** A program's standard output; it throws where the program fails. */
export async function* streamProgram(
  commands: Commands,
  doing: string,
  argv: readonly string[],
  options: { readonly cwd?: string; readonly abort?: Abort; readonly stdin?: ByteStream } = {},
): AsyncGenerator<Uint8Array> {
  const input = options.stdin === undefined ? undefined : lend(options.stdin);
  const rest = input === undefined ? options : { ...options, stdin: input.stream };
  try {
    yield* commands.stream(argv, rest);
  } catch (error) {
    input?.check();
    if (error instanceof ProblemError && tellsOfNoSpace(error.problem.message)) {
      throw new ProblemError(noSpace(doing, error.problem.message), { cause: error });
    }
    throw error;
  } finally {
    input?.close();
  }
  input?.check();
}

/** The error of a program that ended with a failure. */
export function programFailed(
  doing: string,
  argv: readonly string[],
  exitCode: number,
  stderr: string,
): ProblemError {
  const said = stderr.trim().split("\n").slice(-5).join("; ");
  if (tellsOfNoSpace(stderr)) return new ProblemError(noSpace(doing, said));
  return refuse(
    "command-failed",
    `${doing} failed: ${argv[0]} ended with code ${exitCode}${said === "" ? "" : `, saying: ${said}`}.`,
    "Put right what the program complains about; it is tried again by itself.",
  );
}

/** A stream that is lent to a program as its standard input. */
export interface LentInput {
  readonly stream: ByteStream;
  /**
   * Throws the failure of the source, if it has failed: what the program says about losing its input hides
   * it.
   */
  check(): void;
  /** Reads on to the end after the program has ended: a program may see the end of its input before we do. */
  drain(): Promise<void>;
  /** Ends the source early. Nobody waits for it, since it may hang. */
  close(): void;
}

/** Lends a stream to a program. The program's end does not end the source. */
export function lend(source: ByteStream): LentInput {
  const iterator = source[Symbol.asyncIterator]();
  let failure: { readonly error: unknown } | undefined;
  // The program may end while the next piece is still awaited; only after that may anybody else ask for more.
  let last: Promise<unknown> = Promise.resolve();
  const next = (): Promise<IteratorResult<Uint8Array>> => {
    const piece = iterator.next();
    last = piece.catch((error: unknown) => {
      failure ??= { error };
    });
    return piece;
  };
  const check = (): void => {
    if (failure !== undefined) throw failure.error;
  };
  return {
    stream: { [Symbol.asyncIterator]: () => ({ next }) },
    check,
    async drain() {
      await last;
      check();
      while ((await next()).done !== true);
    },
    close() {
      iterator.return?.().catch(() => undefined);
    },
  };
}
