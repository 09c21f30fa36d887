import { compareEpochs, formatEpoch, type Epoch } from "../model/epoch.ts";
import type { PartialReceive } from "../model/copy.ts";
import type { NodeId } from "../model/ids.ts";
import { failure, type Problem } from "../model/problem.ts";
import type { PeerRequest } from "../protocol/peer.ts";
import type { SliceDataset } from "../protocol/agent.ts";
import type { Local } from "./lane-input.ts";

/** What an answer to another node's agent depends on. */
export interface Judgement {
  readonly local: Local;
  readonly partial: PartialReceive | null;
  readonly slice: SliceDataset | null;
  /** No promotion at this epoch or an older one. */
  readonly promised: Epoch | null;
  readonly from: NodeId;
}

/** What this agent does about a request of another. */
export type Verdict =
  /** Do it. */
  | { readonly kind: "accept" }
  /** It is so already: say yes and do nothing. */
  | { readonly kind: "already" }
  | { readonly kind: "refuse"; readonly problem: Problem };

type Receive = Extract<PeerRequest, { kind: "receive" }>;
type Promote = Extract<PeerRequest, { kind: "promote" }>;
type TakeBack = Extract<PeerRequest, { kind: "take-back" }>;

const accept: Verdict = { kind: "accept" };
const already: Verdict = { kind: "already" };

function refuse(...parts: Parameters<typeof failure>): Verdict {
  return { kind: "refuse", problem: failure(...parts).problem };
}

function notReady(local: Local): Verdict | undefined {
  if (local.kind === "unreadable") return { kind: "refuse", problem: local.problem };
  if (local.kind === "unknown")
    return refuse(
      "peer-busy",
      "The other node has not read its storage yet.",
      "It is tried again; if this lasts, look at that node.",
    );
  return undefined;
}

/** Whether a stream may replace what is here: never a primary, never by somebody older than what is known. */
export function judgeReceive(judgement: Judgement, request: Receive): Verdict {
  const verdict = judgeStream(judgement, request);
  return verdict.kind === "accept" ? judgeResume(judgement.partial, request) : verdict;
}

/** The rest of a stream is of use only to who has exactly what comes before it. */
function judgeResume(partial: PartialReceive | null, { resume, snapshot, base }: Receive): Verdict {
  if (resume === undefined) return accept;
  if (partial?.token === resume && partial.snapshot === snapshot.guid && partial.base === base) return accept;
  return refuse(
    "resume-token-dead",
    partial === null
      ? "The other node has nothing (any more) of the transfer that was to go on."
      : "The other node has something else than the beginning of the transfer that was to go on.",
    "It is asked again what it has, and sent what it lacks; nothing needs to be done.",
  );
}

function judgeStream(judgement: Judgement, request: Receive): Verdict {
  const { local, slice } = judgement;
  const early = notReady(local);
  if (early !== undefined) return early;
  const deletion = slice?.desired?.deletion ?? null;
  if (deletion !== null)
    return refuse(
      "peer-refused",
      "The dataset is deleted, so no copy of it is taken.",
      "Undelete it, or do nothing.",
    );
  const owned = slice?.ownership ?? null;
  if (owned !== null && compareEpochs(owned.epoch, request.epoch) > 0)
    return staleEpoch(request.epoch, owned.epoch);
  if (local.kind !== "copy") return request.base === null ? accept : refuseBase(request.base);
  const { copy } = local;
  if (copy.trashedAt !== null)
    return refuse(
      "peer-busy",
      "The copy lies in the trash of the other node.",
      "It is tried again once it is restored.",
    );
  if (copy.record.role === "primary" || copy.mountedAt !== null)
    return refuse(
      "target-holds-primary",
      `The other node holds a primary copy itself (epoch ${formatEpoch(copy.record.epoch)}), which is never overwritten.`,
      "Run `flocker explain` on the dataset: an operator has to decide which copy is right.",
    );
  if (compareEpochs(copy.record.epoch, request.epoch) > 0)
    return staleEpoch(request.epoch, copy.record.epoch);
  if (copy.unchangedSince === request.snapshot.guid) return already;
  if (request.base !== null && !copy.snapshots.some((snapshot) => snapshot.guid === request.base))
    return refuseBase(request.base);
  return accept;
}

/** Whether this node becomes primary: only of exactly the snapshot that was relinquished, and never twice. */
export function judgePromote(judgement: Judgement, request: Promote): Verdict {
  const { local, promised } = judgement;
  const early = notReady(local);
  if (early !== undefined) return early;
  if (local.kind === "copy" && local.copy.trashedAt === null) {
    const { record } = local.copy;
    if (record.role !== "replica" && compareEpochs(record.epoch, request.epoch) >= 0) return already;
  }
  if (promised !== null && compareEpochs(promised, request.epoch) >= 0)
    return staleEpoch(request.epoch, promised);
  if (local.kind !== "copy" || local.copy.unchangedSince !== request.snapshot)
    return refuse(
      "snapshot-missing",
      "The other node does not hold exactly the snapshot that it is to take over.",
      "It is sent again by itself.",
    );
  const { copy } = local;
  if (copy.trashedAt !== null)
    return refuse(
      "peer-busy",
      "The copy lies in the trash of the other node.",
      "It is tried again once it is restored.",
    );
  if (copy.record.role !== "replica" || compareEpochs(copy.record.epoch, request.epoch) >= 0)
    return staleEpoch(request.epoch, copy.record.epoch);
  return accept;
}

/** Granting means a durable promise never to become primary at that epoch. */
export function judgeTakeBack(
  judgement: Judgement,
  request: TakeBack,
): { readonly granted: boolean; readonly promise: Epoch | null } | { readonly problem: Problem } {
  const { local, promised } = judgement;
  const early = notReady(local);
  if (early?.kind === "refuse") return { problem: early.problem };
  if (promised !== null && compareEpochs(promised, request.epoch) >= 0)
    return { granted: true, promise: null };
  if (local.kind === "copy") {
    const { record } = local.copy;
    const age = compareEpochs(record.epoch, request.epoch);
    if (age > 0 || (age === 0 && record.role !== "replica")) return { granted: false, promise: null };
  }
  return { granted: true, promise: request.epoch };
}

function staleEpoch(asked: Epoch, known: Epoch): Verdict {
  return refuse(
    "stale-epoch",
    `The request is of epoch ${formatEpoch(asked)}, but the other node knows of epoch ${formatEpoch(known)}.`,
    "The node that asked holds an old copy; run `flocker explain` on the dataset to see who owns it.",
  );
}

function refuseBase(base: string): Verdict {
  return refuse(
    "snapshot-missing",
    `The other node does not hold the snapshot ${base} that the stream builds on.`,
    "It is sent anew by itself.",
  );
}
