import type { DatasetId, Milliseconds } from "@flocker/core";
import type { ModelDisk } from "./model-disk.ts";
import type { World } from "./world.ts";

/** What a workload does to its dataset. */
export interface WorkloadOptions {
  readonly dataset: DatasetId;
  /** How long it rests after each record. */
  readonly everyMs: Milliseconds;
  /**
   * So many records are kept: older ones are removed from the volume again, so that removals are carried
   * along too.
   */
  readonly recordsMax?: number;
}

/** A program that writes numbered records into a dataset, on whichever node it is mounted. */
export interface Workload {
  /** How many records have been written, synced and acknowledged: they have the numbers from 1. */
  readonly acknowledgedCount: number;
  /** Ends it; what it has written stays. */
  stop(): void;
  /**
   * What is wrong with the copy on this disk, or undefined: acknowledged records that are not there, or
   * records there that were removed or never written.
   */
  finding(disk: ModelDisk): string | undefined;
}

/** Starts a workload. While the dataset is mounted nowhere it waits, like a service that is being moved. */
export function startWorkload(world: World, options: WorkloadOptions): Workload {
  const { dataset, everyMs, recordsMax = Infinity } = options;
  let acknowledged = 0;
  let removed = 0;
  let stopped = false;
  const writeNext = (): void => {
    const node = world.nodes().find(({ disk }) => disk.mountedDatasets.has(dataset));
    if (node === undefined) return;
    const { disk } = node;
    const next = acknowledged + 1;
    if (!disk.write(`${disk.mountPoint(dataset)}/${recordName(next)}`, recordText(next)).ok) return;
    acknowledged = next;
    if (acknowledged - removed <= recordsMax) return;
    if (disk.remove(`${disk.mountPoint(dataset)}/${recordName(removed + 1)}`).ok) removed += 1;
  };
  const tick = (): void => {
    world.scheduler.after(everyMs, "workload writes", () => {
      if (stopped) return;
      writeNext();
      tick();
    });
  };
  tick();
  return {
    get acknowledgedCount() {
      return acknowledged;
    },
    stop: () => {
      stopped = true;
    },
    finding: (disk) => findingIn(disk.peek(dataset), removed + 1, acknowledged),
  };
}

function findingIn(
  files: ReadonlyMap<string, string> | undefined,
  first: number,
  last: number,
): string | undefined {
  if (files === undefined) return "there is no copy";
  const missing: number[] = [];
  for (let number = first; number <= last; number += 1) {
    if (files.get(recordName(number)) !== recordText(number)) missing.push(number);
  }
  if (missing.length > 0)
    return `${missing.length} acknowledged records are missing or wrong: ${missing.join(", ")}`;
  const expected = Math.max(0, last - first + 1);
  return files.size === expected ? undefined : `${files.size - expected} files should not be there`;
}

function recordName(number: number): string {
  return `records/${number}`;
}

function recordText(number: number): string {
  return `record ${number}`;
}
