import { answerResult, v2 } from "@flocker/api";
import { failure, formatSize, parseSizeBytes, profileKey, success, type Result } from "@flocker/core";
import { parseDurationMs } from "@flocker/host";
import { InvalidArgumentError, type Command } from "commander";
import { examples, newCommand, type CommandLine } from "../command-line.ts";
import { performConnected, withConnectionOptions, type ClusterClient } from "../connection.ts";
import { minuteText } from "../dataset-state.ts";
import { callName, findDataset, readNodes, type Existence, type Nodes } from "../names.ts";
import { printable, printJson, printLines } from "../output.ts";
import { waitAndTell, withWaitOptions, type WaitingOptions } from "./waiting.ts";

interface CreateOptions extends WaitingOptions {
  readonly node?: string;
  readonly size?: number | null;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly id?: string;
  readonly profile?: string;
}

/** `flocker create` */
export function createCommand(cli: CommandLine): Command {
  const command = withDatasetOptions(
    newCommand("create", "create a dataset").argument("[name]", "a name for people, unique in the cluster"),
  ).addHelpText(
    "after",
    examples(
      ["flocker create pg1 --node node-a --size 10GiB", "a dataset for a database"],
      ["flocker create pg1 -n node-a --wait", "and return when it is mounted"],
      [
        "flocker create pg1 -n node-a --profile gold",
        "with the properties of ZFS, and in the pool, of that profile",
      ],
      ["flocker create pg1 -n node-a --json | jq -r .dataset_id", "its id, for a script"],
    ),
  );
  return withConnectionOptions(withWaitOptions(command)).action(
    (name: string | undefined, options: CreateOptions) =>
      createDataset(cli, options, name === undefined ? {} : { name }),
  );
}

/** `flocker import` */
export function importCommand(cli: CommandLine): Command {
  const command = withDatasetOptions(
    newCommand("import", "make a dataset out of storage that a node has already")
      .argument("<source>", "what the node calls it: a file system of ZFS such as tank/data/pg")
      .argument("[name]", "a name for people, unique in the cluster"),
  ).addHelpText(
    "after",
    `
Nothing is copied: the file system is unmounted, renamed, and mounted where the node's datasets are, with its
data, snapshots and properties. It must be in a pool that the node's agent works with. While a program uses
it, it stays as it is, and flocker explain names the program. From then on it is a dataset like all others:
deleting it destroys it after the grace time.
${examples(
  ["flocker import tank/data/pg pg1 --node node-a", "adopt a database's file system"],
  ["flocker import tank/data/pg pg1 -n node-a --wait", "and return when it is mounted"],
)}`,
  );
  return withConnectionOptions(withWaitOptions(command)).action(
    (source: string, name: string | undefined, options: CreateOptions) =>
      createDataset(cli, options, name === undefined ? { source } : { source, name }),
  );
}

/** What a dataset can be made with, whatever it is made of. */
function withDatasetOptions(command: Command): Command {
  return command
    .option("-n, --node <node>", "where it belongs (may be left out where there is only one node)")
    .option("-s, --size <size>", "its maximum size: 500MB, 10GiB, none", parseSize)
    .option("-m, --metadata <key=value>", "a note of your own; may be given several times", addMetadata, {})
    .option("-p, --profile <name>", "gold, silver, bronze, or another that the node's agent.yml has")
    .option("--id <uuid>", "its id; a fresh one otherwise");
}

function createDataset(
  cli: CommandLine,
  options: CreateOptions,
  what: Pick<v2.NewDataset, "name" | "source">,
): Promise<void> {
  return performConnected(cli, options, async (client) => {
    const nodes = await readNodes(client);
    if (!nodes.ok) return nodes;
    const primary = chooseNode(nodes.value, options.node);
    if (!primary.ok) return primary;
    const metadata = {
      ...options.metadata,
      ...(options.profile === undefined ? {} : { [profileKey]: options.profile }),
    };
    const body: v2.NewDataset = {
      primary: primary.value,
      ...what,
      ...(options.id === undefined ? {} : { dataset_id: options.id }),
      ...(options.size === undefined ? {} : { maximum_size: options.size }),
      ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    };
    const created = answerResult(await client.createDataset({ body }));
    if (!created.ok) return created;
    const limit = created.value.desired?.maximum_size ?? null;
    const size = limit === null ? "" : `, at most ${formatSize(limit)}`;
    const origin = what.source === undefined ? "" : `, out of ${what.source}`;
    const where = `${nodes.value.nameOf(primary.value)}${origin}${size}`;
    return tellChange(cli, client, created.value, options, `created ${full(created.value)} on ${where}`);
  });
}

interface MoveOptions extends WaitingOptions {
  readonly maxDowntime?: number | null;
}

