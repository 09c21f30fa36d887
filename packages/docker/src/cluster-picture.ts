import type { v2 } from "@flocker/api";
import type { Clock, Milliseconds, NodeId, Problem } from "@flocker/core";

/** What the plugin remembers of a dataset that has a name, and so is a volume. */
export interface KnownVolume {
  readonly dataset: string;
  readonly name: string;
  /** The node that should hold it. */
  readonly primary: string;
  readonly maximumSizeBytes: number | null;
  readonly lease: v2.Dataset["lease"];
  /** Where it is mounted for reading and writing, as the nodes say. */
  readonly mounts: readonly { readonly node: string; readonly path: string }[];
  readonly reasons: readonly string[];
  readonly converged: boolean;
}

/** How current the picture is. */
export type Freshness =
  | { readonly kind: "live" }
  /** Nothing was ever read. */
  | { readonly kind: "empty"; readonly problem: Problem | undefined }
  /** The control service is away: what is known is as of then. */
  | { readonly kind: "old"; readonly since: Milliseconds; readonly problem: Problem };

/** A dataset as a volume, or undefined where it is none: without a name, deleted, or not configured. */
export function volumeOf(dataset: v2.Dataset): KnownVolume | undefined {
  const { name, desired } = dataset;
  if (name === null || name === "" || desired === null || desired.deletion !== null) return undefined;
  return {
    dataset: dataset.dataset_id,
    name,
    primary: desired.primary,
    maximumSizeBytes: desired.maximum_size,
    lease: dataset.lease,
    mounts: dataset.actual.flatMap(({ node_id: node, role, path }) =>
      role === "primary" && path !== null ? [{ node, path }] : [],
    ),
    reasons: dataset.reasons.map(({ message }) => message),
    converged: dataset.converged,
  };
}

/**
 * What the plugin knows of the cluster, in memory, so that it can answer at once whatever the cluster does.
 * Each reading of a dataset has a number; one that began earlier never replaces one that began later.
 */
export class ClusterPicture {
  readonly #clock: Clock;
  readonly #volumes = new Map<string, KnownVolume>();
  readonly #byName = new Map<string, Set<string>>();
  readonly #readings = new Map<string, number>();
  #nodes: ReadonlyMap<string, v2.Node> = new Map();
  #freshness: Freshness = { kind: "empty", problem: undefined };
  #lastReading = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get freshness(): Freshness {
    return this.#freshness;
  }

  get nodes(): ReadonlyMap<string, v2.Node> {
    return this.#nodes;
  }

  /** A node as people know it. */
  nodeLabel(node: string): string {
    const known = this.#nodes.get(node);
    return known === undefined ? `node ${node}` : `${known.name} (${node.slice(0, 8)})`;
  }

  volumes(): Iterable<KnownVolume> {
    return this.#volumes.values();
  }

  volume(dataset: string): KnownVolume | undefined {
    return this.#volumes.get(dataset);
  }

  /** All volumes of a name: /v1 lets several datasets have the same one. */
  named(name: string): readonly KnownVolume[] {
    return [...(this.#byName.get(name) ?? [])].flatMap((dataset) => this.#volumes.get(dataset) ?? []);
  }

  /** The number of a reading that begins now. */
  beginReading(): number {
    this.#lastReading += 1;
    return this.#lastReading;
  }

  /** Takes in what a reading has shown of one dataset; undefined: it is not there. */
  put(id: string, dataset: v2.Dataset | undefined, reading: number): void {
    if ((this.#readings.get(id) ?? 0) > reading) return;
    const volume = dataset === undefined ? undefined : volumeOf(dataset);
    this.#forget(id);
    if (volume === undefined) return;
    this.#readings.set(id, reading);
    this.#volumes.set(id, volume);
    const ids = this.#byName.get(volume.name);
    if (ids === undefined) this.#byName.set(volume.name, new Set([id]));
    else ids.add(id);
  }

  /** Takes in a reading of all datasets. */
  putAll(datasets: readonly v2.Dataset[], reading: number): void {
    const listed = new Set(datasets.map((dataset) => dataset.dataset_id));
    for (const dataset of datasets) this.put(dataset.dataset_id, dataset, reading);
    for (const id of this.#volumes.keys()) if (!listed.has(id)) this.put(id, undefined, reading);
  }

  putNodes(nodes: readonly v2.Node[]): void {
    this.#nodes = new Map(nodes.map((node) => [node.node_id, node]));
  }

  markLive(): void {
    this.#freshness = { kind: "live" };
  }

  markOld(problem: Problem): void {
    const before = this.#freshness;
    if (before.kind === "empty") this.#freshness = { kind: "empty", problem };
    else {
      const since = before.kind === "old" ? before.since : this.#clock.now();
      this.#freshness = { kind: "old", since, problem };
    }
  }

  #forget(id: string): void {
    const volume = this.#volumes.get(id);
    if (volume === undefined) return;
    this.#volumes.delete(id);
    this.#readings.delete(id);
    const ids = this.#byName.get(volume.name);
    ids?.delete(id);
    if (ids?.size === 0) this.#byName.delete(volume.name);
  }
}

/** Where a volume is mounted on a node, as that node said last. */
export function mountedOn(volume: KnownVolume | undefined, node: NodeId | undefined): string | undefined {
  return volume?.mounts.find((mount) => mount.node === node)?.path;
}
