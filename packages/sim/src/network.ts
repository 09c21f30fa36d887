import { linkSilenceMs } from "@flocker/core";
import type { Milliseconds, NodeId } from "@flocker/core";
import { ChannelEnd } from "./channel.ts";
import type { ChannelConditions } from "./channel.ts";
import type { CrashKind, Incarnation, SimNode } from "./node.ts";
import type { SeededRandom } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";

/** A range that the seed draws from. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** How a simulated network delays and loses. */
export interface NetworkOptions {
  /** How long each message takes. */
  readonly latencyMs: Range;
  /** After this time without an answer a connection attempt is given up. */
  readonly connectTimeoutMs: Milliseconds;
  /** After this silence an end takes the other side for dead. */
  readonly silenceMs: Milliseconds;
}

/** A network without faults. */
export const defaultNetworkOptions: NetworkOptions = {
  latencyMs: { min: 0.2, max: 3 },
  connectTimeoutMs: 10_000,
  silenceMs: linkSilenceMs,
};

/** What a service on a node is reached by: the link to the control service, or the data channel. */
export type Service = "link" | "peer";

/** Why a connection attempt failed: an answer that says no, or none at all. */
export type ConnectFailure = "refused" | "timeout";

/** Gets each new connection, on the side that answers; it must listen to the end at once. */
export type Acceptor = (end: ChannelEnd<never, never>, from: SimNode) => void;

type AnyEnd = ChannelEnd<never, never>;

/** The network between all nodes, and what is wrong with it. */
export class SimNetwork {
  readonly #scheduler: Scheduler;
  readonly #options: NetworkOptions;
  readonly #random: SeededRandom;
  #latency: Range;
  readonly #conditions: ChannelConditions;
  readonly #nodes = new Map<NodeId, SimNode>();
  readonly #acceptors = new Map<Incarnation, Map<Service, Acceptor>>();
  readonly #connections = new Set<{ readonly service: Service; readonly ends: readonly [AnyEnd, AnyEnd] }>();
  readonly #partitions = new Set<string>();
  readonly #refusing = new Set<SimNode>();
  readonly #expired = new Set<SimNode>();
  readonly #poweredOff = new Set<Incarnation>();

