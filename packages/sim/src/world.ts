import { assert } from "@flocker/core";
import type { Backend, Clock, Ids, Log, Milliseconds, PeerHandler, Random } from "@flocker/core";
import type { AgentStore, LinkDialer, PeerAddress, Peers } from "@flocker/core";
import { listenForLinks, simLinkDialer } from "./links.ts";
import type { LinkAcceptor } from "./links.ts";
import { LogBook, simLog } from "./log.ts";
import { modelBackend } from "./model-backend.ts";
import type { BackendFates } from "./model-backend.ts";
import { defaultModelDiskOptions, ModelDisk } from "./model-disk.ts";
import type { DiskEvent, ModelDiskOptions } from "./model-disk.ts";
import { defaultNetworkOptions, SimNetwork } from "./network.ts";
import type { NetworkOptions, Range } from "./network.ts";
import { simClock, SimNode } from "./node.ts";
import type { Incarnation } from "./node.ts";
import { listenForPeers, simPeers } from "./peers.ts";
import type { PeerFates } from "./peers.ts";
import type { SeededRandom } from "./random.ts";
import { Scheduler } from "./scheduler.ts";
import type { RunOptions, SchedulerOptions } from "./scheduler.ts";
import { simStore } from "./store.ts";
import type { DurableTables } from "./store.ts";

/** The name of the node that agents look for the control service on. */
export const controlNodeName = "control";

/** All doors to the outside world that the programs of one incarnation have. */
export interface NodePorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly ids: Ids;
  readonly log: Log;
  readonly store: AgentStore;
  readonly backend: Backend;
  readonly dialer: LinkDialer;
  readonly peers: Peers;
  /** Answers other nodes' agents from now on. Returns what ends it. */
  servePeers(handler: PeerHandler): () => void;
  /** Takes in agents' links from now on: for the control service. Returns what ends it. */
  serveLinks(acceptor: LinkAcceptor): () => void;
}

/** What a world starts with; the seed decides the rest. */
export interface WorldOptions extends Partial<SchedulerOptions> {
  readonly seed: number | bigint | string;
  readonly network?: Partial<NetworkOptions>;
  readonly disk?: Partial<ModelDiskOptions>;
  /** How long each call of a backend takes. */
  readonly backendCallMs?: Range;
  /** Whether backends tell what happens behind the agent's back. */
  readonly backendWatches?: boolean;
  readonly logLinesMax?: number;
}

/** A node of a world: its machine, its disk, and the ports of the incarnation that runs now. */
export interface WorldNode {
  readonly name: string;
  readonly machine: SimNode;
  readonly disk: ModelDisk;
  /** Where other agents reach this node's data channel. */
  readonly address: PeerAddress;
  /** The ports of the incarnation that runs now. */
  readonly ports: NodePorts;
  /** What becomes of calls of the backend; "normal" unless set. Survives crashes. */
  backendFates: BackendFates;
  /**
   * Sets what this node runs, and runs it. It is run again, on fresh ports, after each restart. What it
   * throws or rejects with is a programming mistake and ends the run of the world.
   */
  start(main: (ports: NodePorts) => unknown): void;
  /** Starts a crashed node again, and what was last set to run on it. */
  restart(): void;
  /**
   * Puts a new, empty machine in the place of one that is down: it has the same name and certificate, and no
   * data.
   */
  wipe(): void;
}

/** Everything simulated: nodes, the network between them, and the time that they share. */
export class World {
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly logBook: LogBook;
  /** Chance for the scenario itself. */
  readonly random: SeededRandom;
  /** What becomes of requests to other agents; "normal" unless set. */
  peerFates: PeerFates = () => ({ kind: "normal" });
  readonly #options: WorldOptions;
  readonly #nodes = new Map<string, WorldNode>();
  readonly #diskListeners = new Set<(node: WorldNode, event: DiskEvent) => void>();

  constructor(options: WorldOptions) {
    this.#options = options;
    this.scheduler = new Scheduler({
      seed: options.seed,
      startsAtMs: options.startsAtMs ?? Date.UTC(2027, 0, 15, 8),
      eventsMax: options.eventsMax ?? 5_000_000,
      traceLinesMax: options.traceLinesMax ?? 200,
    });
    this.random = this.scheduler.random.fork("scenario");
    this.network = new SimNetwork(this.scheduler, { ...defaultNetworkOptions, ...options.network });
    this.logBook = new LogBook(options.logLinesMax ?? 1_000);
  }

  get seed(): string {
    return this.scheduler.seed;
  }

