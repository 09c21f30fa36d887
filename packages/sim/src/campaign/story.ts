import type { DatasetId, Milliseconds } from "@flocker/core";

interface Entry {
  readonly atMs: Milliseconds;
  readonly dataset: DatasetId | null;
  readonly text: string;
}

/** What has happened in a run, as people would tell it: who did what when, by dataset. */
export class Story {
  readonly #entries: Entry[] = [];
  readonly #names = new Map<string, string>();

  /** Lets an id be told by a short name. */
  name(id: string, name: string): void {
    this.#names.set(id, name);
  }

  /** The dataset with that short name's id is told by, or the id itself. */
  nameOf(id: string): string {
    return this.#names.get(id) ?? id;
  }

  tell(atMs: Milliseconds, text: string, dataset: DatasetId | null = null): void {
    this.#entries.push({ atMs, dataset, text });
  }

  /** What concerns the datasets that a text names, or everything if it names none. */
  about(text: string): string {
    const named = new Set([...this.#names.keys()].filter((id) => text.includes(id)));
    const isAboutDatasets = this.#entries.some(({ dataset }) => dataset !== null && named.has(dataset));
    const told = this.#entries.filter(
      ({ dataset }) => !isAboutDatasets || dataset === null || named.has(dataset),
    );
    return told.map((entry) => this.#line(entry)).join("\n");
  }

  /** A text with all ids in it replaced by their names. */
  plain(text: string): string {
    return text.replaceAll(uuidPattern, (id) => this.#names.get(id) ?? id);
  }

  #line({ atMs, dataset, text }: Entry): string {
    const time = (atMs / 1_000).toFixed(3).padStart(10);
    return `${time} s  ${(dataset === null ? "" : this.nameOf(dataset)).padEnd(4)} ${this.plain(text)}`;
  }
}

const uuidPattern = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;
