import type { SimClusterParts } from "../sim-cluster.ts";

/** A deliberate mistake, made outside of the code that runs in production. */
export interface Mutation {
  readonly name: string;
  /** What is wrong with it, as a sentence. */
  readonly mistake: string;
  /** The wrong parts, made anew for each run. */
  make(): SimClusterParts;
}

/** All parts are the real ones. */
export const noMutation: Mutation = { name: "none", mistake: "Nothing is wrong.", make: () => ({}) };
