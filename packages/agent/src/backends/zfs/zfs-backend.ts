import { isAbsolute } from "node:path";

import type { Backend, Clock, Commands, CopyOrigin, DatasetId, Ids, Log, Result } from "@flocker/core";
import { ProblemError } from "@flocker/core";

import { serializer } from "../concurrency.ts";
import { adoptDataset } from "./adoption.ts";
import { acrossPools } from "../pools.ts";
import { profileNamed, usualProfiles, type ZfsProfile } from "./profiles.ts";
import { attempt, refuse } from "../problems.ts";
import { createCopy, place, requireLiveCopy, writeRecord } from "./copies.ts";
import { discoverCopies } from "./discovery.ts";
import { isDatasetName, layoutOf, poolNameOf, type Context } from "./layout.ts";
import { mountCopy, unmountCopy } from "./mounts.ts";
import { poolProblem, tellsOfSmallLimit, tryZfs, zfsFailed } from "./programs.ts";
import { clearReplaced, receiveStream } from "./receive.ts";
import { destroyCopy, destroyEntry, discardArrived, restoreCopy, trashCopy } from "./removal.ts";
import { openSend, releaseStale } from "./send.ts";
import { sharedLock } from "./pool-lock.ts";
import { forgetSnapshots, takeSnapshot } from "./snapshots.ts";
import { sweepAll } from "./sweep.ts";
import { thisSystem, type ZfsSystem } from "./system.ts";
import { watchPool } from "./watch.ts";

/** Where a ZFS backend keeps its copies, and the doors that it uses. */
export interface ZfsBackendOptions {
  /** A pool, or a dataset in one, below which the backend keeps all that is its own. */
  readonly pool: string;
  /** The folder in which copies are mounted; absolute, the same on every node. */
  readonly mountRoot: string;
  /** Properties of ZFS that new copies get beside those that the backend needs: `compression` → `zstd`. */
  readonly properties?: Readonly<Record<string, string>>;
  /** By name; those of {@link usualProfiles} are there in any case. */
  readonly profiles?: Readonly<Record<string, ZfsProfile>>;
  /** Moves take the snapshots along that people have made; else they stay on the copies that have them. */
  readonly carriesSnapshots?: boolean;
  readonly commands: Commands;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log?: Log;
  /** For tests: another machine than the one that the agent runs on. */
  readonly system?: ZfsSystem;
}

/**
 * Opens a pool as a backend: each copy is a dataset of ZFS with its record in a user property, moves are
 * `zfs send` and `zfs receive`. It needs root and OpenZFS 2.1 or newer.
 *
 * Problems: `not-supported` without such an OpenZFS, `storage-unreadable` where the pool is not there.
 */
export async function openZfsBackend(options: ZfsBackendOptions): Promise<Result<Backend>> {
  const profiles = { ...usualProfiles, ...options.profiles };
  const pools = [
    ...new Set([options.pool, ...Object.values(profiles).flatMap(({ pool }) => pool ?? [])]),
  ].map((pool) => ({ name: pool, open: () => openPool(options, profiles, pool) }));
  const [only, ...others] = pools;
  if (only !== undefined && others.length === 0) return await only.open();
  return await acrossPools(pools, (origin) => poolFor(pools, profiles, options.pool, origin));
}

/** Where a new copy is made: where its source is, or where its profile says. */
function poolFor(
  pools: readonly { readonly name: string }[],
  profiles: Readonly<Record<string, ZfsProfile>>,
  usual: string,
  { profile, source }: CopyOrigin,
): string {
  const named = profileNamed(profiles, profile).pool ?? usual;
  if (source === undefined || poolNameOf(source) === poolNameOf(named)) return named;
  // What is in no pool of the agent's is refused there, with its reason.
  return pools.find(({ name }) => poolNameOf(name) === poolNameOf(source))?.name ?? named;
}

async function openPool(
  options: ZfsBackendOptions,
  profiles: Readonly<Record<string, ZfsProfile>>,
  pool: string,
): Promise<Result<Backend>> {
  return await attempt(`Opening the pool ${pool}`, async () => {
    const { mountRoot, commands, clock, ids, log, system = thisSystem, properties } = options;
    requireNames(pool, mountRoot);
    // First, since all else may hang on a pool that is suspended.
    const problem = await poolProblem({ commands, pool });
    if (problem !== null) throw new ProblemError(problem);
    await requireVersion(options);
    const context: Context = {
      ...layoutOf(pool, mountRoot),
      commands,
      clock,
      ids,
      log,
      system,
      settingsFor: (profile) =>
        Object.entries({ ...properties, ...profileNamed(profiles, profile).properties }).map(
          ([name, value]) => `${name}=${value}`,
        ),
      exclusively: serializer(),
      names: sharedLock(),
    };
    await makeLayout(context);
    await tidy(context);
    return backendOn(context, options.carriesSnapshots === true);
  });
}

