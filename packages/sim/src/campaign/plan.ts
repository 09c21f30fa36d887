import type { CrashKind, CrashPoint } from "../node.ts";
import type { Range } from "../network.ts";
import type { SwarmOptions } from "./swarm.ts";

/** What people ask of the cluster. Datasets and nodes are named by their number, from 0. */
export type Wish =
  | {
      readonly do: "create";
      readonly dataset: number;
      readonly node: number;
      readonly sizeBytes: number | null;
    }
  | { readonly do: "move"; readonly dataset: number; readonly node: number }
  | { readonly do: "resize"; readonly dataset: number; readonly sizeBytes: number | null }
  | { readonly do: "delete"; readonly dataset: number }
  | { readonly do: "undelete"; readonly dataset: number }
  /** A lease (or its renewal) on the node where the dataset is now; null for one without an end. */
  | { readonly do: "lease"; readonly dataset: number; readonly forMs: number | null }
  | { readonly do: "release"; readonly dataset: number }
  /** Goes on from the replica on that node, if the owner is away. */
  | { readonly do: "fail-over"; readonly dataset: number; readonly node: number }
  /** Makes a backup of the control service's store. */
  | { readonly do: "backup" }
  /** Ends the control service, puts the last backup in the place of its store, and starts it again. */
  | { readonly do: "restore"; readonly downMs: number };

/** What goes wrong. The control service's node has the number -1. What lasts ends by itself. */
export type Fault =
  | { readonly do: "crash"; readonly node: number; readonly kind: CrashKind; readonly downMs: number }
  | ({ readonly do: "crash-at-effect"; readonly node: number; readonly downMs: number } & CrashPoint)
  /** Cuts the power of the machine that serves a dataset. */
  | { readonly do: "crash-holder"; readonly dataset: number; readonly downMs: number }
  | { readonly do: "wipe"; readonly node: number; readonly downMs: number }
  | { readonly do: "pause"; readonly node: number; readonly forMs: number }
  | {
      readonly do: "partition";
      readonly a: number;
      readonly b: number;
      readonly mode: "both" | "one-way";
      readonly forMs: number;
    }
  | { readonly do: "cut"; readonly a: number; readonly b: number }
  | { readonly do: "refuse"; readonly node: number; readonly forMs: number }
  | { readonly do: "expire-certificate"; readonly node: number; readonly forMs: number }
  | { readonly do: "clock-jump"; readonly node: number; readonly byMs: number }
  | {
      readonly do: "storage-faults";
      readonly node: number;
      readonly rates: StorageFaultRates;
      readonly forMs: number;
    }
  | { readonly do: "transfer-faults"; readonly rate: number; readonly forMs: number }
  | { readonly do: "slow-network"; readonly latencyMs: Range; readonly forMs: number }
  | { readonly do: "fill-disk"; readonly node: number; readonly leavingBytes: number; readonly forMs: number }
  | { readonly do: "break-storage"; readonly node: number; readonly forMs: number }
  | { readonly do: "break-copy"; readonly node: number; readonly dataset: number; readonly forMs: number }
  | { readonly do: "hold"; readonly dataset: number; readonly forMs: number }
  | { readonly do: "unmount-behind"; readonly dataset: number }
  | { readonly do: "store-faults"; readonly rate: number; readonly forMs: number };

/** How often a backend's calls go wrong, and in which way. */
export interface StorageFaultRates {
  /** An error, and nothing was done. */
  readonly fails: number;
  /** An error, although it was done. */
  readonly failsDone: number;
  /** It takes up to so much longer: it hangs, and takes effect late. */
  readonly slow: number;
  readonly slowMs: number;
}

export type Deed = Wish | Fault;
/** A wish or a fault, and when it comes in simulated milliseconds. */
export type Step = Deed & { readonly atMs: number };

/**
 * A run as data: everything that will be asked for and go wrong, so that it can be repeated and made smaller.
 */
export interface Plan {
  readonly seed: string;
  readonly options: SwarmOptions;
  /** How long wishes and faults go on; then all faults end and the cluster has to come to rest. */
  readonly durationMs: number;
  /** In the order of their times. */
  readonly steps: readonly Step[];
}

/** What a deed of each kind is counted as at the end of a campaign. */
export function isFault(deed: Deed): deed is Fault {
  return !wishes.has(deed.do);
}

const wishes: ReadonlySet<string> = new Set<Wish["do"]>([
  "create",
  "move",
  "resize",
  "delete",
  "undelete",
  "lease",
  "release",
  "fail-over",
  "backup",
  "restore",
]);
