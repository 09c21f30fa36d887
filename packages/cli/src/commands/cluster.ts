import { answerResult, type v2 } from "@flocker/api";
import { formatSize, success, type Result } from "@flocker/core";
import type { Command } from "commander";
import { examples, newCommand, wholeNumber, type CommandLine } from "../command-line.ts";
import {
  performConnected,
  withConnectionOptions,
  type ClusterClient,
  type ConnectedOptions,
} from "../connection.ts";
import { minuteText } from "../dataset-state.ts";
import { findDatasetEvenDeleted, readNodes, type Nodes } from "../names.ts";
import { printable, printJson, printLines, printNote } from "../output.ts";

const warnBelowDays = 30;
const historyDefault = 20;
const historyPage = 1000;

/** `flocker status` */
export function statusCommand(cli: CommandLine): Command {
  const command = newCommand("status", "show the cluster at a glance").addHelpText(
    "after",
    examples(
      ["flocker status", "is everything in place?"],
      ["flocker status --json | jq .datasets", "for monitoring"],
    ),
  );
  return withConnectionOptions(command).action((options: ConnectedOptions) =>
    performConnected(cli, options, async (client) => {
      const status = answerResult(await client.status({}));
      if (!status.ok) return status;
      if (options.json === true) {
        printJson(cli.terminal, status.value);
        return success();
      }
      printLines(cli.terminal, ...statusLines(status.value));
      const { days_left: daysLeft, not_after: notAfter } = status.value.certificate;
      if (daysLeft < warnBelowDays) {
        const ends = `${daysLeft < 0 ? "has expired on" : "expires on"} ${notAfter.slice(0, 10)}`;
        printNote(
          cli.terminal,
          `warning: the control service's certificate ${ends}. Renew it with flocker ca renew.`,
        );
      }
      return success();
    }),
  );
}

function statusLines(status: v2.Status): readonly string[] {
  const { datasets, nodes } = status;
  const also = [
    datasets.converging > 0 ? `${datasets.converging} not yet` : "",
    datasets.conflicts > 0 ? `${datasets.conflicts} in conflict` : "",
    datasets.deleted > 0 ? `${datasets.deleted} deleted within the grace time` : "",
    datasets.unconfigured > 0 ? `${datasets.unconfigured} copies that nobody asked for` : "",
  ].filter((text) => text !== "");
  const silent = nodes.total - nodes.connected;
  const reasons = Object.entries(datasets.reasons)
    .toSorted(([, a], [, b]) => b - a)
    .map(([code, count]) => `  ${String(count).padStart(6)}  ${code}`);
  return [
    `Cluster:      ${status.cluster_id}`,
    `Version:      ${status.version}`,
    `Revision:     ${status.revision}`,
    `Nodes:        ${nodes.connected} of ${nodes.total} connected${silent > 0 ? " (flocker nodes)" : ""}`,
    `Datasets:     ${datasets.converged} of ${datasets.total} in place${also.map((text) => `, ${text}`).join("")}`,
    `Certificate:  valid until ${status.certificate.not_after.slice(0, 10)} (${status.certificate.days_left} days)`,
    ...(reasons.length === 0
      ? []
      : ["", "What datasets wait for (flocker list --unfinished, flocker explain DATASET):", ...reasons]),
  ].map((line) => printable(line));
}

interface HistoryOptions extends ConnectedOptions {
  readonly limit: number;
  readonly after?: number;
}

/** `flocker history` */
export function historyCommand(cli: CommandLine): Command {
  const command = newCommand("history", "show what was changed, when, and by whom")
    .argument("[dataset]", "only changes of this dataset")
    .option("-l, --limit <number>", "so many commits", wholeNumber(1, 100_000), historyDefault)
    .option(
      "--after <revision>",
      "those after this revision, instead of the last ones",
      wholeNumber(0, 2 ** 53),
    )
    .addHelpText(
      "after",
      examples(
        ["flocker history", "the last changes of the configuration"],
        ["flocker history pg1 --limit 5", "who moved it?"],
        ["flocker history --after 1200 --json", "everything since a revision, for a script"],
      ),
    );
  return withConnectionOptions(command).action((word: string | undefined, options: HistoryOptions) =>
    performConnected(cli, options, async (client) => {
      const dataset = word === undefined ? undefined : await findDatasetEvenDeleted(client, word);
      if (dataset?.ok === false) return dataset;
      const commits = await readCommits(client, dataset?.value.dataset_id, options);
      if (!commits.ok) return commits;
      if (options.json === true) {
        printJson(cli.terminal, { commits: commits.value });
        return success();
      }
      const nodes = await readNodes(client);
      if (!nodes.ok) return nodes;
      if (commits.value.length === 0) printNote(cli.terminal, "No changes.");
      for (const commit of commits.value) {
        printLines(cli.terminal, ...commitLines(commit, nodes.value).map((line) => printable(line)));
      }
      return success();
    }),
  );
}

