import { failure, ProblemError, type Problem } from "@flocker/core";
import type { ConfigurationStore } from "@flocker/control";
import { methodsOf } from "../control-store.ts";
import type { BackendFate } from "../model-backend.ts";
import type { PeerFate } from "../peers.ts";
import type { SeededRandom } from "../random.ts";
import type { SimCluster } from "../sim-cluster.ts";
import { controlNodeName, type WorldNode } from "../world.ts";
import type { People } from "./people.ts";
import type { Fault, StorageFaultRates } from "./plan.ts";
import type { Referee } from "./referee.ts";
import type { Story } from "./story.ts";

const brokenStorage: Problem = failure(
  "storage-unreadable",
  "Reading the storage: it does not answer.",
  "Bring its disk back.",
).problem;
const fullStore: Problem = failure("no-space", "Writing the store: the disk is full.", "Free space.").problem;

/** Makes go wrong what a plan says, and ends it again. */
export class Faults {
  readonly #sim: SimCluster;
  readonly #people: People;
  readonly #referee: Referee;
  readonly #story: Story;
  readonly #random: SeededRandom;
  /** How long each node stays down after its next crash. */
  readonly #downMs = new Map<WorldNode, number>();
  readonly #wiping = new Set<WorldNode>();
  /** What ends the faults that last. */
  readonly #endings = new Set<() => void>();
  #storeFaultRate = 0;
  #isOver = false;

  constructor(sim: SimCluster, parts: { people: People; referee: Referee; story: Story }) {
    this.#sim = sim;
    this.#people = parts.people;
    this.#referee = parts.referee;
    this.#story = parts.story;
    this.#random = sim.world.random.fork("faults");
  }

  /** Lets every crash of these nodes be followed by a restart. */
  watchOver(nodes: readonly WorldNode[]): void {
    for (const node of nodes) this.#restartAfterCrash(node);
  }

