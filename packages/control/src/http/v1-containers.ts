import { posix } from "node:path";
import { v1, writePythonJson, type PythonValue, type v1Endpoints } from "@flocker/api";
import { type ContainerConfiguration, type NodeId, type Problem, type RestartPolicy } from "@flocker/core";
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
import { composition } from "./compose/composition.ts";
import { ConfigurationError } from "./compose/values.ts";
import { imageMistake, parseImage } from "./compose/image.ts";
import { byAlias, byPort } from "./container-order.ts";
import { ipv4Of, nodeStateText } from "./v1-mapping.ts";

type Names =
  | "listConfiguredContainers"
  | "createContainer"
  | "moveContainer"
  | "deleteContainer"
  | "listContainerStates"
  | "compose";

/** The handlers of /v1's container API. Containers are kept for its clients; no agent runs them. */
export function containerHandlers(
  services: V1Services,
): Pick<Readonly<Record<keyof typeof v1Endpoints, (request: V1Request) => V1Reply>>, Names> {
  const { cluster } = services;
  const byName = (): readonly ContainerConfiguration[] =>
    [...cluster.containers()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return {
    listConfiguredContainers: () => ({ status: 200, text: listText(byName(), (one) => containerText(one)) }),
    listContainerStates: () => ({
      status: 200,
      text: listText(byName(), (one) => containerText(one, false)),
    }),
    createContainer(request) {
      const body = readBody<v1.NewContainer>(v1.NewContainer, request);
      if ("status" in body) return body;
      const image = parseImage(body.value.image);
      if (image === undefined) return described(400, imageMistake(body.value.image));
      const container = { ...containerOf(body.value), image };
      const created = cluster.createContainer(container, { author: request.author, lenient: true });
      if (!created.ok) return refusedContainer(created.problem);
      return { status: 201, text: containerText(created.value), ...writtenOf(container) };
    },
    moveContainer(request) {
      const body = readBody<v1.ContainerMove>(v1.ContainerMove, request);
      if ("status" in body) return body;
      const caller = { author: request.author, lenient: true };
      const moved = cluster.moveContainer(request.params["name"] ?? "", nodeId(body.value.node_uuid), caller);
      if (!moved.ok) return refusedContainer(moved.problem);
      return { status: 200, text: containerText(moved.value), ...writtenOf(moved.value) };
    },
    deleteContainer({ params, author }) {
      const deleted = cluster.deleteContainer(params["name"] ?? "", { author, lenient: true });
      return deleted.ok ? { status: 200, text: "null" } : refusedContainer(deleted.problem);
    },
    compose: (request) => composeAll(services, request),
  };
}

function composeAll({ cluster, clock }: V1Services, request: V1Request): V1Reply {
  const body = readBody<unknown>(v1.Composition, request);
  if ("status" in body) return body;
  const { applications, deployment } = body.raw as Readonly<Record<string, PythonValue>>;
  try {
    const wanted = composition(applications ?? null, deployment ?? null, nodesByAddress({ cluster, clock }));
    const composed = cluster.compose(wanted, { author: request.author, lenient: true });
    if (composed.ok) return { status: 200, text: "null" };
    const { message, remedy } = composed.problem;
    return { ...described(400, `${message} ${remedy}`), problem: composed.problem };
  } catch (error) {
    if (error instanceof ConfigurationError) return described(400, error.message);
    throw error;
  }
}

/** Those nodes that /v1 shows, by the address that it shows. */
function nodesByAddress({
  cluster,
  clock,
}: Pick<V1Services, "cluster" | "clock">): ReadonlyMap<string, NodeId> {
  const nodes = new Map<string, NodeId>();
  const now = clock.now();
  for (const view of cluster.nodes()) {
    const address = ipv4Of(view.host);
    if (address !== undefined && nodeStateText(view, now) !== undefined) nodes.set(address, view.node);
  }
  return nodes;
}

/** A container as asked for; its image is still as it came. */
function containerOf(body: v1.NewContainer): ContainerConfiguration {
  const [volume] = body.volumes ?? [];
  return {
    name: body.name,
    node: nodeId(body.node_uuid),
    image: body.image,
    restartPolicy: restartPolicyOf(body.restart_policy),
    ports: (body.ports ?? []).map(({ internal, external }) => ({ internal, external })).toSorted(byPort),
    links: (body.links ?? [])
      .map((link) => ({
        alias: link.alias.toLowerCase(),
        localPort: link.local_port,
        remotePort: link.remote_port,
      }))
      .toSorted(byAlias),
    volume:
      volume === undefined
        ? null
        : { dataset: datasetId(volume.dataset_id), mountpoint: posix.resolve("/", volume.mountpoint) },
    environment: body.environment ?? {},
    commandLine: body.command_line ?? null,
    memoryLimitBytes: body.memory_limit ?? null,
    cpuShares: body.cpu_shares ?? null,
    swappiness: body.swappiness ?? 0,
  };
}

function restartPolicyOf(policy: v1.NewContainer["restart_policy"]): RestartPolicy {
  if (policy === undefined) return { name: "never" };
  if (policy.name !== "on-failure") return { name: policy.name };
  return { name: policy.name, maximumRetryCount: policy.maximum_retry_count ?? null };
}

/**
 * A container as /v1 shows it; with whether it runs, where its state is shown. What is not set is left out.
 */
export function containerText(container: ContainerConfiguration, running?: boolean): string {
  const { ports, links, volume, environment, restartPolicy } = container;
  const isEmpty = (list: { readonly length: number }): boolean => list.length === 0;
  return writePythonJson({
    ...(container.commandLine === null ? {} : { command_line: container.commandLine }),
    ...(container.cpuShares === null ? {} : { cpu_shares: container.cpuShares }),
    ...(isEmpty(Object.keys(environment)) ? {} : { environment }),
    image: container.image,
    ...(isEmpty(links)
      ? {}
      : {
          links: links.map((link) => ({
            alias: link.alias,
            local_port: link.localPort,
            remote_port: link.remotePort,
          })),
        }),
    ...(container.memoryLimitBytes === null ? {} : { memory_limit: container.memoryLimitBytes }),
    name: container.name,
    node_uuid: container.node,
    ...(isEmpty(ports) ? {} : { ports: ports.map(({ external, internal }) => ({ external, internal })) }),
    restart_policy: restartPolicyBody(restartPolicy),
    ...(running === undefined ? {} : { running }),
    ...(volume === null ? {} : { volumes: [{ dataset_id: volume.dataset, mountpoint: volume.mountpoint }] }),
  });
}

function restartPolicyBody(policy: RestartPolicy): PythonValue {
  if (policy.name !== "on-failure" || policy.maximumRetryCount === null) return { name: policy.name };
  return { maximum_retry_count: policy.maximumRetryCount, name: policy.name };
}

function writtenOf({ name, volume }: ContainerConfiguration): Pick<V1Reply, "dataset" | "container"> {
  return volume === null ? { container: name } : { container: name, dataset: volume.dataset };
}

/** The original's words, by the field that is in the way. */
const conflicts: Readonly<Record<string, string>> = {
  name: "The container name already exists.",
  node_uuid: "The dataset is on another node.",
  volumes: "The dataset is being used by another container.",
  ports: "A specified external port is already in use.",
  "links.alias": "Link aliases must be unique.",
  "links.local_port": "The local ports in a container's links must be unique.",
};

function refusedContainer(problem: Problem): V1Reply {
  const conflict = problem.code === "container-conflict" ? conflicts[problem.field ?? ""] : undefined;
  return conflict === undefined ? refused(problem) : { ...described(409, conflict), problem };
}
