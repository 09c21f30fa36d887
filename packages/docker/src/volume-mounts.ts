import { access } from "node:fs/promises";
import type { v2 } from "@flocker/api";
import {
  failure,
  success,
  type Clock,
  type Era,
  type Log,
  type Milliseconds,
  type NodeId,
  type Problem,
  type Result,
} from "@flocker/core";
import { ask, isPassing, type ClusterClient } from "./cluster-client.ts";
import type { ClusterFeed } from "./cluster-feed.ts";
import { mountedOn, volumeOf, type ClusterPicture, type KnownVolume } from "./cluster-picture.ts";
import { gaveUp, whoHolds } from "./mount-words.ts";
import { endGuard } from "./volume-removal.ts";
import { isUnused, type MountClient, type MountEntry, type MountLedger } from "./mount-ledger.ts";

/** Who calls, and for how long. */
export interface Call {
  readonly client: MountClient;
  /** On the monotonic clock: an answer is given by then. */
  readonly deadline: Milliseconds;
  /** Aborted when the caller is gone, or (with the reason `stopping`) when the plugin stops. */
  readonly abort: AbortSignal;
}

/** The reason of an abort by which the plugin stops: Docker will ask the next one. */
export const stopping = "stopping";

/** One user of one volume. */
export interface MountTarget {
  readonly volume: Pick<KnownVolume, "dataset" | "name">;
  readonly self: NodeId;
  readonly id: string;
}

export interface VolumeMountsOptions {
  readonly api: ClusterClient;
  readonly feed: ClusterFeed;
  readonly picture: ClusterPicture;
  readonly ledger: MountLedger;
  readonly clock: Clock;
  readonly log: Log;
  readonly era: Era;
}

/** Without an event, look again after this time. */
const lookAgainMs = 5_000;
/** While the control service is away. */
const retryMs = 500;
/** Giving a lease back may take so long before the answer; afterwards it goes on by itself. */
const releaseMs = 3_000;

/**
 * Mounts and unmounts: takes a lease for the first user of a volume on this node and gives it back after the
 * last. The order makes any crash safe: noted before the lease, leased before the answer, forgotten after the
 * release.
 */
export class VolumeMounts {
  readonly #options: VolumeMountsOptions;

  constructor(options: VolumeMountsOptions) {
    this.#options = options;
  }

  /** Mounts a volume here for a user, waiting for it if it is elsewhere, and answers the path. */
  async mount(target: MountTarget, call: Call): Promise<Result<string>> {
    const { api, ledger, era } = this.#options;
    const { volume, self, id } = target;
    const { dataset, name } = volume;
    const before = ledger.entry(dataset);
    // A removal that was cut short may still have its lease.
    await endGuard(dataset, { api, ledger });
    const isShared =
      before === undefined ? await this.#isLeasedHere(dataset, self, call) : success(before.isShared);
    if (!isShared.ok) return isShared;
    const start = { dataset, name, node: self, era, isShared: isShared.value, path: null };
    ledger.begin(start, id, call.client);
    this.#step("mount-noted", target);
    const path = this.#heldPath(before, self) ?? (await this.#bringHere(target, call));
    if (path.ok) {
      ledger.hold(dataset, id, path.value);
      this.#step("mount-held", target);
      return path;
    }
    // Docker asks the next life of the plugin again, with the same ID: the note is what it goes on from.
    if (call.abort.reason === stopping) return path;
    if (isUnused(ledger.giveUp(dataset, id))) await this.release(dataset);
    return path;
  }

  /** Unmounts for a user. It works without the control service: then the lease is given back later. */
  async unmount(dataset: string, id: string): Promise<void> {
    const entry = this.#options.ledger.letGo(dataset, id);
    this.#step("unmount-noted", { volume: entry, self: entry.node, id });
    if (isUnused(entry)) await this.release(dataset);
  }

