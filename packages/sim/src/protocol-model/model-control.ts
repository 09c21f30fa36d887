import {
  decideOwnership,
  isBirthrightAskedBack,
  isConverged,
  sliceDataset,
  concernedBy,
} from "@flocker/control";
import {
  assert,
  compareEpochs,
  failOver,
  firstEpoch,
  type DatasetConfiguration,
  type DatasetReport,
  type Lease,
  type NodeId,
  type Ownership,
  type SliceDataset,
} from "@flocker/core";
import type { ModelReport } from "./model-agent.ts";
import { modelDataset, modelNodes } from "./model-node.ts";

/** The control service: what its store holds, and what it has heard since its start. */
export interface ModelControl {
  readonly desired: number;
  readonly ownership: Ownership;
  readonly lease: number | null;
  /** The configuration's history: since the owner got its right, another node has been named. */
  readonly primaryWasElsewhere: boolean;
  readonly conflict: boolean;
  /** By node; null where it has reported nothing. */
  readonly reports: readonly (ModelReport | null)[];
}

/** What happens to the control service. */
export type ControlEvent =
  | { readonly kind: "report"; readonly node: number; readonly report: ModelReport | null }
  | { readonly kind: "move" | "lease" | "fail-over"; readonly node: number }
  | { readonly kind: "release" | "restart" };

/** A dataset that was just created for the first node. */
export const createdDataset: ModelControl = {
  desired: 0,
  ownership: { dataset: modelDataset, epoch: firstEpoch, owner: nodeAt(0), born: false, since: 0 },
  lease: null,
  primaryWasElsewhere: false,
  conflict: false,
  reports: [null, null, null],
};

function nodeAt(index: number): NodeId {
  const node = modelNodes[index];
  assert(node !== undefined, "a node has its number");
  return node;
}

export function stepControl(control: ModelControl, event: ControlEvent): ModelControl {
  switch (event.kind) {
    case "report":
      return judged({ ...control, reports: control.reports.with(event.node, event.report) });
    case "move":
      return judged(wished(control, event.node));
    case "lease":
      return judged({ ...control, lease: event.node });
    case "release":
      return judged({ ...control, lease: null });
    case "fail-over": {
      const ownership = failOver(control.ownership, nodeAt(event.node), 0);
      const lease = control.lease === event.node ? control.lease : null;
      return judged(wished({ ...control, ownership, lease, primaryWasElsewhere: false }, event.node));
    }
    case "restart":
      return { ...control, conflict: false, reports: [null, null, null] };
  }
}

function wished(control: ModelControl, desired: number): ModelControl {
  const owner = modelNodes.indexOf(control.ownership.owner);
  const isElsewhere = !control.ownership.born && (desired !== owner || control.desired !== owner);
  return { ...control, desired, primaryWasElsewhere: control.primaryWasElsewhere || isElsewhere };
}

/** As the control service's own judge: works out who owns the dataset from what is stored and reported. */
function judged(control: ModelControl): ModelControl {
  const input = {
    stored: control.ownership,
    configuredPrimary: nodeAt(control.desired),
    reports: reportsOf(control),
  };
  const primaryWasElsewhere = isBirthrightAskedBack(input) && control.primaryWasElsewhere;
  const decision = decideOwnership({ ...input, primaryWasElsewhere, now: 0 });
  const ownership = decision.ownership ?? control.ownership;
  return {
    ...control,
    ownership: orderedOwnership(ownership),
    // Of no interest once it is born.
    primaryWasElsewhere:
      control.primaryWasElsewhere && !ownership.born && ownership.owner === control.ownership.owner,
    conflict: decision.conflict !== null,
  };
}

/** Equal records have equal texts, whoever has made them. */
function orderedOwnership({ dataset, epoch, owner, born, since }: Ownership): Ownership {
  return { dataset, epoch: { term: epoch.term, step: epoch.step }, owner, born, since };
}

function reportsOf(control: ModelControl): ReadonlyMap<NodeId, DatasetReport> {
  const reports = new Map<NodeId, DatasetReport>();
  for (const [index, report] of control.reports.entries())
    if (report !== null) reports.set(nodeAt(index), reportOf(report, control.ownership));
  return reports;
}

/** Whether it is mounted is seen on the disks themselves; what is superseded comes to be unmounted. */
function reportOf({ record, renounced }: ModelReport, { epoch }: Ownership): DatasetReport {
  const isCurrent = record?.role === "primary" && compareEpochs(record.epoch, epoch) >= 0;
  const copy = {
    mountedAt: isCurrent ? "/flocker" : null,
    trashedAt: null,
    maximumSizeBytes: null,
    usedBytes: null,
    snapshots: [],
  };
  return {
    dataset: modelDataset,
    copy: record === null ? null : { record, ...copy },
    unreadable: null,
    renounced,
    activity: null,
    reasons: [],
  };
}

function entryOf(control: ModelControl) {
  const { desired, ownership, conflict } = control;
  const configuration: DatasetConfiguration = {
    dataset: modelDataset,
    primary: nodeAt(desired),
    maximumSizeBytes: null,
    metadata: {},
    deletion: null,
    revision: 0,
  };
  const lease: Lease | undefined =
    control.lease === null
      ? undefined
      : { dataset: modelDataset, node: nodeAt(control.lease), expiresAt: null };
  const shown = conflict ? { epoch: ownership.epoch, nodes: [] } : null;
  const entry = {
    dataset: modelDataset,
    configuration,
    ownership,
    conflict: shown,
    reports: reportsOf(control),
  };
  return { entry, lease };
}

/** What a node's agent is told, or null where the dataset is not its business. */
export function sliceFor(control: ModelControl, node: number): SliceDataset | null {
  const { entry, lease } = entryOf(control);
  if (!concernedBy(entry, lease).has(nodeAt(node))) return null;
  return sliceDataset(nodeAt(node), entry, lease ?? null);
}

/** Whether what the control service knows is as configured. */
export function isShownConverged(control: ModelControl, connected: readonly boolean[]): boolean {
  const { entry } = entryOf(control);
  return isConverged({
    ...entry,
    conflict: control.conflict,
    liveness: (node) => {
      const isConnected = connected[modelNodes.indexOf(node)] === true;
      return { name: node, connected: isConnected, stale: !isConnected, lastSeenAt: 0, hasReported: true };
    },
  });
}
