import { seededRandom } from "../random.ts";
import type { SeededRandom } from "../random.ts";
import type { Deed, Fault, Plan, Step, Wish } from "./plan.ts";
import { drawSwarm } from "./swarm.ts";
import type { SwarmLimits, SwarmOptions } from "./swarm.ts";

const minuteMs = 60_000;

/** Draws a whole run from a seed: how the cluster is, what people wish, what goes wrong and when. */
export function drawPlan(seed: string | number, limits: SwarmLimits = {}): Plan {
  const random = seededRandom(`plan/${seed}`);
  const options = drawSwarm(random.fork("swarm"), limits);
  const durationMs = (limits.minutes ?? random.between(2, 8)) * minuteMs;
  const steps = [
    ...drawBirths(random.fork("births"), options, durationMs),
    ...drawWishes(random.fork("wishes"), options, durationMs),
    ...drawFaults(random.fork("faults"), options, durationMs),
    ...drawFailovers(random.fork("failovers"), options, durationMs),
    ...drawExpiries(random.fork("certificates"), options, durationMs),
  ];
  return { seed: String(seed), options, durationMs, steps: steps.toSorted((a, b) => a.atMs - b.atMs) };
}

/** Most datasets are there from the beginning, the others come in between. */
function drawBirths(random: SeededRandom, options: SwarmOptions, durationMs: number): Step[] {
  return Array.from({ length: options.datasetCount }, (_, dataset): Step => {
    const atMs = random.chance(0.7) ? random.between(0, 2_000) : random.between(0, durationMs * 0.8);
    return { atMs, do: "create", dataset, node: anyNode(random, options), sizeBytes: anySize(random) };
  });
}

function drawWishes(random: SeededRandom, options: SwarmOptions, durationMs: number): Step[] {
  const steps: Step[] = [];
  let atMs = random.between(0, options.wishEveryMs);
  while (atMs < durationMs) {
    const wish = drawWish(random, options);
    steps.push({ atMs, ...wish });
    if (wish.do === "move" && options.undecided && random.chance(0.5)) {
      const { dataset } = wish;
      const changedMindMs = atMs + random.between(5, 4_000);
      steps.push({ atMs: changedMindMs, do: "move", dataset, node: anyNode(random, options) });
    }
    atMs += exponential(random, options.wishEveryMs);
  }
  return steps;
}

function drawWish(random: SeededRandom, options: SwarmOptions): Wish {
  const dataset = random.integer(0, options.datasetCount - 1);
  const kind = random.next();
  if (options.restores && kind > 0.9)
    return kind > 0.95 ? { do: "backup" } : { do: "restore", downMs: random.between(10, 5_000) };
  if (kind < 0.55) return { do: "move", dataset, node: anyNode(random, options) };
  if (kind < 0.63) return { do: "resize", dataset, sizeBytes: anySize(random) };
  if (kind < 0.7) return { do: "delete", dataset };
  if (kind < 0.77) return { do: "undelete", dataset };
  if (kind < 0.88)
    return { do: "lease", dataset, forMs: random.chance(0.3) ? null : random.between(500, 60_000) };
  return { do: "release", dataset };
}

function drawFaults(random: SeededRandom, options: SwarmOptions, durationMs: number): Step[] {
  const steps: Step[] = [];
  if (options.faults.length === 0) return steps;
  let atMs = exponential(random, options.faultEveryMs);
  while (atMs < durationMs) {
    const kind = options.faults[random.integer(0, options.faults.length - 1)];
    if (kind !== undefined) steps.push({ atMs, ...drawFault(random, options, kind) });
    atMs += exponential(random, options.faultEveryMs);
  }
  return steps;
}

/**
 * Machines go down for longer than people want to wait, and these try every other node, until one has a
 * replica. Not together with a restored store or a lost disk: what these lose has no bound that anybody told.
 */
function drawFailovers(random: SeededRandom, options: SwarmOptions, durationMs: number): Step[] {
  const isExcluded = options.restores || options.faults.includes("wipe") || options.faults.length === 0;
  if (isExcluded || random.chance(0.5)) return [];
  return Array.from({ length: random.integer(1, 4) }, (): Step[] => {
    const dataset = random.integer(0, options.datasetCount - 1);
    const atMs = random.between(0, durationMs);
    const downMs = random.between(1, 4) * minuteMs;
    const asked = Array.from({ length: 4 * options.nodeCount }, (_, index): Step => {
      const waitMs = random.between(0.1, 0.95) * downMs;
      return { atMs: atMs + waitMs, do: "fail-over", dataset, node: index % options.nodeCount };
    });
    return [{ atMs, do: "crash-holder", dataset, downMs }, ...asked];
  }).flat();
}

