import type { DatasetId } from "@flocker/core";

import { errorCode } from "../files.ts";
import { refuse } from "../problems.ts";
import { programFailed, runProgram, tryProgram } from "../programs.ts";
import { findHolders, formatHolders, type Holder } from "../holders.ts";
import { parseMounts, placeOf, type Mount, type Place } from "../mount-table.ts";
import { materialize, requireCopy, requireLiveCopy } from "./copies.ts";
import { dataPath, mountPath, type Context } from "./layout.ts";
import type { CopyState } from "./state.ts";

/** What is at a copy's mount point. */
export type MountPoint =
  | { readonly kind: "nothing" }
  | { readonly kind: "mounted" }
  /** Something that this backend has not put there, in words. */
  | { readonly kind: "foreign"; readonly what: string };

/** The mounts as they were at one moment. */
export interface MountView {
  readonly mounts: readonly Mount[];
  /** Where the folder of all copies lies on its file system. */
  readonly copies: Place | undefined;
}

/** Reads the mounts that the agent sees. */
export async function readMountView(context: Context): Promise<MountView> {
  const mounts = parseMounts(await context.files.readText("/proc/self/mountinfo"));
  return { mounts, copies: placeOf(mounts, context.copies) };
}

/** Looks at a copy's mount point. What lies on top counts. */
export function lookAtMountPoint(context: Context, view: MountView, dataset: DatasetId): MountPoint {
  const path = mountPath(context, dataset);
  const top = view.mounts.findLast(({ mountPoint }) => mountPoint === path);
  if (top === undefined) return { kind: "nothing" };
  const { copies } = view;
  const isOurs =
    copies !== undefined && top.device === copies.device && top.root === `${copies.root}/${dataset}/data`;
  return isOurs
    ? { kind: "mounted" }
    : { kind: "foreign", what: `a mount of ${top.root} (${top.fileSystemType})` };
}

/** Mounts the writable subvolume, which is made from the newest snapshot if there is none. */
export async function mountCopy(context: Context, dataset: DatasetId): Promise<void> {
  const before = await requireLiveCopy(context, dataset);
  const point = lookAtMountPoint(context, await readMountView(context), dataset);
  if (point.kind === "foreign") throw occupied(context, dataset, point.what);
  if (point.kind === "mounted" && before.data !== null) return;
  await prepareMountPoint(context, dataset);
  // Before anybody can write, it must be durable that the data are no longer those of the snapshot.
  const state = before.data === null ? await materialize(context, before) : before;
  await bind(context, state.record.dataset);
}

/**
 * Unmounts. Where the copy is in use the kernel refuses, and the copy stays mounted. What the kernel does not
 * count, such as a container's own mount of the same data, is looked for afterwards, and then it is mounted
 * again.
 */
export async function unmountCopy(context: Context, dataset: DatasetId): Promise<void> {
  const state = await requireCopy(context, dataset);
  const point = lookAtMountPoint(context, await readMountView(context), dataset);
  if (point.kind === "nothing" && state.data === null) return;
  const path = mountPath(context, dataset);
  if (point.kind === "mounted") {
    const argv = ["umount", "--no-canonicalize", path];
    const result = await tryProgram(context.commands, argv);
    if (result.exitCode !== 0) {
      const holders = await holdersOf(context, dataset, path);
      if (holders.length > 0) throw busy(dataset, formatHolders(holders));
      if (!/busy/.test(result.stderr)) {
        throw programFailed(`Unmounting dataset ${dataset}`, argv, result.exitCode, result.stderr);
      }
      throw busy(
        dataset,
        "it is in use by something that belongs to no process (a loop device, swap, or an NFS export)",
      );
    }
  }
  const holders = await holdersOf(context, dataset);
  if (holders.length > 0) {
    if (point.kind === "mounted") await bind(context, dataset);
    throw busy(dataset, formatHolders(holders));
  }
  if (point.kind === "mounted") await removeMountPoint(context, dataset);
}

/** Throws where a copy is mounted or somebody uses its data in another way. */
export async function requireUnmounted(context: Context, state: CopyState, doing: string): Promise<void> {
  const { dataset } = state.record;
  const point = lookAtMountPoint(context, await readMountView(context), dataset);
  if (point.kind === "mounted") {
    throw refuse(
      "busy-mount",
      `${doing} needs dataset ${dataset} to be unmounted, and it is mounted at ${mountPath(context, dataset)}.`,
      "Unmount it first.",
    );
  }
  if (state.data === null) return;
  const holders = await holdersOf(context, dataset);
  if (holders.length > 0) throw busy(dataset, formatHolders(holders));
}

async function holdersOf(
  context: Context,
  dataset: DatasetId,
  ownMountPoint?: string,
): Promise<readonly Holder[]> {
  const tree = dataPath(context, dataset);
  // Every subvolume has a device number of its own.
  const { dev } = await context.files.lstat(tree);
  return await findHolders({
    tree,
    device: dev,
    ...(ownMountPoint === undefined ? {} : { ownMountPoint }),
  });
}

async function bind(context: Context, dataset: DatasetId): Promise<void> {
  const argv = [
    "mount",
    "--bind",
    "--no-canonicalize",
    dataPath(context, dataset),
    mountPath(context, dataset),
  ];
  await runProgram(context.commands, `Mounting dataset ${dataset}`, argv);
}

/** Makes the folder to mount at. What lies in it would be hidden, and somebody may miss it. */
async function prepareMountPoint(context: Context, dataset: DatasetId): Promise<void> {
  const { files } = context;
  const path = mountPath(context, dataset);
  await files.makeFolders(context.mountRoot);
  try {
    await files.makeFolder(path, 0o700);
    return;
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  }
  const stats = await files.lstat(path);
  if (!stats.isDirectory()) throw occupied(context, dataset, "a file or a symlink");
  const names = await files.list(path);
  if (names.length > 0) {
    throw occupied(
      context,
      dataset,
      `a folder that is not empty (${names.slice(0, 3).map(String).join(", ")})`,
    );
  }
}

/** Without a mount there shall be nothing that programs could write to by mistake. */
async function removeMountPoint(context: Context, dataset: DatasetId): Promise<void> {
  try {
    await context.files.removeFolder(mountPath(context, dataset));
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    context.log?.write("warn", "mount-point-left-over", { dataset, error: error.message });
  }
}

function busy(dataset: DatasetId, use: string): Error {
  return refuse(
    "busy-mount",
    `Dataset ${dataset} cannot be unmounted: ${use}.`,
    "Stop those programs or let them close their files; it is tried again by itself.",
  );
}

function occupied(context: Context, dataset: DatasetId, what: string): Error {
  return refuse(
    "file-exists",
    `Dataset ${dataset} cannot be mounted: at ${mountPath(context, dataset)} there is ${what}.`,
    "See what it is and move it away; it is never removed by Flocker.",
  );
}
