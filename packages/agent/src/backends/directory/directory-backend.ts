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
import { parseDatasetId } from "@flocker/core";

import { probeTar, type TarFeatures } from "./archive.ts";
import { newState, placeNewCopy, requireCopy, requireLiveCopy, tidyCopy, writeState } from "./copies.ts";
import { discoverCopies, listDatasets } from "./discovery.ts";
import { nodeFiles, type Files } from "../files.ts";
import { mapConcurrently, serializer } from "../concurrency.ts";
import { copyFolder, layoutOf, type Context } from "./layout.ts";
import { lockStorage } from "../lock.ts";
import { mountCopy, requireUnmounted, unmountCopy } from "./mounts.ts";
import { attempt, refuse } from "../problems.ts";
import { receiveStream } from "./receive.ts";
import { discardStaged, moveToStaging, removeStaged } from "./removal.ts";
import { openSend } from "./send.ts";
import { forgetSnapshots, takeSnapshot } from "./snapshots.ts";
import { sameRecord } from "../stored-state.ts";

/** Where the backend keeps copies and mounts them, and the doors it uses. */
export interface DirectoryBackendOptions {
  /** The folder for the copies; absolute. It and the folders above it are made if they are missing. */
  readonly root: string;
  /** The folder in which copies are mounted; absolute, the same on every node. */
  readonly mountRoot: string;
  readonly commands: Commands;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log?: Log;
  /** For tests: another body for the file operations. */
  readonly files?: Files;
}

/** A backend of plain folders, which holds its storage folder until it is closed. */
export interface DirectoryBackend extends Backend {
  /** Gives the storage back to other processes. Nothing else may be called afterwards. */
  close(): void;
}

/**
 * Opens a storage folder as a backend of plain folders, which needs no privileges. What it cannot do, it
 * says: snapshots are taken only while unmounted, an interrupted receive starts again, the maximum size is
 * recorded and not enforced. Mount points are symlinks; they outlive a reboot. Sockets are not copied, and
 * device files only where the agent runs as root. Whether a copy is in use by processes of other users is
 * visible to root only.
 *
 * Problems: `store-locked` where another agent uses the folder, `storage-unreadable` where it cannot be read
 * or made.
 */
export async function openDirectoryBackend(
  options: DirectoryBackendOptions,
): Promise<Result<DirectoryBackend>> {
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
    await files.makeFolders(options.root);
    // Symlinks and the system's list of open files both name the true path.
    const layout = layoutOf(await files.realPath(options.root), options.mountRoot);
    await files.makeFolders(layout.copies);
    await files.makeFolders(layout.staging);
    await files.makeFolders(layout.mountRoot);
    // Through the symlinks, programs of any user come to the data, whose own permissions decide; but nobody
    // else can list the copies or reach what is being built.
    await files.chmod(layout.copies, 0o711);
    await files.chmod(layout.staging, 0o700);
    await files.syncFolder(layout.root);
    const context: Context = { ...layout, files, commands, clock, ids, log, exclusively: serializer() };
    const lock = await lockStorage(layout.root);
    try {
      await tidy(context);
    } catch (error) {
      lock.release();
      throw error;
    }
    return backendOn(context, () => lock.release());
  });
}

/** Under the lock, nothing in the staging area and no tree beside the valid one belongs to anybody. */
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

function backendOn(context: Context, release: () => void): DirectoryBackend {
  let features: Promise<TarFeatures> | undefined;
  const tar = (): Promise<TarFeatures> => {
    features ??= probeTar(context.commands).catch((error: unknown) => {
      // Tar may be installed later.
      features = undefined;
      throw error;
    });
    return features;
  };
  const change = <Value>(
    doing: string,
    dataset: DatasetId,
    steps: () => Promise<Value>,
  ): Promise<Result<Value>> =>
    context.exclusively(dataset, () => attempt(`${doing} dataset ${dataset}`, steps));
  return {
    kind: "directory",
    capabilities: {
      liveSnapshots: false,
      resume: false,
      quota: false,
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
      attempt(`Sending dataset ${request.dataset}`, async () =>
        openSend(context, await tar(), request, abort),
      ),
    receive: (request, stream, abort) =>
      attempt(`Receiving dataset ${request.dataset}`, async () =>
        receiveStream(context, await tar(), request, stream, abort),
      ),
    watch: (onChange) => watchFolders(context, onChange),
    close: release,
  };
}

async function createCopy(
  context: Context,
  record: CopyRecord,
  maximumSizeBytes: number | null,
): Promise<void> {
  const { dataset } = record;
  // Readable or not: whatever is there is not replaced.
  if (await context.files.exists(copyFolder(context, dataset))) {
    throw refuse(
      "duplicate-id",
      `There is a copy of dataset ${dataset} on this node already.`,
      "Use the copy that is there; a dataset is created only once.",
    );
  }
  await placeNewCopy(context, newState(record, maximumSizeBytes), null);
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
}

async function trashCopy(context: Context, dataset: DatasetId, at: Milliseconds): Promise<void> {
  const state = await requireCopy(context, dataset);
  if (state.trashedAt !== null) return;
  const quiet = await requireUnmounted(context, state, "Deleting");
  await writeState(context, { ...quiet, trashedAt: at });
}

async function restoreCopy(context: Context, dataset: DatasetId): Promise<void> {
  const state = await requireCopy(context, dataset);
  if (state.trashedAt !== null) await writeState(context, { ...state, trashedAt: null });
}

/** One rename takes the copy away; how long the removal of its bytes takes then matters to nobody. */
async function destroyCopy(context: Context, dataset: DatasetId): Promise<void> {
  const folder = copyFolder(context, dataset);
  if (!(await context.files.exists(folder))) {
    // A disk that has been taken away is no destroyed copy.
    await context.files.lstat(context.copies);
    return;
  }
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
function watchFolders(context: Context, onChange: (dataset?: DatasetId) => void): () => void {
  const watchers = [context.mountRoot, context.copies].flatMap((folder) => {
    try {
      const watcher = watch(folder, { persistent: false }, (_, name) => onChange(parseDatasetId(name ?? "")));
      // The folder may vanish; the agent looks at everything from time to time anyway.
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
