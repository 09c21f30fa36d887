import { resolve } from "node:path";
import { readFile } from "node:fs/promises";
import { createClient, v1Endpoints, type Client } from "@flocker/api";
import { failure, success, type Result } from "@flocker/core";
import type { Command } from "commander";
import { examples, newCommand, perform, type CommandLine } from "../command-line.ts";
import { withConnectionOptions, withTransport, type ConnectedOptions } from "../connection.ts";
import { exitCodes } from "../exit-codes.ts";
import { importAll, type Imported } from "../import/importing.ts";
import { readOriginalConfiguration, type OriginalConfiguration } from "../import/original-configuration.ts";
import { printable, printJson, printLines, printNote } from "../output.ts";

interface ImportOptions extends ConnectedOptions {
  readonly dryRun?: boolean;
}

/** `flocker import-config` */
export function importConfigCommand(cli: CommandLine): Command {
  const command = newCommand("import-config", "take over the configuration of an original Flocker")
    .argument("<file>", "its current_configuration.json, of any version (Flocker 0.4 to 1.15)")
    .option("--dry-run", "only say what would be taken over")
    .addHelpText(
      "after",
      `
Datasets, containers and leases are asked for as clients of the original would, with their ids.
What is there already is left as it is, so that the command can be run again.
Bytes are not carried over: a dataset of which no node has a copy yet begins empty on its node.
${examples(
  [
    "flocker import-config /var/lib/flocker/current_configuration.json --dry-run",
    "what would be taken over, what not?",
  ],
  ["flocker import-config current_configuration.json", "take it over"],
)}`,
    );
  return withConnectionOptions(command).action((file: string, options: ImportOptions) =>
    perform(cli, options.json ?? false, () => importFile(cli, file, options)),
  );
}

async function importFile(cli: CommandLine, file: string, options: ImportOptions): Promise<Result<unknown>> {
  let text: string;
  try {
    text = await readFile(resolve(cli.workingFolder, file), "utf8");
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    return failure(
      "file-unreadable",
      `Reading ${file} failed: ${reason}.`,
      "Check the path and your rights.",
    );
  }
  // A mistake of the file itself is told also where the cluster cannot be reached.
  const readable = readOriginalConfiguration(text);
  if (!readable.ok) return readable;
  return withTransport(cli, options, async (transport) => {
    const client = createClient(v1Endpoints, transport);
    const configuration = readOriginalConfiguration(text, await nodesByAddress(client));
    if (!configuration.ok) return configuration;
    const dryRun = options.dryRun ?? false;
    const done: Imported[] = [];
    for await (const one of importAll(client, configuration.value, { dryRun, clock: cli.clock }))
      done.push(one);
    tell(cli, configuration.value, done, { dryRun, json: options.json ?? false });
    if (done.some((one) => one.result === "failed")) cli.finish(exitCodes.failed);
    return success();
  });
}

async function nodesByAddress(client: Client<typeof v1Endpoints>): Promise<ReadonlyMap<string, string>> {
  const listed = await client.listNodeStates({});
  return new Map(listed.status === 200 ? listed.body.map((node) => [node.host, node.uuid] as const) : []);
}

function tell(
  cli: CommandLine,
  { version, notes }: OriginalConfiguration,
  done: readonly Imported[],
  { dryRun, json }: { readonly dryRun: boolean; readonly json: boolean },
): void {
  if (json) {
    printJson(cli.terminal, { version, dry_run: dryRun, imported: done, notes });
    return;
  }
  const words = {
    created: dryRun ? "would be created" : "created",
    there: "there already",
    failed: "FAILED",
  };
  for (const { kind, name, result, detail } of done)
    printLines(
      cli.terminal,
      `${kind} ${printable(name)}: ${words[result]}${detail === null ? "" : ` (${printable(detail)})`}`,
    );
  for (const note of notes) printNote(cli.terminal, `note: ${printable(note)}`);
  const count = (result: Imported["result"]): number => done.filter((one) => one.result === result).length;
  printNote(
    cli.terminal,
    `Version ${version} of the file: ${count("created")} ${words.created}, ${count("there")} there already, ` +
      `${count("failed")} failed, ${notes.length} notes.`,
  );
}
