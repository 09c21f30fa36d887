import type { Mutation } from "./mutation.ts";
import type { Plan } from "./plan.ts";
import { runPlan } from "./run.ts";
import type { RunOutcome } from "./run.ts";

export interface ShrinkOptions {
  readonly mutation?: Mutation;
  /** Whether time is left for one more run. */
  readonly mayGoOn: () => boolean;
}

/**
 * Makes a run that breaks a rule smaller: leaves out steps, half of them at a time and then fewer, as long as
 * the same rule is still broken. Answers the smallest that was found in time.
 */
export async function shrink(outcome: RunOutcome, options: ShrinkOptions): Promise<RunOutcome> {
  const rule = ruleOf(outcome);
  let smallest = outcome;
  const breaks = async (plan: Plan): Promise<boolean> => {
    const tried = await runPlan(plan, options.mutation);
    if (ruleOf(tried) !== rule) return false;
    smallest = tried;
    return true;
  };
  const { plan } = outcome;
  // What comes after the end of the run has not been needed.
  await breaks({ ...plan, steps: plan.steps.filter((step) => step.atMs <= outcome.simulatedMs) });
  for (let size = Math.ceil(smallest.plan.steps.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < smallest.plan.steps.length && options.mayGoOn();) {
      const { plan: now } = smallest;
      const steps = now.steps.filter((_, index) => index < from || index >= from + size);
      // Where leaving them out worked, others have taken their place.
      if (!(await breaks({ ...now, steps }))) from += size;
    }
  }
  return smallest;
}

/** The rule that a run has broken, without the details. */
export function ruleOf({ finding }: RunOutcome): string | null {
  return finding === null ? null : (/^[^:]*: [^: ]*/.exec(finding)?.[0] ?? finding);
}
