import {
  compareEpochs,
  datasetName,
  type DatasetConfiguration,
  type DatasetId,
  type DatasetReport,
  type Lease,
  type NodeId,
  type Ownership,
} from "@flocker/core";
import type { DatasetView } from "./cluster.ts";
import type { OwnershipConflict } from "./ownership.ts";

/** All that is known of one dataset. Its values are replaced, never changed. */
export interface DatasetEntry {
  readonly dataset: DatasetId;
  configuration: DatasetConfiguration | null;
  ownership: Ownership | null;
  conflict: OwnershipConflict | null;
  transfer: DatasetView["transfer"];
  readonly reports: Map<NodeId, DatasetReport>;
  /**
   * Since the owner got its birthright, the configuration has named another node. Undefined where that is
   * from before the control service's start and has not been looked up.
   */
  primaryWasElsewhere: boolean | undefined;
  /** The nodes whose slices have this dataset. */
  concerned: ReadonlySet<NodeId>;
}

const nobody: ReadonlySet<NodeId> = new Set();

/**
 * The datasets with the indexes that keep every change at the cost of what it concerns: by name, and by
 * concerned node. Configured ones are in the order of their creation; `strays` are reported by nodes but not
 * configured.
 */
export class DatasetTable {
  readonly leases: Map<DatasetId, Lease> = new Map();
  readonly #configured = new Map<DatasetId, DatasetEntry>();
  readonly #strays = new Map<DatasetId, DatasetEntry>();
  readonly #names = new Map<string, Set<DatasetId>>();
  readonly #concerns = new Map<NodeId, Set<DatasetId>>();

  get(dataset: DatasetId): DatasetEntry | undefined {
    return this.#configured.get(dataset) ?? this.#strays.get(dataset);
  }

  configured(): IterableIterator<DatasetEntry> {
    return this.#configured.values();
  }

  configuredIds(): IterableIterator<DatasetId> {
    return this.#configured.keys();
  }

  strays(): IterableIterator<DatasetEntry> {
    return this.#strays.values();
  }

  /** The undeleted datasets of that name. */
  named(name: string): Iterable<DatasetId> {
    return this.#names.get(name) ?? [];
  }

  /** The datasets that concern that node. */
  concerning(node: NodeId): ReadonlySet<DatasetId> {
    return this.#concerns.get(node) ?? noDatasets;
  }

  /** The dataset's entry, made for a report where there is none. */
  entryFor(dataset: DatasetId): DatasetEntry {
    const known = this.get(dataset);
    if (known !== undefined) return known;
    const entry = emptyEntry(dataset);
    this.#strays.set(dataset, entry);
    return entry;
  }

  /** Takes in a dataset's new configuration. A stray becomes a configured one, with its reports. */
  configure(configuration: DatasetConfiguration): DatasetEntry {
    const { dataset } = configuration;
    const entry = this.get(dataset) ?? emptyEntry(dataset);
    this.#strays.delete(dataset);
    // A Map keeps the place of a key that it has: the order of creation.
    this.#configured.set(dataset, entry);
    const before = shownName(entry.configuration);
    const after = shownName(configuration);
    entry.configuration = configuration;
    if (before === after) return entry;
    if (before !== undefined) removeFrom(this.#names, before, dataset);
    if (after !== undefined) addTo(this.#names, after, dataset);
    return entry;
  }

  /**
   * Brings the index of concerned nodes up to date with the entry, and forgets a stray that nobody reports.
   */
  refresh(entry: DatasetEntry): void {
    const concerned = concernedBy(entry, this.leases.get(entry.dataset));
    for (const node of entry.concerned)
      if (!concerned.has(node)) removeFrom(this.#concerns, node, entry.dataset);
    for (const node of concerned) if (!entry.concerned.has(node)) addTo(this.#concerns, node, entry.dataset);
    entry.concerned = concerned;
    if (entry.configuration === null && entry.reports.size === 0) this.#strays.delete(entry.dataset);
  }
}

const noDatasets: ReadonlySet<DatasetId> = new Set();

function emptyEntry(dataset: DatasetId): DatasetEntry {
  return {
    dataset,
    configuration: null,
    ownership: null,
    conflict: null,
    transfer: null,
    reports: new Map(),
    primaryWasElsewhere: undefined,
    concerned: nobody,
  };
}

/**
 * Whose slice a dataset belongs to: the configured primary, the owner, who has a copy of it or has renounced,
 * the successor of a relinquished copy, and the node that a lease names. Of a purged one only those who still
 * have something of it, so that slices do not fill with the past.
 */
export function concernedBy(
  entry: Pick<DatasetEntry, "configuration" | "ownership"> & {
    readonly reports: ReadonlyMap<NodeId, DatasetReport>;
  },
  lease: Lease | undefined,
): ReadonlySet<NodeId> {
  const { configuration, ownership, reports } = entry;
  const nodes = new Set<NodeId>();
  const isPurged = configuration?.deletion?.purged === true;
  if (configuration !== null && !isPurged) {
    nodes.add(configuration.primary);
    if (ownership !== null) nodes.add(ownership.owner);
    if (lease !== undefined) nodes.add(lease.node);
  }
  for (const [node, { copy, unreadable, renounced }] of reports) {
    if (copy !== null || unreadable !== null || (renounced !== null && !isPurged)) nodes.add(node);
    if (
      copy !== null &&
      copy.record.role === "relinquished" &&
      copy.record.successor !== undefined &&
      !isPurged
    )
      nodes.add(copy.record.successor);
  }
  return nodes;
}

/**
 * The newest relinquished copy that waits for that node to take over, or null. One that the record shows to
 * be over is none any more.
 */
export function relinquishedTo(
  node: NodeId,
  entry: Pick<DatasetEntry, "ownership"> & { readonly reports: ReadonlyMap<NodeId, DatasetReport> },
): { readonly from: NodeId; readonly epoch: Ownership["epoch"]; readonly snapshot: string } | null {
  let newest: ReturnType<typeof relinquishedTo> = null;
  for (const [from, { copy }] of entry.reports) {
    if (copy === null || copy.trashedAt !== null || copy.record.role !== "relinquished") continue;
    const { epoch, successor, snapshot } = copy.record;
    if (successor !== node || snapshot === undefined) continue;
    if (entry.ownership !== null && compareEpochs(entry.ownership.epoch, epoch) >= 0) continue;
    if (newest === null || compareEpochs(epoch, newest.epoch) > 0) newest = { from, epoch, snapshot };
  }
  return newest;
}

function shownName(configuration: DatasetConfiguration | null): string | undefined {
  return configuration === null || configuration.deletion !== null ? undefined : datasetName(configuration);
}

function addTo<Key>(index: Map<Key, Set<DatasetId>>, key: Key, dataset: DatasetId): void {
  const known = index.get(key);
  if (known === undefined) index.set(key, new Set([dataset]));
  else known.add(dataset);
}

function removeFrom<Key>(index: Map<Key, Set<DatasetId>>, key: Key, dataset: DatasetId): void {
  const known = index.get(key);
  known?.delete(dataset);
  if (known?.size === 0) index.delete(key);
}