function requireNames(pool: string, mountRoot: string): void {
  // ZFS allows blanks in names, and what people take over may have some; what is Flocker's has none.
  if (!isDatasetName(pool) || pool.includes(" "))
    throw refuse(
      "configuration-invalid",
      `"${pool}" is no name of a pool, nor of a dataset in one.`,
      "See zfs list.",
    );
  if (!isAbsolute(mountRoot))
    throw refuse(
      "configuration-invalid",
      `The folder ${mountRoot} is not an absolute path.`,
      "Write it from / on.",
    );
}

async function requireVersion({ commands }: ZfsBackendOptions): Promise<void> {
  const result = await commands.run(["zfs", "version"], { timeoutMs: 60_000 });
  const said = result.ok ? result.value.stdout + result.value.stderr : result.problem.message;
  const versions = [...said.matchAll(/^zfs-(?:kmod-)?(\d+)\.(\d+)/gm)];
  const isEnough = versions.every(([, major, minor]) => Number(major) * 1000 + Number(minor) >= 2001);
  if (versions.length === 2 && isEnough) return;
  throw refuse(
    "not-supported",
    `OpenZFS 2.1 or newer is needed, its programs and its kernel module; zfs version says: ${said.trim().slice(0, 300)}`,
    "Install it on this node (Debian: zfsutils-linux, zfs-dkms), load the module (modprobe zfs), and run the agent as root.",
  );
}

async function makeLayout(context: Context): Promise<void> {
  const { pool, live, trash, staging } = context;
  const doing = `Opening the pool ${pool}`;
  const found = await tryZfs(context, ["list", "-H", "-o", "name", pool, live, trash, staging]);
  const there = found.stdout.split("\n");
  if (!there.includes(pool)) throw await zfsFailed(context, doing, ["list", pool], found);
  for (const name of [live, trash, staging]) {
    if (there.includes(name)) continue;
    const args = ["create", "-o", "canmount=off", "-o", "mountpoint=none", name];
    const made = await tryZfs(context, args);
    if (made.exitCode !== 0 && !/already exists/.test(made.stderr))
      throw await zfsFailed(context, doing, args, made);
  }
}

/**
 * Ends what an agent that has died has left half done. What has arrived of an interrupted receive is kept.
 */
async function tidy(context: Context): Promise<void> {
  const doing = `Opening the pool ${context.pool}`;
  const all = await sweepAll(context, doing);
  const entries = [...all.values()].flatMap(({ live, trashed }) => [live, trashed]);
  await releaseStale(
    context,
    entries.flatMap((entry) => entry?.snapshots ?? []),
  );
  for (const [dataset, { live, trashed, staged }] of all) {
    try {
      const begun = staged.get("new");
      if (begun !== undefined) await destroyEntry(context, doing, begun);
      const old = staged.get("old");
      if (old === undefined) continue;
      if (live === undefined && trashed === undefined) await place(context, doing, old.row.name, dataset);
      else await clearReplaced(context, dataset, old);
    } catch (error) {
      // One copy must not keep the others from being served; discovery shows it.
      if (!(error instanceof Error)) throw error;
      context.log?.write("warn", "copy-not-tidied", { dataset, error: error.message });
    }
  }
}

function backendOn(context: Context, carriesSnapshots: boolean): Backend {
  const change = <Value>(
    doing: string,
    dataset: DatasetId,
    steps: () => Promise<Value>,
  ): Promise<Result<Value>> =>
    context.exclusively(dataset, () => attempt(`${doing} dataset ${dataset}`, steps));
  return {
    kind: "zfs",
    capabilities: {
      liveSnapshots: true,
      resume: true,
      quota: true,
      clone: false,
      compression: true,
      encryption: true,
      adoption: true,
      carriesSnapshots,
    },
    discover: (dataset) =>
      attempt(`Looking at the copies in ${context.live}`, () => discoverCopies(context, dataset)),
    create: (record, maximumSizeBytes, { profile, source } = {}) =>
      change("Creating", record.dataset, () =>
        source === undefined
          ? createCopy(context, record, maximumSizeBytes, profile)
          : adoptDataset(context, {
              record,
              source,
              maximumSizeBytes,
              settings: profile === undefined ? [] : context.settingsFor(profile),
            }),
      ),
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
    discardPartial: (dataset) =>
      change("Throwing away what has arrived of", dataset, () => discardArrived(context, dataset)),
    watch: (onChange) => watchPool(context, onChange),
  };
}

async function resizeCopy(
  context: Context,
  dataset: DatasetId,
  maximumSizeBytes: number | null,
): Promise<void> {
  const state = await requireLiveCopy(context, dataset);
  if (state.entry.row.quotaBytes === maximumSizeBytes) return;
  const doing = `Resizing dataset ${dataset}`;
  const args = ["set", `refquota=${maximumSizeBytes ?? "none"}`, state.name];
  const result = await tryZfs(context, args);
  if (result.exitCode === 0) return;
  if (tellsOfSmallLimit(result.stderr))
    throw refuse(
      "size-out-of-range",
      `${doing} to ${maximumSizeBytes} bytes failed: it holds more than that.`,
      "Free space in the dataset, or give it a larger maximum size.",
    );
  throw await zfsFailed(context, doing, args, result);
}
