import type { ClusterEvent } from "@flocker/api";
import type { ClusterChange } from "../cluster/cluster.ts";

/** What waits to be sent to one client: sets of ids, so that a slow client costs a bounded amount. */
export interface EventBacklog {
  add(change: ClusterChange): void;
  /** From now on, the client has to read everything again. */
  reset(): void;
  /** What is to be sent now, if anything; it then no longer waits. */
  take(id: string, revision: number): ClusterEvent | undefined;
}

/** A backlog of at most so many ids; beyond them it becomes a `reset`, in which all changes are contained. */
export function createBacklog(idsMaximum: number): EventBacklog {
  const datasets = new Set<string>();
  const nodes = new Set<string>();
  let isReset = false;

  function reset(): void {
    isReset = true;
    datasets.clear();
    nodes.clear();
  }

  return {
    add(change) {
      if (isReset) return;
      for (const dataset of change.datasets) datasets.add(dataset);
      for (const node of change.nodes) nodes.add(node);
      if (datasets.size + nodes.size > idsMaximum) reset();
    },
    reset,
    take(id, revision) {
      if (isReset) {
        isReset = false;
        return { kind: "reset", id, data: { revision } };
      }
      if (datasets.size + nodes.size === 0) return undefined;
      const data = { revision, datasets: [...datasets], nodes: [...nodes] };
      datasets.clear();
      nodes.clear();
      return { kind: "change", id, data };
    },
  };
}

/** The last changes, for clients that come back after a broken connection. */
export interface ChangeJournal {
  add(change: ClusterChange): void;
  /** The id of an event that contains all changes up to now. */
  currentId(): string;
  /**
   * The changes after an event, or undefined where they are not all known any more, or the id is of another
   * process.
   */
  after(eventId: string): readonly ClusterChange[] | undefined;
}

/** A journal of the newest changes. `instance` tells this process's event ids from those of others. */
export function createJournal(instance: string, changesMaximum: number): ChangeJournal {
  const kept: ClusterChange[] = [];
  let newest = 0;
  return {
    add(change) {
      newest += 1;
      kept.push(change);
      if (kept.length > changesMaximum) kept.shift();
    },
    currentId: () => `${instance}/${newest}`,
    after(eventId) {
      const [from, number] = eventId.split("/");
      if (from !== instance || !/^\d{1,15}$/.test(number ?? "")) return undefined;
      const missed = newest - Number(number);
      if (missed < 0 || missed > kept.length) return undefined;
      return kept.slice(kept.length - missed);
    },
  };
}
