import {
  ProblemError,
  type Clock,
  type DatasetId,
  type Log,
  type Ownership,
  type Problem,
} from "@flocker/core";
import type { ConfigurationStore } from "../store/store.ts";
import type { DatasetEntry, DatasetTable } from "./dataset-table.ts";
import { decideOwnership, isBirthrightAskedBack } from "./ownership.ts";

const historyPage = 1_000;

/** Works out who owns datasets, from what is stored and what nodes report, and keeps it. */
export class OwnershipJudge {
  readonly #datasets: DatasetTable;
  readonly #ports: { readonly store: ConfigurationStore; readonly clock: Clock; readonly log: Log };
  /** Datasets whose new ownership the store has failed to save. */
  readonly #unsaved = new Set<DatasetId>();

  constructor(
    datasets: DatasetTable,
    ports: { readonly store: ConfigurationStore; readonly clock: Clock; readonly log: Log },
  ) {
    this.#datasets = datasets;
    this.#ports = ports;
  }

  /**
   * Works out who owns these datasets, saves what is new of it, and only then lets it be seen. Where saving
   * fails, everything stays as it was known to be, and the next judgement tries again; that is why it may add
   * datasets.
   */
  judge(datasets: Set<DatasetId>): Problem | null {
    for (const dataset of this.#unsaved) datasets.add(dataset);
    this.#unsaved.clear();
    const judged: DatasetEntry[] = [];
    const raised: Ownership[] = [];
    for (const dataset of datasets) {
      const entry = this.#datasets.get(dataset);
      if (entry === undefined) continue;
      const { ownership, conflict } = decideOwnership(this.#inputOf(entry));
      if (conflict !== null && entry.conflict === null)
        this.#ports.log.write("error", "ownership-conflict", { dataset, nodes: conflict.nodes });
      entry.conflict = conflict;
      judged.push(entry);
      if (ownership !== null && ownership !== entry.ownership) raised.push(ownership);
    }
    const problem = this.#save(raised);
    for (const entry of judged) this.#datasets.refresh(entry);
    return problem;
  }

  #save(raised: readonly Ownership[]): Problem | null {
    try {
      this.#ports.store.saveOwnerships(raised);
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      for (const { dataset } of raised) this.#unsaved.add(dataset);
      return error.problem;
    }
    for (const ownership of raised) {
      const entry = this.#datasets.entryFor(ownership.dataset);
      if (ownership.owner !== entry.ownership?.owner) entry.primaryWasElsewhere = false;
      entry.ownership = ownership;
    }
    return null;
  }

  #inputOf(entry: DatasetEntry): Parameters<typeof decideOwnership>[0] {
    const { configuration, ownership, reports } = entry;
    const configuredPrimary =
      configuration === null || configuration.deletion !== null ? null : configuration.primary;
    const input = { stored: ownership, configuredPrimary, reports };
    const primaryWasElsewhere = isBirthrightAskedBack(input) && this.#wasPrimaryElsewhere(entry);
    return { ...input, primaryWasElsewhere, now: this.#ports.clock.now() };
  }

  /** Looked up in history once, and only in the rare case that it matters. */
  #wasPrimaryElsewhere(entry: DatasetEntry): boolean {
    entry.primaryWasElsewhere ??= this.#findPrimaryElsewhere(entry);
    return entry.primaryWasElsewhere;
  }

  #findPrimaryElsewhere({ dataset, ownership }: DatasetEntry): boolean {
    let after = 0;
    for (;;) {
      const commits = this.#ports.store.history(after, historyPage);
      for (const { at, changes } of commits)
        for (const change of changes)
          if (
            change.kind === "dataset" &&
            change.after.dataset === dataset &&
            ownership !== null &&
            at >= ownership.since &&
            change.after.primary !== ownership.owner
          )
            return true;
      after = commits.at(-1)?.revision ?? after;
      if (commits.length < historyPage) return false;
    }
  }
}
