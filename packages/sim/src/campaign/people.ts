import type { DatasetView } from "@flocker/control";
import { type DatasetConfiguration, type DatasetId, type Result } from "@flocker/core";
import { ControlIsDown } from "../control-store.ts";
import type { SimCluster } from "../sim-cluster.ts";
import { controlNodeName, type WorldNode } from "../world.ts";
import type { Wish } from "./plan.ts";
import type { Story } from "./story.ts";

/** The certificate's name of those who ask for changes here. */
export const peopleAuthor = "user-people";
const caller = { author: peopleAuthor } as const;

type Expected = Pick<DatasetConfiguration, "primary" | "maximumSizeBytes"> & { readonly isDeleted: boolean };

/** Those who ask the control service for changes, and remember what they were promised. */
export class People {
  readonly #sim: SimCluster;
  readonly #story: Story;
  readonly #datasets = new Map<number, DatasetId>();
  readonly #expected = new Map<DatasetId, Expected>();
  #accepted = 0;
  #refused = 0;

  constructor(sim: SimCluster, story: Story) {
    this.#sim = sim;
    this.#story = story;
  }

  get acceptedCount(): number {
    return this.#accepted;
  }

  get refusedCount(): number {
    return this.#refused;
  }

  /** The ids of the datasets that were ever asked for. */
  get datasets(): ReadonlySet<DatasetId> {
    return new Set(this.#datasets.values());
  }

  datasetOf(number: number): DatasetId | undefined {
    return this.#datasets.get(number);
  }

  /**
   * Asks the control service, if it can be reached. Backups and their restoration are somebody else's work.
   */
  ask(wish: Exclude<Wish, { do: "backup" | "restore" }>): void {
    const dataset = wish.do === "create" ? this.#idOf(wish.dataset) : this.#datasets.get(wish.dataset);
    if (dataset === undefined) return;
    const { machine } = this.#sim.world.node(controlNodeName);
    if (!machine.alive || machine.paused) {
      this.#refused += 1;
      return this.#tell(`people ask to ${describe(wish, this.#sim)}: the control service is down`, dataset);
    }
    try {
      const answer = this.#request(wish, dataset);
      if (answer.ok) this.#accepted += 1;
      else this.#refused += 1;
      const outcome = answer.ok ? "" : `: refused, ${answer.problem.code}`;
      this.#tell(`people ask to ${describe(wish, this.#sim)}${outcome}`, dataset);
      if (answer.ok) this.#remember(wish, dataset);
    } catch (error) {
      if (!(error instanceof ControlIsDown)) throw error;
      this.#tell(`people ask to ${describe(wish, this.#sim)}: no answer`, dataset);
      this.#readAgain(dataset);
    }
  }

  /**
   * What the configuration has that was not asked for, or lacks of what was promised; undefined where all is
   * right.
   */
  finding(): string | undefined {
    const { datasets } = this.#sim.store.current();
    const stored = new Map(datasets.map((configuration) => [configuration.dataset, configuration]));
    for (const [dataset, expected] of this.#expected) {
      const found = stored.get(dataset);
      if (found === undefined) return `dataset ${dataset} was promised and is not in the configuration`;
      const isSame =
        found.primary === expected.primary &&
        found.maximumSizeBytes === expected.maximumSizeBytes &&
        (found.deletion !== null) === expected.isDeleted;
      if (!isSame)
        return `dataset ${dataset} is configured as ${JSON.stringify(found)}, promised was ${JSON.stringify(expected)}`;
    }
    return undefined;
  }

  /** A backup has taken the store's place: from now on what it says is the promise. */
  accept(): void {
    this.#expected.clear();
    for (const configuration of this.#sim.store.current().datasets) this.#expect(configuration);
  }

  /** Where the dataset is mounted, whatever anybody says of it. */
  placeOf(dataset: DatasetId): WorldNode | undefined {
    return this.#sim.nodes.find(({ disk }) => disk.mountedDatasets.has(dataset));
  }

  #request(wish: Exclude<Wish, { do: "backup" | "restore" }>, dataset: DatasetId): Result<unknown> {
    const { cluster } = this.#sim;
    switch (wish.do) {
      case "create":
        return cluster.createDataset(
          { dataset, primary: this.#nodeId(wish.node), maximumSizeBytes: wish.sizeBytes, metadata: {} },
          { ...caller, lenient: true },
        );
      case "fail-over":
        return cluster.failOver(dataset, { to: this.#nodeId(wish.node), acceptLoss: true }, caller);
      case "move":
        return cluster.updateDataset(
          dataset,
          { primary: this.#nodeId(wish.node), maximumDowntimeMs: budgetMs(dataset, wish.node) },
          { ...caller, lenient: true },
        );
      case "resize":
        return cluster.updateDataset(dataset, { maximumSizeBytes: wish.sizeBytes }, caller);
      case "delete":
        return cluster.deleteDataset(dataset, caller);
      case "undelete":
        return cluster.undeleteDataset(dataset, caller);
      case "lease":
        return this.#lease(dataset, wish.forMs);
      case "release":
        return cluster.releaseLease(dataset, caller);
    }
  }

  #lease(dataset: DatasetId, forMs: number | null): Result<unknown> {
    const { cluster, world } = this.#sim;
    const held = [...cluster.leases()].find((lease) => lease.dataset === dataset)?.node;
    const node =
      held ?? this.placeOf(dataset)?.machine.id ?? cluster.dataset(dataset)?.configuration?.primary;
    const now = world.node(controlNodeName).ports.clock.now();
    return cluster.acquireLease(
      {
        dataset,
        node: node ?? this.#nodeId(0),
        expiresAt: forMs === null ? null : now + Math.max(1, Math.round(forMs)),
      },
      caller,
    );
  }

  #remember(wish: Wish, dataset: DatasetId): void {
    if (wish.do === "lease" || wish.do === "release") return;
    const view: DatasetView | undefined = this.#sim.cluster.dataset(dataset);
    if (view?.configuration) this.#expect(view.configuration);
  }

  #expect({ dataset, primary, maximumSizeBytes, deletion }: DatasetConfiguration): void {
    this.#expected.set(dataset, { primary, maximumSizeBytes, isDeleted: deletion !== null });
  }

  /** Who gets no answer does not know: what is stored now is as good as the other. */
  #readAgain(dataset: DatasetId): void {
    const found = this.#sim.store.current().datasets.find((stored) => stored.dataset === dataset);
    if (found !== undefined) this.#expect(found);
  }

  #idOf(number: number): DatasetId {
    const known = this.#datasets.get(number);
    if (known !== undefined) return known;
    const dataset = this.#sim.world.random.fork(`dataset/${number}`).uuid() as DatasetId;
    this.#datasets.set(number, dataset);
    this.#story.name(dataset, `d${number}`);
    return dataset;
  }

  #nodeId(number: number) {
    return this.#sim.node(number).machine.id;
  }

  #tell(text: string, dataset: DatasetId): void {
    this.#story.tell(this.#sim.world.elapsedMs, text, dataset);
  }
}

function describe(wish: Wish, sim: SimCluster): string {
  switch (wish.do) {
    case "fail-over":
      return `fail it over to ${sim.node(wish.node).name}`;
    case "create":
    case "move":
      return `${wish.do} it ${wish.do === "create" ? "on" : "to"} ${sim.node(wish.node).name}`;
    case "resize":
      return `resize it to ${wish.sizeBytes ?? "no limit"}`;
    case "lease":
      return `lease it for ${wish.forMs === null ? "ever" : `${Math.round(wish.forMs)} ms`}`;
    case "release":
      return "release its lease";
    default:
      return `${wish.do} it`;
  }
}

/** Half of the moves have a budget, which a quiet cluster keeps, and one with faults may not. */
function budgetMs(dataset: DatasetId, node: number): number | null {
  return (dataset.charCodeAt(0) + node) % 2 === 0 ? 30_000 : null;
}