/** Now and then somebody forgets to renew certificates, and does so only after a while. */
function drawExpiries(random: SeededRandom, options: SwarmOptions, durationMs: number): Step[] {
  if (options.faults.length === 0 || random.chance(0.75)) return [];
  return Array.from({ length: random.integer(1, 3) }, (): Step => {
    const node = random.chance(0.3) ? -1 : anyNode(random, options);
    const forMs = random.between(minuteMs / 2, 5 * minuteMs);
    return { atMs: random.between(0, durationMs), do: "expire-certificate", node, forMs };
  });
}

function drawFault(random: SeededRandom, options: SwarmOptions, kind: Fault["do"]): Deed {
  const node = random.chance(0.2) ? -1 : anyNode(random, options);
  const dataset = random.integer(0, options.datasetCount - 1);
  const forMs = Math.min(exponential(random, options.faultLastsMs / 2), 10 * minuteMs);
  const crashKind = random.chance(0.5) ? "program" : "machine";
  const agent = Math.max(0, node);
  switch (kind) {
    case "crash":
      return { do: kind, node, kind: crashKind, downMs: forMs };
    case "crash-at-effect":
      return {
        do: kind,
        node,
        kind: crashKind,
        effect: random.integer(1, random.chance(0.5) ? 10 : 60),
        done: random.chance(0.5),
        downMs: random.chance(0.5) ? random.between(5, 3_000) : forMs,
      };
    case "wipe":
      return { do: kind, node: agent, downMs: forMs };
    case "crash-holder":
      return { do: kind, dataset, downMs: forMs };
    case "pause":
      return { do: kind, node, forMs };
    case "partition":
    case "cut": {
      const b = otherNode(random, options, node);
      const mode = random.chance(0.5) ? "both" : "one-way";
      return kind === "cut" ? { do: kind, a: node, b } : { do: kind, a: node, b, mode, forMs };
    }
    case "refuse":
    case "expire-certificate":
      return { do: kind, node, forMs };
    case "clock-jump":
      return { do: kind, node, byMs: Math.round(random.between(-1, 1) * random.between(0, 10 * minuteMs)) };
    case "storage-faults":
      return { do: kind, node: agent, rates: storageRates(random), forMs };
    case "transfer-faults":
      return { do: kind, rate: random.between(0.05, 0.6), forMs };
    case "slow-network": {
      const maxMs = random.between(20, 3_000);
      return { do: kind, latencyMs: { min: maxMs / 20, max: maxMs }, forMs };
    }
    case "fill-disk":
      return { do: kind, node: agent, leavingBytes: random.integer(0, 300), forMs };
    case "break-storage":
      return { do: kind, node: agent, forMs };
    case "break-copy":
      return { do: kind, node: agent, dataset, forMs };
    case "hold":
      return { do: kind, dataset, forMs };
    case "unmount-behind":
      return { do: kind, dataset };
    case "store-faults":
      return { do: kind, rate: random.between(0.1, 1), forMs };
  }
}

function storageRates(random: SeededRandom) {
  return {
    fails: random.between(0, 0.3),
    failsDone: random.between(0, 0.3),
    slow: random.chance(0.3) ? random.between(0, 0.1) : 0,
    slowMs: random.chance(0.3) ? 150_000 : random.between(100, 10_000),
  };
}

function anyNode(random: SeededRandom, options: SwarmOptions): number {
  return random.integer(0, options.nodeCount - 1);
}

function otherNode(random: SeededRandom, options: SwarmOptions, than: number): number {
  const others = Array.from({ length: options.nodeCount + 1 }, (_, index) => index - 1).filter(
    (node) => node !== than,
  );
  return others[random.integer(0, others.length - 1)] ?? -1;
}

function anySize(random: SeededRandom): number | null {
  return random.chance(0.5) ? null : random.integer(1, 64) * 2 ** 20;
}

function exponential(random: SeededRandom, mean: number): number {
  return -Math.log(1 - random.next()) * mean;
}
