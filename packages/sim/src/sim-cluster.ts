import { startNodeAgent } from "@flocker/agent";
import {
  AgentHub,
  createCluster,
  keepTime,
  openSqliteStore,
  type ClusterCore,
  type ConfigurationStore,
} from "@flocker/control";
import {
  assert,
  type AgentRules,
  type AgentToControl,
  type ControlToAgent,
  type DatasetId,
  type Era,
  type Link,
  type LinkDialer,
  type Milliseconds,
  type NodeId,
} from "@flocker/core";
import type { ModelDiskOptions } from "./model-disk.ts";
import { ControlIsDown, storeOf } from "./control-store.ts";
import { controlNodeName, World, type NodePorts, type WorldNode, type WorldOptions } from "./world.ts";

/** The make-up of a simulated cluster. */
export interface SimClusterOptions extends WorldOptions {
  readonly nodeCount: number;
  /** How long deleted datasets can be had back; an hour unless told otherwise. */
  readonly graceMs?: Milliseconds;
  readonly parts?: SimClusterParts;
  /** What is special about each node's disk, in the order of the nodes. */
  readonly nodeDisks?: readonly Partial<ModelDiskOptions>[];
}

/** Where other parts than the real ones can be put in, to show that what they do wrong is noticed. */
export interface SimClusterParts {
  readonly rules?: AgentRules;
  /** The ports that an agent gets instead of its node's. */
  agentPorts?(node: WorldNode, ports: NodePorts): NodePorts;
  /** The store that a control service gets. It is asked for at each start. */
  controlStore?(store: ConfigurationStore): ConfigurationStore;
  /** The cluster that the control service's hub and its clock get. */
  cluster?(cluster: ClusterCore, control: WorldNode): ClusterCore;
}

/** A message between an agent and the control service, as it was sent. */
export interface WireMessage {
  readonly atMs: Milliseconds;
  readonly node: string;
  readonly message: AgentToControl | ControlToAgent;
}

const author = { author: "user-sim" } as const;

/**
 * A whole cluster in one process: the real control service and real agents over a world's simulated ports.
 */
export class SimCluster {
  readonly world: World;
  readonly nodes: readonly WorldNode[];
  /**
   * What the control service keeps. It outlives its restarts; while it is down another may be put in its
   * place.
   */
  store: ConfigurationStore;
  /**
   * All messages between agents and the control service since `listen`, both ways, in the order of sending.
   */
  readonly wire: WireMessage[] = [];
  readonly #graceMs: Milliseconds;
  readonly #parts: SimClusterParts;
  #hub: AgentHub | undefined;
  #cluster: ClusterCore | undefined;
  #isListening = false;

  constructor(options: SimClusterOptions) {
    this.world = new World(options);
    this.#graceMs = options.graceMs ?? 3_600_000;
    this.#parts = options.parts ?? {};
    const control = this.world.node(controlNodeName);
    const { clock, ids } = control.ports;
    const opened = openSqliteStore(":memory:", { clock, ids });
    assert(opened.ok, "a store in memory opens");
    this.store = opened.value;
    this.nodes = Array.from({ length: options.nodeCount }, (_, index) =>
      this.world.node(`n${index + 1}`, options.nodeDisks?.[index]),
    );
  }

