import { Command, CommanderError } from "commander";
import { applyCommand } from "./commands/apply.ts";
import { caCommand } from "./commands/ca.ts";
import {
  createCommand,
  deleteCommand,
  importCommand,
  moveCommand,
  resizeCommand,
  failoverCommand,
  undeleteCommand,
} from "./commands/change.ts";
import { historyCommand, statusCommand } from "./commands/cluster.ts";
import { candidatesCommand, completionCommand } from "./commands/completion.ts";
import { connectionCommand } from "./commands/connection.ts";
import { importConfigCommand } from "./commands/import-config.ts";
import { explainCommand, listCommand, nodesCommand, showCommand } from "./commands/look.ts";
import { localCommand } from "./commands/local.ts";
import { agentCommand, controlCommand, dockerPluginCommand } from "./commands/services.ts";
import { waitCommand } from "./commands/wait.ts";
import type { CommandLine } from "./command-line.ts";
import { exitCodeMeanings, exitCodes, type ExitCode } from "./exit-codes.ts";

/** The whole `flocker` command. */
export function buildProgram(cli: CommandLine, version: string): Command {
  const codes = exitCodeMeanings.map(([code, meaning]) => `  ${String(code).padStart(3)}  ${meaning}`);
  const program = new Command("flocker")
    .description(
      "Data volumes that follow the work: declare where each dataset belongs, the cluster makes it so.",
    )
    .version(version, "-V, --version", "show the version")
    .helpOption("-h, --help", "show this help")
    .helpCommand("help [command]", "show a command's help")
    .addHelpText("after", `\nExit codes:\n${codes.join("\n")}`);
  program
    .commandsGroup("Datasets:")
    .addCommand(createCommand(cli))
    .addCommand(importCommand(cli))
    .addCommand(listCommand(cli))
    .addCommand(showCommand(cli))
    .addCommand(explainCommand(cli))
    .addCommand(moveCommand(cli))
    .addCommand(resizeCommand(cli))
    .addCommand(deleteCommand(cli))
    .addCommand(undeleteCommand(cli))
    .addCommand(failoverCommand(cli))
    .addCommand(waitCommand(cli))
    .addCommand(applyCommand(cli));
  program
    .commandsGroup("Cluster:")
    .addCommand(statusCommand(cli))
    .addCommand(nodesCommand(cli))
    .addCommand(historyCommand(cli))
    .addCommand(connectionCommand(cli));
  program
    .commandsGroup("Services:")
    .addCommand(controlCommand(cli, version))
    .addCommand(agentCommand(cli, version))
    .addCommand(dockerPluginCommand(cli, version))
    .addCommand(localCommand(cli));
  program
    .commandsGroup("Setting up:")
    .addCommand(caCommand(cli))
    .addCommand(importConfigCommand(cli))
    .addCommand(completionCommand(cli));
  program.addCommand(candidatesCommand(cli, program), { hidden: true });
  return program;
}

/** Runs one command line (without the program's name) to its end and answers the exit code. */
export async function runProgram(
  argv: readonly string[],
  surroundings: Omit<CommandLine, "finish">,
  version: string,
): Promise<number> {
  let exitCode: ExitCode = exitCodes.done;
  const cli: CommandLine = { ...surroundings, finish: (code) => (exitCode = code) };
  const program = buildProgram(cli, version);
  prepare(program, cli, "flocker");
  try {
    await program.parseAsync([...argv], { from: "user" });
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and the version end in this way too, with 0; `flocker` and `flocker ca` alone show help as an
    // error.
    return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
  }
}

/**
 * Makes a command and those below it end without ending the process, write to the given terminal, and say how
 * to get help after a wrong command line; commander does not hand that down by itself.
 */
function prepare(command: Command, cli: CommandLine, path: string): void {
  const { terminal } = cli;
  command
    .exitOverride()
    .showHelpAfterError(`(${path} --help shows how it is used)`)
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.error(text),
      getOutHelpWidth: () => terminal.columns,
      getErrHelpWidth: () => terminal.columns,
      getOutHasColors: () => terminal.colour,
      getErrHasColors: () => false,
    });
  for (const child of command.commands) prepare(child, cli, `${path} ${child.name()}`);
}
