import { compareEpochs, formatEpoch } from "@flocker/core";
import type { DatasetId } from "@flocker/core";
import type { DiskEvent } from "./model-disk.ts";
import type { World, WorldNode } from "./world.ts";

/** What the invariants are checked over. */
export interface InvariantOptions {
  /** Whether a copy of this dataset may be destroyed now; nothing may unless this says so. */
  readonly mayDestroy?: (dataset: DatasetId) => boolean;
}

/**
 * Watches over the rules that hold at every moment, whatever fails (design, section 5): never two read-write
 * mounts of a dataset (I1), never a second birth (I2), nothing destroyed that was not deleted (I4), never two
 * primary copies of one epoch, and nothing mounted that is not the primary copy. A run of the world ends with
 * what was found. The rest needs to know what was asked for: see the scenarios.
 */
export function watchInvariants(world: World, options: InvariantOptions = {}): void {
  const { mayDestroy = () => false } = options;
  const born = new Set<DatasetId>();
  let finding: string | undefined;
  const findingAt = (node: WorldNode, event: DiskEvent): string | undefined => {
    const { dataset } = event;
    switch (event.kind) {
      case "created":
        if (born.has(dataset)) return `dataset ${dataset} is born a second time, on ${node.name}`;
        born.add(dataset);
        return twoPrimaries(world, dataset);
      case "recorded":
      case "received":
        return mountedButNotPrimary(node, dataset) ?? twoPrimaries(world, dataset);
      case "mounted":
        return mountedButNotPrimary(node, dataset) ?? twoMounts(world, dataset);
      case "unmounted":
        return undefined;
      case "destroyed":
        return mayDestroy(dataset)
          ? undefined
          : `the copy of dataset ${dataset} on ${node.name} is destroyed`;
    }
  };
  world.onDiskEvent((node, event) => {
    finding ??= findingAt(node, event);
  });
  world.scheduler.addCheck("A rule is broken", () => finding);
}

/** A copy that is mounted here and is not the primary. */
export function mountedButNotPrimary(node: WorldNode, dataset: DatasetId): string | undefined {
  const copy = node.disk.copies.get(dataset);
  if (copy === undefined || !copy.mounted || copy.record.role === "primary") return undefined;
  return `the copy of dataset ${dataset} on ${node.name} is mounted and its role is ${copy.record.role}`;
}

/**
 * A dataset that is mounted read-write on two nodes (I1). After a failover by hand, the former owner may
 * serve what it has until it hears of it: whoever asks for one says that it is down.
 */
export function twoMounts(world: World, dataset: DatasetId): string | undefined {
  const mounted = world.nodes().filter(({ disk }) => disk.mountedDatasets.has(dataset));
  const terms = mounted.map(({ disk }) => disk.copies.get(dataset)?.record.epoch.term ?? 0);
  const mountedOn = mounted.filter((_, index) => terms[index] === Math.max(...terms));
  if (mountedOn.length <= 1) return undefined;
  return `dataset ${dataset} is mounted read-write on ${mountedOn.map(({ name }) => name).join(" and ")}`;
}

/** Two primary copies of one epoch. */
export function twoPrimaries(world: World, dataset: DatasetId): string | undefined {
  const primaries = world.nodes().flatMap(({ name, disk }) => {
    const record = disk.copies.get(dataset)?.record;
    return record?.role === "primary" ? [{ name, epoch: record.epoch }] : [];
  });
  for (const [index, one] of primaries.entries()) {
    const other = primaries.slice(index + 1).find(({ epoch }) => compareEpochs(epoch, one.epoch) === 0);
    if (other !== undefined) {
      return `${one.name} and ${other.name} are both primary of ${dataset} at ${formatEpoch(one.epoch)}`;
    }
  }
  return undefined;
}