  begin(fault: Fault): void {
    this.#story.tell(this.#sim.world.elapsedMs, `fault: ${describe(fault, this.#sim)}`);
    switch (fault.do) {
      case "crash":
      case "crash-at-effect":
      case "wipe":
        return this.#crash(fault);
      case "crash-holder": {
        const dataset = this.#people.datasetOf(fault.dataset);
        const holder = dataset === undefined ? undefined : this.#people.placeOf(dataset);
        if (holder?.machine.alive !== true) return;
        this.#downMs.set(holder, fault.downMs);
        return holder.machine.crash("machine");
      }
      case "pause":
        return this.#pause(this.#node(fault.node), fault.forMs);
      case "partition":
      case "cut":
      case "refuse":
      case "expire-certificate":
      case "slow-network":
        return this.#network(fault);
      case "clock-jump":
        return this.#node(fault.node).machine.jumpClock(fault.byMs);
      case "transfer-faults": {
        const random = this.#random.fork("transfers");
        this.#sim.world.peerFates = () => peerFate(random, fault.rate);
        return this.#later(fault.forMs, () => {
          this.#sim.world.peerFates = () => ({ kind: "normal" });
        });
      }
      case "store-faults":
        this.#storeFaultRate = fault.rate;
        return this.#later(fault.forMs, () => {
          this.#storeFaultRate = 0;
        });
      default:
        return this.#storage(fault);
    }
  }

  /** Ends all faults: everything runs and can be reached. */
  endAll(): void {
    this.#story.tell(this.#sim.world.elapsedMs, "all faults end");
    this.#isOver = true;
    for (const end of this.#endings) end();
    this.#sim.world.network.heal();
    for (const node of this.#sim.world.nodes()) {
      node.machine.crashAtEffect(null);
      node.machine.resume();
      if (!node.machine.alive) this.#restart(node);
    }
  }

  /** The store as it is while its disk may be full: then nothing of a change is kept. */
  store(store: ConfigurationStore): ConfigurationStore {
    const fails = (): boolean => this.#storeFaultRate > 0 && this.#random.chance(this.#storeFaultRate);
    const orThrow = (): void => {
      if (fails()) throw new ProblemError(fullStore);
    };
    return {
      ...methodsOf(store),
      commit: (request) => {
        if (fails()) return { ok: false, problem: fullStore };
        const committed = store.commit(request);
        if (committed.ok)
          for (const change of request.changes)
            if (change.kind === "put-dataset" && change.failover !== undefined)
              this.#referee.failedOver(change.failover);
        return committed;
      },
      saveOwnerships: (ownerships) => {
        if (ownerships.length > 0) orThrow();
        store.saveOwnerships(ownerships);
        for (const { dataset, born } of ownerships) if (born) this.#referee.confirmed(dataset);
      },
      saveNode: (node) => {
        orThrow();
        store.saveNode(node);
      },
    };
  }

  #crash(fault: Extract<Fault, { do: "crash" | "crash-at-effect" | "wipe" }>): void {
    const node = this.#node(fault.node);
    if (!node.machine.alive) return;
    this.#downMs.set(node, fault.downMs);
    if (fault.do === "crash-at-effect") {
      const { effect, kind, done } = fault;
      return node.machine.crashAtEffect({ effect, kind, done });
    }
    if (fault.do === "wipe") this.#wiping.add(node);
    node.machine.crash(fault.do === "wipe" ? "machine" : fault.kind);
  }

  #restartAfterCrash(node: WorldNode): void {
    node.machine.incarnation.onDown((kind) => {
      this.#story.tell(this.#sim.world.elapsedMs, `${node.name} goes down (${kind})`);
      if (this.#wiping.delete(node)) this.#wipe(node);
      this.#sim.world.scheduler.after(this.#downMs.get(node) ?? 1_000, `${node.name} is started`, () => {
        if (!node.machine.alive) this.#restart(node);
      });
    });
  }

  #restart(node: WorldNode): void {
    this.#story.tell(this.#sim.world.elapsedMs, `${node.name} starts`);
    node.restart();
    this.#restartAfterCrash(node);
  }

  #wipe(node: WorldNode): void {
    const { store } = this.#sim;
    const held = new Set(node.disk.copies.keys());
    for (const { dataset, primary } of store.current().datasets)
      if (primary === node.machine.id) held.add(dataset);
    for (const { dataset, owner } of store.ownerships()) if (owner === node.machine.id) held.add(dataset);
    // The incarnation is still going down; the machine is replaced before it is started again.
    this.#sim.world.scheduler.after(0, `${node.name} is replaced`, () => {
      if (node.machine.alive) return;
      node.wipe();
      this.#referee.replaced(held);
    });
  }

  #pause(node: WorldNode, forMs: number): void {
    if (!node.machine.alive || node.machine.paused) return;
    node.machine.pause();
    this.#later(forMs, () => node.machine.resume());
  }

  #network(
    fault: Extract<Fault, { do: "partition" | "cut" | "refuse" | "expire-certificate" | "slow-network" }>,
  ): void {
    const { network } = this.#sim.world;
    switch (fault.do) {
      case "partition": {
        const [a, b] = [this.#node(fault.a).machine, this.#node(fault.b).machine];
        network.partition(a, b, fault.mode);
        return this.#later(fault.forMs, () => network.heal(a, b));
      }
      case "cut":
        return network.cut(this.#node(fault.a).machine, this.#node(fault.b).machine);
      case "refuse": {
        const { machine } = this.#node(fault.node);
        network.refuse(machine);
        return this.#later(fault.forMs, () => network.accept(machine));
      }
      case "expire-certificate": {
        const { machine } = this.#node(fault.node);
        network.expireCertificate(machine);
        return this.#later(fault.forMs, () => network.renewCertificate(machine));
      }
      case "slow-network":
        network.slow(fault.latencyMs);
        return this.#later(fault.forMs, () => network.slow(null));
    }
  }

  #storage(
    fault: Extract<
      Fault,
      { do: "storage-faults" | "fill-disk" | "break-storage" | "break-copy" | "hold" | "unmount-behind" }
    >,
  ): void {
    switch (fault.do) {
      case "storage-faults": {
        const node = this.#node(fault.node);
        const random = this.#random.fork(`storage/${node.name}`);
        node.backendFates = () => backendFate(random, fault.rates);
        return this.#later(fault.forMs, () => {
          node.backendFates = () => ({ kind: "normal" });
        });
      }
      case "fill-disk":
        return this.#later(fault.forMs, this.#node(fault.node).disk.fill(fault.leavingBytes));
      case "break-storage": {
        const { disk } = this.#node(fault.node);
        disk.breakStorage(brokenStorage);
        return this.#later(fault.forMs, () => disk.breakStorage(null));
      }
      case "break-copy": {
        const dataset = this.#people.datasetOf(fault.dataset);
        const { disk } = this.#node(fault.node);
        if (dataset === undefined) return;
        disk.breakCopy(dataset, brokenStorage);
        return this.#later(fault.forMs, () => disk.breakCopy(dataset, null));
      }
      case "hold": {
        const dataset = this.#people.datasetOf(fault.dataset);
        const node = dataset === undefined ? undefined : this.#people.placeOf(dataset);
        if (dataset === undefined || node === undefined) return;
        return this.#later(fault.forMs, node.disk.hold(dataset, "psql[7]"));
      }
      case "unmount-behind": {
        const dataset = this.#people.datasetOf(fault.dataset);
        if (dataset !== undefined) this.#people.placeOf(dataset)?.disk.unmountBehindTheAgent(dataset);
        return;
      }
    }
  }

  #later(forMs: number, end: () => void): void {
    const once = (): void => {
      if (this.#endings.delete(once)) end();
    };
    this.#endings.add(once);
    if (!this.#isOver) this.#sim.world.scheduler.after(forMs, "a fault ends", once);
  }

  #node(number: number): WorldNode {
    return number < 0 ? this.#sim.world.node(controlNodeName) : this.#sim.node(number);
  }
}

function backendFate(random: SeededRandom, rates: StorageFaultRates): BackendFate {
  const at = random.next();
  if (at < rates.fails) return { kind: "fails", done: false };
  if (at < rates.fails + rates.failsDone) return { kind: "fails", done: true };
  if (at < rates.fails + rates.failsDone + rates.slow)
    return { kind: "slow", extraMs: random.between(0, rates.slowMs) };
  return { kind: "normal" };
}

function peerFate(random: SeededRandom, rate: number): PeerFate {
  if (!random.chance(rate)) return { kind: "normal" };
  const fates: readonly PeerFate[] = [
    { kind: "refused" },
    { kind: "request-lost" },
    { kind: "answer-lost" },
    { kind: "cut-after-chunks", chunks: random.integer(0, 4) },
  ];
  return fates[random.integer(0, fates.length - 1)] ?? { kind: "normal" };
}

function describe(fault: Fault, sim: SimCluster): string {
  const name = (number: number): string => (number < 0 ? controlNodeName : sim.node(number).name);
  const { do: what, ...details } = fault;
  const told = Object.entries(details).map(([key, value]) => {
    if (key === "node" || key === "a" || key === "b") return `${key} ${name(Number(value))}`;
    if (key === "dataset") return `d${String(value)}`;
    return `${key} ${typeof value === "number" ? Math.round(value * 100) / 100 : JSON.stringify(value)}`;
  });
  return `${what}: ${told.filter((text) => !text.startsWith("atMs")).join(", ")}`;
}
