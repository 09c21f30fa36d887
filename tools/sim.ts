import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { drawPlan, mutationNamed, runPlan, shrink, type Plan, type RunOutcome } from "@flocker/sim";

const usage = `Usage: npm run sim -- --seed N [options]

Runs one seed of the fault campaign and tells what has happened if a rule is broken.

  --seed N         what everything is drawn from (default: 1)
  --minutes M      how long wishes and faults go on, in simulated minutes (default: drawn)
  --nodes N        how many nodes (default: drawn)
  --datasets N     how many datasets (default: drawn)
  --calm           without faults and hurry
  --mutation NAME  with this deliberate mistake
  --plan FILE      runs a plan that was written by --save instead of drawing one
  --save FILE      writes the plan, the smaller one if it was made smaller
  --no-shrink      does not look for a smaller run that breaks the same rule
`;

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    minutes: { type: "string" },
    nodes: { type: "string" },
    datasets: { type: "string" },
    calm: { type: "boolean", default: false },
    mutation: { type: "string" },
    plan: { type: "string" },
    save: { type: "string" },
    "no-shrink": { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

const shrinkForMs = 60_000;

function readPlan(): Plan {
  // A plan comes from --save of the same version: it is a developer's file, not an input to be judged.
  if (values.plan !== undefined) return JSON.parse(readFileSync(values.plan, "utf8")) as Plan;
  return drawPlan(values.seed, {
    calm: values.calm,
    ...(values.minutes === undefined ? {} : { minutes: Number(values.minutes) }),
    ...(values.nodes === undefined ? {} : { nodeCount: Number(values.nodes) }),
    ...(values.datasets === undefined ? {} : { datasetCount: Number(values.datasets) }),
  });
}

function tell(outcome: RunOutcome, wallMs: number): void {
  const hours = outcome.simulatedMs / 3_600_000;
  console.log(
    `${outcome.events} events, ${hours.toFixed(2)} simulated hours in ${(wallMs / 1000).toFixed(1)} s ` +
      `(${((hours / wallMs) * 60_000).toFixed(0)} a minute), ${outcome.moves} moves, ${outcome.records} records, ` +
      `trace ${outcome.traceHash}`,
  );
  console.log(`wishes and faults: ${JSON.stringify(outcome.deeds)}`);
}

async function main(): Promise<number> {
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const plan = readPlan();
  const mutation = values.mutation === undefined ? undefined : mutationNamed(values.mutation);
  console.log(`SEED=${plan.seed} ${JSON.stringify(plan.options)}`);
  const startedAt = performance.now();
  let outcome = await runPlan(plan, mutation);
  tell(outcome, performance.now() - startedAt);
  if (outcome.finding !== null && !values["no-shrink"]) {
    const until = performance.now() + shrinkForMs;
    const mayGoOn = (): boolean => performance.now() < until;
    outcome = await shrink(outcome, mutation === undefined ? { mayGoOn } : { mutation, mayGoOn });
    console.log(`made smaller: ${plan.steps.length} steps to ${outcome.plan.steps.length}`);
  }
  if (values.save !== undefined) writeFileSync(values.save, `${JSON.stringify(outcome.plan, null, 1)}\n`);
  if (outcome.finding === null) {
    console.log("No rule was broken.");
    return 0;
  }
  console.log(`\n${outcome.story}\n\n${outcome.finding}`);
  return 1;
}

process.exitCode = await main();
