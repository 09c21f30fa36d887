import { fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import {
  added,
  mutationNamed,
  noTotals,
  renderTotals,
  runSeed,
  totalsOf,
  type CampaignOptions,
  type Totals,
} from "@flocker/sim";

const usage = `Usage: npm run sim:campaign -- [options]

Runs many seeds of the fault campaign, on all processors. Each seed that breaks a rule is told of at once;
npm run sim -- --seed N tells its story.

  --seeds N        how many (default: 500)
  --from S         the first (default: 1)
  --minutes M      how long wishes and faults go on in each, in simulated minutes (default: drawn)
  --wish-every S, --fault-every S
                   seconds between two wishes, and between two faults, on average (default: drawn)
  --nodes N, --datasets N, --calm
                   as of npm run sim
  --mutation NAME  with this deliberate mistake
  --overnight      other seeds each time, for eight hours or until interrupted
  --jobs J         how many processes (default: the number of processors)
`;

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "500" },
    from: { type: "string", default: "1" },
    minutes: { type: "string" },
    "wish-every": { type: "string" },
    "fault-every": { type: "string" },
    nodes: { type: "string" },
    datasets: { type: "string" },
    calm: { type: "boolean", default: false },
    mutation: { type: "string" },
    overnight: { type: "boolean", default: false },
    jobs: { type: "string", default: String(availableParallelism()) },
    worker: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

const overnightMs = 8 * 3_600_000;
const seedsPerBatch = 10;
const twiceEvery = 10;
/** What a process may take for one batch before it is taken for stuck. */
const batchBoundMs = 300_000;

function campaignOptions(): CampaignOptions {
  const limits = {
    calm: values.calm,
    ...(values.minutes === undefined ? {} : { minutes: Number(values.minutes) }),
    ...(values["wish-every"] === undefined ? {} : { wishEveryMs: Number(values["wish-every"]) * 1000 }),
    ...(values["fault-every"] === undefined ? {} : { faultEveryMs: Number(values["fault-every"]) * 1000 }),
    ...(values.nodes === undefined ? {} : { nodeCount: Number(values.nodes) }),
    ...(values.datasets === undefined ? {} : { datasetCount: Number(values.datasets) }),
  };
  const { mutation } = values;
  return mutation === undefined
    ? { limits, twiceEvery }
    : { limits, twiceEvery, mutation: mutationNamed(mutation) };
}

/** A worker: runs the batches that it is sent and answers their totals. */
function work(): void {
  const options = campaignOptions();
  process.on("message", (batch: readonly number[]) => {
    void runBatch(batch, options).then((totals) => process.send?.(totals));
  });
}

async function runBatch(batch: readonly number[], options: CampaignOptions): Promise<Totals> {
  let totals = noTotals;
  for (const seed of batch) totals = added(totals, totalsOf(await runSeed(seed, options), twiceEvery));
  return totals;
}

/** One process that gets batches until there are none. */
function employ(nextBatch: () => readonly number[] | undefined, take: (totals: Totals) => void) {
  return new Promise<void>((resolve, reject) => {
    const worker = fork(import.meta.filename, [...process.argv.slice(2), "--worker"]);
    let batch: readonly number[] | undefined;
    let bound = setTimeout(() => {}, 0);
    const next = (): void => {
      clearTimeout(bound);
      batch = nextBatch();
      if (batch === undefined) worker.disconnect();
      else {
        worker.send(batch);
        bound = setTimeout(() => worker.kill("SIGKILL"), batchBoundMs);
      }
    };
    worker.on("message", (totals: Totals) => {
      take(totals);
      next();
    });
    worker.on("exit", (code, signal) => {
      clearTimeout(bound);
      if (batch === undefined) resolve();
      else
        reject(
          new Error(`A worker ended (${signal ?? code}) in the seeds ${batch[0]} to ${batch.at(-1) ?? "?"}.`),
        );
    });
    next();
  });
}

async function main(): Promise<number> {
  const startedAt = performance.now();
  const from = values.overnight ? Math.floor(performance.timeOrigin) : Number(values.from);
  const last = values.overnight ? Infinity : from + Number(values.seeds) - 1;
  let next = from;
  let interrupted = false;
  let totals = noTotals;
  process.once("SIGINT", () => {
    interrupted = true;
  });
  const isOver = (): boolean =>
    interrupted || next > last || (values.overnight && performance.now() - startedAt > overnightMs);
  const nextBatch = (): readonly number[] | undefined => {
    if (isOver()) return undefined;
    const length = Math.min(seedsPerBatch, last - next + 1);
    const batch = Array.from({ length }, (_, index) => next + index);
    next += length;
    return batch;
  };
  const take = (some: Totals): void => {
    totals = added(totals, some);
    for (const { seed, finding } of some.findings) console.log(`seed ${seed}: ${finding}`);
  };
  console.log(`Seeds from ${from}${values.overnight ? ", until interrupted" : ` to ${last}`}.`);
  await Promise.all(Array.from({ length: Number(values.jobs) }, () => employ(nextBatch, take)));
  console.log(renderTotals(totals, performance.now() - startedAt));
  return totals.findings.length === 0 ? 0 : 1;
}

if (values.worker) work();
else if (values.help) console.log(usage);
else process.exitCode = await main();
