import { join } from "node:path";
import type { v2 } from "@flocker/api";
import { systemClock } from "@flocker/host";
import { seededRandom, type SeededRandom } from "@flocker/sim";
import { makeSoakCluster, type SoakCluster } from "./cluster.ts";
import type { DiskKind } from "./disks.ts";
import { Faults } from "./faults.ts";
import { judgeAuthors, judgeMounts } from "./judge.ts";
import { answered, People, type KnownDataset } from "./people.ts";

export interface SoakOptions {
  readonly folder: string;
  readonly minutes: number;
  readonly nodeCount: number;
  readonly datasetCount: number;
  readonly kind: DiskKind;
  readonly seed: string;
  readonly onProgress: (text: string) => void;
}

/** What a soak has come to. */
export interface SoakTotals {
  readonly seed: string;
  readonly minutes: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly moves: number;
  readonly records: number;
  /** How often the mounts of a dataset were looked at. */
  readonly looks: number;
  /** The first rule that was broken, and how. */
  readonly finding: string | null;
  /** What happened before it. */
  readonly story: readonly string[];
}

const clock = systemClock;
const lookEveryMs = 20;
const progressEveryMs = 10_000;
/** After the last fault everything has to be as configured within this time (I6). */
const restWithinMs = 150_000;

/** Runs a cluster of real processes through faults, and judges it from outside. */
export async function runSoak(options: SoakOptions): Promise<SoakTotals> {
  const cluster = await makeSoakCluster(options.folder, options.kind, options.nodeCount);
  const soak = new Soak(options, cluster);
  const onInterrupt = (): void => soak.interrupt();
  process.once("SIGINT", onInterrupt);
  process.once("SIGTERM", onInterrupt);
  try {
    await soak.run();
    return soak.totals();
  } finally {
    process.off("SIGINT", onInterrupt);
    process.off("SIGTERM", onInterrupt);
    await soak.end();
    await cluster.stop();
  }
}

class Soak {
  readonly #options: SoakOptions;
  readonly #cluster: SoakCluster;
  readonly #people: People;
  readonly #faults: Faults;
  readonly #random: SeededRandom;
  readonly #startedAt = clock.monotonic();
  readonly #story: string[] = [];
  readonly #over = new AbortController();
  #finding: string | null = null;
  #moves = 0;
  #looks = 0;
  #recordsOfGone = 0;

  constructor(options: SoakOptions, cluster: SoakCluster) {
    this.#options = options;
    this.#cluster = cluster;
    this.#random = seededRandom(options.seed);
    const tell = (what: string): void => this.#tell(what);
    this.#people = new People({ cluster, random: this.#random.fork("people"), clock, tell });
    const hold = (forMs: number): void => this.#people.any()?.writer.hold(forMs);
    this.#faults = new Faults({ cluster, random: this.#random.fork("faults"), clock, tell, hold });
  }

  /** Ends it early, without a finding. */
  interrupt(): void {
    this.#over.abort();
  }

