import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSqliteStore } from "@flocker/control";
import { assert, type Backend, type DatasetId, type LinkDialer } from "@flocker/core";
import { ControlIsDown } from "../control-store.ts";
import { countsBetween } from "../counters.ts";
import { defaultModelDiskOptions } from "../model-disk.ts";
import { SimulationError } from "../scheduler.ts";
import { SimCluster } from "../sim-cluster.ts";
import { controlNodeName, type NodePorts, type WorldNode } from "../world.ts";
import { Client } from "./client.ts";
import { Faults } from "./faults.ts";
import { noMutation, type Mutation } from "./mutation.ts";
import { People } from "./people.ts";
import { isFault, type Deed, type Plan, type Wish } from "./plan.ts";
import { Referee } from "./referee.ts";
import { Story } from "./story.ts";

/** What a run of a plan has come to. */
export interface RunOutcome {
  readonly plan: Plan;
  /** The rule that was broken and how, or null. */
  readonly finding: string | null;
  /** Who did what when, as far as it concerns what was found. */
  readonly story: string;
  readonly traceHash: string;
  readonly events: number;
  readonly simulatedMs: number;
  /** How often each kind of wish and fault has happened. */
  readonly deeds: Readonly<Record<string, number>>;
  readonly moves: number;
  readonly records: number;
  /**
   * What there is at the end: for each dataset the configuration, and the copies with their roles. Replicas
   * are left out: which there are depends on the way.
   */
  readonly end: string;
  /** How many effects each node has had, the control service's first: at each of them it could crash. */
  readonly effects: readonly number[];
}

const restWithinMs = 20 * 60_000;
const quietMs = 60_000;

/** Runs a plan to its end: the faults, then peace, in which the cluster has to come to rest as configured. */
export async function runPlan(plan: Plan, mutation: Mutation = noMutation): Promise<RunOutcome> {
  const run = new CampaignRun(plan, mutation);
  const onRejection = (error: unknown): void => {
    if (!(error instanceof ControlIsDown)) run.sim.world.scheduler.fail(error);
  };
  process.on("unhandledRejection", onRejection);
  try {
    await run.toItsEnd();
    return run.outcome(null);
  } catch (error) {
    if (!(error instanceof SimulationError)) throw error;
    return run.outcome(error.message.split("\n")[0] ?? error.message, error.message);
  } finally {
    process.off("unhandledRejection", onRejection);
    await run.dispose();
  }
}

class CampaignRun {
  readonly sim: SimCluster;
  readonly #plan: Plan;
  readonly #story = new Story();
  readonly #people: People;
  readonly #referee: Referee;
  readonly #faults: Faults;
  readonly #live = new Set<WorldNode>();
  readonly #deeds = new Map<string, number>();
  #folder: string | null = null;
  #backups = 0;
  #restores = 0;

