// Nodes in networks of their own, each with a btrfs of its own: the cable of one is pulled in the middle of a
// move.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { v2 } from "@flocker/api";
import { pollUntil } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import { makeSoakCluster, type SoakCluster, type SoakNode } from "../../tools/soak/cluster.ts";
import { cutOff } from "../../tools/soak/network.ts";
import { noBtrfs } from "./btrfs-rig.ts";

const noNetworks =
  noBtrfs === false && spawnSync("ip", ["-V"]).status !== 0 ? "ip is not installed" : noBtrfs;
const contentBytes = 24 * 2 ** 20;

async function waitFor(waitingFor: string, ask: () => Promise<boolean>): Promise<void> {
  const result = await pollUntil(systemClock, {
    waitingFor,
    timeoutMs: 120_000,
    ask: async () => ((await ask()) ? true : undefined),
  });
  assert.ok(result.ok, result.ok ? "" : result.problem.message);
}

async function show({ client }: SoakCluster, dataset: string): Promise<v2.Dataset> {
  const answer = await client.api.getDataset({ params: { dataset_id: dataset } });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body as v2.Dataset;
}

async function served(cluster: SoakCluster, dataset: string, node: SoakNode): Promise<void> {
  await waitFor(`the dataset on ${node.name}`, async () => {
    const places = await cluster.mountedOn(dataset);
    return places.length === 1 && places[0] === node && (await show(cluster, dataset)).converged;
  });
}

/** So slow that the cable is pulled while the transfer runs. */
async function slowDown(node: SoakNode): Promise<void> {
  const text = await readFile(node.configurationFile, "utf8");
  await writeFile(node.configurationFile, text.replace("silence: 5s", "silence: 5s, bandwidth-limit: 4 MiB"));
  await node.agent.stop();
  node.agent.start();
}

test(
  "a cable that is pulled in the middle of a move delays it: the source serves on, and says what is missing",
  { skip: noNetworks },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "flocker-namespaces-"));
    const cluster = await makeSoakCluster(folder, "btrfs", 2);
    try {
      const [a, b] = cluster.nodes;
      assert.ok(a !== undefined && b !== undefined);
      await slowDown(a);
      await waitFor("both agents", async () => {
        const answer = await cluster.client.api.listNodes({}).catch(() => undefined);
        return answer?.status === 200 && answer.body.nodes.filter(({ connected }) => connected).length === 2;
      });
      const body = { primary: a.node };
      const created = await cluster.client.api.createDataset({ headers: {}, body });
      const dataset = (created.body as v2.Dataset).dataset_id;
      await served(cluster, dataset, a);
      const content = randomBytes(contentBytes);
      await writeFile(join(a.mountRoot, dataset, "content"), content);
      const params = { dataset_id: dataset };
      await cluster.client.api.updateDataset({ params, headers: {}, body: { primary: b.node } });
      await waitFor(
        "the transfer",
        async () => ((await show(cluster, dataset)).transfer?.done_bytes ?? 0) > 0,
      );
      const plugIn = cutOff(b.index);
      await waitFor("the reason", async () =>
        (await show(cluster, dataset)).reasons.some(({ code }) => code === "peer-unreachable"),
      );
      assert.deepEqual(await cluster.mountedOn(dataset), [a]);
      await writeFile(join(a.mountRoot, dataset, "meanwhile"), "written");
      plugIn();
      await served(cluster, dataset, b);
      assert.ok(content.equals(await readFile(join(b.mountRoot, dataset, "content"))));
      assert.equal(await readFile(join(b.mountRoot, dataset, "meanwhile"), "utf8"), "written");
    } finally {
      await cluster.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
);
