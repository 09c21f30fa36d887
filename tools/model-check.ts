import { parseArgs } from "node:util";
import { agentRules } from "@flocker/core";
import {
  deepWorlds,
  explore,
  modelWorlds,
  mutationNamed,
  ProtocolModel,
  type Exploration,
} from "@flocker/sim";

const usage = `Usage: npm run model-check -- [options]

Visits every state that the ownership and move protocol can get into within the bounds of each world, with the
agents' and the control service's own rules. Prints the shortest way to the first rule that is broken.

  --deep           the large worlds too, which take hours and several GiB
  --world TEXT     only the worlds with that text in their name
  --states N       visits no more than so many states of a world, and says so
  --mutation NAME  with this deliberate mistake
`;

const { values } = parseArgs({
  options: {
    deep: { type: "boolean", default: false },
    world: { type: "string", default: "" },
    states: { type: "string" },
    mutation: { type: "string" },
    help: { type: "boolean", short: "h", default: false },
  },
});

function tell({ states, transitions, depth, complete, finding }: Exploration, seconds: number): void {
  const memory = Math.round(process.memoryUsage().rss / 2 ** 20);
  console.log(
    `  ${states} states, ${transitions} transitions, depth ${depth}, ${seconds.toFixed(1)} s, ${memory} MiB` +
      (complete || finding !== null ? "" : ", not all visited"),
  );
  if (finding === null) return;
  console.log(`  Broken: ${finding.rule}`);
  for (const [index, step] of finding.trace.entries()) console.log(`  ${index + 1}. ${step}`);
}

function main(): number {
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const rules = values.mutation === undefined ? agentRules : mutationNamed(values.mutation).make().rules;
  if (rules === undefined) {
    console.log("This mistake is none of the agents' rules: the model does not have it.");
    return 2;
  }
  const worlds = values.deep ? [...modelWorlds, ...deepWorlds] : modelWorlds;
  const statesMaximum = values.states === undefined ? Infinity : Number(values.states);
  let states = 0;
  for (const world of worlds.filter(({ name }) => name.includes(values.world))) {
    console.log(world.name);
    const startedAt = performance.now();
    const explored = explore(new ProtocolModel({ ...world, rules }), { statesMaximum });
    tell(explored, (performance.now() - startedAt) / 1000);
    states += explored.states;
    if (explored.finding !== null) return 1;
  }
  console.log(`${states} states in all, no rule is broken.`);
  return 0;
}

process.exitCode = main();
