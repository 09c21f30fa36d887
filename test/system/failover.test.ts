// A node is lost, and a dataset goes on from the replica on another one.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { pollUntil } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import { createDataset, fileOn, move, ready, servedBy, settled, show, startRig } from "./rig.ts";

interface Refusal {
  readonly code: string;
  readonly detail: string;
}

test("a dataset whose node is lost goes on from a replica, with consent to what is lost", async (t) => {
  const rig = await startRig(t, { nodeCount: 3 });
  const [a, b, c] = [rig.node(0), rig.node(1), rig.node(2)];
  const dataset = await createDataset(rig, "db", a);
  await writeFile(fileOn(a, dataset, "file"), "sent");
  await move(rig, dataset, b);
  await settled(rig, dataset, b);
  await writeFile(fileOn(b, dataset, "file"), "never sent");
  const failOver = async (to: string, acceptLoss: boolean): Promise<{ status: number; problem: Refusal }> => {
    const params = { dataset_id: dataset };
    const body = { to, accept_loss: acceptLoss };
    const answer = await rig.client.api.failOverDataset({ params, headers: {}, body });
    return { status: answer.status, problem: answer.body as Refusal };
  };

  await t.test("not while its owner is connected", async () => {
    assert.equal((await failOver(a.node, true)).problem.code, "owner-connected");
  });

  await b.agent.stop("SIGKILL");
  await t.test("not to a node without a replica, nor before somebody consents to the loss", async () => {
    const gone = await pollUntil(systemClock, {
      waitingFor: "the owner to be gone",
      timeoutMs: 60_000,
      ask: async () => ((await failOver(a.node, false)).problem.code === "consent-needed" ? true : undefined),
    });
    assert.ok(gone.ok);
    const { problem } = await failOver(a.node, false);
    assert.match(problem.detail, /replica on node-1 is as of .* before node-2 was last seen/);
    assert.equal((await failOver(c.node, true)).problem.code, "snapshot-missing");
    assert.equal((await show(rig, dataset)).desired?.primary, b.node, "nothing has happened yet");
  });

  await t.test(
    "the replica becomes the primary, one term higher, and asking twice changes nothing",
    async () => {
      assert.equal((await failOver(a.node, true)).status, 200);
      assert.equal((await failOver(a.node, true)).status, 200);
      const served = await pollUntil(systemClock, {
        waitingFor: "the replica to serve",
        timeoutMs: 60_000,
        ask: async () => ((await servedBy(rig, dataset)).includes(a.name) ? true : undefined),
      });
      assert.ok(served.ok);
      assert.equal(await readFile(fileOn(a, dataset, "file"), "utf8"), "sent");
      assert.deepEqual((await show(rig, dataset)).ownership?.epoch, { term: 2, step: 0 });
      await writeFile(fileOn(a, dataset, "file"), "after the failover");
    },
  );

  await t.test("the former owner comes back, stops serving, and keeps its copy aside", async () => {
    b.agent.start();
    await ready(rig);
    const shown = await settled(rig, dataset, a);
    assert.equal(await readFile(fileOn(a, dataset, "file"), "utf8"), "after the failover");
    const aside = shown.actual.find(({ node_id }) => node_id === b.node);
    assert.deepEqual(aside?.epoch, { term: 1, step: 1 });
    assert.equal(aside.role, "primary");
  });
});
