import { assert } from "../assert.ts";
import type { CopyRecord } from "../model/copy.ts";
import type { Ownership } from "../model/configuration.ts";
import type { Milliseconds, NodeId } from "../model/ids.ts";

/**
 * The ownership record of a failover to a replica: the next term, from its first step (design, section 5.4).
 * Only the control service decides so, on a person's word or for datasets that ask for it, and what the
 * replica lacks is lost. That the former holder no longer serves is the caller's business to make sure.
 */
export function failOver(ownership: Ownership, to: NodeId, now: Milliseconds): Ownership {
  assert(ownership.born, "only what is born has replicas");
  assert(ownership.owner !== to, "a failover goes to another node");
  const epoch = { term: ownership.epoch.term + 1, step: 0 };
  return { dataset: ownership.dataset, epoch, owner: to, born: true, since: now };
}

/** Whether a failover has made this node's copy the primary, and it has not become so yet. */
export function isFailedOverTo(self: NodeId, ownership: Ownership, record: CopyRecord): boolean {
  return (
    ownership.owner === self &&
    ownership.born &&
    ownership.epoch.step === 0 &&
    ownership.epoch.term > record.epoch.term
  );
}
