import { parseArgs } from "node:util";
import type { DatasetId } from "@flocker/core";
import { systemClock } from "@flocker/host";
import { makeImage } from "../test/vm/requirements.ts";
import { VmCluster, type VmNode } from "../test/vm/vm-cluster.ts";

// What an agent asks of OpenZFS that has nothing to do, with many datasets mounted, in a virtual machine: the
// commands of a minute at rest, and those that one change by hand leads to. Needs qemu; making the datasets
// takes minutes in emulation.

const { values: options } = parseArgs({
  options: {
    datasets: { type: "string", default: "1000" },
    seconds: { type: "string", default: "60" },
    json: { type: "boolean", default: false },
  },
});

const goals = { commandsAtRest: 0, commandsOfOneChange: 2 };
const datasetCount = Number(options.datasets);
const quietSeconds = 10;
const atOnce = 50;

/** Counts the commands that are started in a node's machine from now on. */
function countCommands({ machine }: VmNode): () => readonly string[] {
  const started: string[] = [];
  const { commands } = machine;
  const before = { ...commands };
  Object.assign(commands, {
    run: (...call: Parameters<typeof commands.run>) => {
      started.push(call[0].join(" "));
      return before.run(...call);
    },
    stream: (...call: Parameters<typeof commands.stream>) => {
      started.push(call[0].join(" "));
      return before.stream(...call);
    },
  });
  return () => started.splice(0);
}

/** What has been started until nothing has been for a while. */
async function untilQuiet(taken: () => readonly string[]): Promise<readonly string[]> {
  const all: string[] = [];
  for (let last = -1; last < all.length;) {
    last = all.length;
    await systemClock.sleep(quietSeconds * 1000);
    all.push(...taken());
  }
  return all;
}

/** Makes and mounts the copies as the agent would have done, in one go. */
async function makeCopies({ storage }: VmNode, datasets: readonly DatasetId[]): Promise<void> {
  const record = '{"version":1,"record":{"dataset":"\'$id\'","epoch":{"term":1,"step":0},"role":"primary"}}';
  const line =
    'root=$1 pool=$2; shift 2; for id in "$@"; do zfs create -o canmount=noauto -o mountpoint="$root/$id" ' +
    `-o overlay=off -o flocker:open=yes -o flocker:record='${record}' "$pool/flocker/$id" && ` +
    'zfs mount "$pool/flocker/$id" || exit 1; done';
  for (let at = 0; at < datasets.length; at += atOnce)
    await storage.sh(line, storage.mountRoot, storage.pool, ...datasets.slice(at, at + atOnce));
}

async function main(): Promise<number> {
  const cluster = new VmCluster({ poolMib: 2048, memoryMib: 2048 });
  try {
    await cluster.start();
    const { a } = cluster;
    await a.stopAgent();
    const datasets: DatasetId[] = [];
    for (let made = 0; made < datasetCount; made += 1)
      datasets.push(await cluster.declare(a, { name: `idle-${made}` }));
    await makeCopies(a, datasets);
    const taken = countCommands(a);
    await a.startAgent();
    const starting = await untilQuiet(taken);
    for (const dataset of [datasets[0], datasets.at(-1)])
      if (dataset !== undefined) await cluster.settled(dataset, a);
    await untilQuiet(taken);
    await systemClock.sleep(Number(options.seconds) * 1000);
    const atRest = taken();
    const [changed] = datasets;
    await a.storage.sh('zfs set com.example:note=changed "$1"', `${a.storage.pool}/flocker/${changed}`);
    const ofOneChange = (await untilQuiet(taken)).slice(1);
    report({ starting: starting.length, atRest, ofOneChange });
    const isKept =
      atRest.length <= goals.commandsAtRest &&
      ofOneChange.length > 0 &&
      ofOneChange.length <= goals.commandsOfOneChange;
    return isKept ? 0 : 1;
  } finally {
    await cluster.stop();
  }
}

interface Results {
  readonly starting: number;
  readonly atRest: readonly string[];
  readonly ofOneChange: readonly string[];
}

function report({ starting, atRest, ofOneChange }: Results): void {
  if (options.json)
    return console.log(JSON.stringify({ goals, datasetCount, starting, atRest, ofOneChange }, null, 2));
  console.log(`${datasetCount} datasets: ${starting} commands from the agent's start until it rests`);
  console.log(`${options.seconds} s at rest: ${atRest.length} commands`);
  console.log(`after one change by hand: ${ofOneChange.length} commands`);
  for (const command of [...atRest, ...ofOneChange]) console.log(`  ${command.slice(0, 160)}`);
  console.log(
    `held to: ${goals.commandsAtRest} at rest, at most ${goals.commandsOfOneChange} after one change`,
  );
}

const lacking = makeImage();
if (lacking === null) process.exitCode = await main();
else console.log(`left out: ${lacking}`);
