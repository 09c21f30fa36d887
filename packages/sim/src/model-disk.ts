import { failure, success } from "@flocker/core";
import type { Capabilities, Capacity, DatasetId, PartialReceive, Problem, Result } from "@flocker/core";
import { bytesOf, bytesSince, makeBlock, newCopy } from "./model-content.ts";
import type { Block, ModelCopy } from "./model-content.ts";
import type { Change } from "./model-stream.ts";

/** How a model disk behaves. */
export interface ModelDiskOptions {
  readonly capacityBytes: number;
  readonly capabilities: Capabilities;
  /** How many lines of a send stream come in one chunk. */
  readonly linesPerChunk: number;
  readonly mountRoot: string;
}

/** A disk that is healthy and large enough for most scenarios. */
export const defaultModelDiskOptions: ModelDiskOptions = {
  capacityBytes: 2 ** 40,
  capabilities: {
    liveSnapshots: true,
    resume: false,
    quota: true,
    clone: false,
    compression: false,
    encryption: false,
  },
  linesPerChunk: 8,
  mountRoot: "/flocker",
};

/** Something that happened to a copy as a whole, for those who watch over the rules. */
export type DiskEvent =
  | {
      /** `recorded`: the copy's record may be another one now. */
      readonly kind: "created" | "recorded" | "mounted" | "destroyed";
      readonly dataset: DatasetId;
    }
  | {
      readonly kind: "unmounted";
      readonly dataset: DatasetId;
      /** Who did it: the agent, the loss of power, or an operator behind the agent's back. */
      readonly by: "agent" | "power" | "operator";
    }
  | { readonly kind: "received"; readonly dataset: DatasetId; readonly snapshot: string };

/** What an interrupted receive has left on a disk: whole changes of the stream, from its beginning on. */
export interface ModelPartial extends PartialReceive {
  readonly changes: readonly Change[];
  readonly bytes: number;
}

/** Whether something written but never synced is lost at a loss of power. */
export type IsLost = () => boolean;

/**
 * The storage of one node: copies with their contents, snapshots and mounts. Everything on it is durable at
 * once, except that mounts go with the machine, and that what was written without a sync may go with it or
 * not. Programs other than the agent (the workloads) use it through the mounts.
 */
export class ModelDisk {
  readonly name: string;
  readonly options: ModelDiskOptions;
  readonly copies: Map<DatasetId, ModelCopy> = new Map();
  readonly partials: Map<DatasetId, ModelPartial> = new Map();
  readonly #listeners = new Set<(event: DiskEvent) => void>();
  readonly #watchers = new Set<() => void>();
  readonly #mounted = new Set<DatasetId>();
  readonly #reservations = new Map<object, number>();
  #usedBytes = 0;
  #transaction = 0;
  #broken: Problem | null = null;

  constructor(name: string, options: ModelDiskOptions) {
    this.name = name;
    this.options = options;
  }

  get capacity(): Capacity {
    const { capacityBytes } = this.options;
    return { totalBytes: capacityBytes, freeBytes: Math.max(0, this.freeBytes) };
  }

