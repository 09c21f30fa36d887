import { answerResult, type v2 } from "@flocker/api";
import { failure, parseDatasetId, parseNodeId, success, type Problem, type Result } from "@flocker/core";
import { closest } from "@flocker/host";
import type { ClusterClient } from "./connection.ts";

/** So many candidates are listed where a word fits several. */
const candidatesMax = 10;
const pageSize = 1000;
const idPrefixPattern = /^[0-9a-f-]{1,36}$/i;

/** Which datasets a word may mean. */
export type Existence = "existing" | "deleted";

const deletedQuery = { existing: "false", deleted: "true" } as const;

/** All nodes that the cluster knows, to be found by what people call them. */
export interface Nodes {
  readonly all: readonly v2.Node[];
  /** A node's name, or the id where it is not known (yet). */
  readonly nameOf: (nodeId: string) => string;
  /** The node of that name, uuid or unique prefix of either; a whole uuid need not be known yet. */
  readonly find: (word: string) => Result<string>;
}

/** Reads the nodes once. */
export async function readNodes(client: ClusterClient): Promise<Result<Nodes>> {
  const list = answerResult(await client.listNodes({}));
  return list.ok ? success(nodesOf(list.value.nodes)) : list;
}

/** Nodes from a list. Names that several nodes have are shown with the beginning of the id. */
export function nodesOf(all: readonly v2.Node[]): Nodes {
  const byId = new Map(all.map((node) => [node.node_id, node]));
  const counts = new Map<string, number>();
  for (const node of all) counts.set(node.name, (counts.get(node.name) ?? 0) + 1);
  const nameOf = (nodeId: string): string => {
    const name = byId.get(nodeId)?.name;
    if (name === undefined || name === "") return nodeId;
    return counts.get(name) === 1 ? name : `${name} (${nodeId.slice(0, 8)})`;
  };
  return { all, nameOf, find: (word) => findNode(all, word) };
}

function findNode(all: readonly v2.Node[], word: string): Result<string> {
  const id = parseNodeId(word);
  if (id !== undefined) return success(id);
  const named = all.filter((node) => node.name === word);
  const lower = word.toLowerCase();
  const found =
    named.length > 0
      ? named
      : all.filter((node) => word !== "" && (node.name.startsWith(word) || node.node_id.startsWith(lower)));
  const [only] = found;
  if (only !== undefined && found.length === 1) return success(only.node_id);
  const shown = (node: v2.Node): string => `${node.name} (${node.node_id})`;
  if (found.length > 1) return ambiguous("node", word, found.map(shown));
  const near = closest(
    word,
    all.map((node) => node.name),
  );
  return failure(
    "unknown-node",
    `There is no node ${JSON.stringify(word)}.`,
    near === undefined
      ? `The nodes are: ${listed(all.map((node) => node.name)) || "none yet; start an agent"}.`
      : `Did you mean ${near}? flocker nodes lists them.`,
    "node",
  );
}

/**
 * The dataset of that name, id, or unique beginning of an id. A name wins over a beginning. `unknown-dataset`
 * where nothing fits, `bad-request` with the candidates where several do.
 */
export async function findDataset(
  client: ClusterClient,
  word: string,
  existence: Existence = "existing",
): Promise<Result<v2.Dataset>> {
  const id = parseDatasetId(word);
  if (id !== undefined) return answerResult(await client.getDataset({ params: { dataset_id: id } }));
  const named = await candidates(client, existence, { name: word });
  if (!named.ok) return named;
  const [only] = named.value;
  if (only !== undefined && named.value.length === 1) return success(only);
  if (named.value.length > 1) return ambiguous("dataset", word, named.value.map(shownDataset));
  const all = await candidates(client, existence, {});
  if (!all.ok) return all;
  return pickByPrefix(all.value, word, existence);
}

/** As {@link findDataset}; a deleted dataset is found where no existing one fits. */
export async function findDatasetEvenDeleted(
  client: ClusterClient,
  word: string,
): Promise<Result<v2.Dataset>> {
  const existing = await findDataset(client, word);
  if (existing.ok || existing.problem.code !== "unknown-dataset") return existing;
  const deleted = await findDataset(client, word, "deleted");
  return deleted.ok || deleted.problem.code !== "unknown-dataset" ? deleted : existing;
}

/** Those that cannot be had back are nobody's meaning any more. */
async function candidates(
  client: ClusterClient,
  existence: Existence,
  query: { readonly name?: string },
): Promise<Result<readonly v2.Dataset[]>> {
  const all = await collect(client, { ...query, deleted: deletedQuery[existence] });
  if (!all.ok) return all;
  return success(all.value.filter((dataset) => dataset.desired?.deletion?.purged !== true));
}

function pickByPrefix(all: readonly v2.Dataset[], word: string, existence: Existence): Result<v2.Dataset> {
  const lower = word.toLowerCase();
  const found = idPrefixPattern.test(word)
    ? all.filter((dataset) => dataset.dataset_id.startsWith(lower))
    : [];
  const [only] = found;
  if (only !== undefined && found.length === 1) return success(only);
  if (found.length > 1) return ambiguous("dataset", word, found.map(shownDataset));
  const near = closest(
    word,
    all.flatMap((dataset) => dataset.name ?? []),
  );
  const list = existence === "deleted" ? "flocker list --deleted" : "flocker list";
  return failure(
    "unknown-dataset",
    `There is no ${existence === "deleted" ? "deleted " : ""}dataset ${JSON.stringify(word)}.`,
    near === undefined
      ? `See what there is with ${list}.`
      : `Did you mean ${near}? ${list} shows what there is.`,
    "dataset",
  );
}

/** Every dataset that fits, over all pages. */
export async function collect(
  client: ClusterClient,
  query: Omit<NonNullable<Parameters<ClusterClient["listDatasets"]>[0]["query"]>, "cursor" | "limit">,
): Promise<Result<readonly v2.Dataset[]>> {
  const datasets: v2.Dataset[] = [];
  let cursor: string | undefined;
  for (;;) {
    const page = answerResult(
      await client.listDatasets({
        query: { ...query, limit: pageSize, ...(cursor === undefined ? {} : { cursor }) },
      }),
    );
    if (!page.ok) return page;
    datasets.push(...page.value.datasets);
    if (page.value.next_cursor === null) return success(datasets);
    cursor = page.value.next_cursor;
  }
}

/** A dataset as people call it: its name, else the beginning of its id. */
export function callName(dataset: { readonly name: string | null; readonly dataset_id: string }): string {
  return dataset.name ?? dataset.dataset_id;
}

function shownDataset(dataset: v2.Dataset): string {
  return dataset.name === null ? dataset.dataset_id : `${dataset.name} (${dataset.dataset_id})`;
}

function ambiguous(
  kind: "dataset" | "node",
  word: string,
  candidates: readonly string[],
): { ok: false; problem: Problem } {
  return failure(
    "bad-request",
    `${JSON.stringify(word)} fits ${candidates.length} ${kind}s: ${listed(candidates)}.`,
    "Give more of it, or the whole id.",
    kind,
  );
}

function listed(texts: readonly string[]): string {
  const shown = texts.slice(0, candidatesMax).join(", ");
  return texts.length > candidatesMax ? `${shown}, and ${texts.length - candidatesMax} more` : shown;
}
