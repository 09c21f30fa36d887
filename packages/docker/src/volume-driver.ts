import {
  failure,
  success,
  type Clock,
  type Log,
  type NodeId,
  type Problem,
  type Result,
} from "@flocker/core";
import { ask, isPassing, type ClusterClient } from "./cluster-client.ts";
import type { ClusterFeed } from "./cluster-feed.ts";
import { mountedOn, volumeOf, type ClusterPicture, type KnownVolume } from "./cluster-picture.ts";
import { readCreateOptions } from "./create-options.ts";
import { Lanes } from "./lanes.ts";
import type { VolumeAnswer } from "./messages.ts";
import type { MountLedger } from "./mount-ledger.ts";
import { removeVolume } from "./volume-removal.ts";
import type { Call, VolumeMounts } from "./volume-mounts.ts";

export interface VolumeDriverOptions {
  readonly api: ClusterClient;
  readonly feed: ClusterFeed;
  readonly picture: ClusterPicture;
  readonly ledger: MountLedger;
  readonly mounts: VolumeMounts;
  readonly clock: Clock;
  readonly log: Log;
  /** This machine's node, or why it is not known (yet). */
  readonly self: () => Result<NodeId>;
  /** How many containers of Docker may be using a volume. */
  readonly containersUsing: (volume: string) => Promise<Result<number>>;
  /** For volumes that are created without a size; null for no limit. */
  readonly defaultSizeBytes: number | null;
  /** Remove leaves the dataset, as the original did. */
  readonly keepOnRemove: boolean;
}

/** A control service that is being restarted is waited for so long. */
const awayMs = 15_000;
const retryMs = 250;

/**
 * What each call of the protocol does. Get, List and Path answer from memory, at once; Create, Remove, Mount
 * and Unmount come one after the other for each volume.
 */
export class VolumeDriver {
  readonly #options: VolumeDriverOptions;
  readonly #lanes = new Lanes();

  constructor(options: VolumeDriverOptions) {
    this.#options = options;
  }

