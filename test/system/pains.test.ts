// What people complain of in other systems that move data, as rules, on real processes. Those that are about
// ZFS are in test/vm/pains.test.ts.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import {
  childrenOf,
  createDataset,
  fileOn,
  move,
  ready,
  servedBy,
  settled,
  show,
  slowFirstNode,
  startRig,
  untilReason,
  untilTrue,
} from "./rig.ts";

const mebibyte = 2 ** 20;

test("pains of people who move data", async (t) => {
  const rig = await startRig(t, { nodeCount: 3, prepare: slowFirstNode });
  const [a, b, c] = [rig.node(0), rig.node(1), rig.node(2)];

  await t.test(
    "pain 8: what cannot be read is not taken for blank: nothing is made in its place",
    async () => {
      const dataset = await createDataset(rig, "pain-8", b);
      await writeFile(fileOn(b, dataset, "file"), "precious");
      await b.agent.stop();
      const record = join(b.datasetRoot, "copies", dataset, "copy.json");
      const good = await readFile(record);
      await writeFile(record, "");
      b.agent.start();
      await ready(rig);
      await untilReason(rig, dataset, "storage-unreadable");
      assert.deepEqual(await servedBy(rig, dataset), [b.name], "who uses it is not interrupted");
      await move(rig, dataset, c);
      await untilTrue("the reason", async () => (await show(rig, dataset)).reasons.length > 0);
      assert.equal((await readFile(record)).length, 0, "and it is left as it is");
      await writeFile(record, good);
      await settled(rig, dataset, c);
      assert.equal(await readFile(fileOn(c, dataset, "file"), "utf8"), "precious");
    },
  );

  await t.test(
    "pain 12: a move that is half done can be taken back, and leaves nothing in the way",
    async () => {
      const dataset = await createDataset(rig, "pain-12", a);
      const content = randomBytes(8 * mebibyte);
      await writeFile(fileOn(a, dataset, "large"), content);
      await move(rig, dataset, b);
      await untilTrue("the transfer", () => Promise.resolve(childrenOf(a, "tar").length > 0));
      await move(rig, dataset, a);
      const shown = await settled(rig, dataset, a);
      assert.deepEqual(shown.reasons, []);
      await writeFile(fileOn(a, dataset, "after"), "taken back");
      await move(rig, dataset, b);
      await settled(rig, dataset, b);
      assert.ok(content.equals(await readFile(fileOn(b, dataset, "large"))));
      assert.equal(await readFile(fileOn(b, dataset, "after"), "utf8"), "taken back");
    },
  );

  await t.test(
    "pain 14: who keeps a volume busy is named, it is asked ever more rarely, and nobody else asks",
    async () => {
      const dataset = await createDataset(rig, "pain-14", b);
      const failedAt: number[] = [];
      const others: string[] = [];
      const ends = [
        b.agent.onLine((line) => {
          if (line.includes('"action-failed"') && line.includes(dataset)) failedAt.push(performance.now());
        }),
        c.agent.onLine((line) => {
          if (line.includes(dataset)) others.push(line);
        }),
      ];
      const file = await open(fileOn(b, dataset, "open"), "w");
      await move(rig, dataset, a);
      await untilTrue("five attempts", () => Promise.resolve(failedAt.length >= 5));
      const { reasons } = await show(rig, dataset);
      assert.match(reasons.map(({ message }) => message).join(), new RegExp(`pid ${process.pid}`));
      const pauses = failedAt.slice(1).map((at, index) => at - (failedAt[index] ?? 0));
      assert.ok((pauses[3] ?? 0) > 4 * 100, `${pauses.map(Math.round).join(", ")} ms`);
      assert.deepEqual(others, [], "a node without part in it does nothing");
      await file.close();
      await settled(rig, dataset, a);
      for (const end of ends) end();
    },
  );
});
