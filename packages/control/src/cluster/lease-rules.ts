import { failure, success, type DatasetId, type Lease, type Milliseconds, type Result } from "@flocker/core";
import type { Change } from "../store/store.ts";
import type { Caller } from "./cluster.ts";
import { checkNode, checkRevision, findDataset, type RulesView } from "./rules.ts";

/**
 * The change for a lease to be acquired or renewed: null where it is as asked for already. Another node's
 * lease that has ended, but was not cleared away yet, does not count. As in the original, a lenient caller
 * may name datasets that are not (yet) there.
 */
export function decideAcquire(
  lease: Lease,
  context: { readonly view: RulesView; readonly caller: Caller },
): Result<{ readonly created: boolean; readonly change: Change | null }> {
  const { view, caller } = context;
  const { dataset, node, expiresAt } = lease;
  const doing = `Acquiring a lease on dataset ${dataset}`;
  const problem =
    checkRevision(view, caller, doing) ??
    checkEnd(lease, doing) ??
    (caller.lenient === true ? undefined : checkLeased(lease, context, doing)) ??
    checkNode(node, { view, caller, doing, field: "node" });
  if (problem !== undefined) return problem;
  const held = view.lease(dataset);
  const isHeld = held !== undefined && !isOver(held, view.now);
  if (isHeld && held.node !== node)
    return failure(
      "lease-held",
      `${doing}: node ${held.node} (${view.nodeName(held.node) ?? "never seen"}) holds one that ${endOf(held)}.`,
      "Stop what uses the dataset there and release its lease, or wait for its end.",
      "node",
    );
  const isSame = isHeld && held.expiresAt === expiresAt;
  return success({ created: !isHeld, change: isSame ? null : { kind: "put-lease", value: lease } });
}

/** The latest time that a date can show; nothing that handles leases could print a later one. */
const latestTime = 8.64e15;

function checkEnd({ expiresAt }: Lease, doing: string): ReturnType<typeof failure> | undefined {
  if (expiresAt === null || Math.abs(expiresAt) <= latestTime) return undefined;
  return failure(
    "bad-request",
    `${doing}: its end ${expiresAt} is no time.`,
    "Give a time in milliseconds since 1970, or none for a lease without an end.",
    "expiresAt",
  );
}

function checkLeased(
  lease: Lease,
  context: { readonly view: RulesView; readonly caller: Caller },
  doing: string,
): ReturnType<typeof failure> | undefined {
  const { view, caller } = context;
  const found = findDataset(lease.dataset, view, caller, doing);
  if (!found.ok) return found;
  if (found.value.deletion !== null)
    return failure(
      "dataset-deleted",
      `${doing}: it is deleted.`,
      "Undelete it first (flocker undelete), or use another dataset.",
      "dataset",
    );
  if (isOver(lease, view.now))
    return failure(
      "bad-request",
      `${doing}: the lease would have ended already, ${new Date(lease.expiresAt ?? 0).toISOString()}.`,
      "Give an end in the future, or none; check the clocks of both machines.",
      "expiresAt",
    );
  return undefined;
}

/** The lease to release. Anyone may, as in the original. */
export function decideRelease(
  dataset: DatasetId,
  context: { readonly view: RulesView; readonly caller: Caller },
): Result<Lease> {
  const { view, caller } = context;
  const doing = `Releasing the lease on dataset ${dataset}`;
  const mismatch = checkRevision(view, caller, doing);
  if (mismatch !== undefined) return mismatch;
  const held = view.lease(dataset);
  if (held !== undefined) return success(held);
  return failure("not-found", `${doing}: there is none.`, "Nothing needs to be done.", "dataset");
}

/** The control service's own change: these leases have ended. */
export function decideExpiry(datasets: Iterable<DatasetId>, view: RulesView): readonly Change[] {
  const changes: Change[] = [];
  for (const dataset of datasets) {
    const lease = view.lease(dataset);
    if (lease !== undefined && isOver(lease, view.now)) changes.push({ kind: "remove-lease", dataset });
  }
  return changes;
}

function isOver(lease: Lease, now: Milliseconds): boolean {
  return lease.expiresAt !== null && lease.expiresAt <= now;
}

function endOf(lease: Lease): string {
  return lease.expiresAt === null ? "has no end" : `ends ${new Date(lease.expiresAt).toISOString()}`;
}
