import { openapiV2, type Handlers, type v2, type v2Endpoints } from "@flocker/api";
import {
  assert,
  failure,
  parseDatasetId,
  parseNodeId,
  success,
  type Clock,
  type DatasetId,
  type Lease,
  type Milliseconds,
  type NodeId,
  type Result,
} from "@flocker/core";
import type { Cluster, DatasetUpdate, DatasetView } from "../cluster/cluster.ts";
import type { LeaseAcknowledgements } from "./api-context.ts";
import { datasetPage } from "./dataset-pages.ts";
import { checkIfMatch, etagOf } from "./preconditions.ts";
import {
  commitBody,
  containerBody,
  datasetBody,
  leaseBody,
  nodeBody,
  statusCounts,
  timeText,
} from "./v2-mapping.ts";

/** What the handlers of /v2 work with. */
export interface V2Services {
  readonly cluster: Cluster;
  readonly leases: LeaseAcknowledgements;
  readonly clock: Clock;
  readonly version: string;
  /** When the service's own certificate expires. */
  readonly certificateNotAfter: () => Milliseconds;
  /** Whether the store can be relied upon. */
  readonly storeOk: () => boolean;
}

/** Who asks. */
export interface V2Context {
  /** The certificate's common name. */
  readonly author: string;
}

type V2Handlers = Handlers<typeof v2Endpoints, V2Context>;

const dayMs = 86_400_000;

/** The handlers of /v2: they map between the wire and the cluster, and decide nothing themselves. */
export function v2Handlers(services: V2Services): V2Handlers {
  return { ...datasetHandlers(services), ...leaseHandlers(services), ...clusterHandlers(services) };
}

type DatasetNames =
  | "listDatasets"
  | "createDataset"
  | "getDataset"
  | "updateDataset"
  | "deleteDataset"
  | "undeleteDataset"
  | "failOverDataset";

function datasetHandlers({ cluster, leases }: V2Services): Pick<V2Handlers, DatasetNames> {
  const bodyOf = (view: DatasetView): v2.Dataset =>
    datasetBody(view, (node, dataset) => leases.hasAcknowledged(node, dataset));
  const shown = (view: DatasetView) => ({ status: 200, headers: etag(cluster), body: bodyOf(view) }) as const;
  const changed = (result: Result<DatasetView>) => (result.ok ? shown(result.value) : result);
  /** Refuses where there is no such dataset in the configuration, or where it has changed since If-Match. */
  const target = (id: string, ifMatch: string | undefined): Result<DatasetId> => {
    const dataset = datasetId(id);
    const changedAt = cluster.dataset(dataset)?.configuration?.revision;
    if (changedAt === undefined) return unknownDataset(dataset);
    const match = checkIfMatch(ifMatch, { revision: cluster.revision(), changedAt });
    return match.ok ? success(dataset) : match;
  };
  return {
    listDatasets({ query = {} }) {
      const { name, node, deleted = "false", converged, limit = 200, cursor } = query;
      const filter = { name, node: node === undefined ? undefined : nodeId(node), deleted, converged };
      const page = datasetPage(cluster, filter, { limit, cursor });
      if (!page.ok) return page;
      const { views, nextCursor } = page.value;
      const body = {
        datasets: views.map(bodyOf),
        next_cursor: nextCursor,
        revision: cluster.revision(),
      };
      return { status: 200, headers: etag(cluster), body };
    },
    createDataset({ body, headers }, { author }) {
      const created = createDataset(cluster, { body, ifMatch: headers?.["if-match"], author });
      if (!created.ok) return created;
      const location = `/v2/datasets/${created.value.dataset}`;
      return { status: 201, headers: { ...etag(cluster), location }, body: bodyOf(created.value) };
    },
    getDataset({ params }) {
      const dataset = datasetId(params.dataset_id);
      const view = cluster.dataset(dataset);
      return view === undefined ? unknownDataset(dataset) : shown(view);
    },
    updateDataset({ params, body, headers }, { author }) {
      const found = target(params.dataset_id, headers?.["if-match"]);
      if (!found.ok) return found;
      const view = cluster.dataset(found.value);
      const update = datasetUpdate(body, view?.configuration?.metadata ?? {});
      if (!update.ok) return update;
      return changed(cluster.updateDataset(found.value, update.value, { author }));
    },
    deleteDataset({ params, headers }, { author }) {
      const found = target(params.dataset_id, headers?.["if-match"]);
      return found.ok ? changed(cluster.deleteDataset(found.value, { author })) : found;
    },
    undeleteDataset({ params, headers }, { author }) {
      const found = target(params.dataset_id, headers?.["if-match"]);
      return found.ok ? changed(cluster.undeleteDataset(found.value, { author })) : found;
    },
    failOverDataset({ params, headers, body }, { author }) {
      const found = target(params.dataset_id, headers?.["if-match"]);
      if (!found.ok) return found;
      const failover = { to: nodeId(body.to), acceptLoss: body.accept_loss === true };
      return changed(cluster.failOver(found.value, failover, { author }));
    },
  };
}

