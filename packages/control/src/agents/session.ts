import {
  assert,
  datasetsPerMessage,
  type AgentToControl,
  type ControlToAgent,
  type DatasetId,
  type Link,
  type Milliseconds,
  type NodeId,
  type SliceDataset,
  type SliceNode,
} from "@flocker/core";

/**
 * So many parts of a slice may be on their way unacknowledged; more changes are gathered into the next one.
 */
const unacknowledgedMaximum = 8;

/** What a session takes from the cluster: its slice, and nothing of other nodes' business. */
export interface SliceSource {
  revision(): number;
  sliceFor(node: NodeId): readonly SliceDataset[];
  /** Undefined where the dataset does not concern the node. */
  sliceEntry(node: NodeId, dataset: DatasetId): SliceDataset | undefined;
  sliceNode(node: NodeId): SliceNode | undefined;
  /** The other nodes that the agent needs to know for this entry. */
  nodesOf(entry: SliceDataset): readonly NodeId[];
}

/** One agent's session: remembers what the agent was told, so that only changes are sent. */
export class AgentSession {
  readonly node: NodeId;
  readonly hello: Extract<AgentToControl, { kind: "hello" }>;
  readonly host: string;
  readonly link: Link;
  lastHeardAt: Milliseconds;
  lastSentAt: Milliseconds;
  readonly #source: SliceSource;
  readonly #toldDatasets = new Map<DatasetId, { readonly text: string; readonly sequence: number }>();
  readonly #toldNodes = new Map<NodeId, string>();
  readonly #changedDatasets = new Set<DatasetId>();
  readonly #changedNodes = new Set<NodeId>();
  #toldRevision = -1;
  #sequence = 0;
  #acknowledged = 0;
  /** What of it is on its way, oldest first. */
  readonly #unacknowledged: { readonly sequence: number; readonly datasets: readonly DatasetId[] }[] = [];

  constructor(options: {
    readonly hello: Extract<AgentToControl, { kind: "hello" }>;
    readonly host: string;
    readonly link: Link;
    readonly source: SliceSource;
    readonly now: Milliseconds;
  }) {
    this.hello = options.hello;
    this.node = options.hello.node;
    this.host = options.host;
    this.link = options.link;
    this.lastHeardAt = options.now;
    this.lastSentAt = options.now;
    this.#source = options.source;
  }

  send(message: ControlToAgent, now: Milliseconds): void {
    this.lastSentAt = now;
    this.link.send(message);
  }

  /** Sends the complete slice, in parts. */
  tellEverything(now: Milliseconds): void {
    const entries = this.#source.sliceFor(this.node);
    const parts = Math.max(1, Math.ceil(entries.length / datasetsPerMessage));
    for (let index = 0; index < parts; index += 1) {
      const datasets = entries.slice(index * datasetsPerMessage, (index + 1) * datasetsPerMessage);
      for (const entry of datasets) this.#remember(entry, this.#sequence + 1);
      const complete = { begins: index === 0, ends: index === parts - 1 };
      this.#sendSlice({ complete, datasets, removed: [] }, now);
    }
  }

  /** Whether this session has to hear of a change: it was told of the dataset, or is concerned now. */
  knowsDataset(dataset: DatasetId): boolean {
    return this.#toldDatasets.has(dataset);
  }

  /** Notes changes to be told; `flush` tells them. */
  changed(datasets: Iterable<DatasetId>, nodes: Iterable<NodeId>): void {
    for (const dataset of datasets) this.#changedDatasets.add(dataset);
    for (const node of nodes) if (this.#toldNodes.has(node)) this.#changedNodes.add(node);
  }

  /**
   * Tells what has changed since the agent was told, unless it has not kept up; then its acknowledgement
   * does.
   */
  flush(now: Milliseconds): void {
    if (this.#sequence - this.#acknowledged >= unacknowledgedMaximum) return;
    const datasets: SliceDataset[] = [];
    const removed: DatasetId[] = [];
    for (const dataset of this.#changedDatasets) {
      if (datasets.length + removed.length >= datasetsPerMessage) break;
      this.#changedDatasets.delete(dataset);
      const entry = this.#source.sliceEntry(this.node, dataset);
      if (entry === undefined) {
        if (this.#toldDatasets.delete(dataset)) removed.push(dataset);
      } else if (JSON.stringify(entry) !== this.#toldDatasets.get(dataset)?.text) {
        this.#remember(entry, this.#sequence + 1);
        datasets.push(entry);
      }
    }
    if (datasets.length === 0 && removed.length === 0 && this.#changedNodes.size === 0) return;
    this.#sendSlice({ complete: null, datasets, removed }, now);
    if (this.#changedDatasets.size > 0) this.flush(now);
  }

  /**
   * Takes in an acknowledgement, and answers of which datasets the agent now knows all that there is to know.
   */
  acknowledged(sequence: number, now: Milliseconds): readonly DatasetId[] {
    this.#acknowledged = Math.max(this.#acknowledged, Math.min(sequence, this.#sequence));
    const done: DatasetId[] = [];
    while ((this.#unacknowledged[0]?.sequence ?? Infinity) <= this.#acknowledged)
      done.push(...(this.#unacknowledged.shift()?.datasets ?? []));
    this.flush(now);
    return done.filter((dataset) => this.hasAcknowledged(dataset));
  }

  /** Whether the agent has durably taken in all that concerns this dataset: only then a new lease counts. */
  hasAcknowledged(dataset: DatasetId): boolean {
    const told = this.#toldDatasets.get(dataset);
    return told !== undefined && told.sequence <= this.#acknowledged && !this.#changedDatasets.has(dataset);
  }

  #remember(entry: SliceDataset, sequence: number): void {
    this.#toldDatasets.set(entry.dataset, { text: JSON.stringify(entry), sequence });
  }

  #sendSlice(
    part: Pick<Extract<ControlToAgent, { kind: "slice" }>, "complete" | "datasets" | "removed">,
    now: Milliseconds,
  ): void {
    const nodes: SliceNode[] = [];
    const needed = new Set<NodeId>(this.#changedNodes);
    this.#changedNodes.clear();
    for (const entry of part.datasets) for (const node of this.#source.nodesOf(entry)) needed.add(node);
    for (const id of needed) {
      const node = this.#source.sliceNode(id);
      if (node === undefined) continue;
      // The time a node was last seen moves on all the time: it is told with the next real change only.
      const text = JSON.stringify({ ...node, lastSeenAt: node.live ? 0 : node.lastSeenAt });
      if (this.#toldNodes.get(id) === text) continue;
      this.#toldNodes.set(id, text);
      nodes.push(node);
    }
    const revision = this.#source.revision();
    if (part.complete === null && part.datasets.length + part.removed.length + nodes.length === 0) return;
    assert(revision >= this.#toldRevision, "revisions never go down");
    this.#toldRevision = revision;
    this.#sequence += 1;
    const datasets = part.datasets.map((entry) => entry.dataset);
    this.#unacknowledged.push({ sequence: this.#sequence, datasets });
    this.send({ kind: "slice", sequence: this.#sequence, revision, ...part, nodes }, now);
  }
}
