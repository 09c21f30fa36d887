// The textbook loop on the wire: one agent, one new dataset, and every message between them; then an hour of
// silence.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AgentToControl, ControlToAgent } from "@flocker/core";
import { countsBetween } from "./counters.ts";
import { SimCluster, type WireMessage } from "./sim-cluster.ts";

const hourMs = 3_600_000;

/** A message as a line: what an observer on the wire would say of it. */
function describe({ message }: WireMessage): string | undefined {
  switch (message.kind) {
    case "slice":
      return `control tells: ${message.datasets.map(describeEntry).join(", ") || "nothing"}`;
    case "state":
      return `agent reports: ${describeState(message)}`;
    default:
      return undefined;
  }
}

function describeEntry(entry: Extract<ControlToAgent, { kind: "slice" }>["datasets"][number]): string {
  return `should have it, ${entry.ownership?.born === true ? "it is born" : "none is known"}`;
}

function describeState(message: Extract<AgentToControl, { kind: "state" }>): string {
  if (message.datasets.length === 0) return "none";
  return message.datasets
    .map(({ copy, activity, reasons }) => {
      const held = copy === null ? "none" : copy.mountedAt === null ? "has it" : "has it mounted";
      const doing = activity === null ? "" : `, doing ${activity.action}`;
      return `${held}${doing}${reasons.map((reason) => `, ${reason.code}`).join("")}`;
    })
    .join("; ");
}

test("told, looks, finds none, reports none, creates, looks, finds, reports, is done, and is quiet for an hour", async () => {
  const sim = new SimCluster({ seed: 1, nodeCount: 1 });
  const node = sim.node(0);
  sim.listen();
  sim.start();
  await sim.world.run(() => [...sim.cluster.nodes()].some((seen) => seen.connected));
  await sim.world.runFor(1_000);
  const before = node.machine.counters.counts();
  sim.wire.length = 0;
  const dataset = sim.create(node);
  await sim.untilServed(dataset, node);
  await sim.world.runFor(1_000);

  assert.deepEqual(
    sim.wire.map(describe).filter((line) => line !== undefined),
    [
      "control tells: should have it, none is known",
      "agent reports: none, doing create",
      "agent reports: has it, birth-unconfirmed",
      "control tells: should have it, it is born",
      "agent reports: has it, doing mount",
      "agent reports: has it mounted",
    ],
  );
  const done = countsBetween(before, node.machine.counters.counts());
  assert.deepEqual(
    done.backend,
    { discover: 3, create: 1, mount: 1 },
    "it looks before, between and after, and no more",
  );

  sim.wire.length = 0;
  const idleSince = node.machine.counters.counts();
  await sim.world.runFor(hourMs);
  const idle = countsBetween(idleSince, node.machine.counters.counts());
  assert.deepEqual(idle.backend, {}, "no command");
  assert.equal(idle.storeWrites, 0, "no write");
  assert.deepEqual(Object.keys(idle.messages), ["heartbeat"], "no message but the heartbeat");
  assert.deepEqual(new Set(sim.wire.map((seen) => seen.message.kind)), new Set(["heartbeat"]));
});

test("before it is told anything, the agent has looked and says so: none", async () => {
  const sim = new SimCluster({ seed: 2, nodeCount: 1 });
  sim.listen();
  sim.start();
  await sim.world.runFor(1_000);
  assert.deepEqual(
    sim.wire.map((seen) => seen.message.kind),
    ["hello", "welcome", "slice", "state", "slice-acknowledged", "state-acknowledged"],
  );
  assert.deepEqual(
    sim.wire.map(describe).filter((line) => line !== undefined),
    ["control tells: nothing", "agent reports: none"],
  );
});
