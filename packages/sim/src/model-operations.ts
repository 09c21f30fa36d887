import { failure, success } from "@flocker/core";
import type {
  CopyRecord,
  DatasetId,
  Discovery,
  Milliseconds,
  ObservedCopy,
  PartialReceive,
  Problem,
  Result,
  Snapshot,
  UnreadableCopy,
} from "@flocker/core";
import type { Content, ModelCopy } from "./model-content.ts";
import { addEmptyCopy, noSpace } from "./model-disk.ts";
import type { ModelDisk } from "./model-disk.ts";

/**
 * What each method of the backend does to the disk, at one instant and all or nothing. When it happens, and
 * who hears of it, is decided elsewhere.
 */

export function discover(disk: ModelDisk, dataset: DatasetId | null): Result<Discovery> {
  const copies: ObservedCopy[] = [];
  const unreadable: UnreadableCopy[] = [];
  const look = (id: DatasetId, copy: ModelCopy): void => {
    if (copy.unreadable === null) copies.push(observe(disk, copy));
    else unreadable.push({ dataset: id, problem: copy.unreadable });
  };
  if (dataset === null) {
    for (const [id, copy] of disk.copies) look(id, copy);
  } else {
    const copy = disk.copies.get(dataset);
    if (copy !== undefined) look(dataset, copy);
  }
  return success({ copies, unreadable, partials: partialsOf(disk, dataset), capacity: disk.capacity });
}

function partialsOf(disk: ModelDisk, dataset: DatasetId | null): readonly PartialReceive[] {
  const shown = [...disk.partials.values()].filter((each) => dataset === null || each.dataset === dataset);
  return shown.map(({ dataset: id, snapshot: guid, base, token }) => ({
    dataset: id,
    snapshot: guid,
    base,
    token,
  }));
}

function observe(disk: ModelDisk, copy: ModelCopy): ObservedCopy {
  if (copy.observed !== null) return copy.observed;
  const { record, mounted, trashedAt, maximumSizeBytes, usedBytes, snapshots, dirty, writtenBytes } = copy;
  const newest = snapshots.at(-1);
  copy.observed = Object.freeze({
    dataset: record.dataset,
    record,
    mountedAt: mounted ? disk.mountPoint(record.dataset) : null,
    trashedAt,
    maximumSizeBytes,
    usedBytes,
    snapshots: Object.freeze(snapshots.map((snapshot) => snapshot.identity)),
    // Under a mount something can change at any moment.
    unchangedSince: !mounted && !dirty && newest !== undefined ? newest.identity.guid : null,
    writtenBytes: disk.options.capabilities.liveSnapshots ? writtenBytes : null,
  });
  return copy.observed;
}

export function create(disk: ModelDisk, record: CopyRecord, maximumSizeBytes: number | null): Result<void> {
  if (disk.copies.has(record.dataset)) {
    return failure(
      "duplicate-id",
      `Creating the copy of dataset ${record.dataset} on ${disk.name}: there is one already.`,
      "Look again at what there is.",
    );
  }
  if (disk.freeBytes <= 0)
    return noSpace(`Creating the copy of dataset ${record.dataset}: the disk is full.`);
  disk.keepPartial(record.dataset, null);
  addEmptyCopy(disk, { ...record }, maximumSizeBytes);
  return success();
}

export function writeRecord(disk: ModelDisk, record: CopyRecord): Result<void> {
  const found = find(disk, record.dataset, "Writing the record of");
  if (!found.ok) return found;
  if (record.role !== "replica") disk.keepPartial(record.dataset, null);
  found.value.record = { ...record };
  found.value.observed = null;
  disk.tell({ kind: "recorded", dataset: record.dataset });
  return success();
}

export function mount(disk: ModelDisk, dataset: DatasetId): Result<void> {
  const found = find(disk, dataset, "Mounting");
  if (!found.ok) return found;
  if (found.value.trashedAt !== null) return inTrash("Mounting", dataset);
  disk.setMounted(dataset, found.value, true);
  return success();
}

export function unmount(disk: ModelDisk, dataset: DatasetId): Result<void> {
  const found = find(disk, dataset, "Unmounting");
  if (!found.ok) return found;
  const { holders } = found.value;
  if (holders.size > 0) {
    return failure(
      "busy-mount",
      `Unmounting dataset ${dataset} on ${disk.name}: it is in use by ${[...holders].join(", ")}.`,
      "Stop the programs that use it.",
    );
  }
  disk.setMounted(dataset, found.value, false);
  return success();
}

