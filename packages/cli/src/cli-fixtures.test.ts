// What the tests of the command line share: a terminal that remembers, and a run of the whole command in this
// process.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Clock } from "@flocker/core";
import { systemClock } from "@flocker/host";
import type { Terminal } from "./output.ts";
import { runProgram } from "./program.ts";

export interface Outcome {
  readonly exitCode: number;
  readonly out: string;
  readonly error: string;
}

export interface RunOptions {
  readonly folder?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly clock?: Clock;
  readonly interrupted?: AbortSignal;
  readonly live?: boolean;
  /** Told of each text for the standard error as it is written. */
  readonly onError?: (text: string) => void;
}

/** Runs `flocker` with those words, as if piped. */
export async function flocker(words: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const { terminal, written } = recordingTerminal(options.live ?? false, options.onError);
  const exitCode = await runProgram(
    words,
    {
      terminal,
      env: options.env ?? {},
      workingFolder: options.folder ?? "/nonexistent",
      homeFolder: options.folder ?? "/nonexistent",
      clock: options.clock ?? systemClock,
      interrupted: options.interrupted ?? new AbortController().signal,
    },
    "9.9.9",
  );
  return { exitCode, ...written() };
}

export function recordingTerminal(
  live = false,
  onError: (text: string) => void = () => undefined,
): {
  terminal: Terminal;
  written: () => { out: string; error: string };
} {
  let out = "";
  let error = "";
  const terminal: Terminal = {
    out: (text) => {
      out += text;
    },
    error: (text) => {
      error += text;
      onError(text);
    },
    live,
    colour: false,
    columns: 100,
  };
  return { terminal, written: () => ({ out, error }) };
}

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "flocker-cli-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** The real clock, shifted. */
export function clockShiftedBy(ms: number): Clock {
  return { ...systemClock, now: () => systemClock.now() + ms };
}
