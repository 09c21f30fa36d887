import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openSqliteStore, type ConfigurationStore } from "@flocker/control";
import { systemClock } from "@flocker/host";
import { sampleBirth, sampleDataset, sampleIds } from "../packages/control/src/store/sample-values.ts";

// A commit to the store costs the same at 100 and at 100,000 datasets: what it costs at each, and the ratio.
// Both are measured in turns in one run, so that what else the machine does falls on both alike.

const { values: options } = parseArgs({
  options: {
    datasets: { type: "string", default: "100000" },
    commits: { type: "string", default: "3000" },
    folder: { type: "string", default: tmpdir() },
    json: { type: "boolean", default: false },
  },
});
const sizes = { small: 100, large: Number(options.datasets) };
const commits = Number(options.commits);
const turn = 50;
const datasetsPerFill = 2_000;

interface Subject {
  readonly store: ConfigurationStore;
  readonly count: number;
  readonly durationsMs: number[];
}

function open(path: string, count: number): Subject {
  const opened = openSqliteStore(path, { clock: systemClock, ids: sampleIds() });
  if (!opened.ok) throw new Error(opened.problem.message);
  const store = opened.value;
  for (let first = 1; first <= count; first += datasetsPerFill) {
    const size = Math.min(datasetsPerFill, count - first + 1);
    const changes = Array.from({ length: size }, (_none, index) => sampleBirth(first + index));
    commit(store, changes);
  }
  return { store, count, durationsMs: [] };
}

function commit(store: ConfigurationStore, changes: Parameters<ConfigurationStore["commit"]>[0]["changes"]) {
  const done = store.commit({ expectedRevision: null, changes, author: "bench", at: 1 });
  if (!done.ok) throw new Error(done.problem.message);
}

/** Moves datasets all over the store, one by one. */
function measure(subject: Subject, turns: number): void {
  for (let step = 0; step < turn; step += 1) {
    const number = 1 + (((turns * turn + step) * 7_919) % subject.count);
    const value = sampleDataset(number, { maximumSizeBytes: 2 ** 30 + 1024 * (turns * turn + step) });
    const begin = performance.now();
    commit(subject.store, [{ kind: "put-dataset", value }]);
    subject.durationsMs.push(performance.now() - begin);
  }
}

function percentile(durations: readonly number[], share: number): number {
  const sorted = durations.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

const folder = mkdtempSync(join(options.folder, "flocker-bench-"));
try {
  const small = open(join(folder, "small.sqlite"), sizes.small);
  const large = open(join(folder, "large.sqlite"), sizes.large);
  // The first commits warm up what both share.
  for (const subject of [small, large]) measure(subject, 0);
  for (const subject of [small, large]) subject.durationsMs.length = 0;
  const heapBefore = process.memoryUsage().heapUsed;
  for (let turns = 1; turns * turn <= commits; turns += 1) {
    for (const subject of turns % 2 === 0 ? [small, large] : [large, small]) measure(subject, turns);
  }
  const heapGrowthMiB = (process.memoryUsage().heapUsed - heapBefore) / 2 ** 20;
  const result = {
    commits: small.durationsMs.length,
    small: {
      datasets: sizes.small,
      p50Ms: percentile(small.durationsMs, 0.5),
      p99Ms: percentile(small.durationsMs, 0.99),
    },
    large: {
      datasets: sizes.large,
      p50Ms: percentile(large.durationsMs, 0.5),
      p99Ms: percentile(large.durationsMs, 0.99),
    },
    ratio: { p50: 0, p99: 0 },
    heapGrowthMiB,
    largeFileMiB: statSync(join(folder, "large.sqlite")).size / 2 ** 20,
  };
  result.ratio.p50 = result.large.p50Ms / result.small.p50Ms;
  result.ratio.p99 = result.large.p99Ms / result.small.p99Ms;
  small.store.close();
  large.store.close();
  if (options.json) console.log(JSON.stringify(result));
  else {
    for (const { datasets, p50Ms, p99Ms } of [result.small, result.large])
      console.log(
        `${String(datasets).padStart(7)} datasets: a commit takes p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`,
      );
    console.log(
      `ratio: p50 ${result.ratio.p50.toFixed(2)}, p99 ${result.ratio.p99.toFixed(2)} over ${result.commits} commits each; ` +
        `store ${result.largeFileMiB.toFixed(0)} MiB, heap ${heapGrowthMiB >= 0 ? "+" : ""}${heapGrowthMiB.toFixed(1)} MiB`,
    );
  }
} finally {
  rmSync(folder, { recursive: true });
}
