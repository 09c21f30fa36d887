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
import { makeSoakCluster, type SoakCluster, type SoakNode } from "../../tools/soak/cluster.ts";
import { cutOff } from "../../tools/soak/network.ts";
import { noBtrfs } from "./btrfs-rig.ts";
import { move, show, untilReason, untilTrue } from "./rig.ts";

const noNetworks =
  noBtrfs === false && spawnSync("ip", ["-V"]).status !== 0 ? "ip is not installed" : noBtrfs;
const contentBytes = 24 * 2 ** 20;

/** A session and a link that were cut come back some time after the cable. */
const comebackTimeoutMs = 120_000;

async function served(cluster: SoakCluster, dataset: string, node: SoakNode): Promise<void> {
  await untilTrue(
    `the dataset on ${node.name}`,
    async () => {
      const places = await cluster.mountedOn(dataset);
      return places.length === 1 && places[0] === node && (await show(cluster, dataset)).converged;
    },
    comebackTimeoutMs,
  );
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
      await untilTrue("both agents", async () => {
        const answer = await cluster.client.api.listNodes({}).catch(() => undefined);
        return answer?.status === 200 && answer.body.nodes.filter(({ connected }) => connected).length === 2;
      });
      const body = { primary: a.node };
      const created = await cluster.client.api.createDataset({ headers: {}, body });
      const dataset = (created.body as v2.Dataset).dataset_id;
      await served(cluster, dataset, a);
      const content = randomBytes(contentBytes);
      await writeFile(join(a.mountRoot, dataset, "content"), content);
      await move(cluster, dataset, b);
      await untilTrue(
        "the transfer",
        async () => ((await show(cluster, dataset)).transfer?.done_bytes ?? 0) > 0,
      );
      const plugIn = cutOff(b.index);
      await untilReason(cluster, dataset, "peer-unreachable");
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
