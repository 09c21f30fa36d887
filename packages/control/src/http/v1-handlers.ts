import { v1, writePythonJson, type v1Endpoints } from "@flocker/api";
import { assert, parseDatasetId, type DatasetConfiguration, type Result } from "@flocker/core";
import type { Cluster, DatasetView } from "../cluster/cluster.ts";
import {
  datasetId,
  described,
  listText,
  nodeId,
  readBody,
  refused,
  type V1Reply,
  type V1Request,
  type V1Services,
} from "./v1-answers.ts";
import { containerHandlers } from "./v1-containers.ts";
import {
  configuredDatasetText,
  datasetStateText,
  leaseText,
  nodeStateText,
  writeLease,
} from "./v1-mapping.ts";

type Handler = (request: V1Request) => V1Reply;
type V1Handlers = Readonly<Record<keyof typeof v1Endpoints, Handler>>;

/** The handlers of /v1: the wire of Flocker 1.15 over today's cluster. */
export function v1Handlers(services: V1Services): V1Handlers {
  return {
    ...configurationHandlers(services),
    ...stateHandlers(services),
    ...leaseHandlers(services),
    ...containerHandlers(services),
  };
}

type ConfigurationNames = "listConfiguredDatasets" | "createDataset" | "moveDataset" | "deleteDataset";

function configurationHandlers({ cluster }: V1Services): Pick<V1Handlers, ConfigurationNames> {
  /** The dataset of a path; ids are compared as they are stored, in lower case. */
  const configured = (id: string | undefined): DatasetConfiguration | undefined => {
    const dataset = parseDatasetId(id ?? "");
    return dataset === id && dataset !== undefined
      ? (cluster.dataset(dataset)?.configuration ?? undefined)
      : undefined;
  };
  const change = (result: Result<DatasetView>, status: number): V1Reply => {
    if (!result.ok) return refused(result.problem);
    const { configuration, dataset } = result.value;
    assert(configuration !== null, "a dataset that was written is configured");
    return { status, text: configuredDatasetText(configuration), dataset };
  };
  // The list is kept: it changes with the tag, and pollers ask for it again and again.
  let list: { readonly tag: string; readonly bytes: Buffer } | undefined;
  return {
    listConfiguredDatasets() {
      const tag = cluster.tag();
      if (list?.tag !== tag) list = { tag, bytes: Buffer.from(configurationText(cluster), "latin1") };
      return { status: 200, text: list.bytes, headers: { "x-configuration-tag": tag } };
    },
    createDataset(request) {
      const mismatch = tagMismatch(cluster, request);
      if (mismatch !== undefined) return mismatch;
      const body = readBody<v1.NewDataset>(v1.NewDataset, request);
      if ("status" in body) return body;
      const { dataset_id: id, primary, maximum_size: maximumSizeBytes = null, metadata = {} } = body.value;
      const wish = { primary: nodeId(primary), maximumSizeBytes, metadata };
      const created = cluster.createDataset(id === undefined ? wish : { ...wish, dataset: datasetId(id) }, {
        author: request.author,
        lenient: true,
      });
      return change(created, 201);
    },
    moveDataset(request) {
      const mismatch = tagMismatch(cluster, request);
      if (mismatch !== undefined) return mismatch;
      const body = readBody<v1.DatasetMove>(v1.DatasetMove, request);
      if ("status" in body) return body;
      const configuration = configured(request.params["dataset_id"]);
      if (configuration === undefined) return described(404, "Dataset not found.");
      const { dataset, deletion } = configuration;
      if (deletion !== null) return described(405, "The dataset has been deleted.");
      const { primary } = body.value;
      if (primary === undefined) return { status: 200, text: configuredDatasetText(configuration), dataset };
      const caller = { author: request.author, lenient: true };
      return change(cluster.updateDataset(dataset, { primary: nodeId(primary) }, caller), 200);
    },
    deleteDataset(request) {
      const mismatch = tagMismatch(cluster, request);
      if (mismatch !== undefined) return mismatch;
      const configuration = configured(request.params["dataset_id"]);
      if (configuration === undefined) return described(404, "Dataset not found.");
      const caller = { author: request.author, lenient: true };
      return change(cluster.deleteDataset(configuration.dataset, caller), 200);
    },
  };
}

type StateNames = "version" | "listDatasetStates" | "listNodeStates" | "nodeOfEra";

function stateHandlers({ cluster, clock, version }: V1Services): Pick<V1Handlers, StateNames> {
  return {
    version: () => ({ status: 200, text: writePythonJson({ flocker: version }) }),
    listDatasetStates() {
      const now = clock.now();
      return { status: 200, text: listText(cluster.datasets(), (view) => datasetStateText(view, now)) };
    },
    listNodeStates() {
      const now = clock.now();
      return { status: 200, text: listText(cluster.nodes(), (view) => nodeStateText(view, now)) };
    },
    nodeOfEra({ params }) {
      const era = (params["era"] ?? "").toLowerCase();
      if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(era))
        return described(400, "The era is not a UUID. See flocker-node-era.");
      const node = cluster.nodeByEra(era);
      if (node === undefined) return described(404, "No node found with given era.");
      return { status: 200, text: writePythonJson({ uuid: node }) };
    },
  };
}

type LeaseNames = "listLeases" | "acquireLease" | "releaseLease";

function leaseHandlers({ cluster, clock }: V1Services): Pick<V1Handlers, LeaseNames> {
  return {
    listLeases() {
      const now = clock.now();
      return {
        status: 200,
        text: listText(cluster.leases(), (lease) =>
          lease.expiresAt === null || lease.expiresAt > now ? leaseText(lease, now) : undefined,
        ),
      };
    },
    acquireLease(request) {
      const body = readBody<v1.Lease>(v1.Lease, request);
      if ("status" in body) return body;
      const { dataset_id: id, node_uuid: node, expires } = body.value;
      const expiresAt = expires === null ? null : clock.now() + Math.round(expires * 1000);
      const lease = { dataset: datasetId(id), node: nodeId(node), expiresAt };
      const acquired = cluster.acquireLease(lease, { author: request.author, lenient: true });
      if (!acquired.ok) return refused(acquired.problem);
      const status = acquired.value.created ? 201 : 200;
      return { status, text: writeLease(lease, expires), dataset: lease.dataset };
    },
    releaseLease({ params, author }) {
      const dataset = parseDatasetId(params["dataset_id"] ?? "");
      if (dataset === undefined) return described(400, "The dataset_id is not a UUID.");
      const released = cluster.releaseLease(dataset, { author, lenient: true });
      if (!released.ok) return refused(released.problem);
      return { status: 200, text: leaseText(released.value, clock.now()), dataset };
    },
  };
}

function configurationText(cluster: Cluster): string {
  return listText(cluster.configurations(), configuredDatasetText);
}

/**
 * The answer where the configuration has changed since the tag that the request names; several tags are
 * alternatives.
 */
function tagMismatch(cluster: Cluster, request: V1Request): V1Reply | undefined {
  const header = request.headers["x-if-configuration-matches"];
  if (header === undefined) return undefined;
  const tags = [header].flat().flatMap((value) => value.split(",").map((tag) => tag.trim()));
  const current = cluster.tag();
  if (tags.includes(current)) return undefined;
  return described(412, `Tag doesn't match. Required: ${tags[0]}, current: ${current}`);
}
