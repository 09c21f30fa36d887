import {
  agentProtocolVersion,
  assert,
  backoffMs,
  createAgentState,
  failure,
  longestDialDelayMs,
  nextWake,
  stepAgent,
  type AgentEffect,
  type AgentEvent,
  type AgentIdentity,
  type AgentRules,
  type AgentState,
  type AgentStore,
  type ByteStream,
  type ControlToAgent,
  type DatasetId,
  type Link,
  type LinkDialer,
  type Log,
  type Milliseconds,
  type NodeId,
  type PeerHandler,
  type PeerReply,
  type PeerRequest,
  type Problem,
  type Random,
  transferOverBudget,
  type Result,
} from "@flocker/core";
import { performAction, serveRequest, type ActionPorts } from "./actions.ts";
import { readSavedState } from "./saved-state.ts";

/** All doors of a node agent to the outside world. */
export interface NodeAgentPorts extends ActionPorts {
  readonly random: Random;
  readonly store: AgentStore;
  readonly dialer: LinkDialer;
  readonly log: Log;
}

/** A running node agent. */
export interface NodeAgent {
  /** Answers other agents; to be given to the data channel's server. */
  readonly handlePeer: PeerHandler;
  /** Stops at a safe point; what is mounted stays mounted. */
  stop(): Promise<void>;
}

/**
 * How long a stop waits for what is being done. Cut off later, a step is found and finished at the next
 * start.
 */
const stopTimeoutMs = 10_000;
/** Changes of the storage that come together lead to one look. */
const settleMs = 1_000;
const progressIntervalMs = 500;
/** An agent that was refused asks again, but not as if the network had failed. */
const refusedDelayMs = 10_000;

/**
 * Starts a node agent: it looks at its storage at once and serves what it owns, with or without a control
 * service. `rules` are the agents' own unless somebody tries out others.
 */
export function startNodeAgent(
  ports: NodeAgentPorts,
  identity: AgentIdentity,
  rules?: AgentRules,
): NodeAgent {
  const shell = new Shell(ports, identity, rules);
  shell.start();
  return { handlePeer: shell.handlePeer, stop: () => shell.stop() };
}

interface Pending {
  readonly body: ByteStream;
  readonly abort: Parameters<PeerHandler>[3];
  readonly answer: (result: Result<PeerReply>) => void;
}

/** Awaits events and carries out effects; every decision is the machine's. */
class Shell {
  readonly #ports: NodeAgentPorts;
  readonly #state: AgentState;
  readonly #stopping = new AbortController();
  readonly #tasks = new Set<Promise<void>>();
  readonly #events: AgentEvent[] = [];
  readonly #pending = new Map<number, Pending>();
  #stepping = false;
  #lastRequest = 0;
  #link: Link | null = null;
  #refused: Problem | null = null;
  #alarm: { readonly at: Milliseconds; readonly off: AbortController } | null = null;
  #unwatch: (() => void) | undefined;
  /** What the storage says has changed and is not looked at yet; null: anything, undefined: nothing. */
  #changed: Set<DatasetId> | null | undefined;

  constructor(ports: NodeAgentPorts, identity: AgentIdentity, rules: AgentRules | undefined) {
    this.#ports = ports;
    this.#state = createAgentState(identity, () => ports.random.next(), rules);
  }

