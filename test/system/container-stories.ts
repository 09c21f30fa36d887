import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { inContainer, must, startWriter, untilRead, type Engine } from "./container-engines.ts";
import { datasetNamed, line, untilFree } from "./plugin-rig.ts";
import type { Rig } from "./rig.ts";

/** Stops a container, as its user does, and removes it. */
export async function stop(engine: Engine, container: string): Promise<void> {
  await must(engine, "stop", "--time", "5", container);
  await must(engine, "rm", container);
}

/** The node that has a lease on a volume. */
export async function leasedBy(rig: Rig, name: string): Promise<string | undefined> {
  return (await datasetNamed(rig, name))?.lease?.node_id;
}

/** What holds for the volume `db` under every engine, of which there is one on each of two nodes. */
export async function commonStories(t: TestContext, rig: Rig, a: Engine, b: Engine): Promise<void> {
  await t.test("what a container has written on one node, a container on the other reads", async () => {
    await inContainer(a, "db", "echo one > /data/file; sync");
    assert.equal(await inContainer(b, "db", "cat /data/file"), "one");
    await inContainer(b, "db", "echo two >> /data/file; sync");
    assert.equal(await inContainer(a, "db", "cat /data/file"), "one\ntwo");
  });

  await t.test("a volume in use on one node comes to the other as soon as it is free", async () => {
    const writer = await startWriter(a, "db", "three");
    await untilRead(a, writer, "/data/ready-three");
    const waits = line(b.plugin.process, "mount-waits");
    const reading = inContainer(b, "db", "cat /data/file");
    await waits;
    assert.equal(await leasedBy(rig, "db"), a.node.node);
    await stop(a, writer);
    assert.equal(await reading, "one\ntwo\nthree");
  });

  await t.test("two containers share a volume, which is free when both have ended", async () => {
    const first = await startWriter(a, "db", "four");
    await untilRead(a, first, "/data/ready-four");
    const second = await startWriter(a, "db", "five");
    await untilRead(a, second, "/data/ready-five");
    await untilRead(a, first, "/data/ready-five");
    await stop(a, first);
    assert.equal(await leasedBy(rig, "db"), a.node.node);
    await stop(a, second);
    await untilFree(rig, "db");
  });

  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    await t.test(`a plugin that ends by ${signal} takes no volume from a container`, async () => {
      const writer = await startWriter(a, "db", signal);
      await untilRead(a, writer, `/data/ready-${signal}`);
      await a.plugin.process.stop(signal);
      await must(a, "exec", writer, "/bin/sh", "-c", `echo ${signal} >> /data/away; sync`);
      assert.equal(await leasedBy(rig, "db"), a.node.node);
      await a.plugin.start();
      await stop(a, writer);
      await untilFree(rig, "db");
      assert.match(await inContainer(b, "db", "cat /data/away"), new RegExp(`${signal}$`));
    });
  }
}
