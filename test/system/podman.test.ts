// The volume plugin under real Podman, one on each of two nodes.
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import {
  inContainer,
  makePodman,
  must,
  startWriter,
  untilRead,
  whyNoEngine,
  type Engine,
} from "./container-engines.ts";
import { datasetNamed, line, untilFree } from "./plugin-rig.ts";
import { startRig, type Rig } from "./rig.ts";

const skip = whyNoEngine("podman");

async function stop(engine: Engine, container: string): Promise<void> {
  await must(engine, "stop", "--time", "5", container);
  await must(engine, "rm", container);
}

/** Podman knows only the volumes that it has created itself; one that exists is then used. */
async function createVolume(engines: readonly Engine[], name: string): Promise<void> {
  for (const engine of engines) await must(engine, "volume", "create", "--driver", "flocker", name);
}

test("volumes under real Podman", { skip }, async (t) => {
  const rig = await startRig(t, { nodeCount: 2 });
  const [a, b] = await Promise.all([makePodman(t, rig, rig.node(0)), makePodman(t, rig, rig.node(1))]);
  await createVolume([a, b], "db");
  await stories(t, rig, a, b);
  await killings(t, rig, a, b);
});

async function stories(t: TestContext, rig: Rig, a: Engine, b: Engine): Promise<void> {
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
    assert.equal((await datasetNamed(rig, "db"))?.lease?.node_id, a.node.node);
    await stop(a, second);
    await untilFree(rig, "db");
  });

  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    await t.test(`a plugin that ends by ${signal} takes no volume from a container`, async () => {
      const writer = await startWriter(a, "db", signal);
      await untilRead(a, writer, `/data/ready-${signal}`);
      await a.plugin.process.stop(signal);
      await must(a, "exec", writer, "/bin/sh", "-c", `echo ${signal} >> /data/away; sync`);
      assert.equal((await datasetNamed(rig, "db"))?.lease?.node_id, a.node.node);
      await a.plugin.start();
      await stop(a, writer);
      await untilFree(rig, "db");
      assert.match(await inContainer(b, "db", "cat /data/away"), new RegExp(`${signal}$`));
    });
  }

  await t.test("a volume in use elsewhere is not removed, and the error says where", async () => {
    const writer = await startWriter(a, "db", "last");
    await untilRead(a, writer, "/data/ready-last");
    const said = await b.ask("volume", "rm", "db");
    assert.notEqual(said.code, 0);
    assert.ok((await datasetNamed(rig, "db")) !== undefined);
    await stop(a, writer);
  });
}

/** Podman does not repeat a call: it fails, and the next command works. */
async function killings(t: TestContext, rig: Rig, a: Engine, b: Engine): Promise<void> {
  // Not at mount-held: whether Podman has received that answer nobody can know, so the lease stays.
  for (const step of ["mount-noted", "lease-taken", "move-asked"]) {
    await t.test(
      `killed at ${step} of a mount: the next command mounts, and its end frees the volume`,
      async () => {
        const name = `killed-${step}`;
        await createVolume([a, b], name);
        await inContainer(a, name, `echo ${step} > /data/file; sync`);
        const reached = line(b.plugin.process, step);
        const args = ["run", "--rm", "--network", "none", "--volume", `${name}:/data`, "busybox:test"];
        const first = b.ask(...args, "/bin/cat", "/data/file");
        await reached;
        await b.plugin.process.stop("SIGKILL");
        await first;
        await b.plugin.start();
        assert.equal(await inContainer(b, name, "cat /data/file"), step);
        await untilFree(rig, name);
      },
    );
  }

  await t.test("killed while it creates or removes: the next command does it", async () => {
    const kill = async (step: string, args: readonly string[]): Promise<void> => {
      const reached = line(a.plugin.process, step);
      const first = a.ask(...args);
      await reached;
      await a.plugin.process.stop("SIGKILL");
      await first;
      await a.plugin.start();
      await a.ask(...args);
    };
    await kill("volume-creating", ["volume", "create", "--driver", "flocker", "created"]);
    const all = await rig.client.api.listDatasets({ query: { name: "created", deleted: "any" } });
    assert.equal(all.status === 200 && all.body.datasets.length, 1);
    await kill("removal-guarded", ["volume", "rm", "created"]);
    assert.equal(await datasetNamed(rig, "created"), undefined);
  });
}
