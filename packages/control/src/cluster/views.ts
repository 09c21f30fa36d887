import {
  datasetProfile,
  type DatasetConfiguration,
  type DatasetReport,
  type Lease,
  type Milliseconds,
  type NodeId,
  type SliceDataset,
  type SliceNode,
} from "@flocker/core";
import type { DatasetView } from "./cluster.ts";
import { relinquishedTo, type DatasetEntry } from "./dataset-table.ts";
import { isConverged, reasonsFor, type DerivationInput, type NodeLiveness } from "./derive.ts";
import { isStale, type NodeEntry, type NodeTable } from "./node-table.ts";

/** A dataset as the API shows it. */
export function datasetView(
  entry: DatasetEntry,
  context: { readonly nodes: NodeTable; readonly lease: Lease | null; readonly now: Milliseconds },
): DatasetView {
  const { nodes, lease, now } = context;
  const { dataset, configuration, ownership, transfer } = entry;
  const conflict = entry.conflict !== null;
  const input: DerivationInput = {
    configuration,
    ownership,
    conflict,
    reports: entry.reports,
    liveness: (node) => livenessOf(nodes.get(node), now),
  };
  const reports: DatasetView["reports"][number][] = [];
  for (const [node, report] of entry.reports) {
    const reporter = nodes.required(node);
    reports.push({ node, report, stale: isStale(reporter, now), lastSeenAt: reporter.lastSeenAt });
  }
  return {
    dataset,
    configuration,
    ownership,
    conflict,
    lease,
    reports,
    transfer,
    reasons: reasonsFor(input),
    converged: isConverged(input),
  };
}

function livenessOf(entry: NodeEntry | undefined, now: Milliseconds): NodeLiveness | undefined {
  if (entry === undefined) return undefined;
  const { known, connected, lastSeenAt, hasReported } = entry;
  return { name: known.name, connected, stale: isStale(entry, now), lastSeenAt, hasReported };
}

/** A dataset as one node's agent needs it. */
export function sliceDataset(
  node: NodeId,
  entry: Pick<DatasetEntry, "dataset" | "configuration" | "ownership" | "conflict"> & {
    readonly reports: ReadonlyMap<NodeId, DatasetReport>;
  },
  lease: Lease | null,
): SliceDataset {
  const { dataset, configuration, ownership, conflict } = entry;
  return {
    dataset,
    desired: configuration === null ? null : desiredOf(configuration),
    ownership,
    conflict: conflict !== null,
    lease,
    relinquishedToYou: relinquishedTo(node, entry),
  };
}

function desiredOf(configuration: DatasetConfiguration): SliceDataset["desired"] {
  const { primary, maximumSizeBytes, deletion, maximumDowntimeMs, source } = configuration;
  const profile = datasetProfile(configuration);
  return {
    primary,
    maximumSizeBytes,
    deletion,
    ...(maximumDowntimeMs === undefined ? {} : { maximumDowntimeMs }),
    ...(profile === undefined ? {} : { profile }),
    ...(source === undefined ? {} : { source }),
  };
}

/** A node as the agents of others need it. */
export function sliceNode(entry: NodeEntry): SliceNode {
  const { known, connected, lastSeenAt } = entry;
  return {
    node: known.node,
    name: known.name,
    dataAddress: { host: known.host, port: known.dataPort },
    live: connected,
    lastSeenAt,
  };
}
