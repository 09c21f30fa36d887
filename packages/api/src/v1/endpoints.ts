import { Type } from "typebox";
import type { EndpointTable } from "../contract.ts";
import * as schemas from "./schemas.ts";

const always = {
  400: schemas.ErrorBody,
  500: Type.String({ description: "The id of the request in the log." }),
} as const;

/**
 * The API of Flocker 1.15, for its existing clients: bodies are JSON whatever their content type says. What
 * it leaves out, and each difference, is in docs/reference/api-v1.md.
 */
export const v1Endpoints = {
  version: {
    method: "GET",
    path: "/v1/version",
    summary: "The version of the control service",
    description: "As text.",
    responses: { 200: schemas.Version, ...always },
  },
  listConfiguredDatasets: {
    method: "GET",
    path: "/v1/configuration/datasets",
    summary: "List datasets as configured",
    description: "Deleted ones too, for ever.",
    responses: { 200: Type.Array(schemas.ConfiguredDataset), ...always },
    responseHeaders: { "x-configuration-tag": "Changes whenever anything in the configuration changes." },
  },
  createDataset: {
    method: "POST",
    path: "/v1/configuration/datasets",
    summary: "Create a dataset",
    description: "Answers when the wish is durable, not when the dataset is there.",
    headers: schemas.Matches,
    body: schemas.NewDataset,
    responses: { 201: schemas.ConfiguredDataset, ...always, 409: schemas.ErrorBody, 412: schemas.ErrorBody },
  },
  moveDataset: {
    method: "POST",
    path: "/v1/configuration/datasets/{dataset_id}",
    summary: "Move a dataset",
    description:
      "A lease does not refuse it, it delays it. An empty object changes nothing. 405: it has been deleted.",
    params: schemas.DatasetParams,
    headers: schemas.Matches,
    body: schemas.DatasetMove,
    responses: {
      200: schemas.ConfiguredDataset,
      ...always,
      404: schemas.ErrorBody,
      405: schemas.ErrorBody,
      412: schemas.ErrorBody,
    },
  },
  deleteDataset: {
    method: "DELETE",
    path: "/v1/configuration/datasets/{dataset_id}",
    summary: "Delete a dataset",
    description: "Again and again with the same answer.",
    params: schemas.DatasetParams,
    headers: schemas.Matches,
    responses: { 200: schemas.ConfiguredDataset, ...always, 404: schemas.ErrorBody, 412: schemas.ErrorBody },
  },
  listDatasetStates: {
    method: "GET",
    path: "/v1/state/datasets",
    summary: "List datasets as they are",
    description: "Those that exist on nodes heard of in the last two minutes.",
    responses: { 200: Type.Array(schemas.DatasetState), ...always },
  },
  listNodeStates: {
    method: "GET",
    path: "/v1/state/nodes",
    summary: "List nodes",
    description: "Those heard of in the last two minutes.",
    responses: { 200: Type.Array(schemas.NodeState), ...always },
  },
  nodeOfEra: {
    method: "GET",
    path: "/v1/state/nodes/by_era/{era}",
    summary: "Which node has booted under this id",
    description: "404 until its agent has reported.",
    params: schemas.EraParams,
    responses: { 200: schemas.NodeOfEra, ...always, 404: schemas.ErrorBody },
  },
  listLeases: {
    method: "GET",
    path: "/v1/configuration/leases",
    summary: "List leases",
    description: "`expires` counts the seconds that are left.",
    responses: { 200: Type.Array(schemas.Lease), ...always },
  },
  acquireLease: {
    method: "POST",
    path: "/v1/configuration/leases",
    summary: "Acquire or renew a lease",
    description:
      "201 for a new lease, 200 for a renewal by the same node. Dataset and node need not be known.",
    body: schemas.Lease,
    responses: { 200: schemas.Lease, 201: schemas.Lease, ...always, 409: schemas.ErrorBody },
  },
  releaseLease: {
    method: "DELETE",
    path: "/v1/configuration/leases/{dataset_id}",
    summary: "Release a lease",
    description: "Anybody may. Answers the lease as it was.",
    params: schemas.DatasetParams,
    responses: { 200: schemas.Lease, ...always, 404: schemas.ErrorBody },
  },
  listConfiguredContainers: {
    method: "GET",
    path: "/v1/configuration/containers",
    summary: "List containers as configured",
    description: "In the order of their names.",
    responses: { 200: Type.Array(schemas.ConfiguredContainer), ...always },
  },
  createContainer: {
    method: "POST",
    path: "/v1/configuration/containers",
    summary: "Create a container",
    description: "It is kept, and not run: there is no container agent in this version.",
    body: schemas.NewContainer,
    responses: {
      201: schemas.ConfiguredContainer,
      ...always,
      404: schemas.ErrorBody,
      409: schemas.ErrorBody,
    },
  },
  moveContainer: {
    method: "POST",
    path: "/v1/configuration/containers/{name}",
    summary: "Move a container",
    description: "Its dataset moves along.",
    params: schemas.ContainerParams,
    body: schemas.ContainerMove,
    responses: { 200: schemas.ConfiguredContainer, ...always, 404: schemas.ErrorBody },
  },
  deleteContainer: {
    method: "DELETE",
    path: "/v1/configuration/containers/{name}",
    summary: "Delete a container",
    description: "Its dataset stays.",
    params: schemas.ContainerParams,
    responses: { 200: Type.Null(), ...always, 404: schemas.ErrorBody },
  },
  listContainerStates: {
    method: "GET",
    path: "/v1/state/containers",
    summary: "List containers as they are",
    description: "None runs: there is no container agent in this version. /v2/containers says so for each.",
    responses: { 200: Type.Array(schemas.ContainerState), ...always },
  },
  compose: {
    method: "POST",
    path: "/v1/configuration/_compose",
    summary: "Replace all containers by those of an application file and a deployment file",
    description: "What `flocker-deploy` did. Datasets that are not named stay as they are.",
    body: schemas.Composition,
    responses: { 200: Type.Null(), ...always },
  },
} as const satisfies EndpointTable;
