import type { Clock } from "@flocker/core";
import type { LocalProcess } from "@flocker/cli/local";
import type { SeededRandom } from "@flocker/sim";
import type { SoakCluster, SoakNode } from "./cluster.ts";
import { blockWay, cutOff, hostAddress, nodeAddress } from "./network.ts";

/** What goes wrong, and for how long at most. */
const kinds = [
  "kill",
  "kill-control",
  "stop",
  "stop-control",
  "cut-off",
  "one-way",
  "fill-disk",
  "hold",
] as const;
export type FaultKind = (typeof kinds)[number];

export interface FaultOptions {
  readonly cluster: SoakCluster;
  readonly random: SeededRandom;
  readonly clock: Clock;
  readonly tell: (what: string) => void;
  /** Lets a writer hold its file open. */
  readonly hold: (forMs: number) => void;
}

/** Makes things go wrong by chance, and ends it again. */
export class Faults {
  readonly counts: Map<FaultKind, number> = new Map(kinds.map((kind) => [kind, 0]));
  readonly #options: FaultOptions;
  /** What ends each fault that lasts. */
  readonly #lasting = new Map<string, () => void>();

  constructor(options: FaultOptions) {
    this.#options = options;
  }

  /** Lets one thing go wrong. */
  async begin(): Promise<void> {
    const { random, cluster, hold } = this.#options;
    const kind = kinds[random.integer(0, kinds.length - 1)] ?? "kill";
    const node = cluster.nodes[random.integer(0, cluster.nodes.length - 1)];
    if (node === undefined) return;
    const forMs = this.#duration();
    switch (kind) {
      case "kill":
        return this.#kill(kind, node.agent, Math.min(forMs, 5_000));
      case "kill-control":
        return this.#kill(kind, cluster.control, Math.min(forMs, 5_000) / 4);
      case "stop":
        return this.#stop(kind, node.agent, forMs);
      case "stop-control":
        return this.#stop(kind, cluster.control, forMs / 4);
      case "cut-off":
        return this.#last(kind, node.name, forMs, () => cutOff(node.index));
      case "one-way":
        return this.#last(kind, node.name, forMs, () => blockWay(node.index, this.#otherEnd(node)));
      case "fill-disk":
        return this.#last(kind, node.name, Math.min(forMs, 10_000), () => node.disk.fill());
      case "hold":
        this.#count(kind, "a writer", forMs);
        return hold(Math.min(forMs, 5_000));
    }
  }

  /** Ends all that lasts, and starts what is down. */
  endAll(): void {
    for (const end of this.#lasting.values()) end();
    const { control, nodes } = this.#options.cluster;
    for (const process of [control, ...nodes.map(({ agent }) => agent)])
      if (!process.running) process.start();
  }

  /** Most are short; some outlast the silence after which the other side is given up. */
  #duration(): number {
    const { random } = this.#options;
    return random.chance(0.15) ? random.between(20_000, 45_000) : random.between(50, 6_000);
  }

  #otherEnd(node: SoakNode): string {
    const { random, cluster } = this.#options;
    const others = cluster.nodes.filter((other) => other !== node);
    const other = others[random.integer(0, others.length)];
    return other === undefined ? hostAddress : nodeAddress(other.index);
  }

  async #kill(kind: FaultKind, process: LocalProcess, downMs: number): Promise<void> {
    if (!process.running || this.#lasting.has(`down ${process.name}`)) return;
    this.#count(kind, process.name, downMs);
    await process.stop("SIGKILL");
    this.#until(`down ${process.name}`, downMs, () => {
      if (!process.running) process.start();
    });
  }

  #stop(kind: FaultKind, process: LocalProcess, forMs: number): void {
    this.#last(kind, process.name, forMs, () => {
      process.signal("SIGSTOP");
      return () => process.signal("SIGCONT");
    });
  }

  #last(kind: FaultKind, name: string, forMs: number, begin: () => () => void): void {
    const key = `${kind} ${name}`;
    if (this.#lasting.has(key)) return;
    this.#count(kind, name, forMs);
    this.#until(key, forMs, begin());
  }

  #until(key: string, forMs: number, end: () => void): void {
    const { clock, tell } = this.#options;
    const over = new AbortController();
    const once = (): void => {
      if (!this.#lasting.delete(key)) return;
      over.abort();
      end();
      tell(`${key} is over`);
    };
    this.#lasting.set(key, once);
    void clock.sleep(forMs, over.signal).then(once);
  }

  #count(kind: FaultKind, name: string, forMs: number): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    this.#options.tell(`fault: ${kind} ${name} for ${Math.round(forMs)} ms`);
  }
}
