import type { ModelBounds, ModelOptions } from "./protocol-model.ts";

/** A part of all that may happen, small enough that every state of it can be visited. */
export interface ModelWorld extends Omit<ModelOptions, "rules" | "forgetsFsync"> {
  readonly name: string;
}

const nothing: ModelBounds = {
  moves: 0,
  crashes: 0,
  controlRestarts: 0,
  faults: 0,
  writes: 0,
  leases: 0,
  failovers: 0,
};
const start = "served";

/** What every run of the checker visits, each to its end. */
export const modelWorlds: readonly ModelWorld[] = [
  { name: "a birth, a move, a crash", bounds: { ...nothing, moves: 1, crashes: 1 }, start: "created" },
  { name: "a move, a write, a crash", bounds: { ...nothing, moves: 1, writes: 1, crashes: 1 }, start },
  { name: "a move, a write, a fault", bounds: { ...nothing, moves: 1, writes: 1, faults: 1 }, start },
  { name: "a move, a lease, a fault", bounds: { ...nothing, moves: 1, leases: 1, faults: 1 }, start },
  {
    name: "a move, a lease, a restart of the control service",
    bounds: { ...nothing, moves: 1, leases: 1, controlRestarts: 1 },
    start,
  },
  {
    name: "a move, a write, a crash, a failover",
    bounds: { ...nothing, moves: 1, writes: 1, crashes: 1, failovers: 1 },
    start,
  },
  { name: "two moves", bounds: { ...nothing, moves: 2 }, start },
  {
    name: "two moves, a crash, a fault, a failover, all else prompt",
    bounds: { ...nothing, moves: 2, crashes: 1, faults: 1, failovers: 1 },
    start,
    prompt: true,
  },
];

/** What takes hours or much memory. */
export const deepWorlds: readonly ModelWorld[] = [
  {
    name: "a move while it is in use, with sessions that lag",
    bounds: { ...nothing, moves: 1, writes: 1, crashes: 1 },
    start,
    liveSnapshots: true,
    lags: true,
  },
  { name: "a birth, two wishes", bounds: { ...nothing, moves: 2 }, start: "created" },
  { name: "two moves, a crash", bounds: { ...nothing, moves: 2, crashes: 1 }, start },
  { name: "two moves, a fault", bounds: { ...nothing, moves: 2, faults: 1 }, start },
  {
    name: "two moves, a crash, a failover",
    bounds: { ...nothing, moves: 2, crashes: 1, failovers: 1 },
    start,
  },
  {
    name: "a birth, a move, and one of everything",
    bounds: { moves: 1, crashes: 1, controlRestarts: 1, faults: 1, writes: 1, leases: 1, failovers: 1 },
  },
];