  start(): void {
    this.#happened({ kind: "started", saved: readSavedState(this.#ports.store) });
    this.#unwatch = this.#ports.backend.watch?.((dataset) => this.#storageChanged(dataset));
    this.#run(this.#keepLink());
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#unwatch?.();
    this.#alarm?.off.abort();
    this.#link?.close();
    const bound = new AbortController();
    const late = this.#ports.clock.sleep(stopTimeoutMs, bound.signal);
    await Promise.race([Promise.allSettled(this.#tasks), late]);
    bound.abort();
  }

  readonly handlePeer: PeerHandler = (from, request, body, abort) => this.#answer(from, request, body, abort);

  #answer(
    from: NodeId,
    request: PeerRequest,
    body: ByteStream,
    abort: Parameters<PeerHandler>[3],
  ): Promise<Result<PeerReply>> {
    if (this.#stopping.signal.aborted)
      return Promise.resolve(
        failure("peer-busy", "The other node's agent is being stopped.", "It is tried again by itself."),
      );
    this.#lastRequest += 1;
    const id = this.#lastRequest;
    return new Promise((resolve) => {
      this.#pending.set(id, { body, abort, answer: resolve });
      // A request that is being served ends by its abort; one that still waits is dropped here.
      abort.addEventListener("abort", () => this.#happened({ kind: "withdrawn", id }), { once: true });
      this.#happened({ kind: "asked", id, from, request });
    });
  }

  #happened(event: AgentEvent): void {
    if (this.#stopping.signal.aborted) return;
    this.#events.push(event);
    if (this.#stepping) return;
    this.#stepping = true;
    const { clock } = this.#ports;
    for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
      const time = { monotonicMs: clock.monotonic(), wallMs: clock.now() };
      for (const effect of stepAgent(this.#state, next, time)) this.#carryOut(effect);
    }
    this.#stepping = false;
    this.#setAlarm();
  }

  #carryOut(effect: AgentEffect): void {
    switch (effect.kind) {
      case "write":
        return this.#ports.store.write(effect.changes);
      case "send":
        return this.#link?.send(effect.message);
      case "close-link":
        this.#refused = effect.problem;
        this.#ports.log.write("warn", "link-closed", { ...effect.problem });
        return this.#link?.close();
      case "look":
        return this.#run(this.#look(effect.dataset));
      case "perform":
        return this.#run(this.#perform(effect));
      case "serve":
        return this.#run(this.#serve(effect));
      case "handed-over": {
        const { dataset, predictedMs, actualMs } = effect;
        return this.#ports.log.write("info", "handoff-done", {
          dataset,
          predictedMs,
          actualMs: Math.round(actualMs),
        });
      }
      case "reply":
        this.#pending.get(effect.id)?.answer(effect.result);
        this.#pending.delete(effect.id);
        return;
    }
  }

  async #look(dataset: DatasetId | null): Promise<void> {
    const result = await this.#ports.backend.discover(dataset);
    if (!result.ok) this.#ports.log.write("warn", "look-failed", { dataset, ...result.problem });
    this.#happened({ kind: "looked", dataset, result });
  }

  async #perform(effect: Extract<AgentEffect, { kind: "perform" }>): Promise<void> {
    const { dataset, action, timeoutMs } = effect;
    const { clock, log } = this.#ports;
    const since = clock.monotonic();
    let progressedAt = since;
    const over = new AbortController();
    const late = new AbortController();
    if (timeoutMs !== undefined)
      void clock.sleep(timeoutMs, over.signal).then(() => {
        if (!over.signal.aborted) late.abort();
      });
    const ended = await performAction(this.#ports, dataset, action, {
      abort: AbortSignal.any([this.#stopping.signal, late.signal]),
      onProgress: (doneBytes, totalBytes) => {
        if (clock.monotonic() - progressedAt < progressIntervalMs) return;
        progressedAt = clock.monotonic();
        this.#happened({ kind: "progressed", dataset, doneBytes, totalBytes });
      },
    });
    over.abort();
    const isLate = timeoutMs !== undefined && late.signal.aborted && !ended.ok;
    const result = isLate ? { ok: false as const, problem: transferOverBudget(timeoutMs) } : ended;
    const fields = { dataset, action: action.do, durationMs: Math.round(clock.monotonic() - since) };
    if (result.ok) log.write("info", "action-done", fields);
    else log.write("warn", "action-failed", { ...fields, ...result.problem });
    this.#happened({ kind: "performed", dataset, result });
  }

  async #serve(effect: Extract<AgentEffect, { kind: "serve" }>): Promise<void> {
    const { id, dataset, request } = effect;
    const pending = this.#pending.get(id);
    assert(pending !== undefined, "a request that is served is still pending");
    const result = await serveRequest(this.#ports.backend, dataset, request, pending.body, pending.abort);
    const fields = { dataset, request: request.kind };
    if (result.ok) this.#ports.log.write("info", "request-served", fields);
    else this.#ports.log.write("warn", "request-failed", { ...fields, ...result.problem });
    this.#happened({ kind: "served", id, dataset, result });
  }

  /** Keeps a link to the control service; while there is none the agent goes on with what it knows. */
  async #keepLink(): Promise<void> {
    const { dialer, clock, random, log } = this.#ports;
    const { signal } = this.#stopping;
    for (let failures = 0; !signal.aborted;) {
      const dialled = await dialer.dial(signal);
      if (dialled.ok) {
        await this.#useLink(dialled.value);
        failures = this.#state.clusterId === null ? failures + 1 : 1;
      } else {
        failures += 1;
        log.write("warn", "link-failed", { ...dialled.problem });
      }
      const delayMs =
        this.#refused?.code === "duplicate-node-session"
          ? refusedDelayMs
          : backoffMs(failures, random.next(), longestDialDelayMs);
      this.#refused = null;
      await clock.sleep(delayMs, signal);
    }
  }

  async #useLink(link: Link): Promise<void> {
    const { log } = this.#ports;
    this.#link = link;
    log.write("info", "link-up", { protocol: agentProtocolVersion });
    this.#happened({ kind: "link-up" });
    // The control service is trusted by its certificate, and both sides check versions in their greetings.
    for await (const message of link.messages())
      this.#happened({ kind: "message", message: message as ControlToAgent });
    this.#link = null;
    log.write("info", "link-down");
    this.#happened({ kind: "link-down" });
  }

  #setAlarm(): void {
    const at = nextWake(this.#state);
    if (at === undefined || this.#stopping.signal.aborted) return;
    if (this.#alarm !== null && this.#alarm.at <= at) return;
    this.#alarm?.off.abort();
    const alarm = { at, off: new AbortController() };
    this.#alarm = alarm;
    this.#run(this.#ring(alarm));
  }

  async #ring(alarm: { readonly at: Milliseconds; readonly off: AbortController }): Promise<void> {
    const { clock } = this.#ports;
    await clock.sleep(Math.max(0, alarm.at - clock.monotonic()), alarm.off.signal);
    if (alarm.off.signal.aborted) return;
    this.#alarm = null;
    this.#happened({ kind: "woken" });
  }

  #storageChanged(dataset: DatasetId | undefined): void {
    if (this.#stopping.signal.aborted) return;
    const isFirst = this.#changed === undefined;
    if (dataset === undefined || this.#changed === null) this.#changed = null;
    else (this.#changed ??= new Set()).add(dataset);
    if (isFirst) this.#run(this.#settle());
  }

  async #settle(): Promise<void> {
    await this.#ports.clock.sleep(settleMs, this.#stopping.signal);
    const datasets = this.#changed ?? null;
    this.#changed = undefined;
    this.#happened({ kind: "storage-changed", datasets });
  }

  #run(task: Promise<void>): void {
    this.#tasks.add(task);
    // A rejection here is a programming mistake: it is left to crash the process.
    void task.finally(() => this.#tasks.delete(task));
  }
}
