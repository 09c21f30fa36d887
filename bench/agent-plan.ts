import {
  createAgentState,
  firstEpoch,
  stepAgent,
  type AgentEffect,
  type AgentEvent,
  type DatasetId,
  type Era,
  type NodeId,
  type ObservedCopy,
  type SliceDataset,
} from "@flocker/core";

// What one loop of an agent with 10,000 datasets costs: a look at everything taken in, every dataset planned,
// and the changes reported; beside the same with 100 datasets in the same run, so that the cost per dataset
// can be compared. The look itself is the storage's work and not in these figures.

const node = "a0000000-0000-4000-8000-000000000000" as NodeId;
const rounds = 30;
const budgetMs = 50;

function idOf(index: number): DatasetId {
  return `d0000000-0000-4000-8000-${String(index).padStart(12, "0")}` as DatasetId;
}

function entryOf(dataset: DatasetId): SliceDataset {
  return {
    dataset,
    desired: { primary: node, maximumSizeBytes: null, deletion: null },
    ownership: { dataset, epoch: firstEpoch, owner: node, born: true, since: 0 },
    conflict: false,
    lease: null,
    relinquishedToYou: null,
  };
}

function copyOf(dataset: DatasetId, isMounted: boolean): ObservedCopy {
  return {
    dataset,
    record: { dataset, epoch: firstEpoch, role: "primary" },
    mountedAt: isMounted ? `/flocker/${dataset}` : null,
    trashedAt: null,
    maximumSizeBytes: null,
    usedBytes: 1 << 20,
    snapshots: [],
    unchangedSince: null,
    writtenBytes: null,
  };
}

/**
 * The median time of a loop over so many datasets, all as they should be, and over all of them needing a
 * mount.
 */
function measure(count: number): { readonly idleMs: number; readonly busyMs: number } {
  const capabilities = {
    liveSnapshots: true,
    resume: true,
    quota: true,
    clone: false,
    compression: false,
    encryption: false,
  };
  const state = createAgentState(
    {
      node,
      era: "era" as Era,
      incarnation: "i",
      name: "n",
      version: "0",
      dataAddress: { host: null, port: 1 },
      backend: { kind: "model", capabilities },
    },
    () => 0.5,
  );
  let now = 0;
  const step = (event: AgentEvent): readonly AgentEffect[] =>
    stepAgent(state, event, { monotonicMs: (now += 1), wallMs: now });
  const ids = Array.from({ length: count }, (_, index) => idOf(index));
  step({
    kind: "started",
    saved: { slice: ids.map(entryOf), nodes: [], births: new Map(), promises: new Map(), revision: 1 },
  });
  const look = (isMounted: boolean): number => {
    const copies = ids.map((id) => copyOf(id, isMounted));
    const discovery = { copies, unreadable: [], capacity: { totalBytes: 1, freeBytes: 1 } };
    step({ kind: "storage-changed", datasets: null });
    const since = performance.now();
    const effects = step({ kind: "looked", dataset: null, result: { ok: true, value: discovery } });
    const durationMs = performance.now() - since;
    // What was begun ends, so that each round starts from the same place.
    for (const effect of effects)
      if (effect.kind === "perform")
        step({ kind: "performed", dataset: effect.dataset, result: { ok: true, value: { kind: "done" } } });
    return durationMs;
  };
  const idle = Array.from({ length: rounds }, () => look(true));
  return { idleMs: median(idle), busyMs: look(false) };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const small = measure(100);
const large = measure(10_000);
const perDataset = (ms: number, count: number): string => `${((ms / count) * 1000).toFixed(2)} µs`;
console.log("One loop of an agent, everything planned (median)");
console.log(
  `     100 datasets  ${small.idleMs.toFixed(2).padStart(8)} ms  ${perDataset(small.idleMs, 100)} each`,
);
console.log(
  `  10,000 datasets  ${large.idleMs.toFixed(2).padStart(8)} ms  ${perDataset(large.idleMs, 10_000)} each`,
);
console.log(`  10,000 datasets, all to be mounted  ${large.busyMs.toFixed(2)} ms`);
console.log(`  budget ${budgetMs} ms: ${large.idleMs <= budgetMs ? "kept" : "NOT KEPT"}`);
if (large.idleMs > budgetMs) process.exitCode = 1;
