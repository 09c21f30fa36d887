// A dataset with a budget for its downtime moves only when its handoff can keep it.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { v2 } from "@flocker/api";
import { pollUntil } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import { Writer } from "../../tools/soak/writer.ts";
import { mountOf, mountedOn, noBtrfs, onBtrfs, served } from "./btrfs-rig.ts";
import { show, startRig, type Rig } from "./rig.ts";

const budgetMs = 2_500;
const fileBytes = 24 * 2 ** 20;

/** As on a slow network: what is written again and again cannot be carried over within the budget. */
async function onSlowBtrfs(rig: Rig): Promise<void> {
  await onBtrfs(rig);
  for (const { configurationFile } of rig.cluster.nodes) {
    const text = await readFile(configurationFile, "utf8");
    const slow = text.replace(/^(data-channel: \{.*) \}$/m, "$1, bandwidth-limit: 4MiB }");
    assert.notEqual(slow, text);
    await writeFile(configurationFile, slow);
  }
}

/** Writes all of a file anew, with other bytes and synced, until it is told to stop. */
async function rewrite(path: string, stop: AbortSignal): Promise<void> {
  const block = randomBytes(2 ** 20);
  while (!stop.aborted) {
    const file = await open(path, "r+");
    for (let at = 0; at < fileBytes && !stop.aborted; at += block.length) {
      block.writeUInt32LE((block.readUInt32LE(0) + 1) >>> 0, 0);
      for (let page = 4096; page < block.length; page += 4096) block.copy(block, page, 0, 4);
      await file.write(block, 0, block.length, at);
    }
    await file.sync();
    await file.close();
  }
}

test(
  "a handoff that cannot keep the budget is not begun, the source serves on, and it moves once it can",
  { skip: noBtrfs },
  async (t) => {
    const rig = await startRig(t, { nodeCount: 2, prepare: onSlowBtrfs });
    const [a, b] = [rig.node(0), rig.node(1)];
    const created = await rig.client.api.createDataset({ headers: {}, body: { primary: a.node } });
    assert.equal(created.status, 201);
    const dataset = (created.body as v2.Dataset).dataset_id;
    await served(rig, dataset, a);
    const file = join(a.mountRoot, dataset, "rewritten");
    await writeFile(file, randomBytes(fileBytes));
    const writer = new Writer(() => mountOf(rig, dataset), systemClock);
    writer.start();
    const quiet = new AbortController();
    const rewriting = rewrite(file, quiet.signal);
    const params = { dataset_id: dataset };
    const body = { primary: b.node, maximum_downtime_ms: budgetMs };
    assert.equal((await rig.client.api.updateDataset({ params, headers: {}, body })).status, 200);
    const refused = await pollUntil(systemClock, {
      waitingFor: "the reason",
      timeoutMs: 120_000,
      ask: async () => {
        assert.deepEqual(mountedOn(rig, dataset), [a], "the source serves all the time");
        const { reasons } = await show(rig, dataset);
        return reasons.find(({ code }) => code === "downtime-over-budget");
      },
    });
    assert.ok(refused.ok, refused.ok ? "" : JSON.stringify(await show(rig, dataset)));
    assert.match(refused.value.message, /would take \d+(\.\d)? s, and the dataset's budget is 2\.5 s/);
    const before = writer.kept.length;
    quiet.abort();
    await rewriting;
    await served(rig, dataset, b);
    const handoff = readFileSync(a.agent.logFile, "utf8")
      .split("\n")
      .filter((line) => line.includes('"handoff-done"'))
      .map((line) => JSON.parse(line) as { predictedMs: number; actualMs: number });
    assert.equal(handoff.length, 1, "it was interrupted once, and for the move");
    assert.ok((handoff[0]?.predictedMs ?? Infinity) <= budgetMs);
    assert.ok(writer.kept.length > before, "it was written to while it waited");
    await writer.stop();
    assert.equal(await writer.check(join(b.mountRoot, dataset)), undefined);
    t.diagnostic(`${writer.kept.length} records; the handoff: ${JSON.stringify(handoff[0])}`);
  },
);