  constructor(scheduler: Scheduler, options: NetworkOptions) {
    this.#scheduler = scheduler;
    this.#options = options;
    this.#random = scheduler.random.fork("network");
    this.#latency = options.latencyMs;
    this.#conditions = {
      latencyMs: () => this.latencyMs(),
      isPartitioned: (from, to) => this.isPartitioned(from.node, to.node),
      silenceMs: options.silenceMs,
    };
  }

  /** Connects a node to the network. */
  attach(node: SimNode): void {
    this.#nodes.set(node.id, node);
    node.onPauseChange(() => this.#review());
  }

  /** The node with that host name. */
  nodeAt(host: string): SimNode | undefined {
    return [...this.#nodes.values()].find((node) => node.name === host);
  }

  /** Draws how long the next message takes. */
  latencyMs(): Milliseconds {
    return this.#random.between(this.#latency.min, this.#latency.max);
  }

  /** Makes all links as slow as that, or with null as they were. What is on its way keeps its time. */
  slow(latencyMs: Range | null): void {
    this.#scheduler.note(latencyMs === null ? "network is as fast as before" : "network is slow");
    this.#latency = latencyMs ?? this.#options.latencyMs;
  }

  /**
   * Lets nothing through between two nodes, both ways or only from `a` to `b`. What is sent is held: it
   * arrives when the partition heals, unless a side has taken the other for dead by then.
   */
  partition(a: SimNode, b: SimNode, mode: "both" | "one-way" = "both"): void {
    this.#scheduler.note(`network partition ${a.name} ${mode === "both" ? "<->" : "->"} ${b.name}`);
    this.#partitions.add(direction(a, b));
    if (mode === "both") this.#partitions.add(direction(b, a));
    this.#review();
  }

  /** Ends all partitions, or those between two nodes. */
  heal(a?: SimNode, b?: SimNode): void {
    this.#scheduler.note(`network heal ${a?.name ?? "all"} ${b?.name ?? ""}`);
    if (a === undefined || b === undefined) this.#partitions.clear();
    else {
      this.#partitions.delete(direction(a, b));
      this.#partitions.delete(direction(b, a));
    }
    this.#review();
  }

  isPartitioned(from: SimNode, to: SimNode): boolean {
    return this.#partitions.has(direction(from, to));
  }

  /** Breaks all open connections between two nodes, or those of one service; new ones can be made at once. */
  cut(a: SimNode, b: SimNode, service?: Service): void {
    this.#scheduler.note(`network cut ${a.name} <-> ${b.name}`);
    for (const connection of this.#open()) {
      const names = connection.ends.map((end) => end.owner.node.name);
      const concerned = names.includes(a.name) && names.includes(b.name);
      if (concerned && (service === undefined || service === connection.service)) connection.ends[0].cut();
    }
  }

  /** Lets a node refuse all new connections, as if nothing listened; open ones stay. */
  refuse(node: SimNode): void {
    this.#refusing.add(node);
  }

  /** Ends {@link SimNetwork.refuse}. */
  accept(node: SimNode): void {
    this.#refusing.delete(node);
  }

  /**
   * Lets a node's certificate expire: it makes no new connection, and nobody makes one to it; open ones stay.
   */
  expireCertificate(node: SimNode): void {
    this.#scheduler.note(`the certificate of ${node.name} has expired`);
    this.#expired.add(node);
  }

  /** Ends {@link SimNetwork.expireCertificate}. */
  renewCertificate(node: SimNode): void {
    this.#scheduler.note(`the certificate of ${node.name} is renewed`);
    this.#expired.delete(node);
  }

  /** How many connections are open. */
  openConnections(service?: Service): number {
    return [...this.#open()].filter((connection) => service === undefined || connection.service === service)
      .length;
  }

  /** Only for ports: answers connections to a service of this incarnation's node. Returns what ends it. */
  listen(incarnation: Incarnation, service: Service, acceptor: Acceptor): () => void {
    const acceptors = this.#acceptors.get(incarnation) ?? new Map<Service, Acceptor>();
    acceptors.set(service, acceptor);
    this.#acceptors.set(incarnation, acceptors);
    incarnation.onDown(() => this.#acceptors.delete(incarnation));
    return () => acceptors.delete(service);
  }

  /** Only for ports: connects to a service of a node and calls one of the two back. */
  connect<Sent, Received>(
    from: Incarnation,
    to: SimNode | undefined,
    service: Service,
    on: { connected(end: ChannelEnd<Sent, Received>): void; failed(failure: ConnectFailure): void },
  ): void {
    const label = `${from.name} -> ${to?.name ?? "nowhere"} ${service}`;
    this.#scheduler.after(this.latencyMs(), `${label} connects`, () => {
      if (!from.alive) return;
      const answer = to === undefined ? "timeout" : this.#answer(from.node, to, service);
      if (typeof answer === "string") {
        const delayMs = answer === "timeout" ? this.#options.connectTimeoutMs : this.latencyMs();
        from.after(delayMs, `${label} fails: ${answer}`, () => on.failed(answer));
        return;
      }
      const near = new ChannelEnd<Sent, Received>(from, this.#scheduler, this.#conditions, label);
      const farLabel = `${answer.target.name} -> ${from.name} ${service}`;
      const far = new ChannelEnd<Received, Sent>(answer.target, this.#scheduler, this.#conditions, farLabel);
      ChannelEnd.join(near, far);
      // The registry and the acceptors do not care for what is sent; ports know by the service what it is.
      const ends = [near, far] as unknown as readonly [AnyEnd, AnyEnd];
      this.#register({ service, ends });
      answer.target.deliver(() => answer.acceptor(ends[1], from.node));
      from.after(this.latencyMs(), `${label} connected`, () => on.connected(near));
    });
  }

  #answer(
    from: SimNode,
    to: SimNode,
    service: Service,
  ): ConnectFailure | { readonly target: Incarnation; readonly acceptor: Acceptor } {
    const silent = this.#poweredOff.has(to.incarnation) || to.paused;
    if (silent || this.isPartitioned(from, to) || this.isPartitioned(to, from)) return "timeout";
    const acceptor = this.#acceptors.get(to.incarnation)?.get(service);
    if (acceptor === undefined || this.#refusing.has(to)) return "refused";
    if (this.#expired.has(from) || this.#expired.has(to)) return "refused";
    return { target: to.incarnation, acceptor };
  }

  #register(connection: { readonly service: Service; readonly ends: readonly [AnyEnd, AnyEnd] }): void {
    this.#connections.add(connection);
    for (const end of connection.ends) {
      end.owner.onDown((kind) => this.#ownerIsDown(end, kind));
    }
  }

  #ownerIsDown(end: AnyEnd, kind: CrashKind): void {
    if (kind === "machine") this.#poweredOff.add(end.owner);
    else if (this.#random.chance(0.5)) end.abandon();
    else end.cut();
  }

  /** The connections of which at least one end is open; forgets the others. */
  *#open(): IterableIterator<{ readonly service: Service; readonly ends: readonly [AnyEnd, AnyEnd] }> {
    for (const connection of this.#connections) {
      if (connection.ends.some((end) => end.isOpen)) yield connection;
      else this.#connections.delete(connection);
    }
  }

  #review(): void {
    for (const { ends } of this.#open()) {
      const [a, b] = ends;
      a.review(this.#isMute(b.owner, a.owner));
      b.review(this.#isMute(a.owner, b.owner));
    }
  }

  #isMute(from: Incarnation, to: Incarnation): boolean {
    const off = this.#poweredOff.has(from);
    return off || (from.alive && from.node.paused) || this.isPartitioned(from.node, to.node);
  }
}

function direction(from: SimNode, to: SimNode): string {
  return `${from.name}>${to.name}`;
}
