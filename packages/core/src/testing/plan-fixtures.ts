import type { ObservedCopy } from "../model/copy.ts";
import type { Deletion, Ownership } from "../model/configuration.ts";
import type { Epoch } from "../model/epoch.ts";
import type { DatasetId, NodeId } from "../model/ids.ts";
import type { SliceDataset, SliceNode } from "../protocol/agent.ts";
import type { LaneInput } from "../plan/lane-input.ts";

/** Small worlds for the tests of plans: node A is "this node". */
export const dataset = "d0000000-0000-4000-8000-000000000000" as DatasetId;
export const nodeA = "a0000000-0000-4000-8000-000000000000" as NodeId;
export const nodeB = "b0000000-0000-4000-8000-000000000000" as NodeId;

export function epoch(step: number, term = 1): Epoch {
  return { term, step };
}

export function ownership(owner: NodeId, step: number, born = true): Ownership {
  return { dataset, epoch: epoch(step), owner, born, since: 0 };
}

export function node(id: NodeId, overrides: Partial<SliceNode> = {}): SliceNode {
  const name = id === nodeA ? "alpha" : "beta";
  return {
    node: id,
    name,
    dataAddress: { host: "127.0.0.1", port: 4525 },
    live: true,
    lastSeenAt: 1000,
    ...overrides,
  };
}

export function slice(primary: NodeId, overrides: Partial<SliceDataset> = {}): SliceDataset {
  return {
    dataset,
    desired: { primary, maximumSizeBytes: null, deletion: null },
    ownership: ownership(nodeA, 0),
    conflict: false,
    lease: null,
    relinquishedToYou: null,
    ...overrides,
  };
}

export function deleted(purged: boolean): SliceDataset {
  const deletion: Deletion = { at: 10, graceEndsAt: 20, purged };
  return slice(nodeA, { desired: { primary: nodeA, maximumSizeBytes: null, deletion } });
}

export function copy(overrides: Partial<ObservedCopy> = {}): ObservedCopy {
  return {
    dataset,
    record: { dataset, epoch: epoch(0), role: "primary" },
    mountedAt: null,
    trashedAt: null,
    maximumSizeBytes: null,
    usedBytes: null,
    snapshots: [],
    unchangedSince: null,
    writtenBytes: null,
    ...overrides,
  };
}

export function input(overrides: Partial<LaneInput> = {}): LaneInput {
  return {
    self: nodeA,
    dataset,
    slice: slice(nodeA),
    nodes: new Map([
      [nodeA, node(nodeA)],
      [nodeB, node(nodeB)],
    ]),
    local: { kind: "absent" },
    partial: null,
    birth: null,
    promised: null,
    peer: null,
    move: null,
    handoffOverheadMs: null,
    transfers: [],
    session: true,
    capabilities: {
      liveSnapshots: false,
      resume: false,
      quota: false,
      clone: false,
      compression: false,
      encryption: false,
    },
    ...overrides,
  };
}

export function withCopy(overrides: Partial<ObservedCopy>, rest: Partial<LaneInput> = {}): LaneInput {
  return input({ ...rest, local: { kind: "copy", copy: copy(overrides) } });
}