export function snapshot(disk: ModelDisk, dataset: DatasetId, fresh: Snapshot): Result<Snapshot> {
  const found = find(disk, dataset, "Taking a snapshot of");
  if (!found.ok) return found;
  const copy = found.value;
  if (copy.trashedAt !== null) return inTrash("Taking a snapshot of", dataset);
  const existing = copy.snapshots.find(({ identity }) => identity.name === fresh.name);
  if (existing !== undefined) return success(existing.identity);
  if (copy.mounted && !disk.options.capabilities.liveSnapshots) {
    return failure(
      "busy-mount",
      `Taking a snapshot of dataset ${dataset} on ${disk.name}: this storage can do so only while it is unmounted.`,
      "Unmount it first.",
    );
  }
  copy.snapshots = [
    ...copy.snapshots,
    { identity: Object.freeze(fresh), content: copy.content, birth: disk.nextTransaction() },
  ];
  // A snapshot is durable, and so is what it holds.
  copy.unsynced.clear();
  copy.shared = true;
  copy.dirty = false;
  copy.writtenBytes = 0;
  copy.observed = null;
  return success(fresh);
}

export function destroySnapshots(
  disk: ModelDisk,
  dataset: DatasetId,
  guids: readonly string[],
): Result<void> {
  const found = find(disk, dataset, "Forgetting snapshots of");
  if (!found.ok) return found;
  const copy = found.value;
  const kept = copy.snapshots.filter(({ identity }) => !guids.includes(identity.guid));
  if (kept.length === copy.snapshots.length) return success();
  const newestGoes = kept.at(-1) !== copy.snapshots.at(-1);
  copy.snapshots = kept;
  const newest = kept.at(-1);
  // Whether something has changed since an older snapshot is read off the contents, where this storage can
  // tell.
  if (newestGoes) {
    copy.dirty =
      newest === undefined ||
      !disk.options.capabilities.liveSnapshots ||
      !isSame(copy.content, newest.content);
  }
  disk.recount(copy);
  return success();
}

function isSame(a: Content, b: Content): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [key, block] of a) if (b.get(key) !== block) return false;
  return true;
}

export function resize(disk: ModelDisk, dataset: DatasetId, maximumSizeBytes: number | null): Result<void> {
  const found = find(disk, dataset, "Resizing");
  if (!found.ok) return found;
  const { liveBytes } = found.value;
  if (maximumSizeBytes !== null && disk.options.capabilities.quota && liveBytes > maximumSizeBytes) {
    return failure(
      "size-out-of-range",
      `Resizing dataset ${dataset} on ${disk.name} to ${maximumSizeBytes} bytes: it holds ${liveBytes} bytes.`,
      "Choose a larger size, or remove data first.",
    );
  }
  found.value.maximumSizeBytes = maximumSizeBytes;
  found.value.observed = null;
  return success();
}

export function trash(disk: ModelDisk, dataset: DatasetId, at: Milliseconds): Result<void> {
  const found = find(disk, dataset, "Putting into the trash");
  if (!found.ok) return found;
  const copy = found.value;
  if (copy.mounted) {
    return failure(
      "busy-mount",
      `Putting dataset ${dataset} into the trash on ${disk.name}: it is mounted.`,
      "Unmount it first.",
    );
  }
  disk.keepPartial(dataset, null);
  copy.trashedAt ??= at;
  copy.observed = null;
  return success();
}

export function restore(disk: ModelDisk, dataset: DatasetId): Result<void> {
  const found = find(disk, dataset, "Restoring");
  if (!found.ok) return found;
  found.value.trashedAt = null;
  found.value.observed = null;
  return success();
}

export function destroy(disk: ModelDisk, dataset: DatasetId): Result<void> {
  const copy = disk.copies.get(dataset);
  if (copy === undefined) return discardPartial(disk, dataset);
  if (copy.unreadable !== null) return { ok: false, problem: copy.unreadable };
  if (copy.trashedAt === null) {
    return failure(
      "dataset-not-deleted",
      `Destroying the copy of dataset ${dataset} on ${disk.name}: it does not lie in the trash.`,
      "Put it into the trash first.",
    );
  }
  disk.removeCopy(dataset);
  return success();
}

export function discardPartial(disk: ModelDisk, dataset: DatasetId): Result<void> {
  disk.keepPartial(dataset, null);
  return success();
}

/** The copy, or why it cannot be worked on. */
export function find(disk: ModelDisk, dataset: DatasetId, doing: string): Result<ModelCopy> {
  const copy = disk.copies.get(dataset);
  if (copy === undefined) {
    return failure(
      "unknown-dataset",
      `${doing} dataset ${dataset} on ${disk.name}: there is no copy of it.`,
      "Look again at what there is.",
    );
  }
  return copy.unreadable === null ? success(copy) : { ok: false, problem: copy.unreadable };
}

function inTrash(doing: string, dataset: DatasetId): { ok: false; problem: Problem } {
  return failure(
    "dataset-deleted",
    `${doing} dataset ${dataset}: its copy lies in the trash.`,
    "Restore it first.",
  );
}
