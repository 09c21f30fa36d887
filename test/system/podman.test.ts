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
import { commonStories, stop } from "./container-stories.ts";
import { datasetNamed, line, untilFree } from "./plugin-rig.ts";
import { startRig, type Rig } from "./rig.ts";

const skip = whyNoEngine("podman");

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
  await commonStories(t, rig, a, b);

  await t.test("a volume in use elsewhere is not removed, and the error says where", async () => {
    const writer = await startWriter(a, "db", "last");
    await untilRead(a, writer, "/data/ready-last");
    const said = await b.ask("volume", "rm", "db");
    assert.notEqual(said.code, 0);
    assert.match(said.stderr, /in use on/);
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

  for (const step of ["unmount-noted", "lease-released"]) {
    await t.test(
      `killed at ${step} of an unmount: the volume is free, and goes to the other node`,
      async () => {
        const name = `killed-${step}`;
        await createVolume([a, b], name);
        const writer = await startWriter(a, name, step);
        await untilRead(a, writer, `/data/ready-${step}`);
        const reached = line(a.plugin.process, step);
        const ending = a.ask("stop", "--time", "5", writer);
        await reached;
        await a.plugin.process.stop("SIGKILL");
        await ending;
        await a.plugin.start();
        await untilFree(rig, name);
        assert.equal(await inContainer(b, name, "cat /data/file"), step);
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
