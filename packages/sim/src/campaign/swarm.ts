import type { Range } from "../network.ts";
import type { SeededRandom } from "../random.ts";
import type { Fault } from "./plan.ts";

/**
 * How a cluster is made and treated in one run. All of it is drawn by the seed and printed before the run.
 */
export interface SwarmOptions {
  readonly nodeCount: number;
  readonly datasetCount: number;
  readonly liveSnapshots: boolean;
  /** Which nodes' storages can go on with an interrupted receive, in the order of the nodes. */
  readonly resumes: readonly boolean[];
  readonly quota: boolean;
  readonly backendWatches: boolean;
  readonly linesPerChunk: number;
  readonly backendCallMs: Range;
  readonly latencyMs: Range;
  /** How far each node's clock is off at the start, the control service's first. */
  readonly skewsMs: readonly number[];
  readonly graceMs: number;
  /** How often each dataset's client writes, on average. */
  readonly writeEveryMs: number;
  /** Time between two wishes of people, and between two faults, on average. */
  readonly wishEveryMs: number;
  readonly faultEveryMs: number;
  /** How long what lasts does so at most, mostly. */
  readonly faultLastsMs: number;
  /** Which kinds of faults this run has. A run with few kinds goes deeper than one with all. */
  readonly faults: readonly Fault["do"][];
  /** Whether people restore old backups of the control service's store. */
  readonly restores: boolean;
  /** Whether people change their minds within seconds. */
  readonly undecided: boolean;
}

/** What a caller fixes instead of leaving it to the seed. */
export interface SwarmLimits {
  readonly nodeCount?: number;
  readonly datasetCount?: number;
  readonly minutes?: number;
  /** Time between two wishes of people, and between two faults, on average. */
  readonly wishEveryMs?: number;
  readonly faultEveryMs?: number;
  /** Leaves out faults and hurry: what an ordinary cluster goes through. */
  readonly calm?: boolean;
}

const allFaults: readonly Fault["do"][] = [
  "crash",
  "crash-at-effect",
  "pause",
  "partition",
  "cut",
  "refuse",
  "clock-jump",
  "storage-faults",
  "transfer-faults",
  "slow-network",
  "fill-disk",
  "break-storage",
  "break-copy",
  "hold",
  "unmount-behind",
  "store-faults",
];

/** Draws how a run will be. */
export function drawSwarm(random: SeededRandom, limits: SwarmLimits = {}): SwarmOptions {
  const nodeCount = limits.nodeCount ?? random.integer(2, 5);
  const datasetCount =
    limits.datasetCount ?? (random.chance(0.1) ? random.integer(10, 50) : random.integer(1, 6));
  const callMaxMs = random.chance(0.3) ? random.between(50, 2_000) : random.between(2, 50);
  const latencyMaxMs = random.chance(0.2) ? random.between(10, 500) : random.between(1, 10);
  const isSkewed = random.chance(0.3);
  const share = random.between(0.15, 0.7);
  const backendWatches = random.chance(0.5);
  const drawn = limits.calm === true ? [] : allFaults.filter(() => random.chance(share));
  // A storage that does not tell of it leaves the agent in the belief that the dataset is still mounted.
  const faults = drawn.filter((fault) => backendWatches || fault !== "unmount-behind");
  // A restored store that does not know of a birth, and the loss of the only copy, are together a real loss.
  const restores = limits.calm !== true && random.chance(0.2);
  const wipes = limits.calm !== true && !restores && random.chance(0.2);
  const hurry = Math.sqrt(datasetCount);
  return {
    nodeCount,
    datasetCount,
    liveSnapshots: random.chance(0.6),
    resumes: drawResumes(random.fork("resumes"), nodeCount),
    quota: random.chance(0.7),
    backendWatches,
    linesPerChunk: random.integer(1, 8),
    backendCallMs: { min: callMaxMs / 50, max: callMaxMs },
    latencyMs: { min: 0.1, max: latencyMaxMs },
    skewsMs: Array.from({ length: nodeCount + 1 }, () =>
      isSkewed ? Math.round(random.between(-60_000, 60_000)) : 0,
    ),
    graceMs: Math.round(random.between(20_000, 300_000)),
    writeEveryMs: random.between(200, 4_000) * hurry,
    wishEveryMs:
      limits.wishEveryMs ?? (limits.calm === true ? 60_000 : random.between(1_000, 20_000) / hurry),
    faultEveryMs: limits.faultEveryMs ?? random.between(2_000, 30_000),
    faultLastsMs: random.chance(0.3) ? random.between(60_000, 300_000) : random.between(1_000, 45_000),
    faults: wipes ? [...faults, "wipe"] : faults,
    restores,
    undecided: random.chance(0.4),
  };
}

/** Mostly all nodes can or none; now and then they differ. */
function drawResumes(random: SeededRandom, nodeCount: number): readonly boolean[] {
  const share = [0, 0.5, 1, 1][random.integer(0, 3)] ?? 1;
  return Array.from({ length: nodeCount }, () => random.chance(share));
}
