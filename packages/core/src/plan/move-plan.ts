import { assert } from "../assert.ts";
import { snapshotNamePrefix, type ObservedCopy, type Snapshot } from "../model/copy.ts";
import { compareEpochs, formatEpoch, nextStep, type Epoch } from "../model/epoch.ts";
import type { Milliseconds, NodeId } from "../model/ids.ts";
import { birthUnconfirmed, planMount } from "./mount-plan.ts";
import {
  formatSeconds,
  overBudget,
  predictHandoffMs,
  unknownOverheadMs,
  type Round,
} from "./handoff-prediction.ts";
import {
  act,
  actAtOnce,
  addressOf,
  leaseHeld,
  nodeLabel,
  wait,
  type Decision,
  type LaneInput,
  type MoveMemory,
  type PeerKnowledge,
  type Wait,
} from "./lane-input.ts";

/** A handoff starts when less than this has been written since the last snapshot that the target holds. */
const handoffBelowBytes = 50 * 1024 * 1024;
/** After so many rounds a handoff starts whatever is left. */
const roundsMaximum = 10;
/** A round that leaves more than this share of the one before brings nothing. */
const shrinkingShare = 0.8;

/**
 * The primary serves here but belongs elsewhere: copy while it serves, then hand over (design, section 5.2).
 */
export function planMove(input: LaneInput): Decision {
  const target = targetOf(input);
  const held = leaseHeld(input);
  if (held !== undefined) return held;
  const peer = addressOf(input.nodes, target);
  if (peer === undefined) return unknownAddress(input, target);
  const knowledge = knowledgeOf(input, target);
  if (knowledge === null) return act({ do: "describe", peer }, movingTo(input, target));
  const kept = keptAside(input, knowledge);
  if (kept !== undefined) return kept;
  const copy = copyOf(input);
  if (input.capabilities.liveSnapshots) {
    const round = planRound(input, copy, knowledge);
    if (round !== undefined) return round;
  }
  if (!input.session)
    return wait("no-session", "The handoff waits for the control service, so that no lease is missed.");
  const predictedMs = predictedDowntimeMs(input, copy);
  const budgetMs = input.slice?.desired?.maximumDowntimeMs;
  if (budgetMs !== undefined && predictedMs > budgetMs)
    return {
      kind: "postpone",
      problem: overBudget(`The handoff would take ${formatSeconds(predictedMs)}`, budgetMs),
    };
  const { code, message } = movingTo(input, target);
  const because = { code, message: `${message} Predicted downtime: ${formatSeconds(predictedMs)}.` };
  return act({ do: "unmount", predictedMs }, because);
}

/** How long the dataset would be unmounted if its handoff began now. */
function predictedDowntimeMs(input: LaneInput, copy: ObservedCopy): Milliseconds {
  const rounds = moveOf(input, targetOf(input))?.rounds ?? [];
  // Where only an unmounted copy can be sent, all of it is, unless the target has most of it.
  const unseenBytes = input.capabilities.liveSnapshots ? 0 : (copy.usedBytes ?? 0);
  const deltaBytes = copy.writtenBytes ?? rounds.at(-1)?.sentBytes ?? unseenBytes;
  return predictHandoffMs(input.transfers, deltaBytes, input.handoffOverheadMs ?? unknownOverheadMs);
}

/**
 * Whoever was the owner before a failover keeps its copy aside, and no stream ever replaces it: so there is
 * no move to that node, and no interruption for one, until somebody has taken the copy away.
 */
function keptAside(input: LaneInput, { node, record }: PeerKnowledge): Decision | undefined {
  if (record?.role !== "primary") return undefined;
  const name = nodeLabel(input.nodes, node);
  return wait(
    "peer-refused",
    `${name} keeps a primary copy of its own from before a failover (epoch ${formatEpoch(record.epoch)}), which is never ` +
      "overwritten. Take it out of that node's storage, restart its agent, and the move goes on.",
  );
}

/** One more transfer while the source serves, or undefined where the handoff should start. */
function planRound(input: LaneInput, copy: ObservedCopy, knowledge: PeerKnowledge): Decision | undefined {
  const target = targetOf(input);
  const because = movingTo(input, target);
  const newest = copy.snapshots.at(-1);
  const move = moveOf(input, target);
  // What has been sent of a snapshot is paid for: it is finished before there is another one.
  const begun = resumable(input, copy, knowledge);
  if (begun !== undefined) return planSend(input, copy, knowledge, { snapshot: begun.snapshot, because });
  const isHeld = newest !== undefined && knowledge.snapshots.includes(newest.guid);
  if (newest !== undefined && !isHeld && newest.guid === move?.snapshot)
    return planSend(input, copy, knowledge, { snapshot: newest.guid, because });
  if (isHeld && isHandoffDue(input, copy, move)) return undefined;
  return act({ do: "snapshot" }, because);
}

