import { compareEpochs, formatEpoch, type CopyRecord } from "@flocker/core";
import type { CopyEvent } from "./model-disk.ts";
import type { ModelControl } from "./model-control.ts";
import { modelNodes, type ModelNode } from "./model-node.ts";

/** What the rules need to know beside the parts of the world. */
export interface Witness {
  /** All writes that must be in whatever is served, in their order. */
  readonly truth: string;
  readonly born: boolean;
  /** A lease: its agent has acknowledged it, and since then it has held the primary copy. */
  readonly lease: { readonly node: number; readonly counts: boolean; readonly binds: boolean } | null;
}

/** The first rule of the design that a change of one node's copy breaks, or undefined. */
export function brokenRule(
  nodes: readonly ModelNode[],
  changed: number,
  event: CopyEvent,
  context: { readonly control: ModelControl; readonly witness: Witness; readonly byAgent: boolean },
): string | undefined {
  const { witness, byAgent } = context;
  const node = nodes[changed];
  const copy = node?.copy ?? null;
  if (node === undefined || copy === null) return undefined;
  const name = nameOf(changed);
  if (event === "created" && witness.born) return `I2: the dataset is born a second time, on ${name}`;
  const isKept = event !== "unmounted" && copy.record.role === "primary";
  if (byAgent && !isKept && witness.lease?.node === changed && witness.lease.binds)
    return `I7: the dataset is leased on ${name}, acknowledged, and ${event} there`;
  return (
    brokenOwnership(nodes) ??
    brokenData(nodes, context) ??
    (event === "mounted" ? brokenMount(nodes, node, copy, context) : undefined)
  );
}

function brokenOwnership(nodes: readonly ModelNode[]): string | undefined {
  const primaries: { readonly index: number; readonly record: CopyRecord }[] = [];
  for (const { index, copy } of nodes) {
    if (copy === null) continue;
    if (copy.record.role !== "primary") {
      if (copy.mounted) return `ownership: ${nameOf(index)} has mounted a copy that is ${copy.record.role}`;
      continue;
    }
    const same = primaries.find(({ record }) => compareEpochs(record.epoch, copy.record.epoch) === 0);
    if (same !== undefined)
      return `ownership: ${nameOf(same.index)} and ${nameOf(index)} are both primary at ${formatEpoch(copy.record.epoch)}`;
    primaries.push({ index, record: copy.record });
  }
  return undefined;
}

function brokenData(
  nodes: readonly ModelNode[],
  { witness }: { readonly witness: Witness },
): string | undefined {
  if (!witness.born || nodes.some(({ copy }) => copy?.data.startsWith(witness.truth) === true))
    return undefined;
  return `I3: no copy has the writes ${witness.truth} any more`;
}

/**
 * Nothing is mounted twice, and what is mounted has all that was written. A former holder that has not heard
 * of a failover may serve its copy until it does; that it begins to once it knows better is found where it
 * begins.
 */
function brokenMount(
  nodes: readonly ModelNode[],
  node: ModelNode,
  copy: NonNullable<ModelNode["copy"]>,
  { control, witness }: { readonly control: ModelControl; readonly witness: Witness },
): string | undefined {
  const name = nameOf(node.index);
  const { term } = copy.record.epoch;
  if (!control.ownership.born) return `birth: ${name} mounts before the birth is confirmed`;
  if (term < control.ownership.epoch.term) return undefined;
  if (!copy.data.startsWith(witness.truth))
    return `I3: ${name} mounts the writes ${copy.data || "(none)"}, but ${witness.truth} were synced`;
  for (const other of nodes)
    if (other !== node && other.copy?.mounted === true && other.copy.record.epoch.term >= term)
      return `I1: mounted read-write on ${nameOf(other.index)} and ${name}`;
  return undefined;
}

/** Whether nobody holds the dataset at a newer epoch: else stopping to serve is safety, not interruption. */
export function isRightfulPrimary(nodes: readonly ModelNode[], index: number): boolean {
  const record = nodes[index]?.copy?.record;
  if (record?.role !== "primary") return false;
  return nodes.every(
    ({ copy }, other) =>
      other === index ||
      copy?.record.role !== "primary" ||
      compareEpochs(copy.record.epoch, record.epoch) < 0,
  );
}

/** Whether the dataset is served where it should be, and nowhere else. */
export function isServedAsDesired(nodes: readonly ModelNode[], desired: number): boolean {
  return nodes.every(({ copy, index, power }) =>
    index === desired ? power === "up" && copy?.mounted === true : copy?.mounted !== true,
  );
}

export function nameOf(index: number): string {
  return (modelNodes[index] ?? "?").slice(0, 1).toUpperCase();
}
