import { createHash } from "node:crypto";
import { isIPv4 } from "node:net";
import { isArray, type PythonValue } from "@flocker/api";
import {
  assert,
  parseDatasetId,
  type ContainerConfiguration,
  type DatasetId,
  type NodeId,
} from "@flocker/core";
import type { Composition } from "../../cluster/cluster.ts";
import { byAlias, byPort } from "../container-order.ts";
import type { Application } from "./application.ts";
import { isFig, readFigApplications } from "./fig-format.ts";
import { isVersionOne, readFlockerApplications } from "./flocker-format.ts";
import { applicationError, ConfigurationError, isDictionary, typeName, valueAt } from "./values.ts";

/**
 * What `flocker-deploy` asks for with the contents of its two files. Throws a ConfigurationError with the
 * original's words for what is wrong with them.
 */
export function composition(
  applications: PythonValue,
  deployment: PythonValue,
  nodes: ReadonlyMap<string, NodeId>,
): Composition {
  if (!isDictionary(applications))
    throw new ConfigurationError(
      `Application configuration must be a dictionary, got ${typeName(applications)}.`,
    );
  const known = isFig(applications)
    ? readFigApplications(applications)
    : readFlockerApplications(applications);
  const placed = place(new Map(known.map((one) => [one.name, one])), deployment, nodes);
  return { containers: placed.map(containerOf), datasets: placed.flatMap(datasetOf) };
}

interface Placed {
  readonly application: Application;
  readonly node: NodeId;
}

function place(
  applications: ReadonlyMap<string, Application>,
  deployment: PythonValue,
  nodes: ReadonlyMap<string, NodeId>,
): readonly Placed[] {
  const placed = new Map<string, Placed>();
  for (const [address, names] of readDeployment(deployment)) {
    const refuse = (message: string): never => {
      throw new ConfigurationError(`Node ${address} has a config error. ${message}`);
    };
    if (!isArray(names)) return refuse(`Wrong value type: ${typeName(names)}. Should be list.`);
    const node = nodes.get(address);
    if (node === undefined) throw new ConfigurationError(`No known node with address ${address}.`);
    for (const name of names) {
      const application = typeof name === "string" ? applications.get(name) : undefined;
      if (typeof name !== "string" || application === undefined)
        return refuse(`Unrecognised application name: ${typeof name === "string" ? name : typeName(name)}.`);
      if (placed.has(name)) throw new ConfigurationError(`Application '${name}' appears more than once.`);
      placed.set(name, { application, node });
    }
  }
  return [...placed.values()];
}

function readDeployment(deployment: PythonValue): readonly (readonly [string, PythonValue])[] {
  const refuse = (message: string): never => {
    throw new ConfigurationError(`Deployment configuration has an error. ${message}`);
  };
  if (!isDictionary(deployment))
    throw new ConfigurationError(
      `Deployment configuration must be a dictionary, got ${typeName(deployment)}.`,
    );
  const nodes = valueAt(deployment, "nodes");
  if (nodes === undefined) return refuse("Missing 'nodes' key.");
  if (valueAt(deployment, "version") === undefined) return refuse("Missing 'version' key.");
  if (!isVersionOne(valueAt(deployment, "version"))) return refuse("Incorrect version specified.");
  if (!isDictionary(nodes)) return refuse(`'nodes' must be a dictionary, got ${typeName(nodes)}.`);
  for (const address of Object.keys(nodes))
    if (!isIPv4(address))
      throw new ConfigurationError(
        `Node "${address}" specified, but deployment configuration expects an IPv4 address.`,
      );
  return Object.entries(nodes);
}

/** The name goes into the dataset's metadata. */
const nameMaximum = 256;
const containerName = /^\/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

function containerOf({ application, node }: Placed): ContainerConfiguration {
  const { name, image, environment, restartPolicy, memoryLimitBytes, cpuShares, volume } = application;
  if (!containerName.test(name) || name.length > nameMaximum)
    applicationError(name, "Its name is not one that a container can have.");
  return {
    name,
    node,
    image,
    restartPolicy,
    ports: application.ports.toSorted(byPort),
    links: application.links.toSorted(byAlias),
    volume: volume === null ? null : { dataset: datasetIdOf(application), mountpoint: volume.mountpoint },
    environment,
    commandLine: null,
    memoryLimitBytes,
    cpuShares,
    swappiness: 0,
  };
}

function datasetOf({ application, node }: Placed): Composition["datasets"] {
  const { volume, name } = application;
  if (volume === null) return [];
  return [
    {
      dataset: datasetIdOf(application),
      primary: node,
      maximumSizeBytes: volume.maximumSizeBytes,
      metadata: { name },
    },
  ];
}

/**
 * The dataset that a file names, or the one of the application's name, which is the same for all clusters.
 */
function datasetIdOf({ name, volume }: Application): DatasetId {
  const dataset = parseDatasetId(volume?.dataset ?? nameUuid(name));
  assert(dataset !== undefined, "a dataset's id was checked or made in the right form");
  return dataset;
}

/** A digest of the name in the form of a version 4 uuid, as Python's `UUID(bytes=…, version=4)` makes it. */
export function nameUuid(name: string): string {
  const bytes = createHash("md5").update(name).digest();
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
