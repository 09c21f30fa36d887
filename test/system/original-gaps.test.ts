// The fourteen gaps that the original's own moves on ZFS had, in the order in which its history tells of
// them: each is a rule here, shown on real processes.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { open, readFile, writeFile } from "node:fs/promises";
import { connect } from "node:tls";
import { test, type TestContext } from "node:test";
import type { v2 } from "@flocker/api";
import type { RunnableNode } from "@flocker/cli/local";
import {
  childrenOf,
  createDataset,
  fileOn,
  move,
  readRecords,
  ready,
  servedBy,
  settled,
  show,
  slowFirstNode,
  startRig,
  untilReason,
  untilTrue,
  type Rig,
} from "./rig.ts";
import { SequenceWriter } from "./sequence-writer.ts";

const mebibyte = 2 ** 20;

async function isConnected(rig: Rig, node: RunnableNode): Promise<boolean> {
  const { status, body } = await rig.client.api.listNodes({});
  return status === 200 && body.nodes.some(({ node_id, connected }) => node_id === node.node && connected);
}

test("the fourteen gaps of the original's moves are closed", async (t) => {
  const rig = await startRig(t, { nodeCount: 3, prepare: slowFirstNode });
  const [a, b, c] = [rig.node(0), rig.node(1), rig.node(2)];
  await onTheMove(t, rig, [a, b, c]);
  await whenNodesAreAway(t, rig, [a, b, c]);
  await afterwards(t, rig, [a, b, c]);
});

type Nodes = readonly [RunnableNode, RunnableNode, RunnableNode];

async function onTheMove(t: TestContext, rig: Rig, [a, b]: Nodes): Promise<void> {
  await t.test("gap 1: what is written between the snapshot and the end of service is not lost", async () => {
    const dataset = await createDataset(rig, "gap-1", b);
    const writer = new SequenceWriter(fileOn(b, dataset, "records"), 0).start();
    await untilTrue("records", () => Promise.resolve(writer.kept.length > 5));
    await move(rig, dataset, a);
    await settled(rig, dataset, a);
    await writer.ended();
    const records = await readRecords(fileOn(a, dataset, "records"));
    assert.deepEqual(records.slice(0, writer.kept.length), writer.kept);
  });

  await t.test("gap 2: a crash between the two halves of a handoff leaves one owner", async () => {
    const dataset = await createDataset(rig, "gap-2", b);
    let killed: Promise<unknown> | undefined;
    const end = b.agent.onLine((line) => {
      if (line.includes('"action-done"') && line.includes('"hand-over"')) killed ??= b.agent.stop("SIGKILL");
    });
    await move(rig, dataset, a);
    await untilTrue("the crash", () => Promise.resolve(killed !== undefined));
    end();
    await killed;
    b.agent.start();
    const shown = await settled(rig, dataset, a);
    assert.deepEqual(shown.actual.filter(({ role }) => role === "primary").length, 1);
  });

  await t.test("gap 3: a sender that dies is noticed, and what it sent is sent anew", async () => {
    const dataset = await createDataset(rig, "gap-3", a);
    const content = randomBytes(2 * mebibyte);
    await writeFile(fileOn(a, dataset, "large"), content);
    await move(rig, dataset, b);
    await untilTrue("the sender", () => Promise.resolve(childrenOf(a, "tar").length > 0));
    for (const pid of childrenOf(a, "tar")) process.kill(pid, "SIGKILL");
    await settled(rig, dataset, b);
    assert.ok(content.equals(await readFile(fileOn(b, dataset, "large"))));
  });

  await t.test("gap 10: an agent that sends for seconds is heard, and does its other work", async () => {
    const dataset = await createDataset(rig, "gap-10", a);
    await writeFile(fileOn(a, dataset, "large"), randomBytes(8 * mebibyte));
    await move(rig, dataset, b);
    await untilTrue("the sender", () => Promise.resolve(childrenOf(a, "tar").length > 0));
    await createDataset(rig, "gap-10-meanwhile", a);
    assert.ok(await isConnected(rig, a));
    assert.deepEqual((await show(rig, dataset)).converged, false, "the transfer was going on meanwhile");
    await settled(rig, dataset, b);
  });

  await t.test(
    "gap 13: a file that is open delays the move, says so, and the source goes on serving",
    async () => {
      const dataset = await createDataset(rig, "gap-13", b);
      const file = await open(fileOn(b, dataset, "open"), "w");
      await move(rig, dataset, a);
      await untilReason(rig, dataset, "busy-mount");
      await file.write("still served");
      assert.deepEqual(await servedBy(rig, dataset), [b.name]);
      await file.close();
      await settled(rig, dataset, a);
      assert.equal(await readFile(fileOn(a, dataset, "open"), "utf8"), "still served");
    },
  );

  await t.test("gap 8: nobody without a node's certificate can speak to the port for data", async () => {
    const said = await new Promise<string>((resolve, reject) => {
      let text = "";
      const socket = connect({ port: a.dataPort, host: "127.0.0.1", rejectUnauthorized: false });
      socket.setEncoding("latin1");
      socket.on("data", (part: string) => (text += part));
      socket.on("close", () => resolve(text)).on("error", reject);
    });
    assert.match(said, /certificate-invalid.*showed no certificate/);
  });
}

