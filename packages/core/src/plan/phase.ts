import type { ObservedCopy } from "../model/copy.ts";
import { compareEpochs } from "../model/epoch.ts";
import type { LaneInput } from "./lane-input.ts";

/** What the configuration wants of this node for a dataset. */
export type Goal =
  /** This node should hold the primary and serve it. */
  | "serve"
  /** Another node should. */
  | "follow"
  /** Deleted: hide it, keep the bytes. */
  | "trash"
  /** Deleted and the grace time is over. */
  | "destroy"
  /** Not in the configuration: hands off. */
  | "unconfigured"
  /** Two owners at one epoch: stop serving. */
  | "conflict";

/** What this node's storage shows of a dataset, as far as plans tell it apart. */
export type Phase =
  | "unknown"
  | "absent"
  | "unreadable"
  | "trashed"
  | "primary-mounted"
  | "primary"
  | "relinquished"
  | "replica"
  /** It says primary, but the dataset has a newer epoch elsewhere. */
  | "superseded"
  /** Mounted although it is no primary, or although it is superseded. */
  | "wrongly-mounted";

export function goalOf(input: Pick<LaneInput, "slice" | "self">): Goal {
  const { slice, self } = input;
  if (slice === null) return "unconfigured";
  if (slice.conflict) return "conflict";
  if (slice.desired === null) return "unconfigured";
  if (slice.desired.deletion !== null) return slice.desired.deletion.purged ? "destroy" : "trash";
  return slice.desired.primary === self ? "serve" : "follow";
}

export function phaseOf(input: Pick<LaneInput, "local" | "slice">): Phase {
  const { local, slice } = input;
  if (local.kind !== "copy") return local.kind;
  const { copy } = local;
  if (copy.trashedAt !== null) return "trashed";
  if (copy.record.role !== "primary") return copy.mountedAt === null ? copy.record.role : "wrongly-mounted";
  if (isSuperseded(copy, slice)) return copy.mountedAt === null ? "superseded" : "wrongly-mounted";
  return copy.mountedAt === null ? "primary" : "primary-mounted";
}

/** A primary copy that is older than the ownership record: somebody else has been promoted since. */
function isSuperseded(copy: ObservedCopy, slice: LaneInput["slice"]): boolean {
  const ownership = slice?.ownership ?? null;
  return ownership !== null && compareEpochs(ownership.epoch, copy.record.epoch) > 0;
}
