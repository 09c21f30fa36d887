// I8: whatever program or machine crashes at whatever of its effects, a restart comes to the same end.
import assert from "node:assert/strict";
import { test } from "node:test";
import { drawPlan } from "./draw-plan.ts";
import type { Plan, Step } from "./plan.ts";
import { runPlan, type RunOutcome } from "./run.ts";

/** Births, moves with and without a copy to build on, a resize and a deletion, one after the other. */
const wishes: readonly Step[] = [
  { atMs: 0, do: "create", dataset: 0, node: 0, sizeBytes: null },
  { atMs: 0, do: "create", dataset: 1, node: 1, sizeBytes: 2 ** 20 },
  { atMs: 5_000, do: "move", dataset: 0, node: 1 },
  { atMs: 6_000, do: "move", dataset: 1, node: 0 },
  { atMs: 15_000, do: "move", dataset: 0, node: 0 },
  { atMs: 16_000, do: "resize", dataset: 0, sizeBytes: 2 ** 22 },
  { atMs: 25_000, do: "delete", dataset: 1 },
];

function planOf(liveSnapshots: boolean, crash: readonly Step[]): Plan {
  const calm = drawPlan("same-end", { calm: true, nodeCount: 2, datasetCount: 2 });
  const options = { ...calm.options, liveSnapshots, graceMs: 3_600_000, writeEveryMs: 200 };
  // Who was not answered, since the control service went down, asks again.
  const again = wishes.map((wish) => ({ ...wish, atMs: wish.atMs + 3_000 }));
  const steps = [...crash, ...wishes, ...again].toSorted((a, b) => a.atMs - b.atMs);
  return { seed: "same-end", options, durationMs: 40_000, steps };
}

async function judge(liveSnapshots: boolean, expected: RunOutcome, crash: Step): Promise<void> {
  const outcome = await runPlan(planOf(liveSnapshots, [crash]));
  const told = JSON.stringify(crash);
  assert.equal(outcome.finding, null, `${told}\n${outcome.story}`);
  assert.equal(outcome.end, expected.end, told);
}

for (const liveSnapshots of [true, false])
  test(`after a crash at any effect a restart gives the same end, live snapshots: ${liveSnapshots}`, async (t) => {
    const expected = await runPlan(planOf(liveSnapshots, []));
    assert.equal(expected.finding, null, expected.story);
    let runs = 0;
    for (const [index, effects] of expected.effects.entries())
      for (let effect = 1; effect <= effects; effect += 1) {
        // Each effect with one of the four ways to crash there, in turn: the others come at its neighbours.
        const kind = (effect + index) % 2 === 0 ? "program" : "machine";
        const done = Math.floor(effect / 2) % 2 === 0;
        const crash = { do: "crash-at-effect", node: index - 1, effect, kind, done, downMs: 1_000 } as const;
        await judge(liveSnapshots, expected, { atMs: 0, ...crash });
        runs += 1;
      }
    t.diagnostic(
      `${runs} crashes, effects of the control service and of each node: ${expected.effects.join(", ")}`,
    );
  });
