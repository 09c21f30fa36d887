import { assert } from "../assert.ts";
import { snapshotNamePrefix, type ObservedCopy } from "../model/copy.ts";
import { compareEpochs, formatEpoch, type Epoch } from "../model/epoch.ts";
import type { Ownership } from "../model/configuration.ts";
import {
  act,
  actAtOnce,
  done,
  leaseHeld,
  nodeLabel,
  wait,
  type Decision,
  type LaneInput,
} from "./lane-input.ts";
import { isFailedOverTo } from "./failover.ts";
import { planMount } from "./mount-plan.ts";
import { planHandoff, planMove, planRelinquished } from "./move-plan.ts";
import { goalOf, phaseOf, type Goal, type Phase } from "./phase.ts";

type Rule = (input: LaneInput) => Decision;

/** So many of its own snapshots are kept on a copy, as bases for cheap moves. */
const snapshotsKept = 3;

/**
 * What this node's agent should do for one dataset now. Synchronous and total: every pair of goal and phase
 * has its cell, and a missing one does not compile.
 */
export function planDataset(input: LaneInput): Decision {
  return transitions[goalOf(input)][phaseOf(input)](input);
}

const nothing: Rule = () => done;

const discardLeft: Rule = (input) => discardPartial(input) ?? done;

const unreadable: Rule = ({ local }) => {
  assert(local.kind === "unreadable", "the phase fits the local state");
  const { message, remedy } = local.problem;
  return wait("storage-unreadable", `This node has a copy that cannot be read: ${message} ${remedy}`.trim());
};

const restore: Rule = () => act({ do: "restore" });
/** Safety first: nothing but a current primary may be mounted, whatever else is going on. */
const unmountAtOnce: Rule = () => actAtOnce({ do: "unmount" });

const superseded: Rule = (input) => {
  const { ownership } = required(input);
  assert(ownership !== null, "a superseded copy has an ownership record above it");
  return wait(
    "superseded",
    `This copy is at epoch ${formatEpoch(copyOf(input).record.epoch)}, but ${nodeLabel(input.nodes, ownership.owner)} ` +
      `has owned the dataset since epoch ${formatEpoch(ownership.epoch)}. The copy is kept aside and not served.`,
  );
};

const unconfigured: Rule = (input) =>
  input.slice === null
    ? wait(
        "not-configured",
        "The control service has not spoken of this dataset yet; its copy is left as it is.",
      )
    : wait("not-configured", "The dataset is not in the configuration; its copy is left as it is.");

const conflict: Rule = () =>
  wait(
    "ownership-conflict",
    "Two nodes claim this dataset at the same epoch. Neither serves it until an operator has decided which copy is right.",
  );

/**
 * Where the control service has failed the dataset over to this node, its copy becomes the primary, whatever
 * it was at the older term.
 */
function unlessFailedOver(rule: Rule): Rule {
  return (input) => {
    const { ownership } = required(input);
    if (ownership === null || !isFailedOverTo(input.self, ownership, copyOf(input).record))
      return rule(input);
    const { epoch } = ownership;
    return actAtOnce({ do: "write-record", record: { dataset: input.dataset, epoch, role: "primary" } });
  };
}

