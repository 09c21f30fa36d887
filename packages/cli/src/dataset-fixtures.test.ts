// Datasets and nodes as the API shows them, for tests of what is made of them.
import type { v2 } from "@flocker/api";

export const nodeA = "aaaaaaaa-0000-4000-8000-000000000001";
export const nodeB = "bbbbbbbb-0000-4000-8000-000000000002";

export function idNumber(number: number): string {
  return `d0000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
}

export function nodeCalled(name: string, nodeId: string): v2.Node {
  return {
    node_id: nodeId,
    name,
    era: "e0000000-0000-4000-8000-000000000000",
    version: "1.0.0",
    host: "192.0.2.1",
    data_port: 4525,
    backend: { kind: "directory", capabilities: null },
    capacity: null,
    connected: true,
    stale: false,
    last_seen: "2026-11-25T12:00:00.000Z",
    dataset_count: 0,
    refused_session: null,
  };
}

export interface DatasetParts {
  readonly id?: string;
  readonly name?: string | null;
  readonly primary?: string;
  readonly maximumSize?: number | null;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly revision?: number;
  readonly more?: Partial<v2.Dataset>;
}

/** A dataset in place on node A, unless told otherwise. */
export function datasetOf(parts: DatasetParts = {}): v2.Dataset {
  const { id = idNumber(1), name = "pg1", primary = nodeA, maximumSize = null, revision = 1 } = parts;
  const metadata = { ...(name === null ? {} : { name }), ...parts.metadata };
  return {
    dataset_id: id,
    name,
    desired: {
      primary,
      maximum_size: maximumSize,
      maximum_downtime_ms: null,
      metadata,
      source: null,
      deletion: null,
      revision,
    },
    actual: [actualOn(primary)],
    ownership: {
      epoch: { term: 1, step: 0 },
      owner: primary,
      born: true,
      since: "2026-11-25T12:00:00.000Z",
      conflict: false,
    },
    lease: null,
    transfer: null,
    reasons: [],
    converged: true,
    ...parts.more,
  };
}

export function actualOn(nodeId: string, parts: Partial<v2.DatasetActual> = {}): v2.DatasetActual {
  return {
    node_id: nodeId,
    role: "primary",
    epoch: { term: 1, step: 0 },
    path: "/flocker/x",
    in_trash_since: null,
    maximum_size: null,
    used_bytes: 2048,
    snapshots: 0,
    unreadable: null,
    activity: null,
    stale: false,
    last_seen: "2026-11-25T12:00:00.000Z",
    ...parts,
  };
}

export function reasonOf(
  code: v2.DatasetReason["code"],
  message: string,
  nodeId: string | null = nodeA,
): v2.DatasetReason {
  return { code, message, since: "2026-11-25T12:00:00.000Z", next_try_at: null, node_id: nodeId };
}
