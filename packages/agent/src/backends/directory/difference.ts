import type { Context } from "./layout.ts";
import { ManifestReader, parseEntry, pathEnd, type ManifestEntry } from "./manifest.ts";

/** What must be known about a difference before any of it can be sent. */
export interface Difference {
  /** Folders (latin1 paths) that lose or get an entry, so that their times must be set again. */
  readonly touchedFolders: ReadonlySet<string>;
  /** Inodes of changed entries with several names: all names are sent, so that they stay one file. */
  readonly linkedInodes: ReadonlySet<string>;
  /** About how many bytes an archive of the changes has. */
  readonly estimatedBytes: number;
}

/**
 * What a receiver at the base must do about one path, in this order: remove it, make the folder anew, take
 * it.
 */
export interface PathChange {
  readonly path: Buffer;
  readonly remove: boolean;
  /** A folder on both sides whose own attributes may have changed. */
  readonly remake: boolean;
  readonly send: boolean;
}

/** The manifests to compare, as files; a base of null is an empty one. */
export interface ManifestPair {
  readonly base: string | null;
  readonly current: string;
}

interface Step {
  readonly before: Buffer | undefined;
  readonly now: Buffer | undefined;
}

/** The first pass over two manifests. */
export async function surveyDifference(context: Context, pair: ManifestPair): Promise<Difference> {
  const touchedFolders = new Set<string>();
  const linkedInodes = new Set<string>();
  let estimatedBytes = tarEndBytes;
  await walk(context, pair, (step, racyFromNs) => {
    if (isSame(step, racyFromNs)) return;
    const record = step.now ?? step.before;
    if (record !== undefined) touch(touchedFolders, record.subarray(0, pathEnd(record)));
    if (step.now === undefined) return;
    const entry = parseEntry(step.now);
    estimatedBytes += archivedBytes(entry);
    if (isLinked(entry)) linkedInodes.add(entry.inode);
  });
  // A new name elsewhere may belong to a file whose other names look unchanged: they are sent as well.
  if (linkedInodes.size > 0) {
    await walk(context, pair, ({ now }) => {
      if (now === undefined) return;
      const entry = parseEntry(now);
      if (isLinked(entry) && linkedInodes.has(entry.inode)) touch(touchedFolders, entry.path);
    });
  }
  estimatedBytes += touchedFolders.size * tarHeaderBytes;
  return { touchedFolders, linkedInodes, estimatedBytes };
}

/** The second pass: every path that something must be done about, in the order of the manifests. */
export async function* listChanges(
  context: Context,
  pair: ManifestPair,
  difference: Difference,
): AsyncGenerator<readonly PathChange[]> {
  let batch: PathChange[] = [];
  for await (const steps of walkInBatches(context, pair)) {
    for (const step of steps.steps) {
      const change = changeOf(step, steps.racyFromNs, difference);
      if (change !== undefined) batch.push(change);
    }
    if (batch.length > 0) yield batch;
    batch = [];
  }
}

function changeOf(step: Step, racyFromNs: RacyFrom, difference: Difference): PathChange | undefined {
  const record = step.now ?? step.before;
  if (record === undefined) return undefined;
  const path = record.subarray(0, pathEnd(record));
  if (step.now === undefined) return { path, remove: true, remake: false, send: false };
  if (isSame(step, racyFromNs)) {
    if (difference.touchedFolders.has(path.toString("latin1")) && typeOf(step.now) === folderType) {
      return { path, remove: false, remake: false, send: true };
    }
    if (difference.linkedInodes.size === 0) return undefined;
    const entry = parseEntry(step.now);
    if (!isLinked(entry) || !difference.linkedInodes.has(entry.inode)) return undefined;
    return { path, remove: true, remake: false, send: true };
  }
  if (step.before === undefined) return { path, remove: false, remake: false, send: true };
  // A folder that stays one keeps its entries; anything else is replaced as a whole, never written into.
  const remake = typeOf(step.before) === folderType && typeOf(step.now) === folderType;
  return { path, remove: !remake, remake, send: true };
}

const folderType = "d".charCodeAt(0);

function typeOf(record: Buffer): number | undefined {
  return record[pathEnd(record) + 2];
}

function isLinked(entry: ManifestEntry): boolean {
  return entry.type !== "d" && entry.links > 1;
}

function touch(folders: Set<string>, path: Buffer): void {
  if (path.length === 0) return;
  folders.add(path.toString("latin1", 0, Math.max(path.lastIndexOf("/"), 0)));
}

