import { ProblemError, type Problem, type Result } from "@flocker/core";

import { errorCode } from "./files.ts";

/**
 * Runs the steps of one method and turns what the system throws into a problem. `doing` begins the message:
 * "Creating the copy of dataset …". Programming mistakes pass through.
 */
export async function attempt<Value>(doing: string, steps: () => Promise<Value>): Promise<Result<Value>> {
  try {
    return { ok: true, value: await steps() };
  } catch (error) {
    return { ok: false, problem: problemOf(error, doing) };
  }
}

/** Ends the steps of a method with a problem; {@link attempt} makes it the answer. */
export function refuse(code: Problem["code"], message: string, remedy: string): ProblemError {
  return new ProblemError({ code, message, remedy });
}

/** The problem in an error of the system. What is no operating error is thrown again. */
export function problemOf(error: unknown, doing: string): Problem {
  if (error instanceof ProblemError) return error.problem;
  const code = errorCode(error);
  if (!(error instanceof Error) || code === undefined || code.startsWith("ERR_")) throw error;
  const message = `${doing} failed: ${error.message}.`;
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
      return noSpace(doing, error.message);
    case "EACCES":
    case "EPERM":
      return {
        code: "storage-unreadable",
        message,
        remedy: "Give the agent's user access to that path, or run the agent as root.",
      };
    case "EROFS":
      return {
        code: "storage-unreadable",
        message,
        remedy:
          "The file system is read-only: look for disk errors in the kernel's log and mount it read-write.",
      };
    case "EMFILE":
    case "ENFILE":
      return { code: "command-failed", message, remedy: "Raise the limit of open files (ulimit -n)." };
    default:
      return {
        code: "storage-unreadable",
        message,
        remedy:
          "Check that path and its disk (the kernel's log shows disk errors), then let the agent try again.",
      };
  }
}

/** The disk, or a disk quota, is full. */
export function noSpace(doing: string, detail: string): Problem {
  return {
    code: "no-space",
    message: `${doing} failed because the disk is full: ${detail.trim()}`,
    remedy: "Free space on that disk, or move other datasets away; it is tried again by itself.",
  };
}

/** Whether a program's message tells of a full disk; tar only counts. Commands run in the C locale. */
export function tellsOfNoSpace(text: string): boolean {
  return /No space left on device|Disk quota exceeded|Wrote only \d+ of \d+ bytes/.test(text);
}
