// Power cuts in moves between two virtual machines, each one node with its own pool: after every step of a
// move, of the one machine or the other.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { DatasetId } from "@flocker/core";

import { checksumOf, writeRandom } from "./files.ts";
import { isThorough, seed } from "./machine.ts";
import { VmCluster, type Said, type VmNode } from "./vm-cluster.ts";

const cluster = new VmCluster();

before(() => cluster.start());
after(() => cluster.stop());

/** What an agent says when a step of a move is done. */
interface Step {
  readonly at: "source" | "target";
  /**
   * The action, or the request that it has served: a target is promoted by the source or by the control
   * service.
   */
  readonly did: readonly string[];
}

const steps: readonly Step[] = [
  { at: "source", did: ["describe"] },
  { at: "source", did: ["snapshot"] },
  { at: "source", did: ["send"] },
  { at: "source", did: ["unmount"] },
  // It relinquishes: from here on only the target may become primary.
  { at: "source", did: ["write-record"] },
  { at: "target", did: ["promote", "write-record"] },
  { at: "target", did: ["mount"] },
];
/** A source that has lost its power need not unmount any more: that step is for the move back. */
const movesMaximum = 4;

const victims = ["source", "target"] as const;
/** A usual run takes the one or the other, a thorough one both. */
const chosen = isThorough ? victims : [victims[seed % 2] ?? "source"];

for (const victim of chosen)
  test(
    `the power of the ${victim} is cut after each step of a move in turn: nothing is lost, and the move goes on`,
    { timeout: 30 * 60_000 },
    async (t) => {
      const dataset = await cluster.create(cluster.a, victim);
      const content = await writeRandom(cluster.a, dataset, "file", 2 ** 20);
      const left = new Set(steps);
      for (let move = 0; left.size > 0; move += 1) {
        assert.ok(move < movesMaximum, `not seen: ${[...left].map(({ did }) => did[0]).join(", ")}`);
        const [source, target] = move % 2 === 0 ? [cluster.a, cluster.b] : [cluster.b, cluster.a];
        const nodes = { source, target };
        const cuts = cutAfterSteps(dataset, left, { nodes, victim: nodes[victim] });
        await cluster.order(dataset, target);
        await cluster.converged(dataset, target);
        t.diagnostic(`FLOCKER_SEED=${seed}: ${await cuts.end()}`);
        await cluster.settled(dataset, target);
        assert.equal(await checksumOf(target, dataset, "file"), content);
      }
    },
  );

interface Cuts {
  /** Cuts no more, waits until the victim is up again, and answers what has happened. */
  end(): Promise<string>;
}

/**
 * Cuts the victim's power at the moment at which an agent says that it has done one of the steps that are
 * left, and boots it again. What is done while it has no power is a step after which it has none, too.
 */
function cutAfterSteps(
  dataset: DatasetId,
  left: Set<Step>,
  { nodes, victim }: { readonly nodes: Readonly<Record<Step["at"], VmNode>>; readonly victim: VmNode },
): Cuts {
  const story: string[] = [];
  let restarting: Promise<void> | null = null;
  let failure: unknown = null;
  const restart = async (): Promise<void> => {
    try {
      await victim.cutPower();
      await victim.boot();
    } catch (error) {
      failure = error;
    }
    restarting = null;
  };
  for (const at of ["source", "target"] as const)
    nodes[at].onSaid = ({ event, fields }: Said) => {
      if (fields["dataset"] !== dataset || (event !== "action-done" && event !== "request-served")) return;
      const did = String(fields["action"] ?? fields["request"]);
      const step = [...left].find((each) => each.at === at && each.did.includes(did));
      if (step === undefined) return;
      left.delete(step);
      story.push(`${restarting === null ? "cut after" : "off at"} ${did} of the ${at}`);
      restarting ??= restart();
    };
  return {
    async end() {
      while (restarting !== null) await restarting;
      for (const node of Object.values(nodes)) node.onSaid = null;
      if (failure !== null) throw failure;
      return story.join(", ");
    },
  };
}