  constructor(plan: Plan, mutation: Mutation) {
    const { options } = plan;
    this.#plan = plan;
    const capabilities = {
      ...defaultModelDiskOptions.capabilities,
      liveSnapshots: options.liveSnapshots,
      quota: options.quota,
    };
    const parts = mutation.make();
    this.sim = new SimCluster({
      seed: plan.seed,
      nodeCount: options.nodeCount,
      graceMs: options.graceMs,
      network: { latencyMs: options.latencyMs },
      disk: { capabilities, linesPerChunk: options.linesPerChunk },
      nodeDisks: options.resumes.map((resume) => ({ capabilities: { ...capabilities, resume } })),
      backendCallMs: options.backendCallMs,
      backendWatches: options.backendWatches,
      parts: {
        ...parts,
        agentPorts: (node, ports) => this.#watched(node, parts.agentPorts?.(node, ports) ?? ports),
        controlStore: (store) => this.#faults.store(parts.controlStore?.(store) ?? store),
      },
    });
    this.#people = new People(this.sim, this.#story);
    this.#referee = new Referee(this.sim, this.#story);
    const { people, referee, story } = { people: this.#people, referee: this.#referee, story: this.#story };
    this.#faults = new Faults(this.sim, { people, referee, story });
  }

  async toItsEnd(): Promise<void> {
    const { world, nodes } = this.sim;
    const { options, steps, durationMs } = this.#plan;
    const all = [world.node(controlNodeName), ...nodes];
    for (const node of nodes) this.#story.name(node.machine.id, node.name);
    all.forEach((node, index) => node.machine.jumpClock(options.skewsMs[index] ?? 0));
    this.sim.start();
    this.#faults.watchOver(all);
    for (const step of steps) {
      if (step.atMs > world.elapsedMs) await world.run(step.atMs);
      await this.#apply(step);
    }
    await world.run(Math.max(world.elapsedMs, durationMs));
    this.#faults.endAll();
    await this.#untilRest();
    await this.#judgeTheEnd();
  }

  outcome(finding: string | null, report: string = ""): RunOutcome {
    const { world } = this.sim;
    const records = [...this.#referee.clients.values()].reduce((sum, client) => sum + client.writtenCount, 0);
    return {
      plan: this.#plan,
      finding: finding === null ? null : this.#story.plain(finding),
      story: finding === null ? "" : `${this.#story.about(finding)}\n\n${this.#story.plain(report)}`,
      traceHash: world.traceHash(),
      events: world.scheduler.eventCount,
      simulatedMs: world.elapsedMs,
      deeds: { ...Object.fromEntries(this.#deeds), "failed over": this.#referee.failoverCount },
      moves: this.#referee.moveCount,
      records,
      end: this.#end(),
      effects: [world.node(controlNodeName), ...this.sim.nodes].map(({ machine }) => machine.effectCount),
    };
  }

  #end(): string {
    const lines = [...this.#people.datasets].map((dataset, number) => {
      const configuration = this.sim.cluster.dataset(dataset)?.configuration;
      const { primary, maximumSizeBytes, deletion } = configuration ?? {};
      const copies = this.sim.nodes.flatMap(({ name, disk }) => {
        const copy = disk.copies.get(dataset);
        if (copy === undefined || copy.record.role === "replica") return [];
        return [`${name} ${copy.record.role}${copy.mounted ? " mounted" : ""}`];
      });
      const wish = `on ${primary} of ${maximumSizeBytes}${deletion === null ? "" : ", deleted"}`;
      return `d${number} ${this.#story.plain(wish)}: ${copies.join(", ")}`;
    });
    return lines.join("\n");
  }

  async dispose(): Promise<void> {
    this.sim.store.close();
    if (this.#folder !== null) await rm(this.#folder, { recursive: true, force: true });
  }

  async #apply(deed: Deed): Promise<void> {
    this.sim.world.scheduler.note(`deed ${JSON.stringify(deed)}`);
    this.#deeds.set(deed.do, (this.#deeds.get(deed.do) ?? 0) + 1);
    if (isFault(deed)) return this.#faults.begin(deed);
    if (deed.do === "backup") return this.#backUp();
    if (deed.do === "restore") return this.#restore(deed.downMs);
    this.#ask(deed);
  }

  #ask(wish: Exclude<Wish, { do: "backup" | "restore" }>): void {
    this.#people.ask(wish);
    if (wish.do !== "create") return;
    const dataset = this.#people.datasetOf(wish.dataset);
    if (dataset === undefined || this.#referee.clients.has(dataset)) return;
    const client = new Client(this.sim.world, dataset, this.#plan.options.writeEveryMs);
    this.#referee.clients.set(dataset, client);
  }

  async #backUp(): Promise<void> {
    const { sim } = this;
    if (!sim.world.node(controlNodeName).machine.alive) return;
    // In memory where the system has such a place: a restored store syncs each of its commits.
    this.#folder ??= await mkdtemp(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "flocker-sim-"));
    this.#backups += 1;
    const made = await sim.store.backup(join(this.#folder, `backup-${this.#backups}`));
    assert(made.ok, "a backup of the store succeeds");
    this.#story.tell(sim.world.elapsedMs, `backup at revision ${sim.store.current().revision}`);
  }

  async #restore(downMs: number): Promise<void> {
    if (this.#backups === 0 || this.#folder === null) return;
    this.#restores += 1;
    const { sim } = this;
    const control = sim.world.node(controlNodeName);
    this.#faults.begin({ do: "crash", node: -1, kind: "program", downMs });
    assert(!control.machine.alive, "the control service is down while its store is replaced");
    const path = join(this.#folder, `restored-${this.#restores}`);
    await copyFile(join(this.#folder, `backup-${this.#backups}`), path);
    const { clock, ids } = control.ports;
    const opened = openSqliteStore(path, { clock, ids });
    assert(opened.ok, `a backup opens ${opened.ok ? "" : opened.problem.message}`);
    for (const dataset of this.#people.datasets) this.#referee.doubtful.add(dataset);
    sim.store.close();
    sim.store = opened.value;
    this.#people.accept();
    this.#referee.watchStore();
    this.#story.tell(
      sim.world.elapsedMs,
      `the backup of revision ${sim.store.current().revision} is restored`,
    );
  }

  /** Notices when an agent has a live session, and that it interrupts nothing without one. */
  #watched(node: WorldNode, ports: NodePorts): NodePorts {
    this.#live.delete(node);
    const { backend } = ports;
    const interrupts = (method: string, dataset: DatasetId): void =>
      this.#referee.interrupts(node, method, dataset, this.#live.has(node));
    const watched: Backend = {
      ...backend,
      mount: (dataset) => {
        this.#referee.mounts(node, dataset, this.#live.has(node));
        return backend.mount(dataset);
      },
      unmount: (dataset) => {
        interrupts("unmount", dataset);
        return backend.unmount(dataset);
      },
      trash: (dataset, at) => {
        interrupts("trash", dataset);
        return backend.trash(dataset, at);
      },
      destroy: (dataset) => {
        interrupts("destroy", dataset);
        return backend.destroy(dataset);
      },
    };
    return { ...ports, backend: watched, dialer: this.#watchedDialer(node, ports.dialer) };
  }

  #watchedDialer(node: WorldNode, dialer: LinkDialer): LinkDialer {
    const live = this.#live;
    return {
      dial: async (abort) => {
        const dialled = await dialer.dial(abort);
        if (!dialled.ok) return dialled;
        const link = dialled.value;
        const messages = async function* (): AsyncGenerator {
          for await (const message of link.messages()) {
            if (isEndOfSlice(message)) live.add(node);
            yield message;
          }
          live.delete(node);
        };
        return {
          ok: true,
          value: { send: (message) => link.send(message), close: () => link.close(), messages },
        };
      },
    };
  }

  /** When the faults are over, everything has to become as configured within bounded time (I6, I8). */
  async #untilRest(): Promise<void> {
    const { world, store } = this.sim;
    const control = world.node(controlNodeName).machine;
    await world.run(() => control.alive);
    for (const { dataset } of store.current().leases) {
      const number = [...this.#people.datasets].indexOf(dataset);
      if (number >= 0) this.sim.cluster.releaseLease(dataset, { author: "user-people" });
    }
    const deadlineMs = world.elapsedMs + restWithinMs;
    let lookAtMs = world.elapsedMs;
    let atRest = false;
    await world.run(() => {
      if (world.elapsedMs < lookAtMs) return false;
      lookAtMs = world.elapsedMs + 1_000;
      atRest = this.#unsettled() === undefined;
      return atRest || world.elapsedMs > deadlineMs;
    });
    if (!atRest) this.#referee.broken("I6", this.#unsettled() ?? "nothing");
    // What is deleted is destroyed when its grace ends; only then there is rest.
    const purgedBeforeMs = world.elapsedMs + restWithinMs;
    await world.run(() => !this.#isPurgeDue() || world.elapsedMs > purgedBeforeMs);
    if (this.#isPurgeDue()) return;
    await world.runFor(quietMs);
    if (this.#referee.doubtful.size === 0) await this.#quiet();
  }

  #isPurgeDue(): boolean {
    return this.sim.cluster.nextDeadline() !== null;
  }

  /** At rest nothing is done any more but to let each other be heard. */
  async #quiet(): Promise<void> {
    const { world, nodes } = this.sim;
    const before = nodes.map((node) => node.machine.counters.counts());
    await world.runFor(quietMs);
    nodes.forEach((node, index) => {
      const counts = node.machine.counters.counts();
      const done = countsBetween(before[index] ?? counts, counts);
      const { heartbeat: _heartbeat, ...messages } = done.messages;
      // A look at everything from time to time is part of the rest.
      const { discover = 0, ...calls } = done.backend;
      const deeds = { ...calls, ...done.asks, ...messages };
      if (Object.keys(deeds).length > 0 || done.storeWrites > 0 || discover > 1)
        this.#referee.broken("I6", `at rest ${node.name} still does ${JSON.stringify(done)}`);
    });
  }

  /** What is not as it should be, or undefined. Where data may be lost for good, a reason is enough. */
  #unsettled(): string | undefined {
    for (const { dataset } of this.sim.store.current().datasets) {
      const view = this.sim.cluster.dataset(dataset);
      if (view === undefined) return `dataset ${dataset} is not known`;
      if (view.converged) continue;
      if (this.#referee.doubtful.has(dataset) && view.reasons.length > 0) continue;
      const { ownership, conflict, reasons } = view;
      const reports = view.reports.map(
        ({ node, report }) => `${node} ${JSON.stringify(report.copy?.record)}`,
      );
      return (
        `dataset ${dataset} should be on ${view.configuration?.primary} and is not: ` +
        `${JSON.stringify({ deletion: view.configuration?.deletion, ownership, conflict })} ` +
        `${reports.join("; ")} ${reasons.map(({ code, message }) => `${code}: ${message}`).join("; ")}`
      );
    }
    return undefined;
  }

  /** What the control service says at the end is true, and what was promised is kept. */
  async #judgeTheEnd(): Promise<void> {
    const promise = this.#people.finding();
    if (promise !== undefined) this.#referee.broken("configuration", promise);
    for (const { dataset } of this.sim.store.current().datasets) {
      const view = this.sim.cluster.dataset(dataset);
      if (view?.converged !== true || view.configuration === null) continue;
      const { primary, deletion } = view.configuration;
      const places = this.sim.nodes.filter(({ disk }) => disk.mountedDatasets.has(dataset));
      if (deletion === null) this.#judgeServed(dataset, primary, places);
      else if (places.length > 0)
        this.#referee.broken("end", `dataset ${dataset} is deleted and mounted on ${places[0]?.name}`);
    }
    // The check of the findings is made before and after each event.
    await this.sim.world.runFor(1);
  }

  #judgeServed(dataset: DatasetId, primary: string, places: readonly WorldNode[]): void {
    const [place] = places;
    if (places.length !== 1 || place?.machine.id !== primary) {
      const found = places.map(({ name }) => name).join(" and ") || "nowhere";
      return this.#referee.broken("end", `dataset ${dataset} is said to be on ${primary} and is on ${found}`);
    }
    const missing = this.#referee.clients.get(dataset)?.missing(place.disk);
    if (missing !== undefined) this.#referee.broken("end", `on ${place.name} dataset ${dataset}: ${missing}`);
  }
}

function isEndOfSlice(message: unknown): boolean {
  if (typeof message !== "object" || message === null || !("complete" in message)) return false;
  const { complete } = message;
  return typeof complete === "object" && complete !== null && "ends" in complete && complete.ends === true;
}
