import type { v2 } from "@flocker/api";
import { failure, success, type Result } from "@flocker/core";
import type { Nodes } from "../names.ts";
import type { WantedDataset } from "./cluster-file.ts";

/** Something that becomes something else. */
export interface Turn<Value> {
  readonly from: Value;
  readonly to: Value;
}

/** One step that makes the cluster as the file says. */
export type Step =
  | {
      readonly kind: "create";
      readonly name: string;
      readonly node: string;
      readonly maximumSizeBytes: number | null;
      readonly metadata: Readonly<Record<string, string>>;
    }
  | {
      readonly kind: "change";
      readonly name: string;
      readonly dataset: v2.Dataset;
      readonly node: Turn<string> | undefined;
      readonly maximumSizeBytes: Turn<number | null> | undefined;
      /** Undefined: the entry is not there. */
      readonly metadata: ReadonlyMap<string, Turn<string | undefined>>;
    }
  | { readonly kind: "delete"; readonly name: string; readonly dataset: v2.Dataset };

/** How the cluster differs from a file. */
export interface Difference {
  /** In the order in which they are carried out: what is new first, what goes last. */
  readonly steps: readonly Step[];
  readonly unchanged: readonly v2.Dataset[];
  /** In the cluster, but not in the file, and left alone. */
  readonly unmanaged: readonly v2.Dataset[];
}

/**
 * Compares what a file wants with the datasets that exist (deleted ones left out). Datasets are known by
 * their names; what the file does not say of a dataset counts as equal. With `prune`, what is not in the file
 * is to be deleted.
 */
export function differenceOf(
  wanted: readonly WantedDataset[],
  existing: readonly v2.Dataset[],
  options: { readonly nodes: Nodes; readonly prune: boolean },
): Result<Difference> {
  const configured = existing.filter((dataset) => dataset.desired !== null);
  const creations: Step[] = [];
  const changes: Step[] = [];
  const unchanged: v2.Dataset[] = [];
  const managed = new Set<string>();
  for (const want of wanted) {
    const node = options.nodes.find(want.node);
    if (!node.ok) return node;
    const found = configured.filter((dataset) => dataset.name === want.name);
    if (found.length > 1) return severalOfOneName(want, found);
    const [dataset] = found;
    if (dataset === undefined) {
      const { name, maximumSizeBytes = null, metadata = {} } = want;
      creations.push({ kind: "create", name, node: node.value, maximumSizeBytes, metadata });
      continue;
    }
    managed.add(dataset.dataset_id);
    const change = changeOf(want, dataset, node.value);
    if (change === undefined) unchanged.push(dataset);
    else changes.push(change);
  }
  const others = configured.filter((dataset) => !managed.has(dataset.dataset_id));
  const deletions = options.prune
    ? others.map((dataset): Step => ({ kind: "delete", name: dataset.name ?? dataset.dataset_id, dataset }))
    : [];
  return success({
    steps: [...creations, ...changes, ...deletions],
    unchanged,
    unmanaged: options.prune ? [] : others,
  });
}

function changeOf(want: WantedDataset, dataset: v2.Dataset, node: string): Step | undefined {
  const { desired } = dataset;
  if (desired === null) return undefined;
  const { maximumSizeBytes } = want;
  const moved = desired.primary === node ? undefined : { from: desired.primary, to: node };
  const resized =
    maximumSizeBytes === undefined || maximumSizeBytes === desired.maximum_size
      ? undefined
      : { from: desired.maximum_size, to: maximumSizeBytes };
  const metadata = want.metadata === undefined ? new Map() : metadataTurns(desired.metadata, want.metadata);
  if (moved === undefined && resized === undefined && metadata.size === 0) return undefined;
  return { kind: "change", name: want.name, dataset, node: moved, maximumSizeBytes: resized, metadata };
}

/** The name is metadata, too, but not the file's metadata. */
function metadataTurns(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): ReadonlyMap<string, Turn<string | undefined>> {
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  keys.delete("name");
  const turns = [...keys].map((key) => [key, { from: before[key], to: after[key] }] as const);
  return new Map(turns.filter(([, turn]) => turn.from !== turn.to));
}

function severalOfOneName(want: WantedDataset, found: readonly v2.Dataset[]): Result<never> {
  const ids = found.map((dataset) => dataset.dataset_id).join(", ");
  return failure(
    "bad-request",
    `The cluster has ${found.length} datasets called ${JSON.stringify(want.name)} (${ids}), ` +
      "so which one the file means is not clear.",
    "Give all but one of them another name.",
  );
}