  /** Gives the lease of an unused volume back. What cannot be done now stays noted; see `tidy`. */
  async release(dataset: string): Promise<void> {
    const { api, ledger, clock, log } = this.#options;
    const entry = ledger.entry(dataset);
    if (entry === undefined || !isUnused(entry)) return;
    if (!entry.isShared) {
      const asked = ask(() =>
        api.releaseLease({ params: { dataset_id: dataset }, query: { node: entry.node } }),
      );
      const tooLong = new AbortController();
      const released = await Promise.race([asked, clock.sleep(releaseMs, tooLong.signal)]);
      tooLong.abort();
      const isGone = released !== undefined && (released.ok || nothingToRelease.has(released.problem.code));
      if (!isGone) {
        const problem = released?.ok === false ? released.problem : undefined;
        log.write("warn", "lease-not-released", { dataset, volume: entry.name, problem });
        return;
      }
    }
    this.#step("lease-released", { volume: entry, self: entry.node, id: "" });
    ledger.forget(dataset);
  }

  /**
   * Puts right what differs between the notes and the cluster for one volume: to be called when it is in
   * view.
   */
  async tidy(dataset: string): Promise<void> {
    const { ledger, picture, api, log } = this.#options;
    await endGuard(dataset, { api, ledger });
    const entry = ledger.entry(dataset);
    if (entry === undefined) return;
    if (isUnused(entry)) return this.release(dataset);
    const lease = picture.volume(dataset)?.lease;
    if (lease?.node_id === entry.node && lease.expires_at === null) return;
    // Still being asked for: the mount itself sees to its lease.
    if (!Object.values(entry.users).some((user) => user.held > 0)) return;
    const body = { dataset_id: dataset, node_id: entry.node, expires_in: null };
    const taken = await ask(() => api.acquireLease({ body }));
    const fields = { dataset, volume: entry.name };
    if (taken.ok) log.write("warn", "lease-taken-again", fields);
    else log.write("error", "lease-lost", { ...fields, problem: taken.problem });
  }

