import { Type } from "typebox";
import type { EndpointTable } from "../contract.ts";
import { ProblemBody } from "../problem.ts";
import * as schemas from "./schemas.ts";

/** Answers that any request may get. */
const always = { 400: ProblemBody, 403: ProblemBody, 500: ProblemBody, 503: ProblemBody } as const;
const etag = { etag: "The configuration's revision, in quotation marks. Use it as If-Match." };

/**
 * Today's API. Requests and answers are JSON, times ISO 8601 in UTC, sizes bytes; every error is a `Problem`.
 */
export const v2Endpoints = {
  listDatasets: {
    method: "GET",
    path: "/v2/datasets",
    summary: "List datasets",
    description: "In order of creation, page by page, with what should be and what is side by side.",
    query: schemas.DatasetQuery,
    responses: { 200: schemas.DatasetPage, ...always },
    responseHeaders: etag,
  },
  createDataset: {
    method: "POST",
    path: "/v2/datasets",
    summary: "Create a dataset",
    description:
      "Answers when the wish is durable, not when the dataset is there. With If-Match, only if the configuration is " +
      "still at that revision.",
    headers: schemas.IfMatch,
    body: schemas.NewDataset,
    responses: { 201: schemas.Dataset, ...always, 404: ProblemBody, 409: ProblemBody, 412: ProblemBody },
    responseHeaders: { ...etag, location: "The new dataset." },
  },
  getDataset: {
    method: "GET",
    path: "/v2/datasets/{dataset_id}",
    summary: "Show a dataset",
    description: "Deleted datasets too.",
    params: schemas.DatasetParams,
    responses: { 200: schemas.Dataset, ...always, 404: ProblemBody },
    responseHeaders: etag,
  },
  updateDataset: {
    method: "PATCH",
    path: "/v2/datasets/{dataset_id}",
    summary: "Move, resize or rename a dataset",
    description:
      "What is not given stays as it is. Answers when the wish is durable. A lease does not refuse a move, it delays it. " +
      "With If-Match, only if the dataset has not changed since that revision.",
    params: schemas.DatasetParams,
    headers: schemas.IfMatch,
    body: schemas.DatasetPatch,
    responses: { 200: schemas.Dataset, ...always, 404: ProblemBody, 409: ProblemBody, 412: ProblemBody },
    responseHeaders: etag,
  },
  deleteDataset: {
    method: "DELETE",
    path: "/v2/datasets/{dataset_id}",
    summary: "Delete a dataset",
    description:
      "Hides it at once. The bytes are kept for the grace time, and `undelete` brings it back until then. " +
      "Deleting what is deleted changes nothing.",
    params: schemas.DatasetParams,
    headers: schemas.IfMatch,
    responses: { 200: schemas.Dataset, ...always, 404: ProblemBody, 412: ProblemBody },
    responseHeaders: etag,
  },
  undeleteDataset: {
    method: "POST",
    path: "/v2/datasets/{dataset_id}/undelete",
    summary: "Bring a deleted dataset back",
    description: "Works until the grace time is over.",
    params: schemas.DatasetParams,
    headers: schemas.IfMatch,
    responses: {
      200: schemas.Dataset,
      ...always,
      404: ProblemBody,
      409: ProblemBody,
      410: ProblemBody,
      412: ProblemBody,
    },
    responseHeaders: etag,
  },
  failOverDataset: {
    method: "POST",
    path: "/v2/datasets/{dataset_id}/failover",
    summary: "Go on from a replica",
    description:
      "Makes a node's replica the primary while the owner is away. What was written since the replica's snapshot is " +
      "lost to it; the owner's copy is kept aside when it comes back. Refused while the owner is connected.",
    params: schemas.DatasetParams,
    headers: schemas.IfMatch,
    body: schemas.FailoverRequest,
    responses: { 200: schemas.Dataset, ...always, 404: ProblemBody, 409: ProblemBody, 412: ProblemBody },
    responseHeaders: etag,
  },
  listNodes: {
    method: "GET",
    path: "/v2/nodes",
    summary: "List nodes",
    description: "Every node that the cluster knows, silent ones too.",
    responses: { 200: schemas.NodeList, ...always },
    responseHeaders: etag,
  },
  getNode: {
    method: "GET",
    path: "/v2/nodes/{node_id}",
    summary: "Show a node",
    description: "Its agent, storage and connection.",
    params: schemas.NodeParams,
    responses: { 200: schemas.Node, ...always, 404: ProblemBody },
    responseHeaders: etag,
  },
  listContainers: {
    method: "GET",
    path: "/v2/containers",
    summary: "List containers",
    description: "Those that clients of /v1 have configured, and why each does not run.",
    responses: { 200: schemas.Containers, ...always },
    responseHeaders: etag,
  },
  listLeases: {
    method: "GET",
    path: "/v2/leases",
    summary: "List leases",
    description: "Promises that datasets stay where they are.",
    responses: { 200: schemas.LeaseList, ...always },
    responseHeaders: etag,
  },
  acquireLease: {
    method: "POST",
    path: "/v2/leases",
    summary: "Acquire or renew a lease",
    description: "201 for a new lease, 200 where the node held it already and its end is replaced.",
    headers: schemas.IfMatch,
    body: schemas.NewLease,
    responses: {
      200: schemas.Lease,
      201: schemas.Lease,
      ...always,
      404: ProblemBody,
      409: ProblemBody,
      412: ProblemBody,
    },
    responseHeaders: etag,
  },
  releaseLease: {
    method: "DELETE",
    path: "/v2/leases/{dataset_id}",
    summary: "Release a lease",
    description: "Anybody may. Answers the lease as it was.",
    params: schemas.DatasetParams,
    query: schemas.ReleaseQuery,
    headers: schemas.IfMatch,
    responses: { 200: schemas.Lease, ...always, 404: ProblemBody, 412: ProblemBody },
    responseHeaders: etag,
  },
  history: {
    method: "GET",
    path: "/v2/history",
    summary: "What changed, when, and by whom",
    description: "Every commit of the configuration, oldest first.",
    query: schemas.HistoryQuery,
    responses: { 200: schemas.History, ...always },
  },
  status: {
    method: "GET",
    path: "/v2/status",
    summary: "The cluster at a glance",
    description: "Counts of datasets by state and of nodes, the revision, and when the certificate expires.",
    responses: { 200: schemas.Status, ...always },
  },
  health: {
    method: "GET",
    path: "/v2/health",
    summary: "Whether the control service works",
    description: "503 where it cannot be relied upon.",
    responses: {
      200: schemas.Health,
      503: schemas.Health,
      400: ProblemBody,
      403: ProblemBody,
      500: ProblemBody,
    },
  },
  version: {
    method: "GET",
    path: "/v2/version",
    summary: "The version of the control service",
    description: "And the name of this API.",
    responses: { 200: schemas.Version, ...always },
  },
  openapi: {
    method: "GET",
    path: "/v2/openapi.json",
    summary: "This document",
    description: "OpenAPI 3.1.",
    responses: { 200: Type.Record(Type.String(), Type.Unknown()), ...always },
  },
} as const satisfies EndpointTable;

/**
 * What answers for as long as the client listens, and so is not part of the ordinary client; see
 * `readEvents`.
 */
export const v2Streams = {
  events: {
    method: "GET",
    path: "/v2/events",
    summary: "Hear of changes",
    description:
      "Server-sent events. `change` carries a ChangeEvent: ids of datasets and nodes of which something changed; read " +
      "them again. `reset` carries a ResetEvent: read everything again; a new stream begins with it, unless " +
      "Last-Event-ID names an event from which the service can go on. Comments keep the connection alive.",
    headers: Type.Object({
      "last-event-id": Type.Optional(
        Type.String({ description: "The id of the last event that was received." }),
      ),
    }),
    responses: { 200: Type.Union([schemas.ChangeEvent, schemas.ResetEvent]), ...always },
    mediaType: "text/event-stream",
  },
} as const satisfies EndpointTable;
