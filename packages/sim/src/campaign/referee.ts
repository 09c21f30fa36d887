import type { Commit } from "@flocker/control";
import {
  assert,
  compareEpochs,
  formatEpoch,
  type DatasetId,
  type NodeId,
  type Ownership,
} from "@flocker/core";
import { mountedButNotPrimary, twoMounts, twoPrimaries } from "../invariants.ts";
import type { DiskEvent } from "../model-disk.ts";
import type { SimCluster } from "../sim-cluster.ts";
import type { WorldNode } from "../world.ts";
import type { Client } from "./client.ts";
import { peopleAuthor } from "./people.ts";
import type { Story } from "./story.ts";

const controlAuthor = "control-service";

interface HeldLease {
  readonly node: WorldNode;
  /** The node's agent has acknowledged it: from then on it counts. */
  counts: boolean;
  /** Since it counts the node has held the primary copy: from then on it must keep it. */
  binds: boolean;
}

/**
 * Watches over the rules of the design at every moment of a run (I1 to I5 and I7; the others are judged at
 * its end). The first that is broken ends the run.
 */
export class Referee {
  readonly clients: Map<DatasetId, Client> = new Map();
  /**
   * Datasets whose only copy may have gone with a machine, or of which a restored store knows less than was.
   */
  readonly doubtful: Set<DatasetId> = new Set();
  readonly purged: Set<DatasetId> = new Set();
  readonly #sim: SimCluster;
  readonly #story: Story;
  readonly #born = new Set<DatasetId>();
  readonly #mountedOnce = new Set<DatasetId>();
  readonly #confirmed = new Set<DatasetId>();
  readonly #leases = new Map<DatasetId, HeldLease>();
  readonly #waitingLeases = new Set<DatasetId>();
  readonly #failovers = new Map<DatasetId, { readonly term: number; isDone: boolean }>();
  #failoverCount = 0;
  readonly #servedLast = new Map<DatasetId, WorldNode>();
  #revision = 0;
  #moves = 0;
  #finding: string | undefined;

