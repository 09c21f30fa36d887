import type { Command } from "commander";
import type { LocalOptions } from "./local-run.ts";
import { examples, newCommand, perform, wholeNumber, type CommandLine } from "../command-line.ts";

/** `flocker local`: a whole cluster of separate processes on this machine, for trying it out. */
export function localCommand(cli: CommandLine): Command {
  return newCommand("local", "Run a control service and three agents on this machine, to try things out")
    .option("-f, --folder <folder>", "where the cluster keeps its data, certificates and logs", ".flocker")
    .option("-n, --nodes <count>", "how many nodes; only for a new cluster", wholeNumber(1, 20), 3)
    .option(
      "-p, --port <port>",
      "the API's port, and the next ones for the rest; only for a new cluster",
      wholeNumber(1, 65_000),
      4523,
    )
    .addHelpText(
      "after",
      examples(
        ["flocker local", "start the cluster in ./.flocker; Ctrl-C stops it and keeps its data"],
        ["flocker local --folder /tmp/try --port 5523", "another one beside it"],
      ),
    )
    .action((options: LocalOptions) =>
      // Loaded only when it is used, since every other command would start later for it.
      perform(cli, false, async () => (await import("./local-run.ts")).runLocal(cli, options)),
    );
}
