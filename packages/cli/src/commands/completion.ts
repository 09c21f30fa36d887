import { Argument, type Command } from "commander";
import { success, type Result } from "@flocker/core";
import { newCommand, perform, type CommandLine } from "../command-line.ts";
import { complete, completionScript, shells, type Completion, type Shell } from "../completion.ts";
import { withClient } from "../connection.ts";
import { exitCodes } from "../exit-codes.ts";
import { collect, readNodes } from "../names.ts";
import { printLines } from "../output.ts";

/** Nobody waits longer for a Tab. */
const lookupTimeoutSeconds = 2;

/** `flocker completion`: the script that teaches a shell to complete our commands. */
export function completionCommand(cli: CommandLine): Command {
  return newCommand("completion", "print the script that makes Tab work in a shell")
    .addArgument(new Argument("<shell>").choices(shells))
    .addHelpText(
      "after",
      `
Put one line into the shell's start file; datasets and nodes are completed, too:
  bash, ~/.bashrc:                  source <(flocker completion bash)
  zsh, ~/.zshrc, after compinit:    source <(flocker completion zsh)`,
    )
    .action((shell: Shell) =>
      perform(cli, false, () => {
        cli.terminal.out(completionScript(shell));
        return Promise.resolve(success());
      }),
    );
}

/** `flocker __complete`: what the scripts ask. It prints candidates, one a line, and never a problem. */
export function candidatesCommand(cli: CommandLine, program: Command): Command {
  return newCommand("__complete", "print what may come next")
    .argument("[words...]")
    .helpOption(false)
    .allowUnknownOption()
    .action(async (words: string[]) => {
      const completion = complete(program, words.length === 0 ? [""] : words);
      const quiet: CommandLine = { ...cli, terminal: { ...cli.terminal, error: () => undefined } };
      await perform(quiet, false, () => printCandidates(quiet, completion));
      cli.finish(exitCodes.done);
    });
}

function printCandidates(cli: CommandLine, completion: Completion): Promise<Result<unknown>> {
  switch (completion.kind) {
    case "words":
      printLines(cli.terminal, ...completion.words);
      return Promise.resolve(success());
    case "files":
      printLines(cli.terminal, ":files");
      return Promise.resolve(success());
    case "nodes":
      return withClient(cli, { requestTimeout: lookupTimeoutSeconds }, async (client) => {
        const nodes = await readNodes(client);
        if (nodes.ok)
          printNames(
            cli,
            nodes.value.all.map((node) => node.name),
          );
        return nodes;
      });
    case "datasets":
      return withClient(cli, { requestTimeout: lookupTimeoutSeconds }, async (client) => {
        const datasets = await collect(client, { deleted: completion.deleted ? "true" : "false" });
        if (datasets.ok)
          printNames(
            cli,
            datasets.value.map((dataset) => dataset.name ?? dataset.dataset_id),
          );
        return datasets;
      });
  }
}

/** Names that a shell would read as something else are left out: they come from the network. */
function printNames(cli: CommandLine, names: readonly string[]): void {
  const plain = names.filter((name) => /^[\p{L}\p{N}][\p{L}\p{N}._@:/+-]*$/u.test(name));
  printLines(cli.terminal, ...new Set(plain));
}
