import type { v2 } from "@flocker/api";
import { failure, success } from "@flocker/core";
import { Option, type Command } from "commander";
import { examples, newCommand, perform, type CommandLine } from "../command-line.ts";
import { performConnected, withConnectionOptions } from "../connection.ts";
import { collect, findDataset } from "../names.ts";
import { printJson, printNote } from "../output.ts";
import { conditions, type Condition } from "../wait.ts";
import { timeoutOption, waitAndTell, type WaitingOptions } from "./waiting.ts";

interface WaitCommandOptions extends WaitingOptions {
  readonly for: Condition;
  readonly all?: boolean;
}

/** `flocker wait` */
export function waitCommand(cli: CommandLine): Command {
  const command = newCommand("wait", "wait until datasets are in place")
    .argument("[dataset...]", "names, ids, or beginnings of ids")
    .option("-a, --all", "all datasets of the cluster")
    .addOption(
      new Option(
        "--for <condition>",
        "converged: everything is as configured; mounted: it can be used on its node",
      )
        .choices(conditions)
        .default("converged"),
    )
    .addOption(timeoutOption())
    .addHelpText(
      "after",
      `
Ends with 5 if the time is over; the cluster goes on with it nevertheless.
${examples(
  ["flocker wait pg1 --for mounted --timeout 30s", "before a program that needs it is started"],
  ["flocker wait --all", "until the whole cluster is at rest"],
)}`,
    );
  return withConnectionOptions(command).action((words: string[], options: WaitCommandOptions) => {
    const json = options.json ?? false;
    if ((words.length === 0) !== (options.all === true)) {
      return perform(cli, json, () =>
        Promise.resolve(
          failure(
            "bad-request",
            "What to wait for is not clear.",
            "Name datasets, or give --all, but not both.",
            "dataset",
          ),
        ),
      );
    }
    return performConnected(cli, options, async (client) => {
      const found: v2.Dataset[] = [];
      if (options.all === true) {
        const all = await collect(client, {});
        if (!all.ok) return all;
        found.push(...all.value.filter((dataset) => dataset.desired !== null));
      }
      for (const word of words) {
        const dataset = await findDataset(client, word);
        if (!dataset.ok) return dataset;
        found.push(dataset.value);
      }
      if (found.length === 0 && !json) printNote(cli.terminal, "No datasets.");
      const { for: condition, timeout: timeoutMs } = options;
      const done = await waitAndTell(cli, client, found, { condition, timeoutMs, json });
      if (!done.ok) return done;
      if (json) printJson(cli.terminal, { datasets: done.value });
      return success();
    });
  });
}