  /** What is free beside everything stored and everything that is being received. */
  get freeBytes(): number {
    let reservedBytes = 0;
    for (const bytes of this.#reservations.values()) reservedBytes += bytes;
    return this.options.capacityBytes - this.#usedBytes - reservedBytes;
  }

  /** The datasets that are mounted read-write now. */
  get mountedDatasets(): ReadonlySet<DatasetId> {
    return this.#mounted;
  }

  mountPoint(dataset: DatasetId): string {
    return `${this.options.mountRoot}/${dataset}`;
  }

  /**
   * Writes a file through the mount, as a workload does: in one piece, and synced when it returns, unless
   * told that the workload does not care: then the file may be as before after a loss of power. Refused as
   * the system would: where nothing is mounted at the path (`not-found`) or no space is left for it
   * (`no-space`).
   */
  write(path: string, text: string, options: { readonly synced: boolean } = { synced: true }): Result<void> {
    const place = this.#resolve(path);
    if (!place.ok) return place;
    const { copy, key } = place.value;
    const block = makeBlock(key, text, this.nextTransaction());
    const old = copy.content.get(key);
    const change = changeOf(copy, old, block);
    const limitBytes = this.options.capabilities.quota ? copy.maximumSizeBytes : null;
    if (limitBytes !== null && copy.liveBytes + change.liveBytes > limitBytes && change.liveBytes > 0) {
      return noSpace(`Writing ${path}: the dataset has reached its maximum size.`);
    }
    if (change.usedBytes > this.freeBytes) return noSpace(`Writing ${path}: the disk is full.`);
    this.#apply(copy, change, (content) => content.set(key, block));
    if (options.synced) copy.unsynced.delete(key);
    else if (!copy.unsynced.has(key)) copy.unsynced.set(key, old ?? null);
    return success();
  }

  /** Adds a line to a file through the mount; otherwise as {@link ModelDisk.write}. */
  append(path: string, record: string): Result<void> {
    const before = this.read(path);
    return this.write(path, `${before ?? ""}${record}\n`);
  }

  /** Removes a file through the mount; one that is not there is no error. */
  remove(path: string): Result<void> {
    const place = this.#resolve(path);
    if (!place.ok) return place;
    const { copy, key } = place.value;
    const old = copy.content.get(key);
    if (old === undefined) return success();
    this.nextTransaction();
    this.#apply(copy, changeOf(copy, old, undefined), (content) => content.delete(key));
    return success();
  }

  /** The text of a file, through the mount; undefined where there is none or nothing is mounted. */
  read(path: string): string | undefined {
    const place = this.#resolve(path);
    return place.ok ? place.value.copy.content.get(place.value.key)?.text : undefined;
  }

  /** The files of a copy, mounted or not, or of one of its snapshots: for judges, not for workloads. */
  peek(dataset: DatasetId, snapshotGuid?: string): ReadonlyMap<string, string> | undefined {
    const copy = this.copies.get(dataset);
    const content =
      snapshotGuid === undefined
        ? copy?.content
        : copy?.snapshots.find((snapshot) => snapshot.identity.guid === snapshotGuid)?.content;
    return content === undefined
      ? undefined
      : new Map([...content].map(([key, block]): [string, string] => [key, block.text]));
  }

  /** Keeps a mount busy in that program's name, until the answer is called. */
  hold(dataset: DatasetId, program: string): () => void {
    const copy = this.copies.get(dataset);
    copy?.holders.add(program);
    return () => copy?.holders.delete(program);
  }

  /** Makes a copy unreadable (or with null readable again), as a broken disk or a damaged file does. */
  breakCopy(dataset: DatasetId, problem: Problem | null): void {
    const copy = this.copies.get(dataset);
    if (copy !== undefined) copy.unreadable = problem;
    this.#tellWatchers();
  }

  /** Makes the storage as a whole unreadable (or with null readable again), as when its disk is gone. */
  breakStorage(problem: Problem | null): void {
    this.#broken = problem;
    this.#tellWatchers();
  }

  /** Why the storage as a whole cannot be read, or null. */
  get broken(): Problem | null {
    return this.#broken;
  }

  /** Lets something else take all space but so many bytes, until the answer is called. */
  fill(leavingBytes: number): () => void {
    const other = {};
    this.reserve(other, Math.max(0, this.freeBytes - leavingBytes));
    return () => this.reserve(other, null);
  }

  /** Unmounts behind the agent's back, as an operator might, whatever uses it. */
  unmountBehindTheAgent(dataset: DatasetId): void {
    const copy = this.copies.get(dataset);
    if (copy !== undefined) this.setMounted(dataset, copy, false, "operator");
    this.#tellWatchers();
  }

  /** Calls back when something has happened to a copy as a whole. Returns what ends it. */
  onEvent(listener: (event: DiskEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Only for the backend: calls back after what others than the agent do to copies. */
  watch(onChange: () => void): () => void {
    this.#watchers.add(onChange);
    return () => this.#watchers.delete(onChange);
  }

  /** Only for the node: a machine that goes down loses its mounts and what uses them. */
  machineDown(isLost: IsLost = () => false): void {
    for (const dataset of this.#mounted) {
      const copy = this.copies.get(dataset);
      if (copy === undefined) continue;
      copy.holders.clear();
      this.#loseUnsynced(copy, isLost);
      this.setMounted(dataset, copy, false, "power");
    }
  }

  /**
   * All data is gone, as with a new disk. Nobody is told: who watches over the rules knows that it was
   * replaced.
   */
  wipe(): void {
    for (const copy of this.copies.values()) copy.holders.clear();
    this.copies.clear();
    this.partials.clear();
    this.#mounted.clear();
    this.#reservations.clear();
    this.#usedBytes = 0;
    this.#broken = null;
  }

  /** Only for the backend. */
  addCopy(dataset: DatasetId, copy: ModelCopy): void {
    this.copies.set(dataset, copy);
    this.#usedBytes += copy.usedBytes;
  }

  /** Only for the backend. */
  removeCopy(dataset: DatasetId): void {
    this.keepPartial(dataset, null);
    this.#usedBytes -= this.copies.get(dataset)?.usedBytes ?? 0;
    this.copies.delete(dataset);
    this.tell({ kind: "destroyed", dataset });
  }

  /** Only for the backend: counts a copy's bytes afresh after its content or its snapshots were exchanged. */
  recount(copy: ModelCopy): void {
    const newest = copy.snapshots.at(-1);
    const before = copy.usedBytes;
    copy.liveBytes = bytesOf([copy.content]);
    copy.writtenBytes = bytesSince(copy.content, newest?.content ?? new Map<string, Block>());
    copy.usedBytes = bytesOf([copy.content, ...copy.snapshots.map((snapshot) => snapshot.content)]);
    copy.observed = null;
    this.#usedBytes += copy.usedBytes - before;
  }

  /** Only for the backend. Nobody uses what is not mounted. */
  setMounted(
    dataset: DatasetId,
    copy: ModelCopy,
    mounted: boolean,
    by: "agent" | "power" | "operator" = "agent",
  ): void {
    if (copy.mounted === mounted) return;
    copy.mounted = mounted;
    copy.observed = null;
    if (mounted) {
      this.#mounted.add(dataset);
      // Without snapshots of what is in use, nobody knows what happened under a mount.
      if (!this.options.capabilities.liveSnapshots) copy.dirty = true;
    } else {
      this.#mounted.delete(dataset);
      copy.holders.clear();
      copy.unsynced.clear();
    }
    this.tell(mounted ? { kind: "mounted", dataset } : { kind: "unmounted", dataset, by });
  }

  /** Only for the backend: the number of a new transaction, which orders blocks and snapshots. */
  nextTransaction(): number {
    this.#transaction += 1;
    return this.#transaction;
  }

  /** Only for the backend: counts bytes of a receive under way as taken; with null no longer. */
  reserve(by: object, bytes: number | null): void {
    if (bytes === null) this.#reservations.delete(by);
    else this.#reservations.set(by, bytes);
  }

  /** Only for the backend: keeps what has arrived of a dataset, or with null throws it away. */
  keepPartial(dataset: DatasetId, partial: ModelPartial | null): void {
    const before = this.partials.get(dataset);
    if (before !== undefined) this.reserve(before, null);
    this.partials.delete(dataset);
    if (partial === null) return;
    this.partials.set(dataset, partial);
    this.reserve(partial, partial.bytes);
  }

  /** Only for the backend. */
  tell(event: DiskEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  #loseUnsynced(copy: ModelCopy, isLost: IsLost): void {
    if (copy.unsynced.size === 0) return;
    if (copy.shared) copy.content = new Map(copy.content);
    copy.shared = false;
    for (const [key, before] of copy.unsynced) {
      if (!isLost()) continue;
      if (before === null) copy.content.delete(key);
      else copy.content.set(key, before);
    }
    copy.unsynced.clear();
    copy.dirty = true;
    this.recount(copy);
  }

  #tellWatchers(): void {
    for (const watcher of this.#watchers) watcher();
  }

  #resolve(path: string): Result<{ readonly copy: ModelCopy; readonly key: string }> {
    const { mountRoot } = this.options;
    const [dataset, ...rest] = path.startsWith(`${mountRoot}/`)
      ? path.slice(mountRoot.length + 1).split("/")
      : [];
    const copy = dataset === undefined ? undefined : this.copies.get(dataset as DatasetId);
    const key = rest.join("/");
    if (copy === undefined || !copy.mounted || key === "") {
      return failure(
        "not-found",
        `Opening ${path} on ${this.name}: nothing is mounted there.`,
        "Wait until the dataset is mounted on this node.",
      );
    }
    return success({ copy, key });
  }

  #apply(copy: ModelCopy, change: ByteChange, apply: (content: Map<string, Block>) => void): void {
    if (copy.shared) {
      copy.content = new Map(copy.content);
      copy.shared = false;
    }
    apply(copy.content);
    copy.dirty = true;
    copy.liveBytes += change.liveBytes;
    copy.writtenBytes += change.writtenBytes;
    copy.usedBytes += change.usedBytes;
    copy.observed = null;
    this.#usedBytes += change.usedBytes;
  }
}

/** A new, empty copy on the disk, for backends and for tests that begin in the middle. */
export function addEmptyCopy(
  disk: ModelDisk,
  record: ModelCopy["record"],
  maximumSizeBytes: number | null,
): ModelCopy {
  const copy = newCopy(record, maximumSizeBytes);
  disk.addCopy(record.dataset, copy);
  disk.tell({ kind: "created", dataset: record.dataset });
  return copy;
}

interface ByteChange {
  readonly liveBytes: number;
  readonly writtenBytes: number;
  readonly usedBytes: number;
}

/** What one replaced block changes, from the times of birth alone: no content has to be counted. */
function changeOf(copy: ModelCopy, old: Block | undefined, block: Block | undefined): ByteChange {
  const newestBirth = copy.snapshots.at(-1)?.birth ?? -1;
  const newBytes = block?.sizeBytes ?? 0;
  const oldBytes = old?.sizeBytes ?? 0;
  // A block that is as old as a snapshot lives on in it.
  const freedBytes = old !== undefined && old.birth > newestBirth ? oldBytes : 0;
  return {
    liveBytes: newBytes - oldBytes,
    writtenBytes: newBytes - freedBytes,
    usedBytes: newBytes - freedBytes,
  };
}

/** The disk or the dataset is full. */
export function noSpace(message: string): { ok: false; problem: Problem } {
  return failure("no-space", message, "Free space, or raise the dataset's maximum size.");
}
