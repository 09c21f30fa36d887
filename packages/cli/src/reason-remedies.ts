import type { ReasonCode } from "@flocker/core";

/**
 * What a person can do about each reason; null where the cluster does it by itself. A code that is missing
 * here does not compile.
 */
const remedies: Readonly<Record<ReasonCode, string | null>> = {
  "lease-held": "release the lease, or wait for its end",
  "held-by-node": "look at what that node waits for",
  "holder-unknown": "bring the owner's machine and agent back; the dataset is never created anew",
  "copy-missing":
    "bring the node's storage back (a disk, a pool, the right root folder); it is never created anew",
  "birth-unconfirmed": null,
  "birthright-elsewhere": "bring that node's agent back, or move the dataset there",
  "no-session": "bring the control service back; the dataset is served meanwhile",
  "busy-mount": "stop the program that uses it",
  "peer-unreachable": "bring the other node's agent back, and check the network between the two",
  "peer-refused": "look at the dataset's reasons on the other node",
  "downtime-over-budget":
    "let programs write less for a while, or allow more with flocker move --max-downtime",
  "no-space": "free or add space on the target, or choose another",
  "profile-unknown": "add the profile to dataset.profiles in agent.yml there, and restart the agent",
  "source-unusable": "put right what the message names, or delete the dataset: nothing has been taken yet",
  "storage-unreadable": "put the storage right; until then the copy is left alone",
  "command-failed": "cure what the message names; it is tried again by itself",
  superseded: "nothing is served or destroyed there; compare the copies before you remove one",
  "ownership-conflict": "decide which copy is right: see the manual on recovery",
  "not-configured": "nothing is done to it; remove it by hand if nobody wants it",
  "in-trash": "flocker undelete brings it back within the grace time",
  "handing-over": null,
  receiving: null,
  working: null,
  "node-silent": "bring the node's machine, agent or network back",
  "node-never-seen": "start the agent on that node, or move the dataset to a node that is there",
};

/** What a person can do about a reason; null where nothing needs doing, or the code is a newer service's. */
export function remedyFor(code: string): string | null {
  return (remedies as Readonly<Record<string, string | null>>)[code] ?? null;
}
