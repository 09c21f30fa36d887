import type { DatasetId } from "@flocker/core";

import { refuse } from "../problems.ts";
import { formatHolders } from "../holders.ts";
import { readOnlyFor, requireCopy, requireLiveCopy, type CopyState } from "./copies.ts";
import { fixedProperties, mountPath, openProperty, unset, type Context } from "./layout.ts";
import { saidBy, tryZfs, zfs, zfsFailed } from "./programs.ts";

/** Mounts a primary copy at its mount point. */
export async function mountCopy(context: Context, dataset: DatasetId): Promise<void> {
  const state = await requireLiveCopy(context, dataset);
  const { record, observed } = state;
  if (record.role !== "primary")
    throw refuse(
      "stale-epoch",
      `The copy of dataset ${dataset} on this node is not the primary one (its role is ${record.role}), ` +
        "and only that is mounted.",
      "Find out which node should own the dataset (flocker explain).",
    );
  if (observed.mountedAt === mountPath(context, dataset)) return await makeWritable(context, state);
  if (observed.mountedAt !== null)
    throw refuse(
      "busy-mount",
      `Dataset ${dataset} has been mounted at ${observed.mountedAt} by somebody else.`,
      `Unmount it there (zfs unmount ${state.name}); it is mounted at its own place by itself then.`,
    );
  const doing = `Mounting dataset ${dataset}`;
  if (state.entry.row.isKeyMissing) throw locked(state);
  // Whatever somebody has set by hand meanwhile.
  const settings = [...fixedProperties(context, dataset), readOnlyFor(record), `${openProperty}=yes`];
  await zfs(context, doing, "set", ...settings, state.name);
  await mountNow(context, doing, state);
}

/** Where somebody has made a mounted copy read-only by hand. */
async function makeWritable(context: Context, { record, name, entry }: CopyState): Promise<void> {
  if (!entry.row.isReadOnly) return;
  await zfs(context, `Making dataset ${record.dataset} writable`, "set", readOnlyFor(record), name);
  const { observed } = await requireCopy(context, record.dataset);
  if (observed.isMountedOtherwise !== true) return;
  throw refuse(
    "command-failed",
    `Dataset ${record.dataset} stays mounted read-only, although readonly=off has been set.`,
    `Mount it to be written to: mount -o remount,rw ${observed.mountedAt}.`,
  );
}

async function mountNow(context: Context, doing: string, state: CopyState): Promise<void> {
  const args = ["mount", state.name];
  const result = await tryZfs(context, args);
  if (result.exitCode === 0 || /already mounted/.test(result.stderr)) return;
  if (/key not loaded/.test(result.stderr)) throw locked(state);
  if (/not empty|not a directory|File exists/i.test(result.stderr))
    throw refuse(
      "file-exists",
      `${doing} failed, because something lies at its mount point ` +
        `${mountPath(context, state.record.dataset)}: ${saidBy(result)}.`,
      "See what it is and move it away; it is never removed by Flocker.",
    );
  throw await zfsFailed(context, doing, args, result);
}

function locked({ record, name }: CopyState): Error {
  return refuse(
    "storage-unreadable",
    `Dataset ${record.dataset} is encrypted, and its key is not loaded on this node, so it stays locked.`,
    `Load the key here: zfs load-key ${name}. It is mounted by itself then.`,
  );
}

/** Unmounts. Where the copy is in use the kernel refuses, it stays mounted, and its users are named. */
export async function unmountCopy(context: Context, dataset: DatasetId): Promise<void> {
  const state = await requireCopy(context, dataset);
  const { mountedAt } = state.observed;
  if (mountedAt === null) return;
  const doing = `Unmounting dataset ${dataset}`;
  const what = { doing, name: state.name, mountedAt, subject: `Dataset ${dataset}` };
  await unmountName(context, what, () => mountNow(context, doing, state));
  await zfs(context, doing, "set", `${openProperty}=${unset}`, readOnlyFor(state.record), state.name);
}

/** A file system of ZFS that is mounted. */
interface Mounted {
  readonly doing: string;
  readonly name: string;
  readonly mountedAt: string;
  /** Who it is, to begin a sentence with. */
  readonly subject: string;
}

/** Unmounts a file system. Where somebody uses it, it stays mounted, and they are named. */
export async function unmountName(
  context: Context,
  { doing, name, mountedAt, subject }: Mounted,
  mountAgain: () => Promise<void>,
): Promise<void> {
  const { system } = context;
  const device = await system.deviceOf(mountedAt);
  const search = { tree: mountedAt, ...(device === undefined ? {} : { device }) };
  const args = ["unmount", name];
  const result = await tryZfs(context, args);
  if (result.exitCode !== 0 && !/not currently mounted/.test(result.stderr)) {
    if (!/busy/.test(result.stderr)) throw await zfsFailed(context, doing, args, result);
    const holders = await system.holders({ ...search, ownMountPoint: mountedAt });
    throw busy(
      subject,
      holders.length > 0
        ? formatHolders(holders)
        : "it is in use by something that belongs to no process (a loop device, swap, or an NFS export)",
    );
  }
  // What the kernel does not count: a container's own mount of the same file system.
  const left = device === undefined ? [] : await system.holders(search);
  if (left.length > 0) {
    await mountAgain();
    throw busy(subject, formatHolders(left));
  }
}

/** Throws where a copy is mounted, wherever that is. */
export function requireUnmounted({ observed }: CopyState, doing: string): void {
  if (observed.mountedAt === null) return;
  throw refuse(
    "busy-mount",
    `${doing} needs dataset ${observed.dataset} to be unmounted, and it is mounted at ${observed.mountedAt}.`,
    "Unmount it first.",
  );
}

/**
 * Brings what was synced before a cut of the power from the intent log into the file system: ZFS does that at
 * a mount, and only then is it in a snapshot.
 */
export async function replayLog(context: Context, state: CopyState): Promise<void> {
  const { record, entry } = state;
  const doing = `Bringing back what dataset ${record.dataset} was written before the power was cut`;
  if (entry.row.isKeyMissing) throw locked(state);
  // A replica that was mounted by hand is read-only, and then the log is replayed nevertheless.
  await mountNow(context, doing, state);
  await unmountCopy(context, record.dataset);
}

function busy(subject: string, use: string): Error {
  return refuse(
    "busy-mount",
    `${subject} cannot be unmounted: ${use}.`,
    "Stop those programs or let them close their files; it is tried again by itself.",
  );
}
