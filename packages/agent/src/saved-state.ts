import type {
  AgentStore,
  BirthNote,
  DatasetId,
  Epoch,
  SavedState,
  SliceDataset,
  SliceNode,
} from "@flocker/core";

/** Reads what the agent had durably noted: the last slice, its births and its promises. */
export function readSavedState(store: AgentStore): SavedState {
  // The agent's own store is written by the machine alone, in these types; a newer layout raises the store's
  // version.
  const table = <Value>(name: string): ReadonlyMap<string, Value> =>
    store.all(name) as ReadonlyMap<string, Value>;
  return {
    slice: [...table<SliceDataset>("slice").values()],
    nodes: [...table<SliceNode>("nodes").values()],
    births: table<BirthNote>("births") as ReadonlyMap<DatasetId, BirthNote>,
    promises: table<Epoch>("promises") as ReadonlyMap<DatasetId, Epoch>,
    revision: table<number>("agent").get("revision") ?? 0,
  };
}