/** `flocker move` */
export function moveCommand(cli: CommandLine): Command {
  const command = newCommand("move", "move a dataset to another node")
    .alias("mv")
    .argument("<dataset>", "its name, id, or the beginning of its id")
    .argument("<node>", "the node's name, uuid, or the beginning of one")
    .option(
      "--max-downtime <time>",
      "how long it may be unmounted: 2s, 500ms; none for as long as it takes",
      parseDowntime,
    )
    .addHelpText(
      "after",
      `
Where the backend can take snapshots of a copy in use, the dataset stays in service while its data is copied,
and is unmounted only for the last difference. A handoff that would take longer than --max-downtime is not
begun, or given up, and tried again later; the dataset is served where it is meanwhile. The limit stays with
the dataset for its next moves.
${examples(
  ["flocker move pg1 node-b", "return when the wish is durable"],
  ["flocker move pg1 node-b --wait", "return when it is mounted there, showing the progress"],
  ["flocker move pg1 node-b --max-downtime 2s", "interrupt its service for two seconds at most"],
)}`,
    );
  return withConnectionOptions(withWaitOptions(command)).action(
    (word: string, node: string, options: MoveOptions) =>
      performConnected(cli, options, async (client) => {
        const nodes = await readNodes(client);
        if (!nodes.ok) return nodes;
        const primary = nodes.value.find(node);
        if (!primary.ok) return primary;
        const where = nodes.value.nameOf(primary.value);
        return change(cli, client, word, options, {
          body: {
            primary: primary.value,
            ...(options.maxDowntime === undefined ? {} : { maximum_downtime_ms: options.maxDowntime }),
          },
          tell: (before) => {
            const from = before.desired?.primary ?? primary.value;
            return from === primary.value
              ? `${callName(before)} belongs on ${where} already`
              : `moving ${callName(before)} from ${nodes.value.nameOf(from)} to ${where}`;
          },
        });
      }),
  );
}

/** `flocker resize` */
export function resizeCommand(cli: CommandLine): Command {
  const command = newCommand("resize", "change a dataset's maximum size")
    .argument("<dataset>", "its name, id, or the beginning of its id")
    .argument("<size>", "the new maximum size: 500MB, 10GiB; none lifts it", parseSize)
    .addHelpText(
      "after",
      examples(
        ["flocker resize pg1 20GiB", "more room"],
        ["flocker resize pg1 none", "no limit but that of the node's storage"],
      ),
    );
  return withConnectionOptions(withWaitOptions(command)).action(
    (word: string, size: number | null, options: WaitingOptions) =>
      performConnected(cli, options, (client) =>
        change(cli, client, word, options, {
          body: { maximum_size: size },
          tell: (before) => {
            const old = before.desired?.maximum_size ?? null;
            const text = (bytes: number | null): string => (bytes === null ? "no limit" : formatSize(bytes));
            return `resizing ${callName(before)} from ${text(old)} to ${text(size)}`;
          },
        }),
      ),
  );
}

/** `flocker delete` */
export function deleteCommand(cli: CommandLine): Command {
  const command = newCommand("delete", "delete datasets; they can be had back for the grace time")
    .alias("rm")
    .argument("<dataset...>", "names, ids, or beginnings of ids")
    .addHelpText(
      "after",
      `
A deleted dataset is unmounted and hidden at once. Its bytes are kept for the cluster's grace time; until then
flocker undelete brings it back. Nothing is destroyed earlier.
${examples(["flocker delete pg1", "delete one"], ["flocker delete pg1 && flocker undelete pg1", "change your mind"])}`,
    );
  return withConnectionOptions(command).action((words: string[], options: WaitingOptions) =>
    performConnected(cli, options, async (client) => {
      const found = await findAll(client, words, "existing");
      if (!found.ok) return found;
      const deleted: v2.Dataset[] = [];
      for (const dataset of found.value) {
        const params = { dataset_id: dataset.dataset_id };
        const result = answerResult(await client.deleteDataset({ params }));
        if (!result.ok) return result;
        deleted.push(result.value);
        if (options.json === true) continue;
        const until = minuteText(result.value.desired?.deletion?.grace_ends_at ?? "");
        const name = callName(dataset);
        printLines(
          cli.terminal,
          printable(`deleted ${name}; flocker undelete ${name} brings it back until ${until}`),
        );
      }
      if (options.json === true) printJson(cli.terminal, { datasets: deleted });
      return success();
    }),
  );
}

/** `flocker undelete` */
export function undeleteCommand(cli: CommandLine): Command {
  const command = newCommand("undelete", "bring a deleted dataset back, within its grace time")
    .argument("<dataset>", "its name, id, or the beginning of its id")
    .addHelpText(
      "after",
      examples(
        ["flocker list --deleted", "what can be had back"],
        ["flocker undelete pg1 --wait", "have it back"],
      ),
    );
  return withConnectionOptions(withWaitOptions(command)).action((word: string, options: WaitingOptions) =>
    performConnected(cli, options, async (client) => {
      const found = await findDataset(client, word, "deleted");
      if (!found.ok) return found;
      const params = { dataset_id: found.value.dataset_id };
      const restored = answerResult(await client.undeleteDataset({ params }));
      if (!restored.ok) return restored;
      return tellChange(cli, client, restored.value, options, `undeleted ${callName(restored.value)}`);
    }),
  );
}