const tarHeaderBytes = 1536;
const tarEndBytes = 10_240;

function archivedBytes(entry: ManifestEntry): number {
  // Holes are not sent.
  const content = entry.type === "f" ? Math.min(entry.size, entry.usedBytes) : 0;
  return tarHeaderBytes + Math.ceil(content / 512) * 512;
}

/** From which status change on an entry cannot be trusted; see {@link isSame}. */
interface RacyFrom {
  readonly fineNs: bigint;
  readonly coarseNs: bigint;
}

/**
 * Whether an entry is the same in both manifests. The kernel stamps changes with a clock that stands still
 * for some milliseconds, and old file systems with one that stands still for a second: what was changed so
 * shortly before the base was listed may have been changed again within the same tick, so it counts as
 * changed (as in git's index).
 */
function isSame(step: Step, racyFrom: RacyFrom): boolean {
  if (step.before === undefined || step.now === undefined) return false;
  const before = parseEntry(step.before);
  if (!step.before.equals(step.now)) {
    const now = parseEntry(step.now);
    const same =
      before.ctime === now.ctime &&
      before.inode === now.inode &&
      before.type === now.type &&
      before.mode === now.mode &&
      before.uid === now.uid &&
      before.gid === now.gid &&
      before.size === now.size &&
      before.mtime === now.mtime &&
      before.links === now.links &&
      before.target.equals(now.target);
    if (!same) return false;
  }
  return !isRacy(before.ctime, racyFrom);
}

function isRacy(ctime: string, racyFrom: RacyFrom): boolean {
  const changedAtNs = nanoseconds(ctime);
  return changedAtNs >= (changedAtNs % 1_000_000_000n === 0n ? racyFrom.coarseNs : racyFrom.fineNs);
}

/** Nanoseconds since 1970 in a time as `find` writes it: seconds with ten decimals. */
function nanoseconds(time: string): bigint {
  const [seconds = "0", decimals = ""] = time.split(".");
  return BigInt(seconds) * 1_000_000_000n + BigInt(decimals.padEnd(9, "0").slice(0, 9));
}

async function walk(
  context: Context,
  pair: ManifestPair,
  visit: (step: Step, racyFrom: RacyFrom) => void,
): Promise<void> {
  for await (const { steps, racyFromNs } of walkInBatches(context, pair)) {
    for (const step of steps) visit(step, racyFromNs);
  }
}

/** Both manifests side by side: at each step the records of one path. */
async function* walkInBatches(
  context: Context,
  pair: ManifestPair,
): AsyncGenerator<{ readonly steps: readonly Step[]; readonly racyFromNs: RacyFrom }> {
  const now = await ManifestReader.open(context, pair.current);
  let before: ManifestReader | undefined;
  try {
    before = pair.base === null ? undefined : await ManifestReader.open(context, pair.base);
    const scannedAtNs = before?.scannedAtNs ?? 0n;
    const racyFromNs = { fineNs: scannedAtNs - fineTickNs, coarseNs: scannedAtNs - coarseTickNs };
    for (;;) {
      if (now.needsFill) await now.fill();
      if (before?.needsFill === true) await before.fill();
      const steps: Step[] = [];
      while (!now.needsFill && before?.needsFill !== true) {
        const step = takeStep(before, now);
        if (step === undefined) break;
        steps.push(step);
      }
      if (steps.length === 0) return;
      yield { steps, racyFromNs };
    }
  } finally {
    await now.close();
    await before?.close();
  }
}

const fineTickNs = 50_000_000n;
const coarseTickNs = 2_000_000_000n;

function takeStep(before: ManifestReader | undefined, now: ManifestReader): Step | undefined {
  const old = before?.current;
  const recent = now.current;
  const order = comparePaths(old, recent);
  if (old === undefined && recent === undefined) return undefined;
  if (order <= 0) before?.advance();
  if (order >= 0) now.advance();
  return { before: order <= 0 ? old : undefined, now: order >= 0 ? recent : undefined };
}

/** The order of two records' paths, each with the `//` that ends it; what has ended comes last. */
function comparePaths(a: Buffer | undefined, b: Buffer | undefined): number {
  if (a === undefined) return b === undefined ? 0 : 1;
  if (b === undefined) return -1;
  return a.compare(b, 0, pathEnd(b) + 2, 0, pathEnd(a) + 2);
}
