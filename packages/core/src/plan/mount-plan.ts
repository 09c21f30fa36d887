import { assert } from "../assert.ts";
import { compareEpochs } from "../model/epoch.ts";
import { actAtOnce, wait, type Decision, type LaneInput } from "./lane-input.ts";

/** A primary that is not mounted is mounted, once the control service has confirmed that it is born. */
export function planMount(input: LaneInput): Decision {
  assert(input.local.kind === "copy", "what is mounted is a copy");
  const ownership = input.slice?.ownership ?? null;
  if (ownership === null)
    return wait("holder-unknown", "The control service has no ownership record for it.");
  if (!ownership.born && compareEpochs(ownership.epoch, input.local.copy.record.epoch) >= 0)
    return wait("birth-unconfirmed", "The control service has not confirmed the birth of the dataset yet.");
  return actAtOnce({ do: "mount" });
}
