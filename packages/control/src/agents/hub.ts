import {
  agentProtocolVersion,
  failure,
  heartbeatIntervalMs,
  linkSilenceMs,
  ProblemError,
  type AgentToControl,
  type Clock,
  type ControlToAgent,
  type DatasetId,
  type Link,
  type Log,
  type Milliseconds,
  type NodeId,
  type Problem,
} from "@flocker/core";
import type { ClusterChange } from "../cluster/cluster.ts";
import { parseAgentMessage } from "./message-schema.ts";
import { AgentSession, type SliceSource } from "./session.ts";

/** An agent that connects has to say hello within this time. */
const helloTimeoutMs = 10_000;
/** A link that is closed takes a while to end, so nobody is looked after more often than that. */
const shortestTickMs = 1_000;

type Hello = Extract<AgentToControl, { kind: "hello" }>;

/** What the hub needs of the cluster. */
export interface HubCluster extends SliceSource {
  readonly clusterId: string;
  nodeConnected(node: NodeId, hello: Hello, host: string): void;
  nodeDisconnected(node: NodeId): void;
  heard(node: NodeId): void;
  sessionRefused(node: NodeId, host: string): void;
  applyReport(node: NodeId, message: Extract<AgentToControl, { kind: "state" | "progress" }>): void;
  /** The nodes that a dataset concerns now. */
  concernedNodes(dataset: DatasetId): Iterable<NodeId>;
  subscribe(listener: (change: ClusterChange) => void): () => void;
  dataset(dataset: DatasetId): { readonly lease: { readonly node: NodeId } | null } | undefined;
}

/** What the hub works with. */
export interface HubOptions {
  readonly cluster: HubCluster;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
}

/**
 * Feeds the agents: one session each, with its own slice and then only what changes in it (design, section
 * 8).
 */
export class AgentHub {
  readonly #options: HubOptions;
  readonly #sessions = new Map<NodeId, AgentSession>();
  readonly #unsubscribe: () => void;
  readonly #listeners = new Set<(datasets: readonly DatasetId[]) => void>();
  readonly #serving = new Set<Promise<void>>();

  constructor(options: HubOptions) {
    this.#options = options;
    this.#unsubscribe = options.cluster.subscribe((change) => this.#changed(change));
  }

  /** Looks after silence and heartbeats until it is aborted; then all sessions are ended. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      await clock.sleep(this.#untilDue(clock.monotonic()), signal);
      const now = clock.monotonic();
      for (const session of this.#sessions.values()) {
        if (now - session.lastHeardAt >= linkSilenceMs) session.link.close();
        else if (now - session.lastSentAt >= heartbeatIntervalMs) session.send({ kind: "heartbeat" }, now);
      }
    }
    this.#unsubscribe();
    for (const session of this.#sessions.values()) session.link.close();
    await Promise.allSettled(this.#serving);
  }

  /** How long nothing is to be done; a session that comes meanwhile is due later than that. */
  #untilDue(now: Milliseconds): Milliseconds {
    let dueAt = now + heartbeatIntervalMs;
    for (const { lastHeardAt, lastSentAt } of this.#sessions.values())
      dueAt = Math.min(dueAt, lastHeardAt + linkSilenceMs, lastSentAt + heartbeatIntervalMs);
    return Math.max(shortestTickMs, dueAt - now);
  }

  /** Whether the node's agent has durably taken in what the configuration says of the dataset now. */
  hasAcknowledged(node: NodeId, dataset: DatasetId): boolean {
    return this.#sessions.get(node)?.hasAcknowledged(dataset) ?? false;
  }

  /**
   * Calls back with leased datasets of which the holder's agent has taken everything in by now: the leases
   * count.
   */
  onAcknowledged(listener: (datasets: readonly DatasetId[]) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Runs one agent's session until its link ends. `node` and `host` are proven by certificate and connection.
   * What the store cannot keep ends the session, since the agent must not believe that it was heard; it comes
   * again by itself.
   */
  accept(link: Link, node: NodeId, host: string): Promise<void> {
    const serving = this.#serve(link, node, host).catch((error: unknown) => {
      if (!(error instanceof ProblemError)) throw error;
      this.#options.log.write("error", "session-failed", { node, ...error.problem });
      link.close();
    });
    this.#serving.add(serving);
    return serving.finally(() => this.#serving.delete(serving));
  }

