import {
  assert,
  ProblemError,
  success,
  type Clock,
  type ContainerConfiguration,
  type DatasetConfiguration,
  type DatasetId,
  type Ids,
  type Lease,
  type Log,
  type Milliseconds,
  type NodeId,
  type Ownership,
  type Result,
  type SliceDataset,
  type SliceNode,
} from "@flocker/core";
import { createListeners } from "../listeners.ts";
import type { Change, Commit, ConfigurationStore, KnownNode } from "../store/store.ts";
import type { ClusterCore } from "./cluster-core.ts";
import type {
  Caller,
  ClusterChange,
  Composition,
  DatasetUpdate,
  DatasetView,
  Failover,
  NewDataset,
  NodeView,
} from "./cluster.ts";
import {
  decideCompose,
  decideCreateContainer,
  decideDeleteContainer,
  decideMoveContainer,
  type ContainerContext,
} from "./container-rules.ts";
import { ContainerTable } from "./container-table.ts";
import { DatasetTable, type DatasetEntry } from "./dataset-table.ts";
import { Deadlines } from "./deadlines.ts";
import { decideFailover } from "./failover-rules.ts";
import { decideAcquire, decideExpiry, decideRelease } from "./lease-rules.ts";
import { isStale, NodeTable, nodeOf, nodeView, type Hello, type NodeEntry } from "./node-table.ts";
import { OwnershipJudge } from "./ownership-judge.ts";
import { birthRecord } from "./ownership.ts";
import { takeState, type StateMessage } from "./reports.ts";
import {
  decideCreate,
  decideDelete,
  decidePurge,
  decideUndelete,
  decideUpdate,
  type Decided,
  type RulesView,
} from "./rules.ts";
import { datasetView, sliceDataset, sliceNode } from "./views.ts";

/** What the cluster is made of. */
export interface ClusterOptions {
  readonly store: ConfigurationStore;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  /** How long the bytes of a deleted dataset are kept. */
  readonly graceMs: Milliseconds;
}

/** Opens the cluster that the store keeps. It takes the store for itself: nobody else may commit to it. */
export function createCluster(options: ClusterOptions): ClusterCore {
  return new ClusterState(options);
}

/** The author of what the control service commits by itself. */
const selfAuthor = "control-service";
/** At most so many changes by the clock in one commit, so that none holds everything up. */
const dueMaximum = 500;

type DatasetChange = Exclude<Change, { kind: "put-container" | "remove-container" }>;

class ClusterState implements ClusterCore {
  readonly clusterId: string;
  readonly #options: ClusterOptions;
  readonly #datasets = new DatasetTable();
  readonly #nodes = new NodeTable();
  readonly #containers = new ContainerTable();
  readonly #purges = new Deadlines();
  readonly #expiries = new Deadlines();
  readonly #listeners = createListeners<ClusterChange>();
  readonly #judge: OwnershipJudge;
  #revision: number;
  #tag: string;

