import { drawPlan } from "./draw-plan.ts";
import type { Mutation } from "./mutation.ts";
import { runPlan } from "./run.ts";
import type { RunOutcome } from "./run.ts";
import type { SwarmLimits } from "./swarm.ts";

/** How the seeds of a campaign are run. */
export interface CampaignOptions {
  readonly limits?: SwarmLimits;
  readonly mutation?: Mutation;
  /** One in so many seeds is run twice, to see that it leaves the same trace. */
  readonly twiceEvery?: number;
}

/** What one or many runs have come to, in numbers. */
export interface Totals {
  readonly seeds: number;
  readonly repeated: number;
  readonly events: number;
  readonly simulatedMs: number;
  readonly moves: number;
  readonly records: number;
  readonly deeds: Readonly<Record<string, number>>;
  readonly findings: readonly { readonly seed: string; readonly finding: string }[];
}

/** Of no seed at all. */
export const noTotals: Totals = {
  seeds: 0,
  repeated: 0,
  events: 0,
  simulatedMs: 0,
  moves: 0,
  records: 0,
  deeds: {},
  findings: [],
};

/** Runs one seed, perhaps twice; a second trace that differs is a finding as well. */
export async function runSeed(seed: number, options: CampaignOptions = {}): Promise<RunOutcome> {
  const { limits, mutation, twiceEvery = 0 } = options;
  const plan = drawPlan(seed, limits);
  const outcome = await runPlan(plan, mutation);
  if (!isRepeated(seed, twiceEvery) || outcome.finding !== null) return outcome;
  const again = await runPlan(plan, mutation);
  if (again.traceHash === outcome.traceHash) return outcome;
  const finding = `Broken: trace: the first run's hash is ${outcome.traceHash}, the second's ${again.traceHash}`;
  return { ...outcome, finding };
}

function isRepeated(seed: number, twiceEvery: number): boolean {
  return twiceEvery > 0 && seed % twiceEvery === 0;
}

/** What one seed adds to a campaign; `twiceEvery` as it was run with. */
export function totalsOf(outcome: RunOutcome, twiceEvery: number = 0): Totals {
  const { plan, finding, events, simulatedMs, moves, records, deeds } = outcome;
  const findings = finding === null ? [] : [{ seed: plan.seed, finding }];
  const repeated = isRepeated(Number(plan.seed), twiceEvery) ? 1 : 0;
  return { seeds: 1, repeated, events, simulatedMs, moves, records, deeds, findings };
}

/** The totals of two campaigns together. */
export function added(a: Totals, b: Totals): Totals {
  const deeds: Record<string, number> = { ...a.deeds };
  for (const [kind, count] of Object.entries(b.deeds)) deeds[kind] = (deeds[kind] ?? 0) + count;
  return {
    seeds: a.seeds + b.seeds,
    repeated: a.repeated + b.repeated,
    events: a.events + b.events,
    simulatedMs: a.simulatedMs + b.simulatedMs,
    moves: a.moves + b.moves,
    records: a.records + b.records,
    deeds,
    findings: [...a.findings, ...b.findings],
  };
}

/** A campaign's numbers as text. */
export function renderTotals(totals: Totals, wallMs: number): string {
  const hours = totals.simulatedMs / 3_600_000;
  const deeds = Object.entries(totals.deeds)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([kind, count]) => `${kind} ${count}`);
  return [
    `seeds            ${totals.seeds}, ${totals.repeated} of them run twice for their trace`,
    `events           ${totals.events}`,
    `simulated        ${hours.toFixed(1)} cluster-hours in ${(wallMs / 1000).toFixed(1)} s, ` +
      `${((hours / wallMs) * 60_000).toFixed(0)} a minute`,
    `moves survived   ${totals.moves}`,
    `records synced   ${totals.records}`,
    `wishes, faults   ${deeds.join(", ")}`,
    `findings         ${totals.findings.length}`,
    ...totals.findings.map(({ seed, finding }) => `  seed ${seed}: ${finding}`),
  ].join("\n");
}
