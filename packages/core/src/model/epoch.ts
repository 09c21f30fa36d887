import { assert } from "../assert.ts";

/**
 * The age of a dataset's ownership. A planned move raises the step, from node to node; a failover raises the
 * term and sets the step to 0, only through the control service. The higher one wins everywhere (design,
 * section 5).
 */
export interface Epoch {
  readonly term: number;
  readonly step: number;
}

/** The epoch in which a dataset is born. */
export const firstEpoch: Epoch = { term: 1, step: 0 };

/** Negative, zero or positive as `a` is older than, equal to or newer than `b`: term first, then step. */
export function compareEpochs(a: Epoch, b: Epoch): number {
  return a.term - b.term || a.step - b.step;
}

/** The epoch that a planned move gives to the successor. */
export function nextStep(epoch: Epoch): Epoch {
  assert(Number.isSafeInteger(epoch.step + 1), "an epoch's step is a safe integer");
  return { term: epoch.term, step: epoch.step + 1 };
}

/** An epoch as people see it: `term.step`. */
export function formatEpoch(epoch: Epoch): string {
  return `${epoch.term}.${epoch.step}`;
}