function isHandoffDue(input: LaneInput, copy: ObservedCopy, move: MoveMemory | null): boolean {
  const rounds = move?.rounds ?? [];
  const budgetMs = input.slice?.desired?.maximumDowntimeMs;
  if (budgetMs !== undefined) {
    // A prediction needs a round to go by.
    if (rounds.length > 0 && predictedDowntimeMs(input, copy) <= budgetMs) return true;
    return rounds.length >= roundsMaximum || bringsNothing(rounds);
  }
  if (copy.writtenBytes !== null && copy.writtenBytes <= handoffBelowBytes) return true;
  if (copy.writtenBytes === null) return rounds.length >= 2;
  return rounds.length >= roundsMaximum || bringsNothing(rounds);
}

/** The last rounds have not become smaller: what is written meanwhile is as much as what is sent. */
function bringsNothing(rounds: readonly Round[]): boolean {
  const last = rounds.slice(-3);
  return (
    last.length === 3 &&
    last.every(
      (round, index) => index === 0 || round.sentBytes > shrinkingShare * (last[index - 1]?.sentBytes ?? 0),
    )
  );
}

/**
 * The primary is unmounted and belongs elsewhere: the middle of a handoff, or a start in the middle of one.
 * Until the relinquishment it can always be abandoned in favour of this node, and it is when a step fails.
 */
export function planHandoff(input: LaneInput): Decision {
  const target = targetOf(input);
  const peer = addressOf(input.nodes, target);
  const move = moveOf(input, target);
  if (peer === undefined || move?.failedSinceUnmount === true || leaseHeld(input) !== undefined)
    return planMount(input);
  // Without a session only a handoff that this agent itself has begun goes on: the wish that the slice tells
  // may be an old one, and two agents with different old wishes would hand a dataset to and fro that nobody
  // serves.
  if (!input.session && move?.unmounted !== true) return planMount(input);
  const unconfirmed = birthUnconfirmed(input);
  if (unconfirmed !== undefined) return unconfirmed;
  const copy = copyOf(input);
  const because = movingTo(input, target);
  const knowledge = knowledgeOf(input, target);
  if (knowledge === null) return act({ do: "describe", peer }, because);
  if (keptAside(input, knowledge) !== undefined) return planMount(input);
  if (copy.unchangedSince === null) return act({ do: "snapshot" }, because);
  if (knowledge.unchangedSince !== copy.unchangedSince)
    return planSend(input, copy, knowledge, { snapshot: copy.unchangedSince, because });
  const epoch = nextStep(copy.record.epoch);
  return act(
    {
      do: "write-record",
      record: {
        dataset: input.dataset,
        epoch,
        role: "relinquished",
        successor: target,
        snapshot: copy.unchangedSince,
      },
    },
    because,
  );
}

/**
 * This copy has been given up for its successor: from here only the successor may become primary, and this
 * agent goes on until it is. It takes back only on the successor's durable word.
 */
export function planRelinquished(input: LaneInput): Decision {
  const copy = copyOf(input);
  const { epoch, successor, snapshot } = copy.record;
  assert(
    successor !== undefined && snapshot !== undefined,
    "a relinquished record names successor and snapshot",
  );
  const peer = addressOf(input.nodes, successor);
  const because = movingTo(input, successor);
  const wantsBack = input.slice?.desired?.primary === input.self;
  const word = input.move?.takeBack ?? null;
  if (word !== null && compareEpochs(word.epoch, epoch) === 0) {
    return word.granted
      ? actAtOnce({
          do: "write-record",
          record: { dataset: input.dataset, epoch: nextStep(epoch), role: "primary" },
        })
      : settleAsReplica(input, copy);
  }
  if (peer === undefined) return unknownAddress(input, successor);
  if (wantsBack) return act({ do: "take-back", peer, epoch }, because);
  const knowledge = knowledgeOf(input, successor);
  if (knowledge === null) return act({ do: "describe", peer }, because);
  if (hasTakenOver(knowledge, copy)) return settleAsReplica(input, copy);
  if (knowledge.unchangedSince === snapshot) return act({ do: "hand-over", peer, epoch, snapshot }, because);
  if (copy.unchangedSince !== snapshot || !copy.snapshots.some((held) => held.guid === snapshot))
    return wait(
      "peer-refused",
      `${nodeLabel(input.nodes, successor)} no longer holds the snapshot it was to take over, and this copy has changed since.`,
    );
  return planSend(input, copy, knowledge, { snapshot, because });
}

function hasTakenOver(knowledge: PeerKnowledge, copy: ObservedCopy): boolean {
  const { record } = knowledge;
  if (record === null) return false;
  const age = compareEpochs(record.epoch, copy.record.epoch);
  return age > 0 || (age === 0 && record.role !== "replica");
}

