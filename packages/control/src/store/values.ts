import {
  ProblemError,
  type ContainerConfiguration,
  type DatasetConfiguration,
  type DatasetId,
  type Lease,
  type NodeId,
  type Ownership,
} from "@flocker/core";
import { unreadable, type Row } from "./database.ts";
import type { KnownNode } from "./store.ts";

// How values become text. Keys are written in a fixed order: the same value is always the same text, and the
// chain of tags is a digest of these texts.

export function encodeDataset(value: DatasetConfiguration): string {
  const { dataset, primary, maximumSizeBytes, metadata, deletion, revision } = value;
  const { maximumDowntimeMs, source } = value;
  return JSON.stringify({
    dataset,
    primary,
    maximumSizeBytes,
    metadata,
    deletion:
      deletion === null
        ? null
        : { at: deletion.at, graceEndsAt: deletion.graceEndsAt, purged: deletion.purged },
    revision,
    maximumDowntimeMs,
    source,
  });
}

export function encodeLease({ dataset, node, expiresAt }: Lease): string {
  return JSON.stringify({ dataset, node, expiresAt });
}

export function encodeContainer(value: ContainerConfiguration): string {
  const { name, node, image, restartPolicy, ports, links, volume, environment } = value;
  const { commandLine, memoryLimitBytes, cpuShares, swappiness } = value;
  return JSON.stringify({
    name,
    node,
    image,
    restartPolicy:
      restartPolicy.name === "on-failure"
        ? { name: restartPolicy.name, maximumRetryCount: restartPolicy.maximumRetryCount }
        : { name: restartPolicy.name },
    ports: ports.map(({ internal, external }) => ({ internal, external })),
    links: links.map(({ alias, localPort, remotePort }) => ({ alias, localPort, remotePort })),
    volume: volume === null ? null : { dataset: volume.dataset, mountpoint: volume.mountpoint },
    environment,
    commandLine,
    memoryLimitBytes,
    cpuShares,
    swappiness,
  });
}

export function encodeNode(value: KnownNode): string {
  const { node, name, era, version, backendKind, host, dataPort, lastSeenAt } = value;
  return JSON.stringify({ node, name, era, version, backendKind, host, dataPort, lastSeenAt });
}

export function decodeDataset(text: string, path: string): DatasetConfiguration {
  return decode<DatasetConfiguration>(text, path, ["dataset", "primary", "metadata", "revision"]);
}

export function decodeLease(text: string, path: string): Lease {
  return decode<Lease>(text, path, ["dataset", "node", "expiresAt"]);
}

export function decodeContainer(text: string, path: string): ContainerConfiguration {
  return decode<ContainerConfiguration>(text, path, ["name", "node", "image", "volume", "ports"]);
}

export function decodeNode(text: string, path: string): KnownNode {
  return decode<KnownNode>(text, path, ["node", "name", "lastSeenAt"]);
}

export function decodeOwnership(row: Row): Ownership {
  return {
    dataset: row.text("dataset") as DatasetId,
    epoch: { term: row.number("term"), step: row.number("step") },
    owner: row.text("owner") as NodeId,
    born: row.number("born") === 1,
    since: row.number("since"),
  };
}

/** We read only what we have written, so this looks for damage and not for every possible mistake. */
function decode<Decoded extends object>(
  text: string,
  path: string,
  keys: readonly (keyof Decoded)[],
): Decoded {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (typeof value !== "object" || value === null || !keys.every((key) => Object.hasOwn(value, key)))
    throw new ProblemError(unreadable(path, `It holds a damaged value: ${text.slice(0, 80)}`));
  return value as Decoded;
}
