import {
  failOver,
  failure,
  success,
  type DatasetId,
  type DatasetReport,
  type NodeId,
  type Ownership,
  type Result,
} from "@flocker/core";
import type { Change } from "../store/store.ts";
import type { Caller, Failover, NodeView } from "./cluster.ts";
import type { DatasetEntry } from "./dataset-table.ts";
import { checkNode, findDataset, type Decided, type RulesView } from "./rules.ts";

/** What the decision on a failover looks at. */
export interface FailoverContext {
  readonly view: RulesView;
  readonly caller: Caller;
  readonly entry: Pick<DatasetEntry, "ownership" | "reports"> | undefined;
  readonly known: (node: NodeId) => NodeView | undefined;
}

/**
 * A failover by hand (design, section 5.4): only while the owner is away, only to a replica that is there,
 * and only with consent to what is lost. The configuration and the ownership record change in one commit.
 */
export function decideFailover(dataset: DatasetId, wish: Failover, context: FailoverContext): Decided {
  const { view, caller, entry } = context;
  const { to } = wish;
  const doing = `Failing dataset ${dataset} over`;
  const found = findDataset(dataset, view, caller, doing);
  if (!found.ok) return found;
  if (found.value.deletion !== null)
    return failure("dataset-deleted", `${doing}: it is deleted.`, "Undelete it first: flocker undelete.");
  const unknown = checkNode(to, { view, caller, doing, field: "to" });
  if (unknown !== undefined) return unknown;
  const ownership = entry?.ownership ?? null;
  // Asked for a second time.
  if (ownership?.owner === to && found.value.primary === to) return success<readonly Change[]>([]);
  const replica = checkReplica(wish, { ...context, ownership, doing });
  if (!replica.ok) return replica;
  const { record, copy } = replica.value;
  if (!wish.acceptLoss) return consentNeeded(record.owner, copy, { ...context, to, doing });
  const failover = failOver(record, to, view.now);
  return success<readonly Change[]>([
    { kind: "put-dataset", value: { ...found.value, primary: to }, failover },
  ]);
}

type Copy = NonNullable<DatasetReport["copy"]>;

interface Checking extends FailoverContext {
  readonly ownership: Ownership | null;
  readonly doing: string;
}

function checkReplica(
  { to }: Failover,
  { view, entry, known, ownership, doing }: Checking,
): Result<{ readonly record: Ownership; readonly copy: Copy }> {
  if (ownership === null || !ownership.born)
    return failure(
      "snapshot-missing",
      `${doing}: it was never there, so it has no replica.`,
      "Move it instead.",
    );
  const { owner, dataset } = ownership;
  if (owner === to)
    return failure("bad-request", `${doing}: ${label(to, known)} owns it already.`, "Move it there.", "to");
  if (known(owner)?.connected === true)
    return failure(
      "owner-connected",
      `${doing}: its owner, ${label(owner, known)}, is connected.`,
      "Move it instead (flocker move): nothing is lost then. If that node's storage is broken, stop its agent first.",
    );
  const lease = view.lease(dataset);
  if (lease !== undefined && lease.node !== to)
    return failure(
      "lease-held",
      `${doing}: it is leased on ${label(lease.node, known)}.`,
      "Make sure that nothing uses it there any more, and release the lease.",
    );
  if (known(to)?.connected !== true)
    return failure(
      "peer-unreachable",
      `${doing}: ${label(to, known)} is not connected.`,
      "Start its agent.",
      "to",
    );
  const copy = entry?.reports.get(to)?.copy ?? null;
  // Whoever has handed the dataset on, and has not heard that it was taken over, has all that was handed on.
  if (copy === null || copy.record.role === "primary" || copy.trashedAt !== null)
    return failure(
      "snapshot-missing",
      `${doing}: ${label(to, known)} has no replica of it.`,
      "See with flocker show which nodes have one.",
      "to",
    );
  return success({ record: ownership, copy });
}

function consentNeeded(
  owner: NodeId,
  { asOf }: Copy,
  { known, doing, to }: FailoverContext & { readonly doing: string; readonly to: NodeId },
): Decided {
  const seenAt = known(owner)?.lastSeenAt ?? null;
  const since = asOf === undefined ? "an unknown time" : new Date(asOf).toISOString();
  const seconds = seenAt === null || asOf === undefined ? null : (seenAt - asOf) / 1000;
  const behind =
    seconds === null
      ? ""
      : `, ${Math.max(0, Math.round(seconds))} s before ${label(owner, known)} was last seen`;
  return failure(
    "consent-needed",
    `${doing}: the replica on ${label(to, known)} is as of ${since}${behind}. What was written later is lost to it; ` +
      `${label(owner, known)} keeps its copy aside when it comes back.`,
    "If that node is down, and stays so or comes back only with its network, ask again with accept_loss (--accept-loss).",
  );
}

function label(node: NodeId, known: FailoverContext["known"]): string {
  return known(node)?.name ?? node;
}
