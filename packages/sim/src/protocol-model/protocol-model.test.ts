// The protocol in every state that small worlds can get into: the real rules hold, and wrong ones do not.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { mutations } from "../campaign/mutations.ts";
import { explore } from "./exploration.ts";
import { ProtocolModel, type ModelOptions } from "./protocol-model.ts";
import { deepWorlds, modelWorlds } from "./worlds.ts";

function worldOf(name: string): ModelOptions {
  const world = [...modelWorlds, ...deepWorlds].find((other) => other.name === name);
  assert.ok(world !== undefined, `there is a world called ${name}`);
  return world;
}

test("no rule is broken in any state of the smaller worlds, and each comes to rest as configured", () => {
  for (const name of [
    "a birth, a move, a crash",
    "a move, a write, a crash",
    "a move, a write, a fault",
    "a move, a write, a crash, a failover",
  ]) {
    const { complete, finding, goals } = explore(new ProtocolModel(worldOf(name)));
    assert.equal(finding, null, `${name}: ${finding?.rule}\n${finding?.trace.join("\n")}`);
    assert.ok(complete && goals > 0);
  }
});

test("the same world has the same states each time", () => {
  const count = (): number => explore(new ProtocolModel(worldOf("a move, a write, a fault"))).states;
  assert.equal(count(), count());
});

test("a world that is larger than asked for is not called complete", () => {
  const explored = explore(new ProtocolModel(worldOf("two moves")), { statesMaximum: 1_000 });
  assert.equal(explored.complete, false);
  assert.equal(explored.finding, null);
});

const birth = "a birth, a move, a crash";

/**
 * For each deliberate mistake: the world that shows it, the rule that it breaks, and within how many states.
 */
const found: Readonly<Record<string, readonly [world: string, rule: string, statesMaximum: number]>> = {
  "skip-the-relinquish": [birth, "I1", 10_000],
  "create-when-holder-unknown": [birth, "I2", 1_000],
  "ignore-leases": ["a move, a lease, a fault", "I7", 2_000],
  "forget-the-unmount": [birth, "ownership", 5_000],
  "take-back-without-word": ["two moves", "I1", 20_000],
  "break-promises": ["two moves", "I1", 20_000],
  "settle-too-early": [birth, "I6", 10_000],
  "promote-by-wish": [birth, "I1", 10_000],
  "delete-without-session": [birth, "session", 5_000],
  "mount-before-epoch-check": [birth, "ownership", 5_000],
  "mount-before-birth-is-known": [birth, "birth", 500],
  "relinquish-without-the-last-snapshot": ["a move, a write, a crash", "I3", 50_000],
  "keep-the-epoch": [birth, "I6", 20_000],
  "serve-what-is-superseded": ["a move, a write, a crash, a failover", "I1", 30_000],
  "forget-the-fsync": [birth, "I1", 20_000],
  "drop-leases-on-restart": ["a move, a lease, a restart of the control service", "I7", 10_000],
};

/** What is no part of the model, and why. */
const elsewhere: Readonly<Record<string, string>> = {
  "create-what-is-missing": "No disk loses a copy in the model.",
  "destroy-without-purge": "Nothing is deleted in the model.",
  "purge-at-once": "Nothing is deleted in the model.",
};

function wrong(name: string): Partial<ModelOptions> {
  if (name === "forget-the-fsync") return { forgetsFsync: true };
  if (name === "drop-leases-on-restart") return { forgetsLeases: true };
  const { rules } = mutations.find((mutation) => mutation.name === name)?.make() ?? {};
  assert.ok(rules !== undefined, `${name} is a mistake in the agents' rules`);
  return { rules };
}

suite("wrong rules", () => {
  test("every deliberate mistake of the campaign is found here, or it says why not", () => {
    const named = mutations.map(({ name }) => name).sort();
    assert.deepEqual([...Object.keys(found), ...Object.keys(elsewhere)].sort(), named);
  });

  for (const [name, [world, rule, statesMaximum]] of Object.entries(found))
    test(`the model notices: ${name}`, () => {
      const { finding, states } = explore(new ProtocolModel({ ...worldOf(world), ...wrong(name) }), {
        statesMaximum,
      });
      assert.ok(finding !== null, `${states} states have not shown it`);
      assert.equal(finding.rule.split(":")[0], rule);
      assert.ok(finding.trace.length > 0);
    });
});