async function whenNodesAreAway(t: TestContext, rig: Rig, [a, b, c]: Nodes): Promise<void> {
  await t.test(
    "gap 4: what its holder cannot show is not created anew, and the reason says who has it",
    async () => {
      const dataset = await createDataset(rig, "gap-4", b);
      await writeFile(fileOn(b, dataset, "file"), "the only copy");
      await b.agent.stop("SIGKILL");
      await rig.cluster.control.stop("SIGKILL");
      rig.cluster.control.start();
      await ready(rig);
      await move(rig, dataset, c);
      await untilReason(rig, dataset, "holder-unknown");
      assert.deepEqual(
        (await servedBy(rig, dataset)).filter((name) => name === c.name),
        [],
      );
      b.agent.start();
      await settled(rig, dataset, c);
      assert.equal(await readFile(fileOn(c, dataset, "file"), "utf8"), "the only copy");
    },
  );

  await t.test(
    "gap 5: a dataset that was deleted while its node was away does not come back with it",
    async () => {
      const dataset = await createDataset(rig, "gap-5", b);
      await b.agent.stop("SIGKILL");
      const params = { dataset_id: dataset };
      assert.equal((await rig.client.api.deleteDataset({ params, headers: {} })).status, 200);
      b.agent.start();
      await untilTrue("the copy in the trash", async () => (await show(rig, dataset)).converged);
      assert.deepEqual(await servedBy(rig, dataset), []);
    },
  );

  await t.test("gap 7: a dataset of a node that is lost goes on from a replica", async () => {
    const dataset = await createDataset(rig, "gap-7", c);
    await writeFile(fileOn(c, dataset, "file"), "sent");
    await move(rig, dataset, b);
    await settled(rig, dataset, b);
    await b.agent.stop("SIGKILL");
    const params = { dataset_id: dataset };
    const body = { to: c.node, accept_loss: true };
    await untilTrue("the failover", async () => {
      return (await rig.client.api.failOverDataset({ params, headers: {}, body })).status === 200;
    });
    await untilTrue("the replica", async () => (await servedBy(rig, dataset)).includes(c.name));
    assert.equal(await readFile(fileOn(c, dataset, "file"), "utf8"), "sent");
    b.agent.start();
    await settled(rig, dataset, c);
  });

  await t.test(
    "gap 9: a target whose agent is down is named as the reason, and the source goes on serving",
    async () => {
      const dataset = await createDataset(rig, "gap-9", b);
      await a.agent.stop("SIGKILL");
      await move(rig, dataset, a);
      await untilReason(rig, dataset, "peer-unreachable");
      assert.deepEqual(await servedBy(rig, dataset), [b.name]);
      a.agent.start();
      await settled(rig, dataset, a);
    },
  );
}

async function afterwards(t: TestContext, rig: Rig, [a, b, c]: Nodes): Promise<void> {
  const metadata = { "clusterhq:flocker:profile": "gold" };
  const body = { primary: b.node, name: "gap-11", maximum_size: 64 * mebibyte, metadata };
  const created = await rig.client.api.createDataset({ headers: {}, body });
  const dataset = (created.body as v2.Dataset).dataset_id;
  await settled(rig, dataset, b);
  const hops: { readonly node: RunnableNode; readonly shown: v2.Dataset }[] = [];
  const copyAfter = ({ node, shown }: (typeof hops)[number]): v2.Dataset["actual"][number] | undefined =>
    shown.actual.find(({ node_id }) => node_id === node.node);

  await t.test("gap 11: copies that are left behind never stand in the way of a later move", async () => {
    for (const node of [c, a, b, c, b, a, c, a, b]) {
      await move(rig, dataset, node);
      hops.push({ node, shown: await settled(rig, dataset, node) });
    }
  });

  await t.test("gap 12: the size and the metadata move along", () => {
    assert.ok(hops.length > 0);
    for (const hop of hops) {
      assert.equal(copyAfter(hop)?.maximum_size, 64 * mebibyte);
      assert.equal(hop.shown.desired?.metadata["clusterhq:flocker:profile"], "gold");
    }
  });

  await t.test("gap 14: the path is the mount root's and the id, on every node and for ever", () => {
    assert.ok(hops.length > 0);
    for (const hop of hops) assert.equal(copyAfter(hop)?.path, `${hop.node.mountRoot}/${dataset}`);
  });

  await t.test("gap 6: snapshots that no move needs any more go by themselves", async () => {
    await untilTrue("old snapshots to go", async () => {
      return (await show(rig, dataset)).actual.every(({ snapshots }) => snapshots <= 3);
    });
  });
}
