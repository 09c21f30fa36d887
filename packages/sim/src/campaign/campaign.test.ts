// The campaign in small: the real rules survive, the same seed gives the same run, and wrong rules are
// noticed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { runSeed } from "./campaign.ts";
import { drawPlan } from "./draw-plan.ts";
import { mutations } from "./mutations.ts";
import { runPlan } from "./run.ts";

/** Within so many seeds each deliberate mistake must be found. */
const seedsPerMutation = 20;

test("no rule is broken in the first seeds, nor in those that once broke one", async () => {
  const once = [24, 54, 152, 160, 161, 170, 202, 214, 240, 250, 275, 298, 415, 420, 462, 489];
  for (const seed of [...Array.from({ length: 20 }, (_, index) => index + 1), ...once]) {
    const { finding } = await runSeed(seed, { twiceEvery: 5 });
    assert.equal(finding, null, `seed ${seed}: ${finding ?? ""}`);
  }
});

test("the same seed gives the same run, another one another", async () => {
  const [first, again, other] = [
    await runPlan(drawPlan(7)),
    await runPlan(drawPlan(7)),
    await runPlan(drawPlan(8)),
  ];
  assert.equal(first.traceHash, again.traceHash);
  assert.notEqual(first.traceHash, other.traceHash);
});

for (const mutation of mutations)
  test(`a wrong rule is noticed: ${mutation.name}`, async () => {
    for (let seed = 1; seed <= seedsPerMutation; seed += 1)
      if ((await runSeed(seed, { mutation })).finding !== null) return;
    assert.fail(`${mutation.mistake} ${seedsPerMutation} seeds have not noticed it.`);
  });