const transitions: Readonly<Record<Goal, Readonly<Record<Phase, Rule>>>> = {
  serve: {
    unknown: nothing,
    absent: planBirth,
    unreadable,
    trashed: restore,
    "primary-mounted": planServing,
    primary: planMount,
    relinquished: unlessFailedOver(planRelinquished),
    replica: unlessFailedOver(planReplica),
    superseded: unlessFailedOver(superseded),
    "wrongly-mounted": unmountAtOnce,
  },
  follow: {
    unknown: nothing,
    absent: planAbsentFollower,
    unreadable,
    trashed: restore,
    "primary-mounted": planMove,
    primary: planHandoff,
    relinquished: unlessFailedOver(planRelinquished),
    replica: unlessFailedOver(planReplica),
    superseded: unlessFailedOver(superseded),
    "wrongly-mounted": unmountAtOnce,
  },
  trash: {
    unknown: nothing,
    absent: discardLeft,
    unreadable,
    trashed: nothing,
    "primary-mounted": planInterruption({ do: "unmount" }),
    primary: planInterruption({ do: "trash" }),
    relinquished: planInterruption({ do: "trash" }),
    replica: planInterruption({ do: "trash" }),
    superseded: planInterruption({ do: "trash" }),
    "wrongly-mounted": unmountAtOnce,
  },
  destroy: {
    unknown: nothing,
    absent: discardLeft,
    unreadable,
    trashed: planInterruption({ do: "destroy" }),
    "primary-mounted": planInterruption({ do: "unmount" }),
    primary: planInterruption({ do: "trash" }),
    relinquished: planInterruption({ do: "trash" }),
    replica: planInterruption({ do: "trash" }),
    superseded: planInterruption({ do: "trash" }),
    "wrongly-mounted": unmountAtOnce,
  },
  unconfigured: {
    unknown: nothing,
    absent: nothing,
    unreadable,
    trashed: unconfigured,
    "primary-mounted": unconfigured,
    primary: unconfigured,
    relinquished: unconfigured,
    replica: unconfigured,
    superseded: unconfigured,
    "wrongly-mounted": unmountAtOnce,
  },
  conflict: {
    unknown: nothing,
    absent: conflict,
    unreadable,
    trashed: conflict,
    "primary-mounted": unmountAtOnce,
    primary: conflict,
    relinquished: conflict,
    replica: conflict,
    superseded,
    "wrongly-mounted": unmountAtOnce,
  },
};

/** Birth happens once, at the node that has the right to it, and only while that right is certain. */
function planBirth(input: LaneInput): Decision {
  const { ownership, desired } = required(input);
  if (ownership === null) return wait("holder-unknown", "No node is known to hold this dataset.");
  if (ownership.owner !== input.self) return waitForHolder(input, ownership);
  if (ownership.born || input.birth?.state === "born") return copyMissing();
  const { birth } = input;
  if (birth?.state === "renounced" && compareEpochs(birth.epoch, ownership.epoch) >= 0)
    return wait("birthright-elsewhere", "This node has given up the right to create this dataset.");
  if (!input.session) return wait("no-session", "Creating the dataset waits for the control service.");
  const { profile, source } = desired ?? {};
  if (source !== undefined && input.capabilities.adoption !== true)
    return wait(
      "source-unusable",
      `The dataset is to be made of ${source}, and this node's storage backend cannot take over what is there already.`,
    );
  return act({
    do: "create",
    record: { dataset: input.dataset, epoch: ownership.epoch, role: "primary" },
    maximumSizeBytes: desired?.maximumSizeBytes ?? null,
    origin: { ...(profile === undefined ? {} : { profile }), ...(source === undefined ? {} : { source }) },
  });
}

function copyMissing(): Decision {
  return wait(
    "copy-missing",
    "This node should hold the dataset, but its storage does not show it. It is not created again, since that would " +
      "replace the data by an empty dataset: bring the storage back.",
  );
}

function waitForHolder(input: LaneInput, ownership: Ownership): Decision {
  const holder = input.nodes.get(ownership.owner);
  const name = nodeLabel(input.nodes, ownership.owner);
  if (!ownership.born) {
    const state = holder?.live === true ? "" : ", whose agent is not connected";
    return wait("birthright-elsewhere", `The right to create it is with ${name}${state}.`);
  }
  if (holder?.live === true)
    return wait("held-by-node", `${name} holds the dataset and has to hand it over.`);
  const lastSeenAt = holder?.lastSeenAt ?? null;
  const seen = lastSeenAt === null ? "never seen" : `last seen ${new Date(lastSeenAt).toISOString()}`;
  return wait("holder-unknown", `${name} holds the dataset, but its agent is not connected (${seen}).`);
}

