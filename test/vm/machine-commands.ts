import { once } from "node:events";
import { connect, type Socket } from "node:net";
import {
  failure,
  ProblemError,
  success,
  type Abort,
  type ByteStream,
  type Commands,
  type Milliseconds,
  type Problem,
} from "@flocker/core";
import { systemIds } from "@flocker/host";

/** Runs programs in a virtual machine: a connection for each, whose other end is `guest/serve`. */
export type MachineCommands = Commands;

interface Options {
  readonly stdin?: ByteStream;
  readonly abort?: Abort;
  readonly cwd?: string;
}

interface End {
  readonly exitCode: number;
  readonly stderr: string;
}

const outputLimitBytes = 2 ** 20;
const codeBytes = 4;

/** Commands for the machine whose command server is at that port of this machine. */
export function machineCommands(port: () => number): MachineCommands {
  const turns = limitedTurns(commandsAtOnce);
  async function* execute(argv: readonly string[], options: Options): AsyncGenerator<Uint8Array, End> {
    // Transfers wait for each other, and a watch never ends; neither may keep the rest from its turn.
    const isShort = options.stdin === undefined && !argv.includes("send") && !argv.includes("events");
    const release = isShort ? await turns() : undefined;
    try {
      return yield* connectAndRun(port(), argv, options);
    } finally {
      release?.();
    }
  }
  return {
    async run(argv, { timeoutMs, ...options }) {
      const bound = AbortSignal.timeout(timeoutMs);
      const abort = options.abort instanceof AbortSignal ? AbortSignal.any([options.abort, bound]) : bound;
      const chunks: Uint8Array[] = [];
      let roomBytes = outputLimitBytes;
      try {
        const output = execute(argv, { ...options, abort });
        let next = await output.next();
        while (next.done !== true) {
          if (roomBytes > 0) chunks.push(next.value.subarray(0, roomBytes));
          roomBytes -= Math.min(roomBytes, next.value.length);
          next = await output.next();
        }
        return success({ ...next.value, stdout: Buffer.concat(chunks).toString("utf8") });
      } catch (error) {
        return { ok: false, problem: problemOf(argv, error) };
      }
    },
    async *stream(argv, options) {
      let end: End;
      try {
        end = yield* execute(argv, options);
      } catch (error) {
        throw new ProblemError(problemOf(argv, error), { cause: error });
      }
      if (end.exitCode !== 0)
        throw new ProblemError(
          failed(argv, `ended with exit code ${end.exitCode}. It said: ${end.stderr.trim()}`),
        );
    },
  };
}

/** The emulator's network drops connections where many are opened at once. */
const commandsAtOnce = 12;

/** Hands out so many turns at a time, in the order in which they are asked for. */
function limitedTurns(limit: number): () => Promise<() => void> {
  const waiting: (() => void)[] = [];
  let free = limit;
  const release = (): void => {
    const next = waiting.shift();
    if (next === undefined) free += 1;
    else next();
  };
  return async () => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    return release;
  };
}

/** Hands out the output; answers how the command ended. Throws where the connection breaks. */
async function* connectAndRun(
  port: number,
  argv: readonly string[],
  options: Options,
): AsyncGenerator<Uint8Array, End> {
  if (options.abort?.aborted === true) throw new Error("it was stopped before it began");
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  const onAbort = (): void => void socket.destroy(new Error("it was stopped"));
  options.abort?.addEventListener("abort", onAbort, { once: true });
  const mark = systemIds.uuid();
  const { promise: isAnswering, resolve: answers } = Promise.withResolvers<void>();
  const feeding = feed(socket, argv, { ...options, mark, isAnswering });
  let held: Buffer = Buffer.alloc(0);
  let greetingBytes = 1;
  let hasOutputEnded = false;
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      answers();
      const fresh = chunk.subarray(greetingBytes);
      held = held.length === 0 ? fresh : Buffer.concat([held, fresh]);
      greetingBytes = 0;
      if (!hasOutputEnded) {
        const end = held.indexOf(mark);
        hasOutputEnded = end >= 0;
        const ripeBytes = hasOutputEnded ? end : held.length - beginningBytes(held, mark);
        if (ripeBytes > 0) yield held.subarray(0, ripeBytes);
        held = held.subarray(hasOutputEnded ? end + mark.length : ripeBytes);
      }
      // The machine does not close the connection itself: with input that is unread, what it has said would
      // be lost.
      if (hasOutputEnded && held.subarray(-mark.length).toString("latin1") === mark) break;
    }
    const endAt = held.length - mark.length - codeBytes;
    const end = held.toString("latin1", Math.max(0, endAt));
    if (!hasOutputEnded || !/^\d{4}/.test(end) || !end.endsWith(mark))
      throw new Error("the machine ended the connection too early");
    return { exitCode: Number(end.slice(0, codeBytes)), stderr: held.toString("utf8", 0, endAt) };
  } finally {
    options.abort?.removeEventListener("abort", onAbort);
    socket.destroy();
    // A source that hangs is not waited for.
    feeding.catch(() => undefined);
  }
}

/** How many of the last bytes may be the beginning of the mark. */
function beginningBytes(bytes: Buffer, mark: string): number {
  const tail = bytes.subarray(1 - mark.length).toString("latin1");
  let length = tail.length;
  while (!mark.startsWith(tail.slice(tail.length - length))) length -= 1;
  return length;
}

/**
 * Sends the command and then its input; a source that fails breaks the connection, as the death of its reader
 * would.
 */
async function feed(
  socket: Socket,
  argv: readonly string[],
  { stdin, cwd, mark, isAnswering }: Options & { readonly mark: string; readonly isAnswering: Promise<void> },
): Promise<void> {
  socket.on("error", () => undefined);
  const lines = [String(argv.length), cwd ?? "/", stdin === undefined ? "none" : "input", mark, ...argv];
  if (lines.some((line) => line.includes("\n"))) throw new Error("an argument contains a line break");
  socket.write(lines.map((line) => `${line}\n`).join(""));
  if (stdin === undefined) return;
  const iterator = stdin[Symbol.asyncIterator]();
  const closed = once(socket, "close").catch(() => undefined);
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), closed.then(() => "closed" as const)]);
      if (next === "closed") {
        iterator.return?.().catch(() => undefined);
        return;
      }
      if (next.done === true) break;
      if (!socket.write(next.value))
        await Promise.race([once(socket, "drain").catch(() => undefined), closed]);
    }
    await Promise.race([isAnswering, closed]);
    socket.end();
  } catch {
    // As a pipe whose writer has gone: the command sees the end of its input, and the source's error is its
    // owner's.
    await Promise.race([isAnswering, closed]);
    socket.end();
  }
}

function problemOf(argv: readonly string[], error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  return failed(argv, error instanceof Error ? error.message : String(error));
}

function failed(argv: readonly string[], what: string): Problem {
  return failure(
    "command-failed",
    `The command ${JSON.stringify(argv.join(" "))} in the virtual machine failed: ${what}`,
    "See what the command said.",
  ).problem;
}

/** The time limit for what a test does by hand. */
export const commandTimeoutMs: Milliseconds = 120_000;
