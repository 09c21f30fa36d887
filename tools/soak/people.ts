import type { v2 } from "@flocker/api";
import { ProblemError, type Clock } from "@flocker/core";
import type { SeededRandom } from "@flocker/sim";
import { graceMs, type SoakCluster, type SoakNode } from "./cluster.ts";
import type { HeldLease } from "./judge.ts";
import { Writer } from "./writer.ts";

/** A dataset as those know it who asked for it. */
export interface KnownDataset {
  readonly id: string;
  readonly writer: Writer;
  deletedAt: number | null;
  lease: (HeldLease & { binds: boolean }) | undefined;
  /** Where it was served last. */
  place: SoakNode | undefined;
}

/** Asks the control service for changes, by chance, and remembers what was promised. */
export class People {
  readonly datasets: KnownDataset[] = [];
  readonly #parts: {
    readonly cluster: SoakCluster;
    readonly random: SeededRandom;
    readonly clock: Clock;
    readonly tell: (what: string) => void;
  };

  constructor(parts: {
    readonly cluster: SoakCluster;
    readonly random: SeededRandom;
    readonly clock: Clock;
    readonly tell: (what: string) => void;
  }) {
    this.#parts = parts;
  }

  any(): KnownDataset | undefined {
    return this.datasets[this.#parts.random.integer(0, this.datasets.length - 1)];
  }

  async create(): Promise<void> {
    const { cluster, clock, tell } = this.#parts;
    const primary = this.#anyNode();
    const answer = await answered(() =>
      cluster.client.api.createDataset({ headers: {}, body: { primary: primary.node } }),
    );
    if (answer?.status !== 201) return;
    const id = (answer.body as v2.Dataset).dataset_id;
    const writer = new Writer(async () => {
      const [place] = await cluster.mountedOn(id);
      return place === undefined ? undefined : `${place.mountRoot}/${id}`;
    }, clock);
    this.datasets.push({ id, writer, deletedAt: null, lease: undefined, place: undefined });
    writer.start();
    tell(`${id} is created on ${primary.name}`);
  }

  /** One wish of somebody. */
  async wish(): Promise<void> {
    const dataset = this.any();
    if (dataset === undefined) return;
    const { random } = this.#parts;
    if (dataset.deletedAt !== null) return this.#undelete(dataset);
    if (dataset.lease !== undefined) return random.chance(0.3) ? this.release(dataset) : undefined;
    const kind = random.next();
    if (kind < 0.7) return this.#update(dataset, { primary: this.#anyNode().node });
    if (kind < 0.78) return this.#update(dataset, { maximum_size: random.integer(16, 64) * 2 ** 20 });
    if (kind < 0.88) return this.#delete(dataset);
    return this.#take(dataset);
  }

  /** Forgets what has been destroyed, which may be only after its grace time. */
  async forgetDestroyed(): Promise<string | undefined> {
    const { cluster, clock } = this.#parts;
    for (const dataset of this.datasets) {
      const { deletedAt, id } = dataset;
      const answer = await answered(() => cluster.client.api.getDataset({ params: { dataset_id: id } }));
      const isPurged =
        answer?.status === 200 && (answer.body as v2.Dataset).desired?.deletion?.purged === true;
      if (answer?.status !== 404 && !isPurged) continue;
      const sinceMs = deletedAt === null ? 0 : clock.monotonic() - deletedAt;
      if (sinceMs < graceMs) return `${id} is gone ${Math.round(sinceMs)} ms after its deletion`;
      await dataset.writer.stop();
      this.datasets.splice(this.datasets.indexOf(dataset), 1);
    }
    return undefined;
  }

  async release(dataset: KnownDataset): Promise<void> {
    const { cluster, tell } = this.#parts;
    if (dataset.lease === undefined) return;
    // From the request on nobody can rely on it.
    dataset.lease = { ...dataset.lease, binds: false };
    const params = { dataset_id: dataset.id };
    const answer = await answered(() => cluster.client.api.releaseLease({ params, query: {}, headers: {} }));
    if (answer?.status !== 200 && answer?.status !== 404) return;
    dataset.lease = undefined;
    tell(`the lease of ${dataset.id} is given back`);
  }

  /** A lease counts once the agent has acknowledged it. */
  async lookAtLease(dataset: KnownDataset): Promise<void> {
    const { lease, place, id } = dataset;
    if (lease === undefined || lease.binds || place?.name !== lease.node) return;
    const { api } = this.#parts.cluster.client;
    const answer = await answered(() => api.getDataset({ params: { dataset_id: id } }));
    if (answer?.status !== 200 || (answer.body as v2.Dataset).lease?.acknowledged !== true) return;
    const [now] = await this.#parts.cluster.mountedOn(id);
    if (now?.name === lease.node && dataset.lease === lease) dataset.lease = { ...lease, binds: true };
  }

  async #take(dataset: KnownDataset): Promise<void> {
    const { cluster, tell } = this.#parts;
    const node = dataset.place;
    if (node === undefined) return;
    const body = { dataset_id: dataset.id, node_id: node.node, expires_in: null };
    const answer = await answered(() => cluster.client.api.acquireLease({ headers: {}, body }));
    if (answer?.status !== 201) return;
    dataset.lease = { node: node.name, binds: false };
    tell(`${dataset.id} is leased on ${node.name}`);
  }

  async #update(dataset: KnownDataset, body: { primary?: string; maximum_size?: number }): Promise<void> {
    const { cluster, tell } = this.#parts;
    const params = { dataset_id: dataset.id };
    const answer = await answered(() => cluster.client.api.updateDataset({ params, headers: {}, body }));
    if (answer?.status === 200) tell(`${dataset.id} is changed: ${JSON.stringify(body)}`);
  }

  async #delete(dataset: KnownDataset): Promise<void> {
    const { cluster, clock, tell } = this.#parts;
    const params = { dataset_id: dataset.id };
    // Whoever is not answered may have been heard: the grace time begins here at the earliest.
    dataset.deletedAt = clock.monotonic();
    const answer = await answered(() => cluster.client.api.deleteDataset({ params, headers: {} }));
    if (answer !== undefined && answer.status >= 400) dataset.deletedAt = null;
    tell(`${dataset.id} is deleted: ${answer?.status ?? "no answer"}`);
  }

  async #undelete(dataset: KnownDataset): Promise<void> {
    const { cluster, tell } = this.#parts;
    const params = { dataset_id: dataset.id };
    const answer = await answered(() => cluster.client.api.undeleteDataset({ params, headers: {} }));
    if (answer?.status !== 200) return;
    dataset.deletedAt = null;
    tell(`${dataset.id} is undeleted`);
  }

  #anyNode(): SoakNode {
    const { cluster, random } = this.#parts;
    const node = cluster.nodes[random.integer(0, cluster.nodes.length - 1)];
    if (node === undefined) throw new Error("the soak has nodes");
    return node;
  }
}

/** The answer, or undefined where the control service cannot be reached. */
export async function answered<Answer>(ask: () => Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof ProblemError) return undefined;
    throw error;
  }
}