  /** The path of a volume that is held here already: then nothing has to be asked or waited for. */
  #heldPath(entry: MountEntry | undefined, self: NodeId): Result<string> | undefined {
    const { picture, era } = this.#options;
    if (entry === undefined || entry.path === null || entry.era !== era) return undefined;
    if (!Object.values(entry.users).some((user) => user.held > 0)) return undefined;
    if (picture.freshness.kind === "live") {
      const volume = picture.volume(entry.dataset);
      const isKept = volume?.lease?.node_id === self && volume.lease.acknowledged;
      if (!isKept || mountedOn(volume, self) !== entry.path) return undefined;
    }
    return success(entry.path);
  }

  /** Whether somebody else on this node has a lease already. It waits for a control service that is away. */
  async #isLeasedHere(dataset: string, self: NodeId, call: Call): Promise<Result<boolean>> {
    const { feed, clock } = this.#options;
    for (;;) {
      const found = await feed.read(dataset);
      if (found.ok) return success(found.value?.lease?.node_id === self);
      const leftMs = call.deadline - clock.monotonic();
      if (!isPassing(found.problem.code) || leftMs <= 0 || call.abort.aborted) return found;
      await clock.sleep(Math.min(leftMs, retryMs), call.abort);
    }
  }

  /** Takes the lease, moves the volume here, and waits until it is mounted under a lease that counts. */
  async #bringHere(target: MountTarget, call: Call): Promise<Result<string>> {
    const { feed, clock } = this.#options;
    using watch = feed.watch(target.volume.dataset);
    let last: v2.Dataset | undefined;
    let problem: Problem | undefined;
    for (let round = 0; ; round += 1) {
      if (call.abort.aborted) return callerIsGone(target);
      const found = await feed.read(target.volume.dataset);
      const step = found.ok ? await this.#nextStep(target, found.value, round) : found;
      if (found.ok) last = found.value;
      if (step.ok && step.value.kind === "here") return success(step.value.path);
      if (!step.ok && !mayPass(step.problem)) return step;
      problem = step.ok ? undefined : step.problem;
      const leftMs = call.deadline - clock.monotonic();
      if (leftMs <= 0) return this.#timedOut(target, last, problem);
      if (step.ok && step.value.kind === "changed") continue;
      const pauseMs = problem !== undefined && isPassing(problem.code) ? retryMs : lookAgainMs;
      await watch.change({ timeoutMs: Math.min(leftMs, pauseMs), abort: call.abort });
    }
  }

  /** Does the next thing that brings the volume here, if something can be done now. */
  async #nextStep(
    target: MountTarget,
    dataset: v2.Dataset | undefined,
    round: number,
  ): Promise<Result<Step>> {
    const { api, log, picture } = this.#options;
    const { volume, self } = target;
    const known = dataset === undefined ? undefined : volumeOf(dataset);
    if (dataset === undefined || known === undefined) return gone(volume.name);
    const fields = { dataset: known.dataset, volume: known.name };
    if (known.lease?.node_id !== self || known.lease.expires_at !== null) {
      if (round === 0 && known.lease !== null && known.lease.node_id !== self)
        log.write("info", "mount-waits", { ...fields, inUseOn: picture.nodeLabel(known.lease.node_id) });
      const body = { dataset_id: known.dataset, node_id: self, expires_in: null };
      const taken = await ask(() => api.acquireLease({ body }));
      if (!taken.ok) return taken;
      this.#step("lease-taken", target);
      return success({ kind: "changed" });
    }
    if (known.primary !== self) {
      const body = { primary: self };
      const moved = await ask(() => api.updateDataset({ params: { dataset_id: known.dataset }, body }));
      if (!moved.ok) return moved;
      log.write("info", "move-asked", { ...fields, from: picture.nodeLabel(known.primary) });
      return success({ kind: "changed" });
    }
    return known.lease.acknowledged ? this.#seeHere(target, dataset) : success({ kind: "wait" });
  }

  /**
   * Whether the volume is mounted here, now that the lease counts. The agent has told before it acknowledged
   * the lease if it was just unmounting for a move; and what it says is looked for on this very machine.
   */
  async #seeHere({ self, volume }: MountTarget, dataset: v2.Dataset): Promise<Result<Step>> {
    const copy = dataset.actual.find((actual) => actual.node_id === self);
    if (copy === undefined || copy.role !== "primary" || copy.path === null || copy.stale)
      return success({ kind: "wait" });
    if (copy.activity?.action === "unmount") return success({ kind: "wait" });
    try {
      await access(copy.path);
    } catch (error) {
      return failure(
        "storage-unreadable",
        `Volume ${volume.name} should be at ${copy.path} on this machine, but is not: ${String(error)}.`,
        "Check that the plugin runs on the node that it takes for its own (node in plugin.yml), and its agent's log.",
      );
    }
    return success({ kind: "here", path: copy.path });
  }

  async #timedOut(
    target: MountTarget,
    dataset: v2.Dataset | undefined,
    problem: Problem | undefined,
  ): Promise<Result<string>> {
    const { api, picture } = this.#options;
    const holder =
      dataset === undefined ? undefined : await whoHolds(dataset, { api, picture, self: target.self });
    return gaveUp(target.volume.name, { holder, dataset, problem });
  }

  #step(event: string, { volume, self, id }: MountTarget): void {
    const { dataset, name } = volume;
    this.#options.log.write("debug", event, { dataset, volume: name, node: self, mount: id });
  }
}

type Step =
  | { readonly kind: "here"; readonly path: string }
  /** Something was done: look again at once. */
  | { readonly kind: "changed" }
  | { readonly kind: "wait" };

/** There is no lease of ours to release: given back before, gone with its dataset, or another's by now. */
const nothingToRelease: ReadonlySet<string> = new Set(["not-found", "unknown-dataset"]);

/** The lease may become free, the control service may come back, and a path may appear. */
function mayPass({ code }: Problem): boolean {
  return code === "lease-held" || code === "storage-unreadable" || isPassing(code);
}

function gone(name: string): ReturnType<typeof failure> {
  return failure(
    "unknown-dataset",
    `Volume ${name} has been deleted or renamed meanwhile.`,
    "Create it again, or bring it back with flocker undelete.",
  );
}

function callerIsGone({ volume }: MountTarget): ReturnType<typeof failure> {
  return failure(
    "deadline-exceeded",
    `Mounting volume ${volume.name} was abandoned: the caller has gone.`,
    "Ask again; what has begun goes on.",
  );
}
