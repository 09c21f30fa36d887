// The link between two nodes with btrfs is cut again and again, by a seed, while datasets move under writers.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { v2 } from "@flocker/api";
import { pollUntil, type RunnableNode } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import { seededRandom, type SeededRandom } from "@flocker/sim";
import { Writer } from "../../tools/soak/writer.ts";
import { openCutProxy, type CutProxy } from "../vm/cut-proxy.ts";
import { mountOf, noBtrfs, onBtrfs, served } from "./btrfs-rig.ts";
import { move, startRig, type Rig } from "./rig.ts";

/**
 * A lane whose transfer was cut tries again after 0.1 s, then after twice as long each time, and btrfs begins
 * anew. So that this takes half a minute and no hours, several datasets share the cuts.
 */
const wantedCuts = 100;
const datasetCount = 16;
/** Of so many connections at the beginning of each round, while all are on their way, most are cut. */
const endangered = 8 * datasetCount;
const cutProbability = 0.75;
const roundsMaximum = 8;
const addedBytes = 100_000;
/** A handshake and a question are about as long. */
const questionBytes = 6_000;
/** The file is closed most of the time, so that the writer seldom holds an unmount up. */
const writerPauseMs = 50;

/** Puts a proxy that cuts before each agent's data channel: at another address, at the same port. */
async function behindProxies(rig: Rig): Promise<readonly CutProxy[]> {
  const proxies: CutProxy[] = [];
  for (const [index, node] of rig.cluster.nodes.entries()) {
    const text = await readFile(node.configurationFile, "utf8");
    const port = Number(/^data-channel: .*port: (\d+)/m.exec(text)?.[1]);
    const host = `127.0.1.${index + 1}`;
    const proxy = await openCutProxy(() => port, { host, port });
    rig.cleanUps.push(async () => await proxy[Symbol.asyncDispose]());
    proxies.push(proxy);
    const channel = `data-channel: { address: 127.0.0.1, port: ${port}, advertise: ${host} }`;
    await writeFile(node.configurationFile, text.replace(/^data-channel: .*$/m, channel));
  }
  return proxies;
}

function cutCount(proxies: readonly CutProxy[]): number {
  return proxies.reduce((sum, proxy) => sum + proxy.cutCount, 0);
}

/** Cuts most connections for a while, in a question or in a transfer. */
function cutAtRandom(proxies: readonly CutProxy[], random: SeededRandom): void {
  let seen = 0;
  for (const proxy of proxies)
    proxy.cutAfter = () => {
      seen += 1;
      if (seen > endangered || !random.chance(cutProbability)) return null;
      return random.integer(1, random.chance(0.4) ? questionBytes : addedBytes);
    };
}

async function create(rig: Rig): Promise<string> {
  const body = { primary: rig.node(0).node };
  const created = await rig.client.api.createDataset({ headers: {}, body });
  assert.equal(created.status, 201);
  return (created.body as v2.Dataset).dataset_id;
}

interface Story {
  readonly rig: Rig;
  readonly proxies: readonly CutProxy[];
  readonly random: SeededRandom;
  readonly datasets: readonly string[];
  /** Writes to the first dataset, the whole time. */
  readonly writer: Writer;
}

/** Moves all datasets to and fro until there have been enough cuts; answers after how many rounds. */
async function moveUnderCuts({ rig, proxies, random, datasets, writer }: Story): Promise<number> {
  const contents = new Map<string, Buffer>();
  for (let round = 0; ; round += 1) {
    const to = rig.node(round % 2);
    for (const [index, dataset] of datasets.entries()) {
      await served(rig, dataset, to);
      const folder = join(to.mountRoot, dataset);
      if (index === 0) assert.equal(await writer.check(folder), undefined, `round ${round}`);
      const before = contents.get(dataset);
      if (before !== undefined) assert.deepEqual(await readFile(join(folder, "added")), before);
      contents.set(dataset, randomBytes(addedBytes));
      await writeFile(join(folder, "added"), contents.get(dataset) ?? "");
    }
    if (cutCount(proxies) >= wantedCuts) return round;
    assert.ok(round < roundsMaximum, `${cutCount(proxies)} cuts in ${round} rounds`);
    cutAtRandom(proxies, random);
    const target = rig.node((round + 1) % 2);
    await Promise.all(datasets.map((dataset) => move(rig, dataset, target)));
  }
}

function stagedOn({ folder }: RunnableNode): string[] {
  return readdirSync(join(folder, "disk", "datasets", "flocker", "staging"));
}

async function transferUnderCuts(t: TestContext): Promise<void> {
  let proxies: readonly CutProxy[] = [];
  const rig = await startRig(t, {
    nodeCount: 2,
    prepare: async (starting) => {
      await onBtrfs(starting);
      proxies = await behindProxies(starting);
    },
  });
  const seed = process.env["FLOCKER_SEED"] ?? "1";
  t.diagnostic(`seed ${seed}`);
  const datasets: string[] = [];
  while (datasets.length < datasetCount) datasets.push(await create(rig));
  const writer = new Writer(() => mountOf(rig, datasets[0] ?? ""), systemClock, writerPauseMs);
  writer.start();
  try {
    const random = seededRandom(seed);
    const rounds = await moveUnderCuts({ rig, proxies, random, datasets, writer });
    const kept = writer.kept.length;
    t.diagnostic(
      `${cutCount(proxies)} cuts in ${rounds} rounds of ${datasetCount} moves, ${kept} records kept`,
    );
  } finally {
    await writer.stop();
  }
  const tidy = await pollUntil(systemClock, {
    waitingFor: "nothing to be left of what was cut",
    timeoutMs: 60_000,
    ask: () => Promise.resolve(rig.cluster.nodes.flatMap(stagedOn).length === 0 ? true : undefined),
  });
  assert.ok(tidy.ok, `left over: ${rig.cluster.nodes.flatMap(stagedOn).join()}`);
}

test(
  `over ${wantedCuts} cuts of the link, moves end by themselves and lose no synced record`,
  { skip: noBtrfs },
  transferUnderCuts,
);
