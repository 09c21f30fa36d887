import { answerResult, type v2 } from "@flocker/api";
import { formatSize, success } from "@flocker/core";
import type { Command } from "commander";
import { examples, newCommand, type CommandLine } from "../command-line.ts";
import { performConnected, withConnectionOptions, type ConnectedOptions } from "../connection.ts";
import { describeState, minuteText, primaryCopy, sizeText, spanText } from "../dataset-state.ts";
import { collect, findDatasetEvenDeleted, readNodes, type Nodes } from "../names.ts";
import { printJson, printLines, printNote, renderTable, type Column } from "../output.ts";
import { explainLines, showLines } from "./dataset-text.ts";

interface ListOptions extends ConnectedOptions {
  readonly node?: string;
  readonly deleted?: boolean;
  readonly all?: boolean;
  readonly unfinished?: boolean;
  readonly wide?: boolean;
}

/** `flocker list` */
export function listCommand(cli: CommandLine): Command {
  const command = newCommand("list", "list the datasets")
    .alias("ls")
    .option("-n, --node <node>", "only those that belong on this node, or have a copy there")
    .option("-d, --deleted", "only deleted ones that can still be had back")
    .option("-a, --all", "deleted ones, too")
    .option("-u, --unfinished", "only those that are not as they should be")
    .option("-w, --wide", "whole ids, owner and mount point, too")
    .addHelpText(
      "after",
      examples(
        ["flocker list", "all datasets"],
        ["flocker list --unfinished", "what the cluster is working on, and what hangs"],
        ["flocker list --json | jq -r '.datasets[].name'", "for a script"],
      ),
    );
  return withConnectionOptions(command).action((options: ListOptions) =>
    performConnected(cli, options, async (client) => {
      const nodes = await readNodes(client);
      if (!nodes.ok) return nodes;
      const node = options.node === undefined ? undefined : nodes.value.find(options.node);
      if (node?.ok === false) return node;
      const found = await collect(client, {
        deleted: options.deleted === true ? "true" : options.all === true ? "any" : "false",
        ...(node === undefined ? {} : { node: node.value }),
        ...(options.unfinished === true ? { converged: false } : {}),
      });
      if (!found.ok) return found;
      const datasets =
        options.deleted === true
          ? found.value.filter((dataset) => dataset.desired?.deletion?.purged !== true)
          : found.value;
      if (options.json === true) printJson(cli.terminal, { datasets });
      else if (datasets.length === 0) printNote(cli.terminal, "No datasets.");
      else
        printLines(
          cli.terminal,
          ...renderTable(cli.terminal, listColumns(nodes.value, datasets, options), datasets),
        );
      return success();
    }),
  );
}

function listColumns(
  nodes: Nodes,
  datasets: readonly v2.Dataset[],
  { wide = false }: ListOptions,
): readonly Column<v2.Dataset>[] {
  const idLength = wide ? 36 : shortestUniqueLength(datasets.map((dataset) => dataset.dataset_id));
  const columns: Column<v2.Dataset>[] = [
    { title: "NAME", value: (dataset) => dataset.name ?? "-" },
    { title: "ID", value: (dataset) => dataset.dataset_id.slice(0, idLength) },
    {
      title: "NODE",
      value: (dataset) => (dataset.desired === null ? "-" : nodes.nameOf(dataset.desired.primary)),
    },
    { title: "SIZE", value: (dataset) => sizeText(dataset.desired?.maximum_size ?? null), alignRight: true },
    {
      title: "USED",
      value: (dataset) => sizeText(primaryCopy(dataset)?.used_bytes ?? null),
      alignRight: true,
    },
    {
      title: "STATE",
      value: (dataset) => describeState(dataset, nodes.nameOf).word,
      colour: (dataset) => describeState(dataset, nodes.nameOf).colour,
    },
  ];
  if (!wide) return columns;
  return [
    ...columns,
    { title: "OWNER", value: ({ ownership }) => (ownership === null ? "-" : nodes.nameOf(ownership.owner)) },
    { title: "MOUNTED AT", value: (dataset) => primaryCopy(dataset)?.path ?? "-" },
  ];
}

/** At least eight digits, and as many as it takes to tell the ids apart. */
function shortestUniqueLength(ids: readonly string[]): number {
  for (let length = 8; length < 36; length += 1) {
    if (new Set(ids.map((id) => id.slice(0, length))).size === ids.length) return length;
  }
  return 36;
}

/** `flocker show` and `flocker explain`: one dataset, seen whole, or why it is as it is. */
export function showCommand(cli: CommandLine): Command {
  return datasetCommand(cli, {
    name: "show",
    summary: "show a dataset: what should be, what is, and what is in the way",
    example: ["flocker show pg1", "everything known of it"],
    lines: showLines,
    json: (dataset) => dataset,
  });
}

