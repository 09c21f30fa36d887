import {
  firstEpoch,
  type ContainerConfiguration,
  type DatasetConfiguration,
  type DatasetId,
  type Ids,
  type Lease,
  type NodeId,
  type Ownership,
} from "@flocker/core";
import type { Change, KnownNode } from "./store.ts";

// Values for the tests and benchmarks of stores, all made from small numbers.

/** The uuid that stands for a number, in tests. */
export function sampleUuid(number: number): string {
  return `00000000-0000-4000-8000-${number.toString(16).padStart(12, "0")}`;
}

export function sampleDatasetId(number: number): DatasetId {
  return sampleUuid(number) as DatasetId;
}

export function sampleNodeId(number: number): NodeId {
  return `11111111-1111-4111-8111-${number.toString(16).padStart(12, "0")}` as NodeId;
}

/** Uuids one after the other, the same in every run. */
export function sampleIds(first = 1): Ids {
  let next = first;
  return { uuid: () => sampleUuid(next++) };
}

export function sampleDataset(
  number: number,
  parts: Partial<DatasetConfiguration> = {},
): DatasetConfiguration {
  return {
    dataset: sampleDatasetId(number),
    primary: sampleNodeId(1),
    maximumSizeBytes: 2 ** 30,
    metadata: { name: `volume-${number}` },
    deletion: null,
    revision: 0,
    ...parts,
  };
}

export function sampleOwnership(number: number, parts: Partial<Ownership> = {}): Ownership {
  return {
    dataset: sampleDatasetId(number),
    epoch: firstEpoch,
    owner: sampleNodeId(1),
    born: false,
    since: 1_000,
    ...parts,
  };
}

export function sampleLease(number: number, parts: Partial<Lease> = {}): Lease {
  return { dataset: sampleDatasetId(number), node: sampleNodeId(1), expiresAt: null, ...parts };
}

export function sampleContainer(
  number: number,
  parts: Partial<ContainerConfiguration> = {},
): ContainerConfiguration {
  return {
    name: `container-${number}`,
    node: sampleNodeId(1),
    image: "nginx:latest",
    restartPolicy: { name: "never" },
    ports: [],
    links: [],
    volume: null,
    environment: {},
    commandLine: null,
    memoryLimitBytes: null,
    cpuShares: null,
    swappiness: 0,
    ...parts,
  };
}

export function sampleNode(number: number, parts: Partial<KnownNode> = {}): KnownNode {
  return {
    node: sampleNodeId(number),
    name: `node-${number}`,
    era: sampleUuid(number),
    version: "0.1.0",
    backendKind: "directory",
    host: "192.0.2.1",
    dataPort: 4525,
    lastSeenAt: 1_000,
    ...parts,
  };
}

/** The change that creates that dataset, with its ownership record. */
export function sampleBirth(number: number, parts: Partial<DatasetConfiguration> = {}): Change {
  const value = sampleDataset(number, parts);
  return { kind: "put-dataset", value, birth: sampleOwnership(number, { owner: value.primary }) };
}
