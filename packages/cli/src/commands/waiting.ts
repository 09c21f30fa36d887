import type { v2 } from "@flocker/api";
import type { Milliseconds, Result } from "@flocker/core";
import { parseDurationMs } from "@flocker/host";
import { InvalidArgumentError, Option, type Command } from "commander";
import type { CommandLine } from "../command-line.ts";
import type { ClusterClient, ConnectedOptions } from "../connection.ts";
import { describeState, tookText } from "../dataset-state.ts";
import { callName, readNodes } from "../names.ts";
import { printLines } from "../output.ts";
import { progressOn, silentProgress } from "../progress.ts";
import { waitForDatasets, type Condition } from "../wait.ts";

const timeoutDefault = "5m";
/** Above so many datasets, one line says how all have ended up. */
const linesMax = 20;

/** Options of commands that can wait until what they asked for is there. */
export interface WaitingOptions extends ConnectedOptions {
  readonly wait?: boolean;
  readonly timeout: Milliseconds;
}

/** Gives a command --wait and --timeout. */
export function withWaitOptions(command: Command): Command {
  return command.option("--wait", "return only when it is in place").addOption(timeoutOption());
}

/** `--timeout`, parsed to milliseconds. */
export function timeoutOption(): Option {
  return new Option("--timeout <time>", "how long to wait: 90s, 5m, 2h")
    .argParser(parseSpan)
    .default(parseSpan(timeoutDefault), timeoutDefault);
}

/** Milliseconds in `90s`, `5m`, `1h30m`; a bare number means seconds. */
export function parseSpan(text: string): Milliseconds {
  const ms = parseDurationMs(/^\d+$/.test(text) ? `${text}s` : text);
  if (ms !== undefined) return ms;
  throw new InvalidArgumentError("Write a length of time such as 90s, 5m or 1h30m.");
}

/** Waits for datasets with progress on the screen, and for people says how each has ended up. */
export async function waitAndTell(
  cli: CommandLine,
  client: ClusterClient,
  datasets: readonly v2.Dataset[],
  options: { readonly condition: Condition; readonly timeoutMs: Milliseconds; readonly json: boolean },
): Promise<Result<readonly v2.Dataset[]>> {
  const nodes = await readNodes(client);
  if (!nodes.ok) return nodes;
  const { nameOf } = nodes.value;
  const start = cli.clock.monotonic();
  const progress = options.json ? silentProgress : progressOn(cli.terminal);
  const done = await waitForDatasets(cli, client, datasets, { ...options, progress, nameOf });
  if (done.ok && !options.json) {
    const took = tookText(cli.clock.monotonic() - start);
    if (done.value.length > linesMax) {
      printLines(cli.terminal, `All ${done.value.length} datasets are ${options.condition} (${took})`);
      return done;
    }
    for (const dataset of done.value) {
      printLines(
        cli.terminal,
        `${callName(dataset)} is ${describeState(dataset, nameOf).sentence} (${took})`,
      );
    }
  }
  return done;
}
