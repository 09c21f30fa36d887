// The volume plugin is stopped, killed in the middle of each call, and left by its callers: what it does next
// is right.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import {
  call,
  create,
  datasetNamed,
  line,
  makePlugin,
  mount,
  must,
  remove,
  unmount,
  untilDataset,
  untilFree,
  type PluginReply,
  type RunnablePlugin,
} from "./plugin-rig.ts";
import { startRig, type Rig } from "./rig.ts";

/** As dockerd does: asks again where the connection is refused or breaks, with the same request. */
async function persistently(plugin: RunnablePlugin, path: string, body: object): Promise<PluginReply> {
  for (let attempt = 0; attempt < 300; attempt += 1) {
    try {
      return await call(plugin, path, body);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  assert.fail(`${path} was never answered:\n${plugin.process.tail}`);
}

/**
 * Kills the plugin as soon as it says that it has done a step, starts it again, and answers what the caller
 * got.
 */
async function killedAt(
  plugin: RunnablePlugin,
  step: string,
  path: string,
  body: object,
  onAnswer: () => void = () => {},
): Promise<PluginReply> {
  const reached = line(plugin.process, step);
  const answer = persistently(plugin, path, body);
  void answer.then(onAnswer);
  await reached;
  await plugin.process.stop("SIGKILL");
  await plugin.start();
  return answer;
}

async function leaseOf(rig: Rig, name: string): Promise<string | undefined> {
  return (await datasetNamed(rig, name))?.lease?.node_id;
}

/** A Docker whose containers have all ended but those that use the volumes that run. */
async function serveDocker(
  t: TestContext,
  plugin: RunnablePlugin,
  runs: (volume: string) => boolean,
): Promise<void> {
  const docker = createServer((request, response) => {
    const url = new URL(request.url ?? "", "http://docker");
    const { volume } = JSON.parse(url.searchParams.get("filters") ?? "{}") as { volume: string[] };
    const State = volume.some(runs) ? "running" : "exited";
    response.end(JSON.stringify([{ Id: "c", State }]));
  });
  t.after(() => void docker.close());
  await new Promise<void>((resolve) => docker.listen(join(plugin.folder, "docker.sock"), resolve));
}

test("the volume plugin is stopped, killed and started again", async (t) => {
  const rig = await startRig(t, { nodeCount: 2 });
  const a = await makePlugin(t, rig, rig.node(0));
  const b = await makePlugin(t, rig, rig.node(1));
  await Promise.all([a.start(), b.start()]);

  await t.test("a second plugin on the same state or sockets does not start", async (s) => {
    const second = await makePlugin(s, rig, rig.node(0));
    second.process.start();
    const { code } = await second.process.ended();
    assert.equal(code, 75, second.process.tail);
    assert.match(second.process.tail, /store .* is in use by another process/);
  });

  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    await t.test(`mounts and leases outlive a plugin that ends by ${signal}`, async () => {
      const name = `outlived-${signal.toLowerCase()}`;
      await create(a, name);
      const path = await mount(a, name, "one");
      await mount(a, name, "two");
      assert.equal((await a.process.stop(signal)).code, signal === "SIGTERM" ? 0 : null);
      assert.equal(await leaseOf(rig, name), a.node.node);
      await a.start();
      assert.equal((await must(a, "/VolumeDriver.Path", { Name: name }))["Mountpoint"], path);
      await unmount(a, name, "one");
      assert.equal(await leaseOf(rig, name), a.node.node);
      await unmount(a, name, "two");
      assert.equal(await leaseOf(rig, name), undefined);
    });
  }

  await t.test(
    "whoever waits for a mount when the plugin stops asks again and gets it from the next",
    async () => {
      await create(a, "waited");
      await mount(a, "waited", "one");
      const waits = line(b.process, "mount-waits", '"waited"');
      const answer = persistently(b, "/VolumeDriver.Mount", { Name: "waited", ID: "two" });
      await waits;
      assert.equal((await b.process.stop()).code, 0, b.process.tail);
      await b.start();
      await unmount(a, "waited", "one");
      const reply = await answer;
      assert.equal(reply.status, 200, JSON.stringify(reply.body));
      await unmount(b, "waited", "two");
      assert.equal(await leaseOf(rig, "waited"), undefined, "the mount has counted once");
    },
  );

  await t.test("a caller that goes away has not mounted", async () => {
    await create(a, "left");
    await mount(a, "left", "one");
    const gone = new AbortController();
    const waits = line(b.process, "mount-waits", '"left"');
    const request = { Name: "left", ID: "two" };
    const answer = call(b, "/VolumeDriver.Mount", request, { abort: gone.signal });
    await waits;
    gone.abort();
    await assert.rejects(answer);
    await unmount(a, "left", "one");
    await untilFree(rig, "left");
    await mount(a, "left", "three");
    await unmount(a, "left", "three");
  });

  const mountSteps = ["mount-noted", "lease-taken", "move-asked", "mount-held"] as const;
  for (const step of mountSteps) {
    await t.test(
      `killed at ${step}: the mount is done by the next, counts, and can be given back`,
      async (s) => {
        const name = `killed-${step}`;
        // Only Docker can tell whether it has received an answer that was sent when the plugin was killed: if
        // so, its container runs.
        let answered = false;
        await serveDocker(s, b, () => answered);
        await create(a, name);
        await writeFile(join(await mount(a, name, "writer"), "file"), name);
        await unmount(a, name, "writer");
        const request = { Name: name, ID: "reader" };
        const reply = await killedAt(b, step, "/VolumeDriver.Mount", request, () => (answered = true));
        assert.equal(reply.status, 200, JSON.stringify(reply.body));
        assert.equal(await readFile(join(String(reply.body["Mountpoint"]), "file"), "utf8"), name);
        const lease = (await datasetNamed(rig, name))?.lease;
        assert.deepEqual(lease, { node_id: b.node.node, expires_at: null, acknowledged: true });
        await unmount(b, name, "reader");
        await untilFree(rig, name);
      },
    );
  }

  for (const step of ["unmount-noted", "lease-released"] as const) {
    await t.test(`killed at ${step}: the lease is given back by the next`, async () => {
      const name = `killed-${step}`;
      await create(a, name);
      await mount(a, name, "one");
      const reply = await killedAt(a, step, "/VolumeDriver.Unmount", { Name: name, ID: "one" });
      assert.equal(reply.status, 200);
      await untilFree(rig, name);
      await mount(b, name, "two");
      await unmount(b, name, "two");
    });
  }

  await t.test("killed while it creates: there is one volume", async () => {
    const reply = await killedAt(a, "volume-creating", "/VolumeDriver.Create", { Name: "created" });
    assert.equal(reply.status, 200, JSON.stringify(reply.body));
    const all = await rig.client.api.listDatasets({ query: { name: "created", deleted: "any" } });
    assert.equal(all.status === 200 && all.body.datasets.length, 1);
    await mount(a, "created", "one");
    await unmount(a, "created", "one");
  });

  for (const step of ["removal-guarded", "removal-deleted"] as const) {
    await t.test(`killed at ${step}: the volume is removed by the next`, async () => {
      const name = `killed-${step}`;
      await create(a, name);
      const reply = await killedAt(a, step, "/VolumeDriver.Remove", { Name: name });
      assert.equal(reply.status, 200, JSON.stringify(reply.body));
      assert.equal(await datasetNamed(rig, name), undefined);
    });
  }

  await t.test("killed while it only looks: the next one looks", async () => {
    for (const path of ["Get", "List", "Path", "Capabilities"]) {
      await mount(a, "created", path);
      const kill = a.process.stop("SIGKILL");
      const answer = persistently(a, `/VolumeDriver.${path}`, { Name: "created" });
      await kill;
      await a.start();
      assert.equal((await answer).status, 200);
      await unmount(a, "created", path);
    }
  });

  await t.test(
    "after a crash of Docker too, mounts of containers that no longer run are given back",
    async (s) => {
      await create(a, "stopped");
      await create(a, "running");
      await create(a, "others");
      for (const name of ["stopped", "running"]) await mount(a, name, "one");
      await call(a, "/VolumeDriver.Mount", { Name: "others", ID: "one" }, { headers: { host: "plugin" } });
      await a.process.stop("SIGKILL");
      await serveDocker(s, a, (volume) => volume === "running");
      await a.start();
      await untilFree(rig, "stopped");
      assert.equal(await leaseOf(rig, "running"), a.node.node);
      assert.equal(await leaseOf(rig, "others"), a.node.node, "Docker knows nothing of Podman's");
      await unmount(a, "running", "one");
      await unmount(a, "others", "one");
    },
  );

  await t.test("a lease that somebody else on this node has is left in place", async () => {
    await create(a, "shared");
    const dataset = await datasetNamed(rig, "shared");
    const body = { dataset_id: dataset?.dataset_id ?? "", node_id: a.node.node, expires_in: null };
    assert.equal((await rig.client.api.acquireLease({ body })).status, 201);
    assert.match(String((await remove(a, "shared")).body["Err"]), /is in use/);
    await mount(a, "shared", "one");
    await unmount(a, "shared", "one");
    assert.equal(await leaseOf(rig, "shared"), a.node.node);
  });

  await t.test("a lease that somebody takes away from a volume in use is taken again", async () => {
    await create(a, "defended");
    await mount(a, "defended", "one");
    const params = { dataset_id: (await datasetNamed(rig, "defended"))?.dataset_id ?? "" };
    assert.equal((await rig.client.api.releaseLease({ params })).status, 200);
    await untilDataset(rig, "defended", "leased again", (dataset) => dataset?.lease?.node_id === a.node.node);
    await unmount(a, "defended", "one");
  });

  await t.test("with --keep-on-remove, removing leaves the dataset", async (s) => {
    await a.process.stop();
    const keeping = await makePlugin(s, rig, rig.node(0), { argv: ["--keep-on-remove"] });
    await keeping.start();
    await create(keeping, "kept");
    assert.equal((await remove(keeping, "kept")).status, 200);
    assert.ok((await datasetNamed(rig, "kept")) !== undefined);
    await keeping.process.stop();
  });
});
