import { ProblemError } from "@flocker/core";
import type { Log, Milliseconds, Problem, ProblemCode } from "@flocker/core";

/** What our programs' exit codes mean, after BSD's sysexits where it has a code for it. */
export const exitCodes = {
  ok: 0,
  /** What was asked for could not be done; the message says why. */
  failed: 1,
  /** The command line is wrong. */
  usage: 64,
  /** A file that is needed cannot be read. */
  noInput: 66,
  /** Something that is needed and may come by itself is not there: a port, the control service. */
  unavailable: 69,
  /** A programming mistake of ours. */
  internal: 70,
  /** A file cannot be written, since it is there already or its disk is full. */
  cannotCreate: 73,
  /** The disk or a file on it is damaged. */
  inputOutput: 74,
  /** Try again: something is in use, or did not happen in time. */
  temporary: 75,
  /** The other side does not let us. */
  noPermission: 77,
  /** Configuration or certificates are wrong: starting again does not help. */
  configuration: 78,
  /** Stopped at once by a second SIGINT. */
  interrupted: 130,
  /** Stopped at once by a second SIGTERM. */
  terminated: 143,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

const exitCodesByProblem: Partial<Record<ProblemCode, ExitCode>> = {
  "bad-request": exitCodes.usage,
  "certificate-expired": exitCodes.configuration,
  "certificate-foreign": exitCodes.configuration,
  "certificate-invalid": exitCodes.configuration,
  "certificate-role": exitCodes.configuration,
  "certificate-revoked": exitCodes.configuration,
  "configuration-invalid": exitCodes.configuration,
  "control-unreachable": exitCodes.unavailable,
  "deadline-exceeded": exitCodes.temporary,
  "file-exists": exitCodes.cannotCreate,
  "file-unreadable": exitCodes.noInput,
  internal: exitCodes.internal,
  "no-space": exitCodes.cannotCreate,
  "not-authorised": exitCodes.noPermission,
  "port-in-use": exitCodes.unavailable,
  "storage-unreadable": exitCodes.inputOutput,
  "store-locked": exitCodes.temporary,
  "store-newer": exitCodes.configuration,
  "store-unreadable": exitCodes.inputOutput,
  "wait-timeout": exitCodes.temporary,
};

/** The exit code of a program that ends with this problem. */
export function exitCodeOf(problem: Problem): ExitCode {
  return exitCodesByProblem[problem.code] ?? exitCodes.failed;
}

/** How a service is run. */
export interface ServiceOptions {
  readonly log: Log;
  /** How long a graceful stop may take before the process ends anyway; 30 s unless told otherwise. */
  readonly stopTimeoutMs?: Milliseconds;
}

const defaultStopTimeoutMs = 30_000;
type StopSignal = "SIGTERM" | "SIGINT";

/**
 * Starts a service and keeps it until SIGTERM or SIGINT, then disposes of it and answers the exit code to end
 * with. The first signal also aborts a start that is still under way; a second one ends the process at once.
 * A start that throws a ProblemError is logged and answers the problem's exit code. Any other error, wherever
 * it comes from, is a programming mistake: it is logged and ends the process at once with code 70, to be
 * started again by its supervisor.
 */
export async function runUntilSignal(
  start: (abort: AbortSignal) => Promise<AsyncDisposable>,
  options: ServiceOptions,
): Promise<ExitCode> {
  const { log } = options;
  const controller = new AbortController();
  const signalled = Promise.withResolvers<void>();
  const onSignal = (signal: StopSignal): void => {
    if (controller.signal.aborted) {
      log.write("warn", "stopped-at-once", { signal });
      process.exit(signal === "SIGINT" ? exitCodes.interrupted : exitCodes.terminated);
    }
    log.write("info", "stopping", { signal });
    controller.abort();
    signalled.resolve();
  };
  const onUncaught = (error: unknown): void => {
    log.write("error", "crashed", { error });
    process.exit(exitCodes.internal);
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  process.on("uncaughtException", onUncaught);
  // While nothing else keeps the process running, this does.
  const keepAlive = setInterval(() => undefined, 2 ** 30);
  try {
    const service = await start(controller.signal);
    log.write("info", "started");
    await signalled.promise;
    return await stop(service, options);
  } catch (error) {
    if (!(error instanceof ProblemError)) {
      onUncaught(error);
      return exitCodes.internal;
    }
    if (controller.signal.aborted) {
      log.write("info", "stopped", { problem: error.problem });
      return exitCodes.ok;
    }
    log.write("error", "start-failed", { problem: error.problem });
    return exitCodeOf(error.problem);
  } finally {
    clearInterval(keepAlive);
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
    process.off("uncaughtException", onUncaught);
  }
}

async function stop(service: AsyncDisposable, options: ServiceOptions): Promise<ExitCode> {
  const { log, stopTimeoutMs = defaultStopTimeoutMs } = options;
  const timer = setTimeout(() => {
    log.write("error", "stop-timed-out", { stopTimeoutMs });
    process.exit(exitCodes.temporary);
  }, stopTimeoutMs);
  await service[Symbol.asyncDispose]();
  clearTimeout(timer);
  log.write("info", "stopped");
  return exitCodes.ok;
}
