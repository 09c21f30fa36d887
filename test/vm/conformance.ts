import { backendConformance } from "@flocker/agent/backend-conformance";

import { harnessInMachine } from "./pools-machine.ts";

/** What is about transfers takes as long as all the rest, and runs beside it in a machine of its own. */
export function isOfTransfers(_sentence: string, chapter: string): boolean {
  return chapter.includes("transfer");
}

/** Runs the chosen rules of all backends on OpenZFS, in one virtual machine with three pools. */
export function conformanceInMachine(chosen: (sentence: string, chapter: string) => boolean): void {
  backendConformance("zfs", harnessInMachine(), chosen);
}
