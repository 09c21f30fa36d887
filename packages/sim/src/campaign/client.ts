import type { DatasetId, Milliseconds } from "@flocker/core";
import type { ModelDisk } from "../model-disk.ts";
import type { SeededRandom } from "../random.ts";
import type { World } from "../world.ts";

/** So many synced records are kept: older ones are removed, so that removals have to travel too. */
const recordsMaximum = 8;

/**
 * A program that writes numbered records into a dataset, on whichever node it is mounted, and takes a record
 * for kept once its write was synced. Between them it writes to a scratch file that it does not sync.
 */
export class Client {
  readonly dataset: DatasetId;
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #everyMs: Milliseconds;
  #written = 0;
  #removed = 0;
  #stopped = false;
  /** It writes to copies of this term or a newer one: after a failover nobody uses the former owner's. */
  #term = 0;

  constructor(world: World, dataset: DatasetId, everyMs: Milliseconds) {
    this.#world = world;
    this.dataset = dataset;
    this.#everyMs = everyMs;
    this.#random = world.random.fork(`client/${dataset}`);
    this.#tick();
  }

  /** How many records were written and synced: they have the numbers from 1. */
  get writtenCount(): number {
    return this.#written;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** From now on it uses nothing that is older than this term. */
  useOnlyFrom(term: number): void {
    this.#term = term;
  }

  /** Takes what a copy holds for all that there is: the rest was lost in a failover. */
  goOnFrom(disk: ModelDisk): void {
    const keys = [...(disk.copies.get(this.dataset)?.content.keys() ?? [])];
    const numbers = keys.filter((key) => key.startsWith("records/")).map((key) => Number(key.slice(8)));
    this.#written = Math.max(0, ...numbers);
    this.#removed = numbers.length === 0 ? this.#written : Math.min(...numbers) - 1;
  }

  /** The synced records that this disk's copy lacks, or undefined where it has all of them. */
  missing(disk: ModelDisk): string | undefined {
    const content = disk.copies.get(this.dataset)?.content;
    if (content === undefined) return this.#written === 0 ? undefined : "there is no copy";
    const missing: number[] = [];
    for (let number = this.#removed + 1; number <= this.#written; number += 1)
      if (content.get(recordName(number))?.text !== recordText(number)) missing.push(number);
    if (missing.length > 0)
      return `of the ${this.#written} records that were synced, ${missing.join(", ")} are not there`;
    for (const key of content.keys())
      if (key.startsWith("records/") && Number(key.slice("records/".length)) <= this.#removed)
        return `${key} is there, which was removed`;
    return undefined;
  }

  #tick(): void {
    this.#world.scheduler.after(this.#random.between(0, 2 * this.#everyMs), "a client writes", () => {
      if (this.#stopped) return;
      this.#write();
      this.#tick();
    });
  }

  #write(): void {
    const node = this.#world.nodes().find(({ disk }) => {
      const term = disk.copies.get(this.dataset)?.record.epoch.term ?? 0;
      return disk.mountedDatasets.has(this.dataset) && term >= this.#term;
    });
    if (node === undefined) return;
    const { disk } = node;
    const folder = disk.mountPoint(this.dataset);
    if (this.#random.chance(0.3))
      disk.write(`${folder}/scratch`, `after ${this.#written}`, { synced: false });
    const next = this.#written + 1;
    if (!disk.write(`${folder}/${recordName(next)}`, recordText(next)).ok) return;
    this.#written = next;
    if (this.#written - this.#removed <= recordsMaximum) return;
    if (disk.remove(`${folder}/${recordName(this.#removed + 1)}`).ok) this.#removed += 1;
  }
}

function recordName(number: number): string {
  return `records/${number}`;
}

function recordText(number: number): string {
  return `record ${number}`;
}
