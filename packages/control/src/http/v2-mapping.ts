import { problemBody, type Fault, type ProblemBody, type v2 } from "@flocker/api";
import {
  datasetName,
  type ContainerConfiguration,
  type DatasetConfiguration,
  type Lease,
  type Milliseconds,
  type Problem,
} from "@flocker/core";
import type { Cluster, DatasetView, NodeView } from "../cluster/cluster.ts";
import type { Commit } from "../store/store.ts";
import type { LeaseAcknowledgements } from "./api-context.ts";

/** A time as the API writes it: ISO 8601 in UTC. */
export function timeText(time: Milliseconds): string {
  return new Date(time).toISOString();
}

function optionalTime(time: Milliseconds | null): string | null {
  return time === null ? null : timeText(time);
}

/** Whether a lease counts already; see `LeaseAcknowledgements`. */
type HasAcknowledged = LeaseAcknowledgements["hasAcknowledged"];

/** A dataset as /v2 shows it. */
export function datasetBody(view: DatasetView, hasAcknowledged: HasAcknowledged): v2.Dataset {
  const { configuration, ownership, lease, transfer } = view;
  return {
    dataset_id: view.dataset,
    name: configuration === null ? null : (datasetName(configuration) ?? null),
    desired: configuration === null ? null : desiredBody(configuration),
    actual: view.reports.map(actualBody),
    ownership:
      ownership === null
        ? null
        : {
            epoch: ownership.epoch,
            owner: ownership.owner,
            born: ownership.born,
            since: timeText(ownership.since),
            conflict: view.conflict,
          },
    lease:
      lease === null
        ? null
        : {
            node_id: lease.node,
            expires_at: optionalTime(lease.expiresAt),
            acknowledged: hasAcknowledged(lease.node, lease.dataset),
          },
    transfer:
      transfer === null
        ? null
        : { from: transfer.from, done_bytes: transfer.doneBytes, total_bytes: transfer.totalBytes },
    reasons: view.reasons.map((reason) => ({
      code: reason.code,
      message: reason.message,
      since: timeText(reason.since),
      next_try_at: optionalTime(reason.nextTryAt ?? null),
      node_id: reason.node,
    })),
    converged: view.converged,
  };
}

function desiredBody(configuration: DatasetConfiguration): NonNullable<v2.Dataset["desired"]> {
  const { deletion } = configuration;
  return {
    primary: configuration.primary,
    maximum_size: configuration.maximumSizeBytes,
    maximum_downtime_ms: configuration.maximumDowntimeMs ?? null,
    metadata: { ...configuration.metadata },
    source: configuration.source ?? null,
    deletion:
      deletion === null
        ? null
        : {
            at: timeText(deletion.at),
            grace_ends_at: timeText(deletion.graceEndsAt),
            purged: deletion.purged,
          },
    revision: configuration.revision,
  };
}

function actualBody({ node, report, stale, lastSeenAt }: DatasetView["reports"][number]): v2.DatasetActual {
  const { copy, unreadable, activity } = report;
  return {
    node_id: node,
    role: copy?.record.role ?? null,
    epoch: copy?.record.epoch ?? null,
    path: copy?.mountedAt ?? null,
    in_trash_since: optionalTime(copy?.trashedAt ?? null),
    maximum_size: copy?.maximumSizeBytes ?? null,
    used_bytes: copy?.usedBytes ?? null,
    snapshots: copy?.snapshots.length ?? 0,
    unreadable:
      unreadable === null
        ? null
        : { code: unreadable.code, message: unreadable.message, remedy: unreadable.remedy },
    activity: activity === null ? null : { action: activity.action, since: timeText(activity.since) },
    stale,
    last_seen: timeText(lastSeenAt),
  };
}

/** A node as /v2 shows it. */
export function nodeBody(view: NodeView): v2.Node {
  const { capabilities } = view.backend;
  return {
    node_id: view.node,
    name: view.name,
    era: view.era,
    version: view.version,
    host: view.host,
    data_port: view.dataPort,
    backend: {
      kind: view.backend.kind,
      capabilities:
        capabilities === null
          ? null
          : {
              live_snapshots: capabilities.liveSnapshots,
              resume: capabilities.resume,
              quota: capabilities.quota,
              clone: capabilities.clone,
              compression: capabilities.compression,
              encryption: capabilities.encryption,
            },
    },
    capacity:
      view.capacity === null
        ? null
        : { total_bytes: view.capacity.totalBytes, free_bytes: view.capacity.freeBytes },
    connected: view.connected,
    stale: view.stale,
    last_seen: timeText(view.lastSeenAt),
    dataset_count: view.datasetCount,
    refused_session:
      view.refusedSession === null
        ? null
        : { at: timeText(view.refusedSession.at), host: view.refusedSession.host },
  };
}

