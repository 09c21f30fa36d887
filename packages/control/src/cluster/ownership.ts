import {
  compareEpochs,
  firstEpoch,
  nextStep,
  type DatasetId,
  type DatasetReport,
  type Epoch,
  type Milliseconds,
  type NodeId,
  type Ownership,
} from "@flocker/core";

/** Two nodes claim a dataset at the same epoch: a broken invariant, shown and never resolved silently. */
export interface OwnershipConflict {
  readonly epoch: Epoch;
  readonly nodes: readonly NodeId[];
}

/** All that the ownership of one dataset follows from. */
export interface OwnershipInput {
  readonly stored: Ownership | null;
  /** Null where the dataset is not configured, or deleted. */
  readonly configuredPrimary: NodeId | null;
  readonly reports: ReadonlyMap<NodeId, DatasetReport>;
  /**
   * Since the owner got its birthright, the configuration has once named another node. Only then can the
   * owner have renounced on this record's account; see {@link isBirthrightAskedBack}.
   */
  readonly primaryWasElsewhere: boolean;
  readonly now: Milliseconds;
}

export interface OwnershipDecision {
  /** The stored one itself where nothing changes. */
  readonly ownership: Ownership | null;
  readonly conflict: OwnershipConflict | null;
}

/**
 * What the reports make of the ownership record (design, section 5). The nodes' own records win: a higher
 * epoch raises ours. Whatever copy is reported, the dataset has been born, and that is never undone. An older
 * epoch changes nothing.
 */
export function decideOwnership(input: OwnershipInput): OwnershipDecision {
  const { stored, reports, now } = input;
  const claim = newestClaim(reports);
  if (stored === null)
    return { ownership: null, conflict: claim !== null && claim.nodes.length > 1 ? claim : null };
  const record = !stored.born && isAnyCopy(reports) ? { ...stored, born: true } : stored;
  if (claim === null || compareEpochs(claim.epoch, record.epoch) < 0)
    return { ownership: transferred(record, input), conflict: null };
  const [claimant] = claim.nodes;
  // At an epoch above ours two claimants are as wrong as at ours: none of them becomes the owner.
  if (claimant === undefined || claim.nodes.length > 1) return { ownership: record, conflict: claim };
  if (compareEpochs(claim.epoch, record.epoch) > 0) {
    const { dataset } = record;
    return {
      ownership: { dataset, epoch: claim.epoch, owner: claimant, born: true, since: now },
      conflict: null,
    };
  }
  if (claimant === record.owner) return { ownership: record, conflict: null };
  return { ownership: record, conflict: { epoch: claim.epoch, nodes: [record.owner, claimant] } };
}

/**
 * The record that comes with the creation of a dataset: a right to create it once at epoch 1.0. Copies that
 * are reported already (of a dataset that a restored store had forgotten, say) are taken over instead.
 */
export function birthRecord(
  dataset: DatasetId,
  context: {
    readonly primary: NodeId;
    readonly reports: ReadonlyMap<NodeId, DatasetReport>;
    readonly now: Milliseconds;
  },
): Ownership {
  const { primary, reports, now } = context;
  const claim = newestClaim(reports);
  const owner = claim === null || claim.nodes.includes(primary) ? primary : (claim.nodes[0] ?? primary);
  return { dataset, epoch: claim?.epoch ?? firstEpoch, owner, born: isAnyCopy(reports), since: now };
}

/**
 * Whether the owner has given its birthright up although the configuration names it: after a change to
 * another node and back. It then needs a new right, of the next epoch, since it will never use the old one.
 */
export function isBirthrightAskedBack(input: Omit<OwnershipInput, "primaryWasElsewhere" | "now">): boolean {
  const { stored, configuredPrimary, reports } = input;
  return (
    stored !== null &&
    !stored.born &&
    stored.owner === configuredPrimary &&
    renouncedBy(stored, reports) !== null &&
    !isAnyCopy(reports)
  );
}

/** The birthright goes where the configuration wants it, once its owner has durably given it up. */
function transferred(record: Ownership, input: OwnershipInput): Ownership {
  const { configuredPrimary, reports, primaryWasElsewhere, now } = input;
  if (record.born || configuredPrimary === null) return record;
  const renounced = renouncedBy(record, reports);
  if (renounced === null) return record;
  if (configuredPrimary === record.owner && !primaryWasElsewhere) return record;
  return {
    dataset: record.dataset,
    epoch: nextStep(renounced),
    owner: configuredPrimary,
    born: false,
    since: now,
  };
}

/** The epoch up to which the owner has renounced, where that covers the record. */
function renouncedBy(record: Ownership, reports: ReadonlyMap<NodeId, DatasetReport>): Epoch | null {
  const renounced = reports.get(record.owner)?.renounced ?? null;
  return renounced !== null && compareEpochs(renounced, record.epoch) >= 0 ? renounced : null;
}

function isAnyCopy(reports: ReadonlyMap<NodeId, DatasetReport>): boolean {
  for (const { copy } of reports.values()) if (copy !== null) return true;
  return false;
}

/**
 * Who says to be primary at the newest epoch. Older claims are superseded and their nodes stop by themselves.
 */
function newestClaim(reports: ReadonlyMap<NodeId, DatasetReport>): OwnershipConflict | null {
  let newest: { readonly epoch: Epoch; readonly nodes: NodeId[] } | null = null;
  for (const [node, { copy }] of reports) {
    if (copy === null || copy.record.role !== "primary") continue;
    const age = newest === null ? 1 : compareEpochs(copy.record.epoch, newest.epoch);
    if (age > 0) newest = { epoch: copy.record.epoch, nodes: [node] };
    else if (age === 0) newest?.nodes.push(node);
  }
  return newest;
}
