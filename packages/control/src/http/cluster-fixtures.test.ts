import { failure, firstEpoch, success, type DatasetId, type Lease, type NodeId } from "@flocker/core";
import type { Cluster, ClusterChange, DatasetView, NodeView } from "../cluster/cluster.ts";
import type { Commit } from "../store/store.ts";

function isDeleted(view: DatasetView | undefined): boolean {
  return (view?.configuration?.deletion ?? null) !== null;
}

/** A cluster in memory, for tests of the API: what it is told it keeps, and what agents would report is set. */
export interface MemoryCluster extends Cluster {
  setNode(node: NodeView): void;
  setView(dataset: DatasetId, view: Partial<DatasetView>): void;
  change(change: ClusterChange): void;
}

export function memoryCluster(now: () => number): MemoryCluster {
  const datasets = new Map<DatasetId, DatasetView>();
  const nodes = new Map<NodeId, NodeView>();
  const leases = new Map<DatasetId, Lease>();
  const commits: Commit[] = [];
  const listeners = new Set<(change: ClusterChange) => void>();
  let fresh = 0;
  const tag = (): string => commits.length.toString(16).padStart(32, "0");
  const tell = (change: ClusterChange): void => listeners.forEach((listener) => listener(change));
  const commit = (author: string, change: Commit["changes"][number]): void => {
    commits.push({ revision: commits.length + 1, author, at: now(), changes: [change] });
    tell({ datasets: [change.kind === "dataset" ? change.after.dataset : change.dataset], nodes: [] });
  };
  const put = (
    author: string,
    dataset: DatasetId,
    update: (
      before: NonNullable<DatasetView["configuration"]>,
    ) => Partial<DatasetView["configuration"] & object>,
  ) => {
    const view = datasets.get(dataset);
    if (view === undefined || view.configuration === null)
      return failure("unknown-dataset", `There is no dataset ${dataset}.`, "List them.");
    const after = { ...view.configuration, ...update(view.configuration), revision: commits.length + 1 };
    datasets.set(dataset, { ...view, configuration: after, converged: false });
    commit(author, { kind: "dataset", before: view.configuration, after });
    return success(datasets.get(dataset) as DatasetView);
  };
  const unknownNode = (node: NodeId) =>
    failure("unknown-node", `There is no node ${node}.`, "List the nodes.", "primary");
  return {
    clusterId: "11111111-0000-4000-8000-000000000000",
    revision: () => commits.length,
    tag,
    datasets: () => datasets.values(),
    dataset: (dataset) => datasets.get(dataset),
    nodes: () => nodes.values(),
    node: (node) => nodes.get(node),
    nodeByEra: (era) => [...nodes.values()].find((node) => node.era === era)?.node,
    leases: () => leases.values(),
    createDataset(request, { author, lenient }) {
      const dataset =
        request.dataset ?? (`ffffffff-0000-4000-8000-${String((fresh += 1)).padStart(12, "0")}` as DatasetId);
      if (datasets.has(dataset))
        return failure("duplicate-id", `${dataset} is in use.`, "Choose another.", "dataset");
      if (lenient !== true && !nodes.has(request.primary)) return unknownNode(request.primary);
      const { name } = request.metadata;
      if (
        lenient !== true &&
        name !== undefined &&
        [...datasets.values()].some((one) => one.configuration?.metadata["name"] === name)
      )
        return failure("duplicate-name", `The name ${name} is in use.`, "Choose another.", "name");
      const { primary, maximumSizeBytes, metadata } = request;
      const configuration = {
        dataset,
        primary,
        maximumSizeBytes,
        metadata,
        deletion: null,
        revision: commits.length + 1,
      };
      const view: DatasetView = {
        dataset,
        configuration,
        ownership: { dataset, epoch: firstEpoch, owner: primary, born: false, since: now() },
        conflict: false,
        lease: null,
        reports: [],
        transfer: null,
        reasons: [],
        converged: false,
      };
      datasets.set(dataset, view);
      commit(author, { kind: "dataset", before: null, after: configuration });
      return success(view);
    },
    updateDataset(dataset, update, { author, lenient }) {
      if (isDeleted(datasets.get(dataset)))
        return failure("dataset-deleted", `${dataset} has been deleted.`, "Undelete it first.");
      if (lenient !== true && update.primary !== undefined && !nodes.has(update.primary))
        return unknownNode(update.primary);
      return put(author, dataset, () => update);
    },
    deleteDataset(dataset, { author }) {
      const view = datasets.get(dataset);
      if (view !== undefined && isDeleted(view)) return success(view);
      return put(author, dataset, () => ({
        deletion: { at: now(), graceEndsAt: now() + 1000, purged: false },
      }));
    },
    undeleteDataset(dataset, { author }) {
      if (datasets.get(dataset)?.configuration?.deletion === null)
        return failure("dataset-not-deleted", `${dataset} is not deleted.`, "There is nothing to do.");
      return put(author, dataset, () => ({ deletion: null }));
    },
    acquireLease(lease, { author }) {
      const before = leases.get(lease.dataset) ?? null;
      if (before !== null && before.node !== lease.node)
        return failure("lease-held", `${before.node} holds the lease.`, "Wait for its end.");
      leases.set(lease.dataset, lease);
      commit(author, { kind: "lease", dataset: lease.dataset, before, after: lease });
      return success({ created: before === null });
    },
    releaseLease(dataset, { author }) {
      const before = leases.get(dataset);
      if (before === undefined)
        return failure("not-found", `There is no lease on ${dataset}.`, "List the leases.");
      leases.delete(dataset);
      commit(author, { kind: "lease", dataset, before, after: null });
      return success(before);
    },
    history: (after, limit) => commits.filter((one) => one.revision > after).slice(0, limit),
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    setNode: (node) => void nodes.set(node.node, node),
    setView(dataset, view) {
      const before = datasets.get(dataset);
      if (before !== undefined) datasets.set(dataset, { ...before, ...view });
    },
    change: tell,
  };
}
