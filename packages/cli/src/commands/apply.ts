import { resolve } from "node:path";
import { answerResult, type v2 } from "@flocker/api";
import { failure, success, type Result } from "@flocker/core";
import type { Command } from "commander";
import { parseClusterFile, readClusterFile } from "../apply/cluster-file.ts";
import { differenceJson, differenceLines, stepText } from "../apply/difference-text.ts";
import { differenceOf, type Difference, type Step } from "../apply/difference.ts";
import { examples, newCommand, type CommandLine } from "../command-line.ts";
import { performConnected, withConnectionOptions, type ClusterClient } from "../connection.ts";
import { exitCodes } from "../exit-codes.ts";
import { collect, readNodes, type Nodes } from "../names.ts";
import { coloured, printable, printJson, printLines } from "../output.ts";
import { waitAndTell, withWaitOptions, type WaitingOptions } from "./waiting.ts";

interface ApplyOptions extends WaitingOptions {
  readonly file: string;
  readonly dryRun?: boolean;
  readonly exitCode?: boolean;
  readonly prune?: boolean;
  readonly yes?: boolean;
}

/** `flocker apply` */
export function applyCommand(cli: CommandLine): Command {
  const command = newCommand("apply", "make the cluster's datasets as a file says")
    .requiredOption("-f, --file <file>", "the file")
    .option("--dry-run", "only show the difference")
    .option("--exit-code", "with --dry-run: end with 8 if there is a difference")
    .option("--prune", "delete the datasets that are not in the file (needs --yes)")
    .option("-y, --yes", "yes, delete them")
    .addHelpText(
      "after",
      `
The file:
  datasets:
    - name: pg1
      node: node-a
      size: 10GiB                # optional; none for no limit
      metadata: { team: blue }   # optional; all of it, if given
Datasets are known by name. What the file does not say stays as it is, as do datasets not in it.
${examples(
  ["flocker apply -f cluster.yaml --dry-run", "what would change?"],
  ["flocker apply -f cluster.yaml --wait", "change it, and return when all is in place"],
  ["flocker apply -f cluster.yaml --prune --yes", "delete what is not in the file, too"],
)}`,
    );
  return withConnectionOptions(withWaitOptions(command)).action((options: ApplyOptions) =>
    performConnected(cli, options, (client) => apply(cli, client, options)),
  );
}

async function apply(cli: CommandLine, client: ClusterClient, options: ApplyOptions): Promise<Result<void>> {
  const text = await readClusterFile(resolve(cli.workingFolder, options.file), options.file);
  if (!text.ok) return text;
  // A mistake of the file itself is told also where the cluster cannot be reached.
  const readable = parseClusterFile(text.value, options.file);
  if (!readable.ok) return readable;
  const nodes = await readNodes(client);
  if (!nodes.ok) return nodes;
  const wanted = parseClusterFile(text.value, options.file, (node) => nodeMistake(nodes.value, node));
  if (!wanted.ok) return wanted;
  const existing = await collect(client, {});
  if (!existing.ok) return existing;
  const difference = differenceOf(wanted.value, existing.value, {
    nodes: nodes.value,
    prune: options.prune ?? false,
  });
  if (!difference.ok) return difference;
  const json = options.json ?? false;
  if (!json) {
    for (const { text, colour } of differenceLines(difference.value, nodes.value.nameOf)) {
      const line = printable(text);
      printLines(cli.terminal, colour === null ? line : coloured(cli.terminal, colour, line));
    }
  }
  if (options.dryRun === true) {
    if (json) printJson(cli.terminal, { ...differenceJson(difference.value), applied: 0 });
    if (options.exitCode === true && difference.value.steps.length > 0) cli.finish(exitCodes.differences);
    return success();
  }
  const consent = checkConsent(difference.value, options.yes ?? false);
  if (!consent.ok) return consent;
  return carryOut(cli, client, difference.value, nodes.value, options);
}

function nodeMistake(nodes: Nodes, word: string): { cause: string; remedy: string } | undefined {
  const found = nodes.find(word);
  if (found.ok) return undefined;
  return { cause: found.problem.message.replace(/\.$/, ""), remedy: found.problem.remedy };
}

function checkConsent({ steps }: Difference, yes: boolean): Result<void> {
  const count = steps.filter((step) => step.kind === "delete").length;
  if (count === 0 || yes) return success();
  return failure(
    "not-supported",
    `${count === 1 ? "One dataset" : `${count} datasets`} would be deleted. Nothing has been changed.`,
    "Look at the list above, then say so with --yes, or leave out --prune.",
    "--yes",
  );
}

async function carryOut(
  cli: CommandLine,
  client: ClusterClient,
  difference: Difference,
  nodes: Nodes,
  options: ApplyOptions,
): Promise<Result<void>> {
  const json = options.json ?? false;
  const changed: v2.Dataset[] = [];
  for (const [index, step] of difference.steps.entries()) {
    const done = await carryOutStep(client, step);
    if (!done.ok) {
      const before =
        index === 0 ? "Nothing has been changed." : `The ${index} steps before it have been carried out.`;
      const { code, message, remedy } = done.problem;
      return failure(
        code,
        `Error while carrying out ${step.kind} ${step.name}: ${message} ${before}`,
        remedy,
      );
    }
    changed.push(done.value);
    if (!json)
      printLines(
        cli.terminal,
        printable(`${pastOf[step.kind]} ${step.name} ${stepText(step, nodes.nameOf)}`),
      );
  }
  let shown: readonly v2.Dataset[] = changed;
  if (options.wait === true) {
    const waited = [...changed, ...difference.unchanged].filter(
      (dataset) => dataset.desired?.deletion === null,
    );
    const all = await waitAndTell(cli, client, waited, {
      condition: "converged",
      timeoutMs: options.timeout,
      json,
    });
    if (!all.ok) return all;
    shown = all.value;
  }
  if (json)
    printJson(cli.terminal, { ...differenceJson(difference), applied: changed.length, datasets: shown });
  return success();
}

const pastOf = { create: "created", change: "changed", delete: "deleted" } as const;

/** Refused where the dataset was changed by somebody else since the difference was shown. */
async function carryOutStep(client: ClusterClient, step: Step): Promise<Result<v2.Dataset>> {
  if (step.kind === "create") {
    const { name, node, maximumSizeBytes, metadata } = step;
    const body = { name, primary: node, maximum_size: maximumSizeBytes, metadata };
    return answerResult(await client.createDataset({ body }));
  }
  const params = { dataset_id: step.dataset.dataset_id };
  const headers = { "if-match": `"${step.dataset.desired?.revision ?? 0}"` };
  if (step.kind === "delete") return answerResult(await client.deleteDataset({ params, headers }));
  const metadata = [...step.metadata].map(([key, { to }]) => [key, to ?? null] as const);
  const body: v2.DatasetPatch = {
    ...(step.node === undefined ? {} : { primary: step.node.to }),
    ...(step.maximumSizeBytes === undefined ? {} : { maximum_size: step.maximumSizeBytes.to }),
    ...(metadata.length === 0 ? {} : { metadata: Object.fromEntries(metadata) }),
  };
  return answerResult(await client.updateDataset({ params, headers, body }));
}