function createDataset(
  cluster: V2Services["cluster"],
  asked: { readonly body: v2.NewDataset; readonly ifMatch: string | undefined; readonly author: string },
): Result<DatasetView> {
  const { body, ifMatch, author } = asked;
  const match = checkIfMatch(ifMatch, wholeConfiguration(cluster));
  if (!match.ok) return match;
  const metadata = newMetadata(body);
  if (!metadata.ok) return metadata;
  const { dataset_id: id, primary, maximum_size: maximumSizeBytes = null } = body;
  const { maximum_downtime_ms: maximumDowntimeMs = null, source } = body;
  const request = {
    primary: nodeId(primary),
    maximumSizeBytes,
    metadata: metadata.value,
    ...(maximumDowntimeMs === null ? {} : { maximumDowntimeMs }),
    ...(source === undefined ? {} : { source }),
  };
  return cluster.createDataset(id === undefined ? request : { ...request, dataset: datasetId(id) }, {
    author,
  });
}

const noContainerAgent =
  "This version of Flocker has no container agent: it keeps the container and starts nothing. Its dataset is mounted " +
  "on its node, ready for whatever runs there.";

function leaseHandlers({
  cluster,
  leases,
  clock,
}: V2Services): Pick<V2Handlers, "listContainers" | "listLeases" | "acquireLease" | "releaseLease"> {
  const bodyOf = (lease: Lease): v2.Lease =>
    leaseBody(lease, (node, dataset) => leases.hasAcknowledged(node, dataset));
  return {
    listContainers() {
      const containers = [...cluster.containers()]
        .toSorted((a, b) => (a.name < b.name ? -1 : 1))
        .map((container) => ({ ...containerBody(container), running: false, reason: noContainerAgent }));
      return { status: 200, headers: etag(cluster), body: { containers, revision: cluster.revision() } };
    },
    listLeases() {
      const body = { leases: [...cluster.leases()].map(bodyOf), revision: cluster.revision() };
      return { status: 200, headers: etag(cluster), body };
    },
    acquireLease({ body, headers }, { author }) {
      const match = checkIfMatch(headers?.["if-match"], wholeConfiguration(cluster));
      if (!match.ok) return match;
      const lease = {
        dataset: datasetId(body.dataset_id),
        node: nodeId(body.node_id),
        expiresAt: body.expires_in === null ? null : clock.now() + Math.round(body.expires_in * 1000),
      };
      const acquired = cluster.acquireLease(lease, { author });
      if (!acquired.ok) return acquired;
      return { status: acquired.value.created ? 201 : 200, headers: etag(cluster), body: bodyOf(lease) };
    },
    releaseLease({ params, query, headers }, { author }) {
      const match = checkIfMatch(headers?.["if-match"], wholeConfiguration(cluster));
      if (!match.ok) return match;
      const dataset = datasetId(params.dataset_id);
      if (query?.node !== undefined) {
        const holder = cluster.dataset(dataset)?.lease?.node;
        const asked = nodeId(query.node);
        if (holder !== undefined && holder !== asked) return heldByAnother(dataset, holder, asked);
      }
      const released = cluster.releaseLease(dataset, { author });
      if (!released.ok) return released;
      // What has been given back counts for nobody any more.
      return { status: 200, headers: etag(cluster), body: leaseBody(released.value, () => false) };
    },
  };
}

type ClusterNames = "listNodes" | "getNode" | "history" | "status" | "health" | "version" | "openapi";