/**
 * Another node should create or hold it. A right of birth that this node has not used is given up for good.
 */
function planAbsentFollower(input: LaneInput): Decision {
  const { ownership } = required(input);
  if (ownership?.owner !== input.self) return discardPartial(input) ?? done;
  if (ownership.born || input.birth?.state === "born") return copyMissing();
  const { birth } = input;
  if (birth?.state === "renounced" && compareEpochs(birth.epoch, ownership.epoch) >= 0) return done;
  return act({ do: "renounce", epoch: ownership.epoch });
}

function planServing(input: LaneInput): Decision {
  const { desired } = required(input);
  const copy = copyOf(input);
  assert(desired !== null, "a dataset to serve is configured");
  // Mounting again puts it right, or says what a person has to do.
  if (copy.isMountedOtherwise === true) return act({ do: "mount" });
  if (desired.maximumSizeBytes !== copy.maximumSizeBytes)
    return act({ do: "resize", maximumSizeBytes: desired.maximumSizeBytes });
  return prune(input);
}

function planReplica(input: LaneInput): Decision {
  const { ownership, relinquishedToYou, desired } = required(input);
  if (relinquishedToYou !== null && mayPromote(input, relinquishedToYou)) {
    const { epoch } = relinquishedToYou;
    return actAtOnce({ do: "write-record", record: { dataset: input.dataset, epoch, role: "primary" } });
  }
  if (desired?.primary !== input.self) return discardPartial(input) ?? prune(input);
  if (ownership === null || ownership.owner === input.self)
    return wait(
      "holder-unknown",
      "This node holds only a replica, and the node that owns the dataset has not reported.",
    );
  return waitForHolder(input, ownership);
}

/**
 * The control service relays what a holder that has relinquished cannot say itself. The rules are the same.
 */
function mayPromote(input: LaneInput, offer: { readonly epoch: Epoch; readonly snapshot: string }): boolean {
  const copy = copyOf(input);
  return (
    copy.unchangedSince === offer.snapshot &&
    compareEpochs(offer.epoch, copy.record.epoch) > 0 &&
    (input.promised === null || compareEpochs(offer.epoch, input.promised) > 0)
  );
}

/**
 * What has arrived for a move that is no longer wanted is given up; only what this node is still to take over
 * may go on.
 */
function discardPartial(input: LaneInput): Decision | undefined {
  const isWanted = required(input).relinquishedToYou !== null;
  return input.partial === null || isWanted || !input.session ? undefined : act({ do: "discard-partial" });
}

/**
 * Old snapshots of our own are dropped when nothing else is to be done: what they hold is in a newer copy.
 */
function prune(input: LaneInput): Decision {
  const own = copyOf(input).snapshots.filter((snapshot) => snapshot.name.startsWith(snapshotNamePrefix));
  const old = own.slice(0, Math.max(0, own.length - snapshotsKept));
  // What an interrupted receive builds on stays for as long as it can go on.
  const guids = old.map((snapshot) => snapshot.guid).filter((guid) => guid !== input.partial?.base);
  return guids.length === 0 ? done : act({ do: "prune", guids });
}

/**
 * Steps that interrupt service or come nearer to destruction: only under a live session and without a lease.
 */
function planInterruption(action: { readonly do: "unmount" | "trash" | "destroy" }): Rule {
  return (input) => {
    if (!input.session) return wait("no-session", "Deleting waits for the control service.");
    return leaseHeld(input) ?? act(action);
  };
}

function required(input: LaneInput): NonNullable<LaneInput["slice"]> {
  assert(input.slice !== null, "a goal other than unconfigured has a slice");
  return input.slice;
}

function copyOf(input: LaneInput): ObservedCopy {
  assert(input.local.kind === "copy", "the phase says that there is a copy");
  return input.local.copy;
}
