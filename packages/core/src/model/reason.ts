import type { Milliseconds } from "./ids.ts";

/** Why a dataset is not (yet) as configured, as one closed list. docs/reference/reasons.md explains each. */
export const reasonCodes = [
  "lease-held",
  "held-by-node",
  "holder-unknown",
  "copy-missing",
  "birth-unconfirmed",
  "birthright-elsewhere",
  "no-session",
  "busy-mount",
  "peer-unreachable",
  "peer-refused",
  "downtime-over-budget",
  "no-space",
  "profile-unknown",
  "source-unusable",
  "storage-unreadable",
  "command-failed",
  "superseded",
  "ownership-conflict",
  "not-configured",
  "in-trash",
  "handing-over",
  "receiving",
  "working",
  "node-silent",
  "node-never-seen",
] as const;

export type ReasonCode = (typeof reasonCodes)[number];

/** Why nothing (more) is done for a dataset: data for programs, with a sentence for people. */
export interface Reason {
  readonly code: ReasonCode;
  /** A full sentence that names what is waited for. */
  readonly message: string;
  /** Since when this has been the reason. */
  readonly since: Milliseconds;
  /** When it is tried again by itself; absent where an event ends the wait. */
  readonly nextTryAt?: Milliseconds;
}
