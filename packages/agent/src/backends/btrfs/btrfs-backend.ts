import { watch } from "node:fs";
import { isAbsolute } from "node:path";

import type {
  Backend,
  Clock,
  Commands,
  CopyRecord,
  DatasetId,
  Ids,
  Log,
  Milliseconds,
  Result,
} from "@flocker/core";

import { errorCode, nodeFiles, type Files } from "../files.ts";
import { mapConcurrently, serializer } from "../concurrency.ts";
import { lockStorage } from "../lock.ts";
import { attempt, refuse } from "../problems.ts";
import {
  createCopy,
  requireCopiesFolder,
  requireCopy,
  requireLiveCopy,
  tidyCopy,
  writeState,
} from "./copies.ts";
import { discoverCopies, listDatasets } from "./discovery.ts";
import { copyFolder, dataPath, layoutOf, type Context } from "./layout.ts";
import { mountCopy, requireUnmounted, unmountCopy } from "./mounts.ts";
import { limitSize, prepareQuota } from "./quota.ts";
import { receiveStream } from "./receive.ts";
import { discardStaged, moveToStaging, removeStaged } from "./removal.ts";
import { openSend } from "./send.ts";
import { forgetSnapshots, takeSnapshot } from "./snapshots.ts";
import { sameRecord } from "../stored-state.ts";

export interface BtrfsBackendOptions {
  /**
   * A folder on a btrfs file system, in which the backend keeps all that is its own below `flocker/`;
   * absolute.
   */
  readonly root: string;
  /** The folder in which copies are mounted; absolute, the same on every node. */
  readonly mountRoot: string;
  /**
   * Whether to switch on quotas for the whole file system, so that maximum sizes are enforced. Where they are
   * on already they are used in any case.
   */
  readonly quota?: boolean;
  readonly commands: Commands;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log?: Log;
  /** For tests: another body for the file operations. */
  readonly files?: Files;
}

export interface BtrfsBackend extends Backend {
  /** Gives the storage back to other processes. Nothing else may be called afterwards. */
  close(): void;
}

/**
 * Opens a folder on a btrfs file system as a backend: each copy is a subvolume, snapshots are read-only
 * subvolumes, moves are `btrfs send` and `btrfs receive`, mounts are bind mounts. It needs root and
 * btrfs-progs.
 *
 * Problems: `not-supported` without root or btrfs-progs, `storage-unreadable` where the folder is not on
 * btrfs (as when its disk is not mounted), `store-locked` where another agent uses it.
 */
export async function openBtrfsBackend(options: BtrfsBackendOptions): Promise<Result<BtrfsBackend>> {
  return await attempt(`Opening the storage at ${options.root}`, async () => {
    for (const path of [options.root, options.mountRoot]) {
      if (isAbsolute(path)) continue;
      throw refuse(
        "configuration-invalid",
        `The folder ${path} is not an absolute path.`,
        "Write it from / on.",
      );
    }
    const { files = nodeFiles, commands, clock, ids, log } = options;
    await requirePrograms(commands);
    await requireBtrfs(files, options.root);
    // The system's list of mounts names true paths.
    const layout = layoutOf(
      await files.realPath(options.root),
      await trueMountRoot(files, options.mountRoot),
    );
    await files.makeFolders(layout.copies);
    await files.makeFolders(layout.staging);
    // The data are reached through their mounts only.
    for (const folder of [layout.root, layout.copies, layout.staging]) await files.chmod(folder, 0o700);
    await files.syncFolder(layout.root);
    const lock = await lockStorage(layout.root);
    try {
      const quota = await prepareQuota({ commands, root: layout.root }, options.quota === true);
      const context: Context = {
        ...layout,
        files,
        commands,
        clock,
        ids,
        log,
        quota,
        exclusively: serializer(),
      };
      await tidy(context);
      return backendOn(context, () => lock.release());
    } catch (error) {
      lock.release();
      throw error;
    }
  });
}

async function requirePrograms(commands: Commands): Promise<void> {
  if (process.getuid?.() !== 0) {
    throw refuse(
      "not-supported",
      "The btrfs backend needs root: only root may receive subvolumes and mount.",
      "Run the agent as root, or use the directory backend.",
    );
  }
  const version = await commands.run(["btrfs", "--version"], { timeoutMs: 10_000 });
  if (version.ok && version.value.exitCode === 0) return;
  throw refuse(
    "not-supported",
    "The program btrfs is not there or does not work.",
    "Install btrfs-progs on this node.",
  );
}

/** The number by which the kernel tells btrfs from other file systems; statfs(2). */
const btrfsMagic = 0x9123683e;

/** The folder is never made: where it is missing, its disk is probably not mounted. */
async function requireBtrfs(files: Files, root: string): Promise<void> {
  let type: number;
  try {
    type = (await files.space(root)).type;
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    throw refuse(
      "storage-unreadable",
      `The storage folder ${root} does not exist.`,
      "Mount the btrfs file system that it belongs to, or make the folder there.",
    );
  }
  if (type === btrfsMagic) return;
  throw refuse(
    "storage-unreadable",
    `The storage folder ${root} is not on a btrfs file system.`,
    "Mount the btrfs file system that belongs there, or name a folder on one as root in agent.yml.",
  );
}

async function trueMountRoot(files: Files, path: string): Promise<string> {
  await files.makeFolders(path);
  return await files.realPath(path);
}