  /** The control service's cluster, as its present incarnation has it. */
  get cluster(): ClusterCore {
    assert(this.#cluster !== undefined, "the control service runs");
    return this.#cluster;
  }

  /** Whether that node's agent has durably taken in what the configuration says of the dataset now. */
  hasAcknowledged(node: WorldNode, dataset: DatasetId): boolean {
    const isUp = this.world.node(controlNodeName).machine.alive;
    return isUp && (this.#hub?.hasAcknowledged(this.id(node), dataset) ?? false);
  }

  /** Starts the control service and all agents. */
  start(): void {
    this.world.node(controlNodeName).start((ports) => this.#runControl(ports));
    for (const node of this.nodes) node.start((ports) => this.#runAgent(node, ports));
  }

  /** From now on every message on the wire is kept in `wire`. */
  listen(): void {
    this.#isListening = true;
  }

  node(index: number): WorldNode {
    const node = this.nodes[index];
    assert(node !== undefined, "the scenario names a node that there is");
    return node;
  }

  id(node: WorldNode): NodeId {
    return node.machine.id;
  }

  /** Asks for a dataset; the answer is durable, the copy comes later. */
  create(node: WorldNode, name?: string): DatasetId {
    const metadata: Record<string, string> = name === undefined ? {} : { name };
    const made = this.cluster.createDataset(
      { primary: this.id(node), maximumSizeBytes: null, metadata },
      author,
    );
    assert(made.ok, "the scenario's request is good");
    return made.value.dataset;
  }

  /**
   * Asks for a move; answers whether the control service has said yes: it may go down in the middle of it.
   */
  move(dataset: DatasetId, node: WorldNode): boolean {
    try {
      const moved = this.cluster.updateDataset(dataset, { primary: this.id(node) }, author);
      assert(moved.ok, "the scenario's request is good");
      return true;
    } catch (error) {
      if (error instanceof ControlIsDown) return false;
      throw error;
    }
  }

  /** Whether the control service sees the dataset as configured, served by that node. */
  isServedBy(dataset: DatasetId, node: WorldNode): boolean {
    const view = this.#cluster?.dataset(dataset);
    if (view === undefined || !view.converged) return false;
    const report = view.reports.find((held) => held.node === this.id(node));
    return report?.report.copy?.record.role === "primary" && report.report.copy.mountedAt !== null;
  }

  /** Runs until that node serves the dataset. */
  async untilServed(dataset: DatasetId, node: WorldNode): Promise<void> {
    await this.world.run(() => this.isServedBy(dataset, node));
  }

  #runControl(ports: NodePorts): void {
    const { clock, ids, log } = ports;
    const { machine } = this.world.node(controlNodeName);
    const { incarnation } = machine;
    const kept = this.#parts.controlStore?.(this.store) ?? this.store;
    const store = storeOf(incarnation, kept);
    const cluster = createCluster({ store, clock, ids, log, graceMs: this.#graceMs });
    const given = this.#parts.cluster?.(cluster, this.world.node(controlNodeName)) ?? cluster;
    const hub = new AgentHub({ cluster: given, clock, log, version: "sim" });
    const never = new AbortController().signal;
    this.#cluster = cluster;
    this.#hub = hub;
    const running = (work: Promise<void>): void => {
      // A control service that goes down at a commit is in the middle of something, which ends there.
      work.catch((error: unknown) => {
        if (!(error instanceof ControlIsDown) || incarnation.alive) this.world.scheduler.fail(error);
      });
    };
    ports.serveLinks((link, from) =>
      running(hub.accept(this.#overheard(link, from.host), from.node, from.host)),
    );
    running(hub.run(never));
    running(keepTime(given, ports, never));
  }

  #runAgent(node: WorldNode, ports: NodePorts): void {
    const given = this.#parts.agentPorts?.(node, ports) ?? ports;
    const agent = startNodeAgent(
      { ...given, dialer: this.#overheardDialer(given.dialer, node.name) },
      {
        node: this.id(node),
        era: node.machine.era as Era,
        incarnation: ports.ids.uuid(),
        name: node.name,
        version: "sim",
        dataAddress: { host: node.address.host, port: node.address.port },
        backend: { kind: given.backend.kind, capabilities: given.backend.capabilities },
      },
      this.#parts.rules,
    );
    ports.servePeers(agent.handlePeer);
  }

  /** Only what is sent is noted, on either side: a message is on the wire once. */
  #overheard(link: Link, node: string): Link {
    return {
      messages: () => link.messages(),
      close: () => link.close(),
      send: (message) => {
        if (this.#isListening)
          this.wire.push({ atMs: this.world.elapsedMs, node, message: message as WireMessage["message"] });
        link.send(message);
      },
    };
  }

  #overheardDialer(dialer: LinkDialer, node: string): LinkDialer {
    return {
      dial: async (abort) => {
        const dialled = await dialer.dial(abort);
        return dialled.ok ? { ok: true, value: this.#overheard(dialled.value, node) } : dialled;
      },
    };
  }
}