  async #serve(link: Link, node: NodeId, host: string): Promise<void> {
    const { clock } = this.#options;
    const greeted = new AbortController();
    void clock.sleep(helloTimeoutMs, greeted.signal).then(() => {
      if (!greeted.signal.aborted) link.close();
    });
    let session: AgentSession | undefined;
    try {
      for await (const value of link.messages()) {
        const message = parseAgentMessage(value);
        if (message === undefined) return this.#refuse(link, node, malformed(node));
        if (session !== undefined && this.#sessions.get(node) === session) this.#heard(session, message);
        if (session !== undefined) continue;
        greeted.abort();
        session = this.#greet(link, node, host, message);
        if (session === undefined) return;
      }
    } finally {
      greeted.abort();
      link.close();
      if (session !== undefined && this.#sessions.get(node) === session) this.#ended(session);
    }
  }

  #ended(session: AgentSession): void {
    const { node, host } = session;
    this.#sessions.delete(node);
    this.#options.log.write("info", "agent-disconnected", { node, host });
    this.#options.cluster.nodeDisconnected(node);
  }

  #greet(link: Link, node: NodeId, host: string, message: AgentToControl): AgentSession | undefined {
    const { cluster, clock, log, version } = this.#options;
    const other = this.#sessions.get(node);
    const problem = refusal(node, message, other);
    if (problem !== undefined) {
      if (problem.code === "duplicate-node-session") cluster.sessionRefused(node, host);
      this.#refuse(link, node, problem);
      return undefined;
    }
    const hello = message as Hello;
    const now = clock.monotonic();
    const session = new AgentSession({ hello, host, link, source: cluster, now });
    log.write("info", "agent-connected", { node, host, name: hello.name, version: hello.version });
    cluster.nodeConnected(node, hello, hello.dataAddress.host ?? host);
    // From here on the session hears of changes; what it is told first is complete.
    this.#sessions.set(node, session);
    other?.link.close();
    const welcome: ControlToAgent = {
      kind: "welcome",
      protocol: agentProtocolVersion,
      version,
      clusterId: cluster.clusterId,
    };
    session.send(welcome, now);
    session.tellEverything(now);
    return session;
  }

  #refuse(link: Link, node: NodeId, problem: Problem): void {
    this.#options.log.write("warn", "agent-refused", { node, ...problem });
    link.send({ kind: "refused", problem } satisfies ControlToAgent);
  }

  #heard(session: AgentSession, message: AgentToControl): void {
    const { cluster, clock } = this.#options;
    const now = clock.monotonic();
    session.lastHeardAt = now;
    cluster.heard(session.node);
    switch (message.kind) {
      case "state":
        cluster.applyReport(session.node, message);
        return session.send({ kind: "state-acknowledged", sequence: message.sequence }, now);
      case "progress":
        return cluster.applyReport(session.node, message);
      case "slice-acknowledged":
        return this.#acknowledged(session, message.sequence, now);
      case "heartbeat":
      case "hello":
        return;
    }
  }

  #acknowledged(session: AgentSession, sequence: number, now: number): void {
    const leased = session
      .acknowledged(sequence, now)
      .filter((dataset) => this.#options.cluster.dataset(dataset)?.lease?.node === session.node);
    if (leased.length > 0) for (const listener of this.#listeners) listener(leased);
  }

  #changed(change: ClusterChange): void {
    const now = this.#options.clock.monotonic();
    const sessions = new Set<AgentSession>();
    for (const dataset of change.datasets) {
      for (const node of this.#options.cluster.concernedNodes(dataset)) {
        const session = this.#sessions.get(node);
        if (session !== undefined) sessions.add(session);
      }
    }
    // Who is no longer concerned is few and rare; who was told has to be told of the end.
    for (const session of this.#sessions.values()) {
      if (change.nodes.length > 0 || change.datasets.some((dataset) => session.knowsDataset(dataset)))
        sessions.add(session);
    }
    for (const session of sessions) {
      session.changed(change.datasets, change.nodes);
      session.flush(now);
    }
  }
}

function refusal(
  node: NodeId,
  message: AgentToControl,
  other: AgentSession | undefined,
): Problem | undefined {
  if (message.kind !== "hello") return malformed(node);
  if (message.node !== node)
    return failure(
      "protocol-violation",
      `An agent with the certificate of node ${node} tried to speak for node ${message.node}.`,
      "Give each node its own certificate: flocker ca node.",
    ).problem;
  if (Math.abs(message.protocol - agentProtocolVersion) > 1)
    return failure(
      "protocol-version",
      `The agent speaks version ${message.protocol} of the protocol, the control service version ${agentProtocolVersion}.`,
      "Upgrade the older of the two: versions one apart work together.",
    ).problem;
  if (other !== undefined && other.hello.incarnation !== message.incarnation)
    return failure(
      "duplicate-node-session",
      `Node ${node} already has a live session, from ${other.host} (${other.hello.name}).`,
      "Two machines use the same node certificate: give each its own with flocker ca node. " +
        "After a crash of this node's machine, the old session ends by itself within 30 s.",
    ).problem;
  return undefined;
}

function malformed(node: NodeId): Problem {
  return failure(
    "protocol-violation",
    `The agent of node ${node} sent a message that is not of the protocol.`,
    "Run the same version of Flocker on all machines, or versions one minor apart.",
  ).problem;
}