function clusterHandlers(services: V2Services): Pick<V2Handlers, ClusterNames> {
  const { cluster, clock, version } = services;
  const document = openapiV2();
  return {
    listNodes() {
      const body = { nodes: [...cluster.nodes()].map(nodeBody), revision: cluster.revision() };
      return { status: 200, headers: etag(cluster), body };
    },
    getNode({ params }) {
      const node = nodeId(params.node_id);
      const view = cluster.node(node);
      if (view !== undefined) return { status: 200, headers: etag(cluster), body: nodeBody(view) };
      return failure(
        "unknown-node",
        `No node ${node} has ever spoken to the control service.`,
        "List the nodes with `flocker nodes`; check that the node's agent runs and reaches the control service.",
        "node",
      );
    },
    history({ query = {} }) {
      const { after = 0, limit = 100 } = query;
      const commits = cluster.history(after, limit + 1);
      const shown = commits.slice(0, limit);
      const next = commits.length > limit ? (shown.at(-1)?.revision ?? null) : null;
      return {
        status: 200,
        body: { commits: shown.map(commitBody), next_after: next, revision: cluster.revision() },
      };
    },
    status() {
      const notAfter = services.certificateNotAfter();
      const body: v2.Status = {
        cluster_id: cluster.clusterId,
        version,
        revision: cluster.revision(),
        ...statusCounts(cluster),
        certificate: {
          not_after: timeText(notAfter),
          days_left: Math.floor((notAfter - clock.now()) / dayMs),
        },
      };
      return { status: 200, body };
    },
    health() {
      const ok = services.storeOk();
      return ok
        ? { status: 200, body: { serving: "ok", store: "ok" } }
        : { status: 503, body: { serving: "ok", store: "failing" } };
    },
    version: () => ({ status: 200, body: { flocker: version, api: "v2" } }),
    openapi: () => ({ status: 200, body: document }),
  };
}

function etag(cluster: Cluster): { readonly etag: string } {
  return { etag: etagOf(cluster.revision()) };
}

/** For what adds to the configuration: it depends on all of it. */
function wholeConfiguration(cluster: Cluster): { readonly revision: number; readonly changedAt: number } {
  return { revision: cluster.revision(), changedAt: cluster.revision() };
}

function heldByAnother(dataset: DatasetId, holder: NodeId, asked: NodeId): ReturnType<typeof failure> {
  return failure(
    "not-found",
    `Releasing node ${asked}'s lease on dataset ${dataset}: it has none, node ${holder} has.`,
    "Nothing needs to be done.",
    "dataset",
  );
}

function unknownDataset(dataset: DatasetId): ReturnType<typeof failure> {
  return failure(
    "unknown-dataset",
    `There is no dataset ${dataset}.`,
    "List the datasets with `flocker list`; deleted ones are shown with `--deleted`.",
    "dataset",
  );
}

/** `name` is short for `metadata.name`; two different names are a mistake. */
function newMetadata(body: v2.NewDataset): Result<Readonly<Record<string, string>>> {
  const { name, metadata = {} } = body;
  if (name === undefined) return success(metadata);
  const other = metadata["name"];
  return other === undefined || other === name ? success({ ...metadata, name }) : twoNames();
}

/** Applies a merge patch (RFC 7396) to the metadata, and takes over the rest. */
function datasetUpdate(
  body: v2.DatasetPatch,
  before: Readonly<Record<string, string>>,
): Result<DatasetUpdate> {
  const { name, metadata } = body;
  const update: DatasetUpdate = {
    ...(body.primary === undefined ? {} : { primary: nodeId(body.primary) }),
    ...(body.maximum_size === undefined ? {} : { maximumSizeBytes: body.maximum_size }),
    ...(body.maximum_downtime_ms === undefined ? {} : { maximumDowntimeMs: body.maximum_downtime_ms }),
  };
  if (name === undefined && metadata === undefined) return success(update);
  if (name !== undefined && metadata?.["name"] !== undefined && metadata["name"] !== name) return twoNames();
  const merged = new Map(Object.entries(before));
  for (const [key, value] of Object.entries(name === undefined ? { ...metadata } : { ...metadata, name })) {
    if (value === null) merged.delete(key);
    else merged.set(key, value);
  }
  if (merged.size > metadataMaximum) {
    return failure(
      "bad-request",
      `The dataset would have ${merged.size} metadata entries; at most ${metadataMaximum} are possible.`,
      "Take some away in the same request by setting them to null.",
      "metadata",
    );
  }
  return success({ ...update, metadata: Object.fromEntries(merged) });
}

const metadataMaximum = 16;

function twoNames(): ReturnType<typeof failure> {
  return failure(
    "bad-request",
    "The request has two different names: `name` and `metadata.name`, which mean the same.",
    "Give one of them.",
    "name",
  );
}

function datasetId(text: string): DatasetId {
  const id = parseDatasetId(text);
  assert(id !== undefined, "the schema lets only uuids through");
  return id;
}

function nodeId(text: string): NodeId {
  const id = parseNodeId(text);
  assert(id !== undefined, "the schema lets only uuids through");
  return id;
}