/** `flocker explain` */
export function explainCommand(cli: CommandLine): Command {
  return datasetCommand(cli, {
    name: "explain",
    summary: "say why a dataset is not (yet) where it should be, and what to do about it",
    example: ["flocker explain pg1", "why is it not mounted?"],
    lines: explainLines,
    json: ({ dataset_id, name, converged, desired, ownership, transfer, reasons }) => ({
      dataset_id,
      name,
      converged,
      desired,
      ownership,
      transfer,
      reasons,
    }),
  });
}

interface DatasetCommand {
  readonly name: string;
  readonly summary: string;
  readonly example: readonly [line: string, meaning: string];
  readonly lines: (cli: CommandLine, dataset: v2.Dataset, nodes: Nodes) => readonly string[];
  readonly json: (dataset: v2.Dataset) => unknown;
}

function datasetCommand(cli: CommandLine, kind: DatasetCommand): Command {
  const command = newCommand(kind.name, kind.summary)
    .argument("<dataset>", "its name, id, or the beginning of its id; deleted ones, too")
    .addHelpText("after", examples(kind.example));
  return withConnectionOptions(command).action((word: string, options: ConnectedOptions) =>
    performConnected(cli, options, async (client) => {
      const dataset = await findDatasetEvenDeleted(client, word);
      if (!dataset.ok) return dataset;
      if (options.json === true) {
        printJson(cli.terminal, kind.json(dataset.value));
        return success();
      }
      const nodes = await readNodes(client);
      if (!nodes.ok) return nodes;
      printLines(cli.terminal, ...kind.lines(cli, dataset.value, nodes.value));
      return success();
    }),
  );
}

/** `flocker nodes` */
export function nodesCommand(cli: CommandLine): Command {
  const command = newCommand("nodes", "list the nodes")
    .option("-w, --wide", "whole ids, versions and addresses, too")
    .addHelpText("after", examples(["flocker nodes", "all nodes, silent ones too"]));
  return withConnectionOptions(command).action((options: ConnectedOptions & { wide?: boolean }) =>
    performConnected(cli, options, async (client) => {
      const list = answerResult(await client.listNodes({}));
      if (!list.ok) return list;
      const nodes = list.value.nodes.toSorted((a, b) => a.name.localeCompare(b.name));
      if (options.json === true) {
        printJson(cli.terminal, list.value);
        return success();
      }
      if (nodes.length === 0) {
        printNote(cli.terminal, "No node has connected yet. Start an agent with flocker agent.");
        return success();
      }
      printLines(
        cli.terminal,
        ...renderTable(cli.terminal, nodeColumns(cli, nodes, options.wide ?? false), nodes),
      );
      for (const node of nodes) {
        if (node.refused_session === null) continue;
        const { at, host } = node.refused_session;
        printNote(
          cli.terminal,
          `warning: a second agent with the certificate of ${node.name} was refused (${minuteText(at)}, from ${host}). ` +
            "Each node needs a certificate of its own.",
        );
      }
      return success();
    }),
  );
}

function nodeColumns(cli: CommandLine, nodes: readonly v2.Node[], wide: boolean): readonly Column<v2.Node>[] {
  const idLength = wide ? 36 : shortestUniqueLength(nodes.map((node) => node.node_id));
  const now = cli.clock.now();
  const state = (node: v2.Node): string =>
    node.connected ? "connected" : node.stale ? "silent" : "disconnected";
  const columns: Column<v2.Node>[] = [
    { title: "NAME", value: (node) => node.name },
    { title: "ID", value: (node) => node.node_id.slice(0, idLength) },
    {
      title: "STATE",
      value: state,
      colour: (node) => (node.connected ? "green" : "red"),
    },
    {
      title: "SEEN",
      value: (node) => (node.connected ? "now" : `${spanText(now - Date.parse(node.last_seen))} ago`),
    },
    { title: "BACKEND", value: (node) => node.backend.kind },
    { title: "DATASETS", value: (node) => String(node.dataset_count), alignRight: true },
    {
      title: "FREE",
      value: ({ capacity }) =>
        capacity === null ? "-" : `${formatSize(capacity.free_bytes)} of ${formatSize(capacity.total_bytes)}`,
    },
  ];
  if (!wide) return columns;
  return [
    ...columns,
    {
      title: "ADDRESS",
      value: (node) => `${node.host.includes(":") ? `[${node.host}]` : node.host}:${node.data_port}`,
    },
    { title: "VERSION", value: (node) => node.version },
    { title: "ERA", value: (node) => node.era },
  ];
}