/** Under the lock, nothing in the staging area and nothing that a state does not name belongs to anybody. */
async function tidy(context: Context): Promise<void> {
  for (const name of await context.files.list(context.staging)) {
    await discardStaged(context, `${context.staging}/${name.toString()}`);
  }
  await mapConcurrently(await listDatasets(context), 16, async (dataset) => {
    try {
      await tidyCopy(context, dataset);
    } catch (error) {
      // A broken copy must not keep the others from being served; discovery shows it.
      if (!(error instanceof Error)) throw error;
      context.log?.write("warn", "copy-not-tidied", { dataset, error: error.message });
    }
  });
}

function backendOn(context: Context, release: () => void): BtrfsBackend {
  const change = <Value>(
    doing: string,
    dataset: DatasetId,
    steps: () => Promise<Value>,
  ): Promise<Result<Value>> =>
    context.exclusively(dataset, () => attempt(`${doing} dataset ${dataset}`, steps));
  return {
    kind: "btrfs",
    capabilities: {
      liveSnapshots: true,
      resume: false,
      quota: context.quota,
      clone: false,
      compression: false,
      encryption: false,
    },
    discover: (dataset) => discoverCopies(context, dataset),
    create: (record, maximumSizeBytes) =>
      change("Creating", record.dataset, () => createCopy(context, record, maximumSizeBytes)),
    writeRecord: (record) =>
      change("Writing the record of", record.dataset, () => writeRecord(context, record)),
    mount: (dataset) => change("Mounting", dataset, () => mountCopy(context, dataset)),
    unmount: (dataset) => change("Unmounting", dataset, () => unmountCopy(context, dataset)),
    snapshot: (dataset, name) =>
      change("Taking a snapshot of", dataset, () => takeSnapshot(context, dataset, name)),
    destroySnapshots: (dataset, guids) =>
      change("Destroying snapshots of", dataset, () => forgetSnapshots(context, dataset, guids)),
    resize: (dataset, maximumSizeBytes) =>
      change("Resizing", dataset, () => resizeCopy(context, dataset, maximumSizeBytes)),
    trash: (dataset, at) => change("Trashing", dataset, () => trashCopy(context, dataset, at)),
    restore: (dataset) => change("Restoring", dataset, () => restoreCopy(context, dataset)),
    destroy: (dataset) => change("Destroying", dataset, () => destroyCopy(context, dataset)),
    send: (request, abort) =>
      attempt(`Sending dataset ${request.dataset}`, () => openSend(context, request, abort)),
    receive: (request, stream, abort) =>
      attempt(`Receiving dataset ${request.dataset}`, () => receiveStream(context, request, stream, abort)),
    watch: (onChange) => watchFolders(context, onChange),
    close: release,
  };
}

async function writeRecord(context: Context, record: CopyRecord): Promise<void> {
  const state = await requireCopy(context, record.dataset);
  if (!sameRecord(state.record, record)) await writeState(context, { ...state, record });
}

async function resizeCopy(
  context: Context,
  dataset: DatasetId,
  maximumSizeBytes: number | null,
): Promise<void> {
  const state = await requireLiveCopy(context, dataset);
  if (state.maximumSizeBytes !== maximumSizeBytes) await writeState(context, { ...state, maximumSizeBytes });
  // After a crash between the two the next attempt sets it again, although the state says that it is set.
  if (state.data !== null) {
    await limitSize(context, `Resizing dataset ${dataset}`, dataPath(context, dataset), maximumSizeBytes);
  }
}

async function trashCopy(context: Context, dataset: DatasetId, at: Milliseconds): Promise<void> {
  const state = await requireCopy(context, dataset);
  if (state.trashedAt !== null) return;
  await requireUnmounted(context, state, "Deleting");
  await writeState(context, { ...state, trashedAt: at });
}

async function restoreCopy(context: Context, dataset: DatasetId): Promise<void> {
  const state = await requireCopy(context, dataset);
  if (state.trashedAt !== null) await writeState(context, { ...state, trashedAt: null });
}

/** One rename takes the copy away; what a crash leaves of it then is removed at the next start. */
async function destroyCopy(context: Context, dataset: DatasetId): Promise<void> {
  const folder = copyFolder(context, dataset);
  if (!(await context.files.exists(folder))) return await requireCopiesFolder(context);
  const state = await requireCopy(context, dataset);
  if (state.trashedAt === null) {
    throw refuse(
      "dataset-not-deleted",
      `The copy of dataset ${dataset} does not lie in the trash, and only from there copies are destroyed.`,
      "Delete the dataset first (flocker delete).",
    );
  }
  const staged = await moveToStaging(context, folder);
  await context.files.syncFolder(context.copies);
  await removeStaged(context, staged);
}

/** Calls back on changes among the mount points and the copies, as far as the system tells. */
function watchFolders(context: Context, onChange: () => void): () => void {
  const watchers = [context.mountRoot, context.copies].flatMap((folder) => {
    try {
      const watcher = watch(folder, { persistent: false }, () => onChange());
      // The folder may vanish; the agent looks again from time to time anyway.
      watcher.on("error", () => onChange());
      return [watcher];
    } catch (error) {
      context.log?.write("warn", "folder-not-watched", { folder, error: String(error) });
      return [];
    }
  });
  return () => {
    for (const watcher of watchers) watcher.close();
  };
}
