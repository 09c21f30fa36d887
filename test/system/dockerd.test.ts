// The volume plugin under real Docker daemons, one on each of two nodes.
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import {
  inContainer,
  must,
  startDocker,
  startWriter,
  untilRead,
  whyNoEngine,
  type DockerEngine,
  type Said,
} from "./container-engines.ts";
import { commonStories, leasedBy, stop } from "./container-stories.ts";
import { datasetNamed, line, untilFree } from "./plugin-rig.ts";
import { startRig, type Rig } from "./rig.ts";

const skip = whyNoEngine("dockerd", "docker", "unshare");

/**
 * Kills the plugin as soon as it says that it has done a step of a command, and starts it again. Docker
 * repeats the call, but forgets what it was about: the error says so, and then the command works.
 */
async function killedAt(engine: DockerEngine, step: string, args: readonly string[]): Promise<Said> {
  const reached = line(engine.plugin.process, step);
  const answer = engine.ask(...args);
  const missed = answer.then((said) => assert.fail(`it did not come to ${step}: ${said.stderr}`));
  await Promise.race([reached, missed]);
  missed.catch(() => undefined);
  await engine.plugin.process.stop("SIGKILL");
  await engine.plugin.start();
  const said = await answer;
  if (said.code === 0) return said;
  assert.match(said.stderr, /Run the command again/);
  return engine.ask(...args);
}

test("volumes under real Docker daemons", { skip }, async (t) => {
  const rig = await startRig(t, { nodeCount: 2 });
  const [a, b] = await Promise.all([startDocker(t, rig, rig.node(0)), startDocker(t, rig, rig.node(1))]);
  await stories(t, rig, a, b);
  await killings(t, rig, a, b);
});

async function stories(t: TestContext, rig: Rig, a: DockerEngine, b: DockerEngine): Promise<void> {
  await must(a, "volume", "create", "--driver", "flocker", "--opt", "size=1G", "db");
  await commonStories(t, rig, a, b);

  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    await t.test(
      `after a daemon that ends by ${signal}, its containers start again on their volume`,
      async () => {
        const name = `daemon-${signal.toLowerCase()}`;
        await must(a, "volume", "create", "--driver", "flocker", name);
        const writer = await startWriter(a, name, signal);
        await untilRead(a, writer, `/data/ready-${signal}`);
        await a.daemon.stop(signal);
        await a.start();
        await must(a, "restart", "--time", "5", writer);
        await untilRead(a, writer, "/data/file");
        assert.equal(await leasedBy(rig, name), a.node.node);
        await stop(a, writer);
        await untilFree(rig, name);
        assert.equal(await inContainer(b, name, "cat /data/file"), `${signal}\n${signal}`);
      },
    );
  }

  await t.test("a volume in use is not removed; one that nobody uses is, and can be undeleted", async () => {
    const writer = await startWriter(a, "db", "last");
    await untilRead(a, writer, "/data/ready-last");
    assert.match((await b.ask("volume", "rm", "db")).stderr, /in use on/);
    await stop(a, writer);
    const dataset = await datasetNamed(rig, "db");
    await must(b, "volume", "rm", "db");
    assert.equal(await datasetNamed(rig, "db"), undefined);
    const params = { dataset_id: dataset?.dataset_id ?? "" };
    assert.equal((await rig.client.api.undeleteDataset({ params, headers: {} })).status, 200);
    await must(b, "volume", "create", "--driver", "flocker", "db");
    assert.match(await inContainer(b, "db", "cat /data/file"), /last$/);
  });

  await t.test("options that the plugin does not know are named, with those that it knows", async () => {
    const said = await a.ask("volume", "create", "--driver", "flocker", "--opt", "colour=red", "painted");
    assert.notEqual(said.code, 0);
    assert.match(said.stderr, /colour.*size.*profile/s);
  });
}

async function killings(t: TestContext, rig: Rig, a: DockerEngine, b: DockerEngine): Promise<void> {
  await t.test("killed while it creates: there is one volume", async () => {
    const said = await killedAt(a, "volume-creating", ["volume", "create", "--driver", "flocker", "created"]);
    assert.equal(said.code, 0, said.stderr);
    const all = await rig.client.api.listDatasets({ query: { name: "created", deleted: "any" } });
    assert.equal(all.status === 200 && all.body.datasets.length, 1);
  });

  for (const step of ["mount-noted", "lease-taken", "move-asked", "mount-held"]) {
    await t.test(
      `killed at ${step} of a mount: the container starts, and its end frees the volume`,
      async () => {
        const name = `killed-${step}`;
        await must(a, "volume", "create", "--driver", "flocker", name);
        await inContainer(a, name, `echo ${step} > /data/file; sync`);
        const args = ["run", "--rm", "--network", "none", "--volume", `${name}:/data`, "busybox:test"];
        const said = await killedAt(b, step, [...args, "/bin/cat", "/data/file"]);
        assert.equal(said.stdout.trim(), step, said.stderr);
        await untilFree(rig, name);
      },
    );
  }

  for (const step of ["unmount-noted", "lease-released"]) {
    await t.test(`killed at ${step} of an unmount: the volume is free`, async () => {
      const writer = await startWriter(a, "created", step);
      await untilRead(a, writer, `/data/ready-${step}`);
      const said = await killedAt(a, step, ["stop", "--time", "5", writer]);
      assert.equal(said.code, 0, said.stderr);
      await must(a, "rm", writer);
      await untilFree(rig, "created");
      assert.match(await inContainer(b, "created", "cat /data/file"), new RegExp(`${step}$`));
    });
  }

  await t.test("killed while it looks: the daemon asks again, or its user does", async () => {
    for (const args of [
      ["volume", "ls", "--quiet"],
      ["volume", "inspect", "created"],
    ]) {
      const killed = a.plugin.process.stop("SIGKILL");
      const answer = a.ask(...args);
      await killed;
      await a.plugin.start();
      // Where the call was under way, Docker repeats it without a name, and takes the answer for "not there".
      const said = await answer;
      assert.match(said.code === 0 ? said.stdout : await must(a, ...args), /created/);
    }
  });

  for (const step of ["removal-guarded", "removal-deleted"]) {
    await t.test(`killed at ${step}: the volume is removed`, async () => {
      const name = `removed-${step}`;
      await must(a, "volume", "create", "--driver", "flocker", name);
      const said = await killedAt(a, step, ["volume", "rm", name]);
      assert.match(`${said.stdout} ${said.stderr}`, new RegExp(`${name}|no such volume`, "i"));
      assert.equal(await datasetNamed(rig, name), undefined);
    });
  }
}
