import {
  compareEpochs,
  type DatasetConfiguration,
  type DatasetReport,
  type Milliseconds,
  type NodeId,
  type Ownership,
  type Reason,
} from "@flocker/core";
import type { DatasetView } from "./cluster.ts";

/** What the derivations need to know of a node; undefined in their input where it was never seen. */
export interface NodeLiveness {
  readonly name: string;
  readonly connected: boolean;
  readonly stale: boolean;
  readonly lastSeenAt: Milliseconds;
  /**
   * Since the control service started it has reported all that it has. Else what it has is unknown, not
   * nothing.
   */
  readonly hasReported: boolean;
}

export interface DerivationInput {
  readonly configuration: DatasetConfiguration | null;
  readonly ownership: Ownership | null;
  readonly conflict: boolean;
  readonly reports: ReadonlyMap<NodeId, DatasetReport>;
  liveness(node: NodeId): NodeLiveness | undefined;
}

/**
 * Whether what is equals what should be: the configured primary serves at the ownership's epoch with the
 * right size and nobody else does, or a deleted dataset is hidden (after its grace time: gone) everywhere.
 * What a silent node said last is no proof, and what is not configured is never as configured.
 */
export function isConverged(input: DerivationInput): boolean {
  const { configuration, conflict } = input;
  if (configuration === null || conflict) return false;
  return configuration.deletion === null
    ? isServed(configuration, input)
    : isRemoved(configuration.deletion.purged, input);
}

function isServed(configuration: DatasetConfiguration, input: DerivationInput): boolean {
  const { primary, maximumSizeBytes } = configuration;
  const { ownership, reports } = input;
  const copy = reports.get(primary)?.copy ?? null;
  if (copy === null || ownership === null) return false;
  for (const [node, report] of reports)
    if (node !== primary && (report.copy?.mountedAt ?? null) !== null) return false;
  return (
    input.liveness(primary)?.stale === false &&
    ownership.owner === primary &&
    ownership.born &&
    copy.record.role === "primary" &&
    compareEpochs(copy.record.epoch, ownership.epoch) === 0 &&
    copy.mountedAt !== null &&
    copy.trashedAt === null &&
    copy.maximumSizeBytes === maximumSizeBytes
  );
}

function isRemoved(purged: boolean, input: DerivationInput): boolean {
  const { ownership, reports } = input;
  for (const { copy, unreadable } of reports.values()) {
    if (unreadable !== null) return false;
    if (copy !== null && (purged || copy.trashedAt === null)) return false;
  }
  for (const node of responsible(input)) {
    const liveness = input.liveness(node);
    // A node that was never seen has nothing, unless the dataset was born: then somebody has it.
    if (liveness === undefined ? ownership?.born === true : !liveness.hasReported) return false;
  }
  return true;
}

/** The agents' reasons, and the control service's own: whom it waits to hear from. */
export function reasonsFor(input: DerivationInput): DatasetView["reasons"] {
  const reasons: (Reason & { readonly node: NodeId | null })[] = [];
  for (const [node, report] of input.reports)
    for (const reason of report.reasons) reasons.push({ ...reason, node });
  if (input.configuration === null || isConverged(input)) return reasons;
  for (const node of responsible(input)) {
    const reason = silenceOf(node, input);
    if (reason !== null) reasons.push({ ...reason, node });
  }
  return reasons;
}

/** The nodes without whose word nothing goes on: the configured primary and the owner. */
function responsible({ configuration, ownership }: DerivationInput): ReadonlySet<NodeId> {
  const nodes = new Set<NodeId>();
  if (configuration !== null) nodes.add(configuration.primary);
  if (ownership !== null) nodes.add(ownership.owner);
  return nodes;
}

function silenceOf(node: NodeId, input: DerivationInput): Reason | null {
  const part =
    input.configuration?.primary === node
      ? "It should hold the dataset"
      : "It has held the dataset until now";
  const liveness = input.liveness(node);
  if (liveness === undefined)
    return {
      code: "node-never-seen",
      message: `${part}, but no agent of node ${node} has ever connected: check the id, or start its agent.`,
      since: input.ownership?.since ?? 0,
    };
  if (liveness.connected && !liveness.stale) return null;
  const { name, lastSeenAt } = liveness;
  return {
    code: "node-silent",
    message:
      `The agent of ${name} (${node.slice(0, 8)}) has not been heard of since ${new Date(lastSeenAt).toISOString()}. ` +
      `${part}, and nothing can be done for it there until its agent is back.`,
    since: lastSeenAt,
  };
}