async function readCommits(
  client: ClusterClient,
  datasetId: string | undefined,
  { limit, after }: HistoryOptions,
): Promise<Result<readonly v2.Commit[]>> {
  let from = after ?? 0;
  if (after === undefined && datasetId === undefined) {
    const status = answerResult(await client.status({}));
    if (!status.ok) return status;
    from = Math.max(0, status.value.revision - limit);
  }
  const kept: v2.Commit[] = [];
  for (;;) {
    const page = answerResult(
      await client.history({ query: { after: from, limit: Math.min(historyPage, limit) } }),
    );
    if (!page.ok) return page;
    for (const commit of page.value.commits) {
      const changes = commit.changes.filter(
        (change) =>
          datasetId === undefined || (change.kind !== "container" && change.dataset_id === datasetId),
      );
      if (changes.length > 0) kept.push({ ...commit, changes });
    }
    // The last ones are asked for, unless a beginning is given: then it is the first ones.
    if (after !== undefined && kept.length >= limit) return success(kept.slice(0, limit));
    if (page.value.next_after === null) return success(kept.slice(-limit));
    from = page.value.next_after;
    if (after === undefined) kept.splice(0, Math.max(0, kept.length - limit));
  }
}

function commitLines(commit: v2.Commit, nodes: Nodes): readonly string[] {
  const head = `${String(commit.revision).padStart(6)}  ${minuteText(commit.at)}  ${commit.author}`;
  return [head, ...commit.changes.map((change) => `        ${changeText(change, nodes)}`)];
}

/** One change in words: `pg1: moved from node-a to node-b, resized from 1 GiB to 2 GiB`. */
export function changeText(change: v2.Commit["changes"][number], nodes: Nodes): string {
  if (change.kind === "lease") {
    const { before, after } = change;
    if (after === null) return `${change.dataset_id}: lease of ${nodes.nameOf(before?.node_id ?? "")} ended`;
    const until = after.expires_at === null ? "for ever" : `until ${minuteText(after.expires_at)}`;
    return `${change.dataset_id}: lease for ${nodes.nameOf(after.node_id)} ${until}`;
  }
  if (change.kind === "container") return containerText(change, nodes);
  const { before, after } = change;
  const name = after.metadata["name"] ?? before?.metadata["name"] ?? change.dataset_id;
  if (before === null) {
    const limit = after.maximum_size === null ? "" : `, at most ${formatSize(after.maximum_size)}`;
    return `${name}: created on ${nodes.nameOf(after.primary)}${limit}`;
  }
  const parts: string[] = [];
  if (before.primary !== after.primary) {
    parts.push(`moved from ${nodes.nameOf(before.primary)} to ${nodes.nameOf(after.primary)}`);
  }
  if (before.maximum_size !== after.maximum_size) {
    const text = (bytes: number | null): string => (bytes === null ? "no limit" : formatSize(bytes));
    parts.push(`resized from ${text(before.maximum_size)} to ${text(after.maximum_size)}`);
  }
  parts.push(...metadataText(before.metadata, after.metadata), ...deletionText(before, after));
  return `${name}: ${parts.join(", ") || "nothing changed"}`;
}

function containerText(
  { name, before, after }: Extract<v2.Commit["changes"][number], { kind: "container" }>,
  nodes: Nodes,
): string {
  if (after === null) return `container ${name}: deleted`;
  if (before === null) return `container ${name}: created on ${nodes.nameOf(after.node_id)}`;
  return before.node_id === after.node_id
    ? `container ${name}: changed`
    : `container ${name}: moved from ${nodes.nameOf(before.node_id)} to ${nodes.nameOf(after.node_id)}`;
}

function metadataText(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): readonly string[] {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return keys.flatMap((key) => {
    if (before[key] === after[key]) return [];
    return [after[key] === undefined ? `${key} removed` : `${key} set to ${JSON.stringify(after[key])}`];
  });
}

function deletionText(
  before: NonNullable<v2.Dataset["desired"]>,
  after: NonNullable<v2.Dataset["desired"]>,
): readonly string[] {
  if (before.deletion === null && after.deletion !== null) {
    return [`deleted (kept until ${minuteText(after.deletion.grace_ends_at)})`];
  }
  if (before.deletion !== null && after.deletion === null) return ["undeleted"];
  return after.deletion?.purged === true && before.deletion?.purged !== true
    ? ["grace time over: copies destroyed"]
    : [];
}