  async run(): Promise<void> {
    const durationMs = this.#options.minutes * 60_000;
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, this.#over.signal]);
    const running = [this.#watch(signal), this.#report(signal)];
    const busy = new AbortController();
    const meddling = AbortSignal.any([busy.signal, signal]);
    const meddlers = [this.#wishAll(meddling), this.#breakThings(meddling)];
    await clock.sleep(durationMs, signal);
    busy.abort();
    await Promise.all(meddlers);
    this.#tell("all faults end");
    this.#faults.endAll();
    if (!this.#over.signal.aborted) await this.#untilRest();
    stop.abort();
    await Promise.all(running);
  }

  async end(): Promise<void> {
    for (const { writer } of this.#people.datasets) await writer.stop();
  }

  totals(): SoakTotals {
    const kept = this.#people.datasets.map(({ writer }) => writer.kept.length);
    return {
      seed: this.#options.seed,
      minutes: this.#options.minutes,
      faults: Object.fromEntries(this.#faults.counts),
      moves: this.#moves,
      records: this.#recordsOfGone + kept.reduce((sum, count) => sum + count, 0),
      looks: this.#looks,
      finding: this.#finding,
      story: this.#finding === null ? [] : this.#story,
    };
  }

  #tell(what: string): void {
    this.#story.push(`${((clock.monotonic() - this.#startedAt) / 1000).toFixed(2)} s: ${what}`);
    if (this.#story.length > 400) this.#story.shift();
  }

  #broken(rule: string, finding: string): void {
    this.#finding ??= `${rule}: ${finding} (seed ${this.#options.seed})`;
    this.#over.abort();
  }

  async #wishAll(signal: AbortSignal): Promise<void> {
    const random = this.#random.fork("pace of wishes");
    while (!signal.aborted) {
      const gone = await this.#people.forgetDestroyed();
      if (gone !== undefined) this.#broken("I4", gone);
      if (this.#people.datasets.length < this.#options.datasetCount) await this.#people.create();
      else await this.#people.wish();
      await clock.sleep(random.between(50, 800), signal);
    }
  }

  async #breakThings(signal: AbortSignal): Promise<void> {
    const random = this.#random.fork("pace of faults");
    while (!signal.aborted) {
      await clock.sleep(random.between(1_000, 7_000), signal);
      if (!signal.aborted) await this.#faults.begin();
    }
  }

  /** Looks at all mounts again and again. */
  async #watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { control, nodes } = this.#cluster;
      for (const process of [control, ...nodes.map(({ agent }) => agent)])
        if (process.hasFailed) this.#broken("crash", `${process.name} has ended by itself:\n${process.tail}`);
      for (const dataset of this.#people.datasets) await this.#look(dataset);
      await clock.sleep(lookEveryMs, signal);
    }
  }

  async #look(dataset: KnownDataset): Promise<void> {
    const { lease } = dataset;
    const places = await this.#cluster.mountedOn(dataset.id);
    this.#looks += 1;
    // A lease that was given back meanwhile binds nobody.
    const held = dataset.lease === lease ? lease : undefined;
    const names = places.map(({ name }) => name);
    const wrong = judgeMounts(names, held);
    if (wrong !== undefined) this.#broken(places.length > 1 ? "I1" : "I7", `${dataset.id}: ${wrong}`);
    const [place] = places;
    if (place !== undefined && place !== dataset.place) {
      this.#tell(`${dataset.id} is mounted on ${place.name}`);
      if (dataset.place !== undefined) this.#moves += 1;
      dataset.place = place;
      await this.#check(dataset);
    }
    await this.#people.lookAtLease(dataset);
  }

  /** I2 and I3, where the dataset is mounted now. What is unmounted meanwhile is looked at later. */
  async #check(dataset: KnownDataset): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      const [before] = await this.#cluster.mountedOn(dataset.id);
      if (before === undefined) return;
      const wrong = await dataset.writer.check(join(before.mountRoot, dataset.id));
      if (wrong === undefined) return;
      const [after] = await this.#cluster.mountedOn(dataset.id);
      if (after === before && attempt >= 2)
        return this.#broken("I3", `${dataset.id} on ${before.name}: ${wrong}`);
      await clock.sleep(100);
    }
  }

  async #untilRest(): Promise<void> {
    const deadline = clock.monotonic() + restWithinMs;
    for (;;) {
      for (const dataset of this.#people.datasets) await this.#people.release(dataset);
      const gone = await this.#people.forgetDestroyed();
      if (gone !== undefined) return this.#broken("I4", gone);
      const unsettled = await this.#unsettled();
      if (unsettled === undefined) break;
      if (clock.monotonic() > deadline) return this.#broken("I6", unsettled);
      if (this.#over.signal.aborted) return;
      await clock.sleep(200, this.#over.signal);
    }
    for (const dataset of this.#people.datasets) {
      await dataset.writer.stop();
      if (dataset.deletedAt === null) await this.#check(dataset);
    }
    const commits = await this.#history();
    const wrong = judgeAuthors(commits);
    if (wrong !== undefined) this.#broken("I5", wrong);
  }

  async #unsettled(): Promise<string | undefined> {
    for (const { id } of this.#people.datasets) {
      const { api } = this.#cluster.client;
      const answer = await answered(() => api.getDataset({ params: { dataset_id: id } }));
      if (answer?.status !== 200) return `${id}: ${answer?.status ?? "no answer"}`;
      const shown = answer.body as v2.Dataset;
      if (!shown.converged) return `${id} is not as configured: ${JSON.stringify(shown)}`;
      if (shown.desired?.deletion !== null) continue;
      const places = await this.#cluster.mountedOn(id);
      if (places.length !== 1 || places[0]?.node !== shown.desired.primary)
        return `${id} is said to be on ${shown.desired.primary} and is on ${places.map(({ node }) => node).join()}`;
    }
    return undefined;
  }

  async #history(): Promise<readonly string[]> {
    const authors: string[] = [];
    for (let after = 0; ;) {
      const answer = await this.#cluster.client.api.history({ query: { after, limit: 1000 } });
      if (answer.status !== 200 || answer.body.commits.length === 0) return authors;
      authors.push(...answer.body.commits.map(({ author }) => author));
      after = answer.body.commits.at(-1)?.revision ?? after;
    }
  }

  async #report(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await clock.sleep(progressEveryMs, signal);
      const { moves, records, faults } = this.totals();
      const count = Object.values(faults).reduce((sum, each) => sum + each, 0);
      const seconds = Math.round((clock.monotonic() - this.#startedAt) / 1000);
      this.#options.onProgress(`${seconds} s: ${count} faults, ${moves} moves, ${records} records synced`);
    }
  }
}