function settleAsReplica(input: LaneInput, copy: ObservedCopy): Decision {
  return actAtOnce({
    do: "write-record",
    record: { dataset: input.dataset, epoch: copy.record.epoch, role: "replica" },
  });
}

/**
 * What an interrupted transfer has left at the receiver, where this copy can go on with it: it has both
 * snapshots, the receiver is still at the base, and nobody has said that the token is dead.
 */
function resumable(
  input: LaneInput,
  copy: ObservedCopy,
  { partial, unchangedSince }: PeerKnowledge,
): (PeerKnowledge["partial"] & {}) | undefined {
  if (partial === null || partial.token === input.move?.deadToken) return undefined;
  const { snapshot, base } = partial;
  const holds = (guid: string): boolean => copy.snapshots.some((held) => held.guid === guid);
  if (!input.capabilities.resume || !holds(snapshot)) return undefined;
  return base === null || (base === unchangedSince && holds(base)) ? partial : undefined;
}

/**
 * What was interrupted goes on, and the snapshot that is wanted comes after it. Else an increment builds on
 * what the receiver is exactly at, where this copy still has that snapshot; else everything is sent.
 */
function planSend(
  input: LaneInput,
  copy: ObservedCopy,
  knowledge: PeerKnowledge,
  options: { readonly snapshot: string; readonly because: Wait },
): Decision {
  const peer = addressOf(input.nodes, knowledge.node);
  assert(peer !== undefined, "what is known of a peer came from its address");
  const begun = resumable(input, copy, knowledge);
  const wanted = begun?.snapshot ?? options.snapshot;
  const newBase = copy.snapshots.find(({ guid }) => guid === knowledge.unchangedSince && guid !== wanted);
  const snapshot =
    (begun === undefined ? carriedBefore(input, copy, { base: newBase, wanted }) : undefined) ??
    copy.snapshots.find(({ guid }) => guid === wanted);
  assert(snapshot !== undefined, "a snapshot that is to be sent is held");
  const { profile } = input.slice?.desired ?? {};
  return act(
    {
      do: "send",
      peer,
      epoch: sendingEpoch(copy),
      base: begun === undefined ? (newBase?.guid ?? null) : begun.base,
      snapshot,
      maximumSizeBytes: copy.maximumSizeBytes,
      ...(profile === undefined ? {} : { profile }),
      ...(begun === undefined ? {} : { resume: begun.token }),
    },
    explained(options.because, knowledge, begun !== undefined),
  );
}

/**
 * The next snapshot of people's own between the base and the one that is wanted, where those are carried
 * along: older ones cannot be added to a copy later.
 */
function carriedBefore(
  input: LaneInput,
  copy: ObservedCopy,
  { base, wanted }: { readonly base: Snapshot | undefined; readonly wanted: string },
): Snapshot | undefined {
  if (input.capabilities.carriesSnapshots !== true) return undefined;
  const from = base === undefined ? 0 : copy.snapshots.indexOf(base) + 1;
  const to = copy.snapshots.findIndex(({ guid }) => guid === wanted);
  return copy.snapshots
    .slice(from, Math.max(from, to))
    .find(({ name }) => !name.startsWith(snapshotNamePrefix));
}

function explained(because: Wait, { partial }: PeerKnowledge, resumes: boolean): Wait {
  if (partial === null) return because;
  const what = resumes
    ? "An interrupted transfer goes on where it stopped."
    : "What an interrupted transfer has left there cannot be gone on with: it is thrown away, and sent anew.";
  return { ...because, message: `${because.message} ${what}` };
}

/** A copy that has been relinquished was last owned one step before the epoch that its record hands on. */
function sendingEpoch(copy: ObservedCopy): Epoch {
  const { epoch, role } = copy.record;
  return role === "relinquished" ? { term: epoch.term, step: epoch.step - 1 } : epoch;
}

function movingTo(input: LaneInput, node: NodeId): Wait {
  return { code: "handing-over", message: `Being handed over to ${nodeLabel(input.nodes, node)}.` };
}

function unknownAddress(input: LaneInput, node: NodeId): Decision {
  return wait(
    "peer-unreachable",
    `The control service does not know where ${nodeLabel(input.nodes, node)} can be reached: its agent has not connected.`,
  );
}

function targetOf(input: LaneInput): NodeId {
  const target = input.slice?.desired?.primary;
  assert(target !== undefined && target !== input.self, "a move has a target other than this node");
  return target;
}

function knowledgeOf(input: LaneInput, node: NodeId): PeerKnowledge | null {
  return input.peer?.node === node ? input.peer : null;
}

function moveOf(input: LaneInput, target: NodeId): MoveMemory | null {
  return input.move?.target === target ? input.move : null;
}

function copyOf(input: LaneInput): ObservedCopy {
  assert(input.local.kind === "copy", "a move is of a copy");
  return input.local.copy;
}