  get elapsedMs(): Milliseconds {
    return this.scheduler.elapsedMs;
  }

  /** The node of that name; it is made when it is first asked for. */
  node(name: string, disk: Partial<ModelDiskOptions> = {}): WorldNode {
    const existing = this.#nodes.get(name);
    if (existing !== undefined) return existing;
    const options = { ...defaultModelDiskOptions, ...this.#options.disk, ...disk };
    const node = this.#makeNode(new SimNode(name, this.scheduler), new ModelDisk(name, options));
    this.#nodes.set(name, node);
    node.disk.onEvent((event) => {
      for (const listener of this.#diskListeners) listener(node, event);
    });
    return node;
  }

  /** All nodes, in the order in which they were made. */
  nodes(): readonly WorldNode[] {
    return [...this.#nodes.values()];
  }

  /** Calls back after what happens to copies on any node's disk, also of nodes that are yet to come. */
  onDiskEvent(listener: (node: WorldNode, event: DiskEvent) => void): void {
    this.#diskListeners.add(listener);
  }

  /** Runs to a time since the beginning, or until a condition holds; see {@link Scheduler.run}. */
  run(until: Milliseconds | (() => boolean), options?: RunOptions): Promise<void> {
    return this.scheduler.run(until, options);
  }

  /** Lets that much simulated time pass. */
  runFor(ms: Milliseconds): Promise<void> {
    return this.scheduler.run(this.scheduler.elapsedMs + ms);
  }

  /** Runs until the promise has settled, and answers what it answers. */
  settle<Value>(promise: Promise<Value>, options?: RunOptions): Promise<Value> {
    return this.scheduler.settle(promise, options);
  }

  /** A hash over all that has happened: see {@link Scheduler.traceHash}. */
  traceHash(): string {
    return this.scheduler.traceHash();
  }

  #makeNode(machine: SimNode, disk: ModelDisk): WorldNode {
    const tables: DurableTables = new Map();
    this.network.attach(machine);
    const losses = this.scheduler.random.fork(`losses/${machine.name}`);
    machine.onMachineDown(() => disk.machineDown(() => losses.chance(0.5)));
    let main: ((ports: NodePorts) => unknown) | null = null;
    const run = (): void => {
      if (main !== null) this.#runProgram(main, node.ports);
    };
    const portsNow = (): NodePorts =>
      this.#makePorts(machine.incarnation, disk, tables, (...call) => node.backendFates(...call));
    let ports = portsNow();
    const node: WorldNode = {
      name: machine.name,
      machine,
      disk,
      address: { node: machine.id, host: machine.name, port: 4525 },
      get ports() {
        return ports;
      },
      backendFates: () => ({ kind: "normal" }),
      start: (program) => {
        main = program;
        run();
      },
      restart: () => {
        machine.restart();
        ports = portsNow();
        run();
      },
      wipe: () => {
        assert(!machine.alive, `${machine.name} is down when it is replaced`);
        this.scheduler.note(`${machine.name} is replaced by an empty machine`);
        tables.clear();
        disk.wipe();
      },
    };
    return node;
  }

  #runProgram(main: (ports: NodePorts) => unknown, ports: NodePorts): void {
    const running = async (): Promise<unknown> => main(ports);
    running().catch((error: unknown) => this.scheduler.fail(error));
  }

  #makePorts(
    incarnation: Incarnation,
    disk: ModelDisk,
    tables: DurableTables,
    fates: BackendFates,
  ): NodePorts {
    const { scheduler, network } = this;
    const random = scheduler.random.fork(`incarnation/${incarnation.name}`);
    const clock = simClock(incarnation, scheduler);
    return {
      clock,
      random: random.fork("random"),
      ids: random.fork("ids"),
      log: simLog(incarnation, scheduler, this.logBook),
      store: simStore(incarnation, tables),
      backend: modelBackend({
        disk,
        incarnation,
        clock,
        random: random.fork("backend"),
        callMs: this.#options.backendCallMs ?? { min: 0.5, max: 20 },
        fates,
        watches: this.#options.backendWatches ?? false,
      }),
      dialer: simLinkDialer(network, incarnation, () => this.node(controlNodeName).machine),
      peers: simPeers(network, incarnation, (...request) => this.peerFates(...request)),
      servePeers: (handler) =>
        listenForPeers(network, incarnation, handler, (error) => scheduler.fail(error)),
      serveLinks: (acceptor) => listenForLinks(network, incarnation, acceptor),
    };
  }
}