  constructor(sim: SimCluster, story: Story) {
    this.#sim = sim;
    this.#story = story;
    sim.world.onDiskEvent((node, event) => this.#onDisk(node, event));
    sim.world.scheduler.addCheck("Broken", () => {
      if (this.#waitingLeases.size > 0) this.#lookForAcknowledgements();
      return this.#finding;
    });
    this.watchStore();
  }

  /** How many times a dataset has been served by another node than before. */
  get moveCount(): number {
    return this.#moves;
  }

  get failoverCount(): number {
    return this.#failoverCount;
  }

  /** The number of leases that an agent has acknowledged and that have not ended. */
  get leaseCount(): number {
    return [...this.#leases.values()].filter(({ counts }) => counts).length;
  }

  broken(rule: string, finding: string): void {
    this.#finding ??= `${rule}: ${finding}`;
  }

  /** Ownership that the control service has made durable. */
  confirmed(dataset: DatasetId): void {
    this.#confirmed.add(dataset);
  }

  /**
   * The control service has failed a dataset over. Its records are from then on those of the replica, and
   * whoever has heard of it serves nothing older.
   */
  failedOver({ dataset, epoch }: Ownership): void {
    this.doubtful.add(dataset);
    this.#failovers.set(dataset, { term: epoch.term, isDone: false });
    this.clients.get(dataset)?.useOnlyFrom(epoch.term);
    this.#failoverCount += 1;
    this.#story.tell(this.#sim.world.elapsedMs, `failed over at term ${epoch.term}`, dataset);
  }

  /** A machine has been replaced: what only it had is lost for good. */
  replaced(datasets: Iterable<DatasetId>): void {
    for (const dataset of datasets) {
      this.doubtful.add(dataset);
      // What was never mounted has no data, so it may be made again.
      if (!this.#mountedOnce.has(dataset)) this.#born.delete(dataset);
    }
  }

  /**
   * Watches the store that the control service has now: at the start and after the restoration of a backup.
   */
  watchStore(): void {
    const { store } = this.#sim;
    this.#revision = store.current().revision;
    this.#leases.clear();
    this.#waitingLeases.clear();
    for (const { dataset, node } of store.current().leases) this.#leaseGiven(dataset, node);
    store.watch((commit) => this.#onCommit(commit));
  }

  /** An agent begins a step that interrupts service or destroys: only under a live session. */
  interrupts(node: WorldNode, method: string, dataset: DatasetId, isLive: boolean): void {
    if (isLive || !this.#isRightfulPrimary(node, dataset)) return;
    this.broken("session", `${node.name} begins to ${method} dataset ${dataset} without a live session`);
  }

  /** An agent begins to mount. */
  mounts(node: WorldNode, dataset: DatasetId, isLive: boolean): void {
    if (isLive && this.#isOld(node, dataset))
      this.broken("I1", `${node.name} mounts dataset ${dataset}, though it has heard of the failover`);
  }

  #onDisk(node: WorldNode, event: DiskEvent): void {
    const { dataset } = event;
    this.#tell(node, event);
    switch (event.kind) {
      case "created":
        return this.#created(node, dataset);
      case "recorded":
      case "received":
        this.#lookForFailover(node, dataset);
        this.#checkRecord(node, dataset);
        return this.#checkLease(node, dataset, "recorded");
      case "mounted":
        return this.#mounted(node, dataset);
      case "unmounted":
        if (event.by === "agent") this.#checkLease(node, dataset, "unmounted");
        return;
      case "destroyed":
        if (!this.purged.has(dataset))
          this.broken("I4", `the copy of dataset ${dataset} on ${node.name} is destroyed without a purge`);
        return this.#checkLease(node, dataset, "destroyed");
    }
  }

  #created(node: WorldNode, dataset: DatasetId): void {
    if (this.#born.has(dataset))
      this.broken("I2", `dataset ${dataset} is born a second time, on ${node.name}`);
    this.#born.add(dataset);
    this.#checkRecord(node, dataset);
  }

  #checkRecord(node: WorldNode, dataset: DatasetId): void {
    const finding = mountedButNotPrimary(node, dataset) ?? twoPrimaries(this.#sim.world, dataset);
    if (finding !== undefined) this.broken("ownership", finding);
    const client = this.clients.get(dataset);
    if (client === undefined || this.doubtful.has(dataset) || this.purged.has(dataset)) return;
    if (this.#sim.nodes.every(({ disk }) => client.missing(disk) !== undefined))
      this.broken(
        "I3",
        `after a change on ${node.name} no copy of dataset ${dataset} has all synced records; ` +
          `${node.name}: ${client.missing(node.disk)}`,
      );
  }

  /** At the moment at which the replica becomes the primary, what it holds is what there is. */
  #lookForFailover(node: WorldNode, dataset: DatasetId): void {
    const failover = this.#failovers.get(dataset);
    const record = node.disk.copies.get(dataset)?.record;
    if (failover === undefined || failover.isDone || record?.role !== "primary") return;
    if (record.epoch.term !== failover.term) return;
    failover.isDone = true;
    this.clients.get(dataset)?.goOnFrom(node.disk);
  }

  #mounted(node: WorldNode, dataset: DatasetId): void {
    if (this.#isOld(node, dataset)) return;
    const wrong = twoMounts(this.#sim.world, dataset);
    if (wrong !== undefined) this.broken("I1", wrong);
    const role = mountedButNotPrimary(node, dataset);
    if (role !== undefined) this.broken("ownership", role);
    if (!this.#confirmed.has(dataset))
      this.broken("birth", `dataset ${dataset} is mounted on ${node.name} before its birth was confirmed`);
    const missing = this.clients.get(dataset)?.missing(node.disk);
    if (missing !== undefined)
      this.broken("I3", `dataset ${dataset} is mounted on ${node.name} and ${missing}`);
    this.#mountedOnce.add(dataset);
    this.#bind(node, dataset);
    const before = this.#servedLast.get(dataset);
    if (before !== undefined && before !== node) this.#moves += 1;
    this.#servedLast.set(dataset, node);
  }

  /**
   * A copy of before a failover, whose owner may serve it until it hears of that; nobody uses it any more.
   */
  #isOld(node: WorldNode, dataset: DatasetId): boolean {
    const term = node.disk.copies.get(dataset)?.record.epoch.term ?? 0;
    return term < (this.#failovers.get(dataset)?.term ?? 0);
  }

  #checkLease(node: WorldNode, dataset: DatasetId, what: "recorded" | "unmounted" | "destroyed"): void {
    const lease = this.#leases.get(dataset);
    if (lease === undefined || lease.node !== node || !lease.binds) return;
    const copy = node.disk.copies.get(dataset);
    if (what === "recorded" && (copy === undefined || copy.record.role === "primary")) return;
    const role = what === "recorded" ? `${copy?.record.role}` : what;
    this.broken("I7", `dataset ${dataset} is leased on ${node.name}, acknowledged, and ${role} there`);
  }

  #onCommit(commit: Commit): void {
    if (commit.revision !== this.#revision + 1)
      this.broken("I5", `revision ${commit.revision} comes after ${this.#revision}`);
    this.#revision = commit.revision;
    if (commit.author !== peopleAuthor && commit.author !== controlAuthor)
      this.broken("I5", `${commit.author} has changed the configuration`);
    for (const change of commit.changes) {
      if (change.kind === "lease") this.#leaseChanged(change, commit);
      else if (change.kind === "dataset") this.#datasetChanged(change, commit);
    }
  }

  #leaseChanged(change: Extract<Commit["changes"][number], { kind: "lease" }>, { author, at }: Commit): void {
    const { dataset, before, after } = change;
    if (author === controlAuthor && (after !== null || (before?.expiresAt ?? Infinity) > at))
      this.broken("I5", `the control service ends the lease of dataset ${dataset} by itself`);
    if (after === null) {
      this.#leases.delete(dataset);
      this.#waitingLeases.delete(dataset);
    } else if (before?.node !== after.node) this.#leaseGiven(dataset, after.node);
  }

  #datasetChanged(
    change: Extract<Commit["changes"][number], { kind: "dataset" }>,
    { author, at }: Commit,
  ): void {
    const { before, after } = change;
    const { dataset, deletion } = after;
    const isPurge = deletion?.purged === true && before?.deletion?.purged !== true;
    if (isPurge) {
      this.purged.add(dataset);
      if (at < deletion.graceEndsAt) this.broken("I4", `dataset ${dataset} is purged before its grace ends`);
    }
    if (author === controlAuthor && !isPurge)
      this.broken("I5", `the control service changes dataset ${dataset} by itself`);
  }

  #leaseGiven(dataset: DatasetId, id: NodeId): void {
    const node = this.#sim.nodes.find(({ machine }) => machine.id === id);
    assert(node !== undefined, "people lease datasets on nodes that there are");
    this.#leases.set(dataset, { node, counts: false, binds: false });
    this.#waitingLeases.add(dataset);
  }

  #bind(node: WorldNode, dataset: DatasetId): void {
    const lease = this.#leases.get(dataset);
    if (lease === undefined || !lease.counts || lease.node !== node) return;
    lease.binds ||= node.disk.copies.get(dataset)?.record.role === "primary";
  }

  #lookForAcknowledgements(): void {
    for (const dataset of this.#waitingLeases) {
      const lease = this.#leases.get(dataset);
      if (lease === undefined || !this.#sim.hasAcknowledged(lease.node, dataset)) continue;
      this.#waitingLeases.delete(dataset);
      lease.counts = true;
      this.#bind(lease.node, dataset);
      const text = `the lease on ${lease.node.name} counts: its agent has acknowledged it`;
      this.#story.tell(this.#sim.world.elapsedMs, text, dataset);
    }
  }

  /**
   * Whether nobody holds the dataset at a newer epoch: else stopping to serve is safety, not interruption.
   */
  #isRightfulPrimary(node: WorldNode, dataset: DatasetId): boolean {
    const record = node.disk.copies.get(dataset)?.record;
    if (record?.role !== "primary") return false;
    return this.#sim.nodes.every((other) => {
      const held = other.disk.copies.get(dataset)?.record;
      return other === node || held?.role !== "primary" || compareEpochs(held.epoch, record.epoch) < 0;
    });
  }

  #tell(node: WorldNode, event: DiskEvent): void {
    const record = node.disk.copies.get(event.dataset)?.record;
    const as =
      record === undefined
        ? ""
        : `, ${record.role} at ${formatEpoch(record.epoch)}` +
          (record.role === "relinquished" ? ` for ${this.#story.nameOf(String(record.successor))}` : "");
    const by = event.kind === "unmounted" && event.by !== "agent" ? ` (${event.by})` : "";
    const what = event.kind === "received" ? `received ${event.snapshot.slice(0, 8)}` : event.kind;
    this.#story.tell(this.#sim.world.elapsedMs, `${node.name}: ${what}${by}${as}`, event.dataset);
  }
}
