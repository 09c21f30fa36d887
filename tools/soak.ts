import { mkdtemp, rm } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { DiskKind } from "./soak/disks.ts";
import { runSoak, type SoakTotals } from "./soak/run.ts";

const usage = `Usage: npm run soak -- [options]

Runs a control service and agents as real processes, each node in a network namespace and on a file system of
its own, with writers and people, and lets things go wrong: processes killed and stopped, cables pulled, one
way of a connection blocked, disks filled. Looks from outside whether the rules hold. Needs root.

  --minutes M      how long things go wrong (default: 10)
  --nodes N        how many nodes (default: 3)
  --datasets D     how many datasets (default: 10)
  --backend KIND   btrfs (the default), or directory
  --seed S         chooses the faults and wishes; the system itself does not repeat exactly
  --json           prints the totals as JSON

Exit codes: 0 all rules held, 1 one was broken (its story is printed, the folder kept), 2 wrong use.

Examples:
  npm run soak -- --minutes 1
  npm run soak -- --minutes 60 --backend directory --datasets 12
`;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    nodes: { type: "string", default: "3" },
    datasets: { type: "string", default: "10" },
    backend: { type: "string", default: "btrfs" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
    json: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

function wrong(): string | undefined {
  if (!(Number(values.minutes) > 0)) return `--minutes ${values.minutes} is no number above 0.`;
  if (!(Number(values.nodes) >= 2 && Number(values.nodes) <= 20)) return "--nodes takes 2 to 20.";
  if (!(Number(values.datasets) >= 1)) return "--datasets takes at least 1.";
  if (values.backend !== "btrfs" && values.backend !== "directory")
    return "--backend takes btrfs or directory.";
  if (process.getuid?.() !== 0) return "Network namespaces and file systems need root.";
  return undefined;
}

function render(totals: SoakTotals): string {
  const faults = Object.entries(totals.faults).map(([kind, count]) => `${kind} ${count}`);
  return [
    `minutes        ${totals.minutes}`,
    `faults         ${faults.join(", ")}`,
    `moves          ${totals.moves}`,
    `records synced ${totals.records}`,
    `looks          ${totals.looks}`,
    `findings       ${totals.finding ?? "none"}`,
  ].join("\n");
}

async function main(): Promise<number> {
  const folder = await mkdtemp("/tmp/flocker-soak-");
  const totals = await runSoak({
    folder,
    minutes: Number(values.minutes),
    nodeCount: Number(values.nodes),
    datasetCount: Number(values.datasets),
    kind: values.backend as DiskKind,
    seed: values.seed,
    onProgress: (text) => process.stderr.write(`${text}\n`),
  });
  console.log(values.json ? JSON.stringify(totals) : render(totals));
  if (totals.finding === null) {
    await rm(folder, { recursive: true });
    return 0;
  }
  process.stderr.write(`${totals.story.join("\n")}\nLogs and data are kept in ${folder}.\n`);
  return 1;
}

const mistake = wrong();
if (values.help) console.log(usage);
else if (mistake !== undefined) {
  process.stderr.write(`${mistake}\n\n${usage}`);
  process.exitCode = 2;
} else process.exitCode = await main();
