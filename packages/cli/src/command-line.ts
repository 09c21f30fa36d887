import { Command, InvalidArgumentError } from "commander";
import { ProblemError, type Clock, type Result } from "@flocker/core";
import { exitCodeForProblem, exitCodes, type ExitCode } from "./exit-codes.ts";
import { printProblem, type Terminal } from "./output.ts";

/** Everything that a command takes from its surroundings, so that tests can give it other ones. */
export interface CommandLine {
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workingFolder: string;
  readonly homeFolder: string;
  readonly clock: Clock;
  /** Aborted when the user wants the command to end. */
  readonly interrupted: AbortSignal;
  /** Sets the exit code that the command ends with. */
  finish(code: ExitCode): void;
}

/** Runs a command's body and tells its problem, if it has one, with the exit code that stands for it. */
export async function perform(
  cli: CommandLine,
  json: boolean,
  body: () => Promise<Result<unknown>>,
): Promise<void> {
  let problem;
  try {
    const result = await body();
    if (result.ok) return;
    problem = result.problem;
  } catch (error) {
    if (cli.interrupted.aborted) {
      cli.finish(exitCodes.interrupted);
      return;
    }
    if (!(error instanceof ProblemError)) throw error;
    problem = error.problem;
  }
  if (cli.interrupted.aborted) {
    cli.finish(exitCodes.interrupted);
    return;
  }
  printProblem(cli.terminal, problem, json);
  cli.finish(exitCodeForProblem(problem.code));
}

/** Shows examples under a command's help: pairs of a command line and what it does. */
export function examples(...pairs: readonly (readonly [line: string, meaning: string])[]): string {
  const lines = pairs.flatMap(([line, meaning]) => [`  # ${meaning}`, `  $ ${line}`]);
  return `\nExamples:\n${lines.join("\n")}`;
}

/** A command that keeps to our habits. */
export function newCommand(name: string, summary: string): Command {
  return new Command(name)
    .description(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}`)
    .helpOption("-h, --help", "show this help");
}

/** Parses a whole number within bounds, for commander. */
export function wholeNumber(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= minimum && value <= maximum) return value;
    throw new InvalidArgumentError(`Give a whole number from ${minimum} to ${maximum}.`);
  };
}
