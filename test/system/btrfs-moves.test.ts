// A database that never stops goes round between two nodes with btrfs.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { v2 } from "@flocker/api";
import { pollUntil } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import { Writer } from "../../tools/soak/writer.ts";
import { mountOf, noBtrfs, onBtrfs, served } from "./btrfs-rig.ts";
import { move, startRig } from "./rig.ts";

const moves = 50;

test(
  `over ${moves} moves under a writer no synced record is lost, none is there twice, and the order is kept`,
  { skip: noBtrfs },
  async (t) => {
    const rig = await startRig(t, { nodeCount: 2, prepare: onBtrfs });
    const body = { primary: rig.node(0).node };
    const created = await rig.client.api.createDataset({ headers: {}, body });
    assert.equal(created.status, 201);
    const dataset = (created.body as v2.Dataset).dataset_id;
    await served(rig, dataset, rig.node(0));
    const writer = new Writer(() => mountOf(rig, dataset), systemClock);
    writer.start();
    for (let count = 1; count <= moves; count += 1) {
      const before = writer.kept.length;
      const node = rig.node(count % 2);
      await move(rig, dataset, node);
      await served(rig, dataset, node);
      const wrong = await writer.check(join(node.mountRoot, dataset));
      assert.equal(wrong, undefined, `after move ${count}`);
      const goesOn = await pollUntil(systemClock, {
        waitingFor: "the writer to go on",
        timeoutMs: 60_000,
        ask: () => Promise.resolve(writer.kept.length > before + 2 ? true : undefined),
      });
      assert.ok(goesOn.ok, `the writer goes on after move ${count}`);
    }
    await writer.stop();
    assert.equal(await writer.check(join(rig.node(moves % 2).mountRoot, dataset)), undefined);
    t.diagnostic(`${writer.kept.length} records, each synced, through ${moves} moves`);
  },
);