  constructor(options: ClusterOptions) {
    this.#options = options;
    const { store } = options;
    this.#judge = new OwnershipJudge(this.#datasets, options);
    this.clusterId = store.clusterId;
    const { revision, tag, datasets, leases, containers } = store.current();
    this.#revision = revision;
    this.#tag = tag;
    for (const lease of leases) this.#setLease(lease.dataset, lease);
    for (const container of containers) this.#containers.put(container);
    for (const configuration of datasets) {
      const entry = this.#datasets.configure(configuration);
      this.#setPurge(entry);
    }
    for (const ownership of store.ownerships()) {
      const entry = this.#datasets.get(ownership.dataset);
      assert(entry !== undefined, "an ownership record has its dataset");
      entry.ownership = ownership;
    }
    for (const entry of this.#datasets.configured()) this.#datasets.refresh(entry);
    for (const known of store.nodes()) this.#nodes.put(known);
  }

  revision(): number {
    return this.#revision;
  }

  tag(): string {
    return this.#tag;
  }

  *datasets(): Iterable<DatasetView> {
    for (const entry of this.#datasets.configured()) yield this.#view(entry);
    for (const entry of this.#datasets.strays()) yield this.#view(entry);
  }

  *configurations(): Iterable<DatasetConfiguration> {
    for (const { configuration } of this.#datasets.configured())
      if (configuration !== null) yield configuration;
  }

  dataset(dataset: DatasetId): DatasetView | undefined {
    const entry = this.#datasets.get(dataset);
    return entry === undefined ? undefined : this.#view(entry);
  }

  *nodes(): Iterable<NodeView> {
    for (const entry of this.#nodes.all()) yield nodeView(entry, this.#now());
  }

  node(node: NodeId): NodeView | undefined {
    const entry = this.#nodes.get(node);
    return entry === undefined ? undefined : nodeView(entry, this.#now());
  }

  nodeByEra(era: string): NodeId | undefined {
    return this.#nodes.byEra(era);
  }

  leases(): Iterable<Lease> {
    return this.#datasets.leases.values();
  }

  history(afterRevision: number, limit: number): readonly Commit[] {
    return this.#options.store.history(afterRevision, limit);
  }

  subscribe(listener: (change: ClusterChange) => void): () => void {
    return this.#listeners.add(listener);
  }

  createDataset(request: NewDataset, caller: Caller): Result<DatasetView> {
    const dataset = request.dataset ?? (this.#options.ids.uuid() as DatasetId);
    const birth = this.#birth(dataset, request.primary);
    const view = this.#rulesView();
    return this.#carryOut(dataset, caller, decideCreate({ ...request, dataset }, { view, caller, birth }));
  }

  updateDataset(dataset: DatasetId, update: DatasetUpdate, caller: Caller): Result<DatasetView> {
    const view = this.#rulesView();
    return this.#carryOut(dataset, caller, decideUpdate(dataset, update, { view, caller }));
  }

  deleteDataset(dataset: DatasetId, caller: Caller): Result<DatasetView> {
    const view = this.#rulesView();
    const { graceMs } = this.#options;
    return this.#carryOut(dataset, caller, decideDelete(dataset, { view, caller, graceMs }));
  }

  undeleteDataset(dataset: DatasetId, caller: Caller): Result<DatasetView> {
    const view = this.#rulesView();
    return this.#carryOut(dataset, caller, decideUndelete(dataset, { view, caller }));
  }

  failOver(dataset: DatasetId, failover: Failover, caller: Caller): Result<DatasetView> {
    const entry = this.#datasets.get(dataset);
    const known = (node: NodeId): NodeView | undefined => this.node(node);
    const context = { view: this.#rulesView(), caller, entry, known };
    return this.#carryOut(dataset, caller, decideFailover(dataset, failover, context));
  }

  acquireLease(lease: Lease, caller: Caller): Result<{ readonly created: boolean }> {
    const decided = decideAcquire(lease, { view: this.#rulesView(), caller });
    if (!decided.ok) return decided;
    const { created, change } = decided.value;
    const committed = this.#commit(change === null ? [] : [change], caller.author);
    return committed.ok ? success({ created }) : committed;
  }

  releaseLease(dataset: DatasetId, caller: Caller): Result<Lease> {
    const decided = decideRelease(dataset, { view: this.#rulesView(), caller });
    if (!decided.ok) return decided;
    const committed = this.#commit([{ kind: "remove-lease", dataset }], caller.author);
    return committed.ok ? decided : committed;
  }

  containers(): Iterable<ContainerConfiguration> {
    return this.#containers.all();
  }

  createContainer(container: ContainerConfiguration, caller: Caller): Result<ContainerConfiguration> {
    const decided = decideCreateContainer(container, this.#containerContext(caller));
    return this.#carryOutContainer(container.name, caller, decided);
  }

  moveContainer(name: string, node: NodeId, caller: Caller): Result<ContainerConfiguration> {
    return this.#carryOutContainer(
      name,
      caller,
      decideMoveContainer(name, node, this.#containerContext(caller)),
    );
  }

  deleteContainer(name: string, caller: Caller): Result<void> {
    const decided = decideDeleteContainer(name, this.#containerContext(caller));
    return decided.ok ? this.#commit(decided.value, caller.author) : decided;
  }

  compose(composition: Composition, caller: Caller): Result<void> {
    const birth = (dataset: DatasetId, primary: NodeId): Ownership => this.#birth(dataset, primary);
    const decided = decideCompose(composition, { ...this.#containerContext(caller), birth });
    return decided.ok ? this.#commit(decided.value, caller.author) : decided;
  }

  purgeDue(now: Milliseconds): Result<number> {
    return this.#commitDue(this.#purges, now, decidePurge);
  }

  expireLeases(now: Milliseconds): Result<number> {
    return this.#commitDue(this.#expiries, now, decideExpiry);
  }

  nextDeadline(): Milliseconds | null {
    const times = [this.#purges.next(), this.#expiries.next()].filter((at) => at !== null);
    return times.length === 0 ? null : Math.min(...times);
  }

  nodeConnected(node: NodeId, hello: Hello, host: string): void {
    const known = nodeOf(hello, host, this.#now());
    assert(known.node === node, "an agent speaks for the node of its certificate");
    this.#saveNode(known);
    const entry = this.#nodes.put(known);
    entry.connected = true;
    entry.lastSeenAt = known.lastSeenAt;
    entry.toldStale = false;
    entry.capabilities = hello.backend.capabilities;
    entry.refusedSession = null;
    entry.arriving = null;
    this.#tellOfNode(entry);
  }

  nodeDisconnected(node: NodeId): void {
    const entry = this.#nodes.required(node);
    entry.connected = false;
    entry.arriving = null;
    entry.known = { ...entry.known, lastSeenAt: entry.lastSeenAt };
    for (const dataset of entry.reported) {
      const reported = this.#datasets.get(dataset);
      if (reported?.transfer?.from === node) reported.transfer = null;
    }
    this.#tellOfNode(entry);
    this.#saveNode(entry.known);
  }

  heard(node: NodeId): void {
    const entry = this.#nodes.required(node);
    entry.lastSeenAt = this.#now();
    if (!entry.toldStale) return;
    entry.toldStale = false;
    this.#tellOfNode(entry);
  }

  noticeSilence(now: Milliseconds): void {
    for (const entry of this.#nodes.all()) {
      if (entry.toldStale || !isStale(entry, now)) continue;
      entry.toldStale = true;
      this.#tellOfNode(entry);
    }
  }

  sessionRefused(node: NodeId, host: string): void {
    this.#nodes.required(node).refusedSession = { at: this.#now(), host };
    this.#listeners.tell({ datasets: [], nodes: [node] });
  }

  applyReport(
    node: NodeId,
    message: StateMessage | Extract<Parameters<ClusterCore["applyReport"]>[1], { kind: "progress" }>,
  ): void {
    const reporter = this.#nodes.required(node);
    if (message.kind === "progress") {
      const entry = this.#datasets.get(message.dataset);
      if (entry === undefined) return;
      entry.transfer = { from: node, doneBytes: message.doneBytes, totalBytes: message.totalBytes };
      this.#listeners.tell({ datasets: [message.dataset], nodes: [] });
      return;
    }
    const hadReported = reporter.hasReported;
    const changed = takeState(reporter, message, this.#datasets);
    const problem = this.#judge.judge(changed);
    const isFirst = reporter.hasReported && !hadReported;
    const isCapacityNews =
      message.capacity !== null && JSON.stringify(message.capacity) !== JSON.stringify(reporter.capacity);
    if (message.capacity !== null) reporter.capacity = message.capacity;
    // From its first complete report on, what the node does not report is known to be absent.
    if (isFirst) this.#tellOfNode(reporter, changed);
    else if (changed.size > 0 || isCapacityNews)
      this.#listeners.tell({ datasets: [...changed], nodes: isCapacityNews ? [node] : [] });
    if (problem !== null) throw new ProblemError(problem);
  }

  sliceFor(node: NodeId): readonly SliceDataset[] {
    const slice: SliceDataset[] = [];
    for (const dataset of this.#datasets.concerning(node)) {
      const entry = this.sliceEntry(node, dataset);
      if (entry !== undefined) slice.push(entry);
    }
    return slice;
  }

  sliceEntry(node: NodeId, dataset: DatasetId): SliceDataset | undefined {
    const entry = this.#datasets.get(dataset);
    if (entry === undefined || !entry.concerned.has(node)) return undefined;
    return sliceDataset(node, entry, this.#datasets.leases.get(dataset) ?? null);
  }

  sliceNode(node: NodeId): SliceNode | undefined {
    const entry = this.#nodes.get(node);
    return entry === undefined ? undefined : sliceNode(entry);
  }

  nodesOf({ dataset, desired, ownership, relinquishedToYou }: SliceDataset): readonly NodeId[] {
    const nodes = new Set<NodeId>(this.concernedNodes(dataset));
    if (desired !== null) nodes.add(desired.primary);
    if (ownership !== null) nodes.add(ownership.owner);
    if (relinquishedToYou !== null) nodes.add(relinquishedToYou.from);
    return [...nodes];
  }

  concernedNodes(dataset: DatasetId): Iterable<NodeId> {
    return this.#datasets.get(dataset)?.concerned ?? [];
  }

  /** What is lost of this where the disk fails is only how the node is shown after a restart. */
  #saveNode(known: KnownNode): void {
    try {
      this.#options.store.saveNode(known);
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      this.#options.log.write("error", "node-not-saved", { node: known.node, ...error.problem });
    }
  }

  #now(): Milliseconds {
    return this.#options.clock.now();
  }

  #view(entry: DatasetEntry): DatasetView {
    const lease = this.#datasets.leases.get(entry.dataset) ?? null;
    return datasetView(entry, { nodes: this.#nodes, lease, now: this.#now() });
  }

  #rulesView(now: Milliseconds = this.#now()): RulesView {
    const datasets = this.#datasets;
    const nodes = this.#nodes;
    return {
      revision: this.#revision,
      now,
      configuration: (dataset) => datasets.get(dataset)?.configuration ?? undefined,
      named: (name) => datasets.named(name),
      datasetIds: () => datasets.configuredIds(),
      nodeName: (node) => nodes.get(node)?.known.name,
      *nodes() {
        for (const { known } of nodes.all()) yield known;
      },
      lease: (dataset) => datasets.leases.get(dataset),
      containers: this.#containers,
    };
  }

  #containerContext(caller: Caller): ContainerContext {
    return { view: this.#rulesView(), containers: this.#containers, caller };
  }

  #birth(dataset: DatasetId, primary: NodeId): Ownership {
    const reports = this.#datasets.get(dataset)?.reports ?? new Map<NodeId, never>();
    return birthRecord(dataset, { primary, reports, now: this.#now() });
  }

  #carryOutContainer(name: string, caller: Caller, decided: Decided): Result<ContainerConfiguration> {
    if (!decided.ok) return decided;
    const committed = this.#commit(decided.value, caller.author);
    if (!committed.ok) return committed;
    const container = this.#containers.get(name);
    assert(container !== undefined, "what was committed is known");
    return success(container);
  }

  #carryOut(dataset: DatasetId, caller: Caller, decided: Decided): Result<DatasetView> {
    if (!decided.ok) return decided;
    const committed = this.#commit(decided.value, caller.author);
    if (!committed.ok) return committed;
    const entry = this.#datasets.get(dataset);
    assert(entry !== undefined, "what was committed is known");
    return success(this.#view(entry));
  }

  /** Makes changes durable, takes them in, and tells of them. None make no commit. */
  #commit(changes: readonly Change[], author: string): Result<void> {
    if (changes.length === 0) return success();
    const { store } = this.#options;
    const committed = store.commit({
      expectedRevision: this.#revision,
      changes,
      author,
      at: this.#now(),
    });
    if (!committed.ok) return committed;
    this.#revision = committed.value.revision;
    this.#tag = committed.value.tag;
    const datasets = new Set<DatasetId>();
    for (const change of changes) {
      if (change.kind === "put-container") this.#containers.put(change.value);
      else if (change.kind === "remove-container") this.#containers.remove(change.name);
      else datasets.add(this.#take(change));
    }
    const problem = this.#judge.judge(datasets);
    // The commit itself is durable. Ownership follows with the next change or report.
    if (problem !== null) this.#options.log.write("error", "ownership-not-saved", { ...problem });
    this.#listeners.tell({ datasets: [...datasets], nodes: [] });
    return success();
  }

  #take(change: DatasetChange): DatasetId {
    if (change.kind !== "put-dataset") {
      const dataset = change.kind === "put-lease" ? change.value.dataset : change.dataset;
      this.#setLease(dataset, change.kind === "put-lease" ? change.value : null);
      return dataset;
    }
    const before = this.#datasets.get(change.value.dataset)?.configuration ?? null;
    const entry = this.#datasets.configure({ ...change.value, revision: this.#revision });
    if (change.birth !== undefined) {
      entry.ownership = change.birth;
      entry.primaryWasElsewhere = change.birth.owner !== change.value.primary;
    }
    if (change.failover !== undefined) entry.ownership = change.failover;
    const owner = entry.ownership?.owner;
    if (change.value.primary !== owner || (before !== null && before.primary !== owner))
      entry.primaryWasElsewhere = true;
    this.#setPurge(entry);
    return entry.dataset;
  }

  #setLease(dataset: DatasetId, lease: Lease | null): void {
    if (lease === null) this.#datasets.leases.delete(dataset);
    else this.#datasets.leases.set(dataset, lease);
    this.#expiries.set(dataset, lease?.expiresAt ?? null);
  }

  #setPurge({ dataset, configuration }: DatasetEntry): void {
    const deletion = configuration?.deletion ?? null;
    this.#purges.set(dataset, deletion === null || deletion.purged ? null : deletion.graceEndsAt);
  }

  #commitDue(
    deadlines: Deadlines,
    now: Milliseconds,
    decide: (datasets: readonly DatasetId[], view: RulesView) => readonly Change[],
  ): Result<number> {
    const due = deadlines.due(now, dueMaximum);
    if (due.length === 0) return success(0);
    const changes = decide(due, this.#rulesView(now));
    const committed = this.#commit(changes, selfAuthor);
    if (committed.ok) return success(changes.length);
    this.#options.log.write("error", "due-changes-not-saved", { ...committed.problem });
    return committed;
  }

  /** A node's coming and going changes what is known of all its datasets. */
  #tellOfNode(entry: NodeEntry, more: Iterable<DatasetId> = []): void {
    const { node } = entry.known;
    const datasets = new Set([...this.#datasets.concerning(node), ...more]);
    this.#listeners.tell({ datasets: [...datasets], nodes: [node] });
  }
}
