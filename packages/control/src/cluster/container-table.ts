import type { ContainerConfiguration, DatasetId } from "@flocker/core";

/** The containers of the configuration, by name, with the index of the datasets that they use. */
export class ContainerTable {
  readonly #byName = new Map<string, ContainerConfiguration>();
  readonly #byDataset = new Map<DatasetId, string>();

  all(): Iterable<ContainerConfiguration> {
    return this.#byName.values();
  }

  get(name: string): ContainerConfiguration | undefined {
    return this.#byName.get(name);
  }

  /** The container that uses the dataset: there is one at most. */
  using(dataset: DatasetId): ContainerConfiguration | undefined {
    const name = this.#byDataset.get(dataset);
    return name === undefined ? undefined : this.#byName.get(name);
  }

  put(container: ContainerConfiguration): void {
    this.remove(container.name);
    this.#byName.set(container.name, container);
    if (container.volume !== null) this.#byDataset.set(container.volume.dataset, container.name);
  }

  remove(name: string): void {
    const dataset = this.#byName.get(name)?.volume?.dataset;
    this.#byName.delete(name);
    if (dataset !== undefined && this.#byDataset.get(dataset) === name) this.#byDataset.delete(dataset);
  }
}