/** `flocker failover` */
export function failoverCommand(cli: CommandLine): Command {
  const command = newCommand("failover", "go on from a replica, while the dataset's node is away")
    .argument("<dataset>", "its name, id, or the beginning of its id")
    .argument("<node>", "the node that has a replica: its name, uuid, or the beginning of one")
    .option("--accept-loss", "what the replica lacks may be lost, and the other node is down")
    .addHelpText(
      "after",
      `
Without --accept-loss it only says what would be lost. Refused while the owner is connected: then move the
dataset, which loses nothing. When the owner comes back it serves its copy no more, and keeps it aside.
${examples(
  ["flocker failover pg1 node-b", "what would be lost"],
  ["flocker failover pg1 node-b --accept-loss --wait", "do it, and return when it is mounted there"],
)}`,
    );
  return withConnectionOptions(withWaitOptions(command)).action(
    (word: string, node: string, options: WaitingOptions & { readonly acceptLoss?: true }) =>
      performConnected(cli, options, async (client) => {
        const nodes = await readNodes(client);
        if (!nodes.ok) return nodes;
        const to = nodes.value.find(node);
        if (!to.ok) return to;
        const found = await findDataset(client, word);
        if (!found.ok) return found;
        const params = { dataset_id: found.value.dataset_id };
        const body = { to: to.value, accept_loss: options.acceptLoss === true };
        const done = answerResult(await client.failOverDataset({ params, body }));
        if (!done.ok) return done;
        const text = `${callName(found.value)} goes on from the replica on ${nodes.value.nameOf(to.value)}`;
        return tellChange(cli, client, done.value, options, text);
      }),
  );
}

async function change(
  cli: CommandLine,
  client: ClusterClient,
  word: string,
  options: WaitingOptions,
  patch: { readonly body: v2.DatasetPatch; readonly tell: (before: v2.Dataset) => string },
): Promise<Result<void>> {
  const found = await findDataset(client, word);
  if (!found.ok) return found;
  const params = { dataset_id: found.value.dataset_id };
  const changed = answerResult(await client.updateDataset({ params, body: patch.body }));
  if (!changed.ok) return changed;
  return tellChange(cli, client, changed.value, options, patch.tell(found.value));
}

/** Says what was done, waits for it where that was asked for, and prints the dataset for programs. */
async function tellChange(
  cli: CommandLine,
  client: ClusterClient,
  dataset: v2.Dataset,
  options: WaitingOptions,
  text: string,
): Promise<Result<void>> {
  const json = options.json ?? false;
  if (!json) printLines(cli.terminal, printable(text));
  let shown = dataset;
  if (options.wait === true) {
    const done = await waitAndTell(cli, client, [dataset], {
      condition: "converged",
      timeoutMs: options.timeout,
      json,
    });
    if (!done.ok) return done;
    shown = done.value[0] ?? dataset;
  }
  if (json) printJson(cli.terminal, shown);
  return success();
}

async function findAll(
  client: ClusterClient,
  words: readonly string[],
  existence: Existence,
): Promise<Result<readonly v2.Dataset[]>> {
  const found = new Map<string, v2.Dataset>();
  for (const word of words) {
    const dataset = await findDataset(client, word, existence);
    if (!dataset.ok) return dataset;
    found.set(dataset.value.dataset_id, dataset.value);
  }
  return success([...found.values()]);
}

function chooseNode(nodes: Nodes, word: string | undefined): Result<string> {
  if (word !== undefined) return nodes.find(word);
  const [only] = nodes.all;
  if (only !== undefined && nodes.all.length === 1) return success(only.node_id);
  const names = nodes.all.map((node) => node.name).join(", ");
  return failure(
    "bad-request",
    "Which node the dataset belongs on is not said.",
    nodes.all.length === 0
      ? "No node has connected yet: start an agent first."
      : `Name one with --node. The nodes are: ${names}.`,
    "node",
  );
}

function parseDowntime(text: string): number | null {
  if (["none", "unlimited"].includes(text.toLowerCase())) return null;
  const timeMs = parseDurationMs(text);
  if (timeMs === undefined || timeMs < 1)
    throw new InvalidArgumentError("Write a time such as 2s or 500ms, or none for as long as it takes.");
  return timeMs;
}

/** A size as the API takes it: rounded up to its multiple, and null for no limit. */
export function parseSize(text: string): number | null {
  if (["none", "unlimited"].includes(text.toLowerCase())) return null;
  const bytes = parseSizeBytes(text);
  if (bytes === undefined) {
    throw new InvalidArgumentError("Write a size such as 500MB, 10GiB or 1073741824, or none for no limit.");
  }
  const rounded = roundSize(bytes);
  if (rounded < v2.maximumSizeMinimum) {
    throw new InvalidArgumentError(`The smallest maximum size is ${formatSize(v2.maximumSizeMinimum)}.`);
  }
  return rounded;
}

/** Up to the next multiple that the API takes; nobody asks for less room than they need. */
export function roundSize(bytes: number): number {
  return Math.ceil(bytes / v2.maximumSizeMultiple) * v2.maximumSizeMultiple;
}

function addMetadata(
  text: string,
  before: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("Write it as key=value.");
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

function full(dataset: v2.Dataset): string {
  return dataset.name === null ? dataset.dataset_id : `${dataset.name} (${dataset.dataset_id})`;
}
