import { assert } from "../assert.ts";
import { compareEpochs } from "../model/epoch.ts";
import { actAtOnce, wait, type Decision, type LaneInput } from "./lane-input.ts";

/** A primary that is not mounted is mounted, once the control service has confirmed that it is born. */
export function planMount(input: LaneInput): Decision {
  if ((input.slice?.ownership ?? null) === null)
    return wait("holder-unknown", "The control service has no ownership record for it.");
  return birthUnconfirmed(input) ?? actAtOnce({ do: "mount" });
}

/**
 * The wait for the control service's word that the dataset is born, or undefined where that is certain. A
 * copy neither serves nor moves on before: so one that is newer than an unborn record was confirmed.
 */
export function birthUnconfirmed(input: LaneInput): Decision | undefined {
  assert(input.local.kind === "copy", "what was born is a copy");
  const ownership = input.slice?.ownership ?? null;
  if (ownership === null || ownership.born) return undefined;
  if (compareEpochs(ownership.epoch, input.local.copy.record.epoch) < 0) return undefined;
  return wait("birth-unconfirmed", "The control service has not confirmed the birth of the dataset yet.");
}