  /** Makes a dataset of that name here, unless there is one: names are those of the whole cluster. */
  create(name: string, opts: Readonly<Record<string, string>>, call: Call): Promise<Result<void>> {
    return this.#lanes.run(name, async () => {
      const { api, feed, defaultSizeBytes, log } = this.#options;
      const options = readCreateOptions(opts, { sizeBytes: defaultSizeBytes });
      if (!options.ok) return options;
      const self = await this.#awaitSelf(call);
      if (!self.ok) return self;
      const { maximumSizeBytes, metadata } = options.value;
      const body = { name, primary: self.value, maximum_size: maximumSizeBytes, metadata: { ...metadata } };
      log.write("debug", "volume-creating", { volume: name });
      const created = await this.#persistently(call, () => ask(() => api.createDataset({ body })));
      if (created.ok) {
        log.write("info", "volume-created", { volume: name, dataset: created.value.dataset_id });
        await feed.read(created.value.dataset_id);
        return success();
      }
      if (created.problem.code !== "duplicate-name") return created;
      const found = await this.#lookUp(name, call);
      return found.ok ? success() : found;
    });
  }

  /**
   * Deletes the volume's dataset, which can be undeleted for its grace time. What is not there is removed
   * already.
   */
  remove(name: string, call: Call): Promise<Result<void>> {
    return this.#lanes.run(name, async () => {
      const { keepOnRemove, ledger, log, picture } = this.#options;
      const self = await this.#awaitSelf(call);
      if (!self.ok) return self;
      const found = await this.#lookUp(name, call);
      if (!found.ok) return found.problem.code === "unknown-dataset" ? success() : found;
      if (keepOnRemove) return success();
      const { dataset } = found.value;
      // Of a volume that nobody uses any more, the lease may still have to be given back.
      await this.#options.mounts.release(dataset);
      if (ledger.entry(dataset) !== undefined) return mountedHere(name, picture.nodeLabel(self.value));
      const target = { dataset, name, self: self.value };
      const removed = await this.#persistently(call, () => removeVolume(target, this.#options));
      if (removed.ok) log.write("info", "volume-removed", { volume: name, dataset });
      return removed;
    });
  }

  mount(name: string, id: string, call: Call): Promise<Result<string>> {
    return this.#lanes.run(name, async () => {
      if (call.abort.aborted) return abandoned(name);
      const self = await this.#awaitSelf(call);
      if (!self.ok) return self;
      const found = await this.#findToMount(name, call);
      if (!found.ok) return found;
      return this.#options.mounts.mount({ volume: found.value, self: self.value, id }, call);
    });
  }

  unmount(name: string, id: string): Promise<void> {
    return this.#lanes.run(name, async () => {
      const { ledger, mounts, log } = this.#options;
      const entries = ledger.named(name).filter(({ users }) => users[id] !== undefined);
      if (entries.length === 0) log.write("debug", "unmount-of-nothing", { volume: name, mount: id });
      for (const { dataset } of entries) await mounts.unmount(dataset, id);
    });
  }

  /** Docker has been started: of what it had mounted before, it may have forgotten something. */
  dockerStarted(): void {
    this.#options.ledger.doubt();
  }

  /** Docker has asked for a mount again without saying which, and does not ask a third time. */
  async mountedUnnamed(): Promise<void> {
    this.#options.ledger.giveUpUnnamed();
    await this.tidy();
  }

  /** Where the volume is mounted here. */
  path(name: string): Result<string> {
    const { picture } = this.#options;
    const path = this.#pathHere(name);
    if (path !== undefined) return success(path);
    const volume = picture.named(name)[0];
    if (volume === undefined) return this.#notFound(name);
    const where =
      volume.mounts[0] === undefined ? "nowhere" : `on ${picture.nodeLabel(volume.mounts[0].node)}`;
    return failure(
      "not-found",
      `Volume ${name} is not mounted on this node; it is mounted ${where}.`,
      "Start a container with it here: it is then moved here.",
    );
  }

  get(name: string): Result<VolumeAnswer> {
    const { picture } = this.#options;
    const [volume] = picture.named(name);
    const path = this.#pathHere(name);
    if (volume !== undefined)
      return success({ Name: name, Mountpoint: path ?? "", Status: this.#status(volume) });
    return path === undefined ? this.#notFound(name) : success({ Name: name, Mountpoint: path });
  }

  /** In the original's order: by mount point, then by name. */
  list(): readonly VolumeAnswer[] {
    const { picture, ledger } = this.#options;
    const names = new Set<string>();
    for (const { name } of picture.volumes()) names.add(name);
    for (const { name } of ledger.entries()) names.add(name);
    return [...names]
      .map((name) => ({ Name: name, Mountpoint: this.#pathHere(name) ?? "" }))
      .toSorted((a, b) => compare(a.Mountpoint, b.Mountpoint) || compare(a.Name, b.Name));
  }

  /** Puts leases right that differ from the notes; see `VolumeMounts.tidy`. */
  async tidy(): Promise<void> {
    await this.#dropDoubtful();
    const { ledger, mounts } = this.#options;
    const guarded = ledger.removals().map(({ dataset, name }) => ({ dataset, name }));
    for (const { dataset, name } of [...ledger.entries(), ...guarded]) {
      // Who is busy with it sees to it: a mount may wait for long.
      if (!this.#lanes.isBusy(name)) await this.#lanes.run(name, () => mounts.tidy(dataset));
    }
  }

  /**
   * Where an answer was lost, or Docker has forgotten what it had mounted, one mount too many is held until
   * no container uses the volume.
   */
  async #dropDoubtful(): Promise<void> {
    const { ledger, containersUsing, log } = this.#options;
    for (const { dataset, name } of ledger.doubtful()) {
      if (this.#lanes.isBusy(name)) continue;
      await this.#lanes.run(name, async () => {
        const using = await containersUsing(name);
        if (!using.ok || using.value > 0 || ledger.entry(dataset) === undefined) return;
        ledger.dropDoubtful(dataset);
        log.write("info", "mounts-ended-with-their-containers", { dataset, volume: name });
      });
    }
  }

  #pathHere(name: string): string | undefined {
    const { picture, ledger } = this.#options;
    const self = this.#options.self();
    const node = self.ok ? self.value : undefined;
    for (const volume of picture.named(name)) {
      const path = mountedOn(volume, node);
      if (path !== undefined) return path;
    }
    if (picture.freshness.kind === "live") return undefined;
    return ledger.named(name).find(({ path }) => path !== null)?.path ?? undefined;
  }

  #status(volume: KnownVolume): Record<string, unknown> {
    const { picture } = this.#options;
    const { freshness } = picture;
    const mount = volume.mounts[0];
    return {
      dataset: volume.dataset,
      primary: picture.nodeLabel(volume.primary),
      mountedOn: mount === undefined ? "" : picture.nodeLabel(mount.node),
      leasedBy: volume.lease === null ? "" : picture.nodeLabel(volume.lease.node_id),
      maximumSize: volume.maximumSizeBytes,
      converged: volume.converged,
      reasons: volume.reasons,
      ...(freshness.kind === "old"
        ? { asOf: new Date(freshness.since).toISOString(), controlService: freshness.problem.message }
        : {}),
    };
  }

  /** From memory; a volume that is not known there may have been created a moment ago, so it is asked for. */
  async #findToMount(name: string, call: Call): Promise<Result<Pick<KnownVolume, "dataset" | "name">>> {
    const { picture, ledger } = this.#options;
    const known = picture.named(name);
    if (known.length === 1 && known[0] !== undefined) return success(known[0]);
    const [entry] = ledger.named(name);
    if (known.length === 0 && entry !== undefined) return success(entry);
    return this.#lookUp(name, call);
  }

  /** The one volume of a name, asked of the control service. */
  async #lookUp(name: string, call: Call): Promise<Result<KnownVolume>> {
    const found = await this.#persistently(call, () => this.#options.feed.readNamed(name));
    if (!found.ok) return found;
    const volumes = found.value.map(volumeOf).filter((volume) => volume !== undefined);
    const [volume, another] = volumes;
    if (volume === undefined) return this.#notFound(name);
    if (another === undefined) return success(volume);
    return failure(
      "duplicate-name",
      `There are ${volumes.length} datasets named ${name}: ${volumes.map(({ dataset }) => dataset).join(", ")}.`,
      "Rename all but one of them; which of them is meant cannot be known.",
    );
  }

  /** Asks again while the control service is away, for a while. */
  async #persistently<Value>(call: Call, job: () => Promise<Result<Value>>): Promise<Result<Value>> {
    const { clock } = this.#options;
    const until = Math.min(call.deadline, clock.monotonic() + awayMs);
    for (;;) {
      const result = await job();
      if (result.ok || !isPassing(result.problem.code)) return result;
      if (clock.monotonic() >= until || call.abort.aborted) return result;
      await clock.sleep(retryMs, call.abort);
    }
  }

  /** After a start it takes a moment until this machine's node is known. */
  #awaitSelf(call: Call): Promise<Result<NodeId>> {
    return this.#persistently(call, () => Promise.resolve(this.#options.self()));
  }

  #notFound(name: string): { ok: false; problem: Problem } {
    return failure(
      "unknown-dataset",
      `Could not find volume with given name: ${name}.${this.#ignorance()}`,
      "See docker volume ls.",
    );
  }

  /** Why a volume may exist though it is not known. */
  #ignorance(): string {
    const { freshness } = this.#options.picture;
    if (freshness.kind === "live") return "";
    if (freshness.kind === "empty")
      return ` The cluster has not been read yet. ${freshness.problem?.message ?? ""}`.trimEnd();
    const since = new Date(freshness.since).toISOString();
    return ` The control service has not been reached since ${since}: what was created later is not known.`;
  }
}

function mountedHere(name: string, node: string): ReturnType<typeof failure> {
  return failure(
    "busy-mount",
    `Volume ${name} is not removed: it is in use on this node, ${node}.`,
    "Stop the containers that use it; then remove it.",
  );
}

function abandoned(name: string): ReturnType<typeof failure> {
  return failure("deadline-exceeded", `Mounting volume ${name} was abandoned.`, "Ask again.");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