/** A lease as /v2 shows it. */
export function leaseBody(lease: Lease, hasAcknowledged: HasAcknowledged): v2.Lease {
  return { ...leaseTerms(lease), acknowledged: hasAcknowledged(lease.node, lease.dataset) };
}

function leaseTerms(lease: Lease): Omit<v2.Lease, "acknowledged"> {
  return { dataset_id: lease.dataset, node_id: lease.node, expires_at: optionalTime(lease.expiresAt) };
}

/** A commit as /v2 shows it. */
export function commitBody(commit: Commit): v2.Commit {
  return {
    revision: commit.revision,
    author: commit.author,
    at: timeText(commit.at),
    changes: commit.changes.map(changeBody),
  };
}

function changeBody(change: Commit["changes"][number]): v2.Commit["changes"][number] {
  switch (change.kind) {
    case "dataset":
      return {
        kind: change.kind,
        dataset_id: change.after.dataset,
        before: change.before === null ? null : desiredBody(change.before),
        after: desiredBody(change.after),
      };
    case "lease":
      return {
        kind: change.kind,
        dataset_id: change.dataset,
        before: change.before === null ? null : leaseTerms(change.before),
        after: change.after === null ? null : leaseTerms(change.after),
      };
    case "container":
      return {
        kind: change.kind,
        name: change.name,
        before: change.before === null ? null : containerBody(change.before),
        after: change.after === null ? null : containerBody(change.after),
      };
  }
}

/** A container as /v2 shows it. */
export function containerBody({ name, node, image, volume }: ContainerConfiguration): v2.Container {
  return { name, node_id: node, image, dataset_id: volume?.dataset ?? null };
}

/** Counts over the whole cluster. */
export function statusCounts(
  cluster: Pick<Cluster, "datasets" | "nodes">,
): Pick<v2.Status, "datasets" | "nodes"> {
  const datasets = { total: 0, converged: 0, converging: 0, deleted: 0, unconfigured: 0, conflicts: 0 };
  const reasons: Record<string, number> = {};
  for (const view of cluster.datasets()) {
    if (view.conflict) datasets.conflicts += 1;
    for (const code of new Set(view.reasons.map((reason) => reason.code)))
      reasons[code] = (reasons[code] ?? 0) + 1;
    const deletion = view.configuration?.deletion ?? null;
    if (view.configuration === null) datasets.unconfigured += 1;
    else if (deletion !== null) datasets.deleted += deletion.purged ? 0 : 1;
    else {
      datasets.total += 1;
      datasets[view.converged ? "converged" : "converging"] += 1;
    }
  }
  const nodes = { total: 0, connected: 0, stale: 0 };
  for (const node of cluster.nodes()) {
    nodes.total += 1;
    if (node.connected) nodes.connected += 1;
    if (node.stale) nodes.stale += 1;
  }
  return { datasets: { ...datasets, reasons }, nodes };
}

/** The names that the wire has for the model's fields, where they differ. */
const wireFields: Readonly<Record<string, string>> = {
  dataset: "dataset_id",
  node: "node_id",
  maximumSizeBytes: "maximum_size",
  maximumDowntimeMs: "maximum_downtime_ms",
  expiresAt: "expires_in",
};

/**
 * A problem as the body of an answer. `bodyFields` are the members of the request's body: what they name and
 * what is not there makes a bad request, not a resource that is not found.
 */
export function refusalBody(
  problem: Problem,
  more: {
    readonly bodyFields: readonly string[];
    readonly errors?: readonly Fault[];
    readonly requestId: string;
  },
): ProblemBody {
  const { bodyFields, ...rest } = more;
  const field = problem.field === undefined ? undefined : (wireFields[problem.field] ?? problem.field);
  const named = field === undefined ? problem : { ...problem, field };
  const body = problemBody(named, rest);
  const isBodysFault = body.status === 404 && field !== undefined && bodyFields.includes(field);
  return isBodysFault ? { ...body, status: 400 } : body;
}
