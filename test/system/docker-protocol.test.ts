// The volume plugin over its socket, with requests as dockerd and Podman send them, on a cluster of two
// nodes.
import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import {
  call,
  create,
  datasetNamed,
  line,
  makePlugin,
  mount,
  must,
  podmanHeaders,
  remove,
  unmount,
  untilDataset,
  untilFree,
  type PluginReply,
  type RunnablePlugin,
} from "./plugin-rig.ts";
import { ready, servedBy, startRig } from "./rig.ts";

/** Sends bytes as they are, and reads the answer to its end. */
function raw(plugin: RunnablePlugin, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(plugin.socket, () => socket.write(text));
    socket.setEncoding("utf8").on("data", (piece: string) => (answer += piece));
    socket.on("end", () => resolve(answer)).on("error", reject);
  });
}

const err = (reply: PluginReply): string => String(reply.body["Err"]);

test("the volume plugin over its socket", async (t) => {
  const rig = await startRig(t, { nodeCount: 2 });
  const a = await makePlugin(t, rig, rig.node(0));
  const b = await makePlugin(t, rig, rig.node(1));
  await Promise.all([a.start(), b.start()]);

  await t.test("nobody but its owner may use the socket", async () => {
    assert.equal((await stat(a.socket)).mode & 0o777, 0o600);
  });

  await t.test(
    "dockerd's bytes are understood: an empty Host, no content type, a body with a line's end",
    async () => {
      const head =
        "Host: \r\nUser-Agent: Go-http-client/1.1\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n";
      const activate = await raw(
        a,
        `POST /Plugin.Activate HTTP/1.1\r\n${head}Content-Length: 0\r\nConnection: close\r\n\r\n`,
      );
      assert.match(activate, /^HTTP\/1\.1 200 OK\r\n/);
      assert.match(activate, /{"Err":"","Implements":\["VolumeDriver"\]}\n$/);
      const body = '{"Name":"bytes","Opts":{}}\n';
      const created = await raw(
        a,
        `POST /VolumeDriver.Create HTTP/1.1\r\n${head}Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
      );
      assert.match(created, /^HTTP\/1\.1 200 OK\r\n/);
      assert.ok((await datasetNamed(rig, "bytes")) !== undefined);
    },
  );

  await t.test("a body may be missing, null, or without what is optional", async () => {
    for (const [path, body] of [
      ["/Plugin.Activate", null],
      ["/Plugin.Activate", undefined],
      ["/VolumeDriver.List", undefined],
      ["/VolumeDriver.List", {}],
      ["/VolumeDriver.Capabilities", {}],
      ["/VolumeDriver.Create", { Name: "podman" }],
    ] as const) {
      const reply = await call(a, path, body, { headers: podmanHeaders });
      assert.deepEqual([path, reply.status, reply.body["Err"]], [path, 200, ""]);
    }
    assert.deepEqual((await must(a, "/VolumeDriver.Capabilities", {}))["Capabilities"], { Scope: "global" });
  });

  await t.test(
    "what cannot be done is status 500 with Err, for Podman looks at nothing but the status",
    async () => {
      const refusals: readonly (readonly [string, unknown, RegExp])[] = [
        ["/VolumeDriver.Get", { Name: "nobody" }, /^Could not find volume with given name: nobody\. See/],
        ["/VolumeDriver.Path", { Name: "nobody" }, /Could not find volume/],
        ["/VolumeDriver.Mount", { Name: "nobody", ID: "1" }, /Could not find volume/],
        [
          "/VolumeDriver.Create",
          { Name: "new", Opts: { fast: "yes" } },
          /"fast" is not known\. .*size.*profile.*flocker\./,
        ],
        [
          "/VolumeDriver.Create",
          { Name: "new", Opts: { size: "10X" } },
          /"10X" is not understood\. Give a whole number/,
        ],
        [
          "/VolumeDriver.Create",
          { Name: "new", Opts: { size: "1M" } },
          /1M is 1048576 bytes\. Give at least 64 MiB/,
        ],
        [
          "/VolumeDriver.Create",
          { Name: 7 },
          /The body of \/VolumeDriver\.Create is not understood: #\/Name/,
        ],
        ["/VolumeDriver.Create", [], /is not understood/],
      ];
      for (const [path, body, text] of refusals) {
        const reply = await call(a, path, body);
        assert.equal(reply.status, 500, path);
        assert.match(err(reply), text);
      }
      assert.equal(await datasetNamed(rig, "new"), undefined);
      assert.equal((await call(a, "/NetworkDriver.Join", {})).status, 404);
    },
  );

  await t.test("options become the dataset's size and metadata", async () => {
    await create(a, "options", { size: "100MB", profile: "gold", "flocker.team": "blue" });
    const desired = (await datasetNamed(rig, "options"))?.desired;
    assert.equal(desired?.maximum_size, 100 * 2 ** 20);
    const metadata = { name: "options", "clusterhq:flocker:profile": "gold", team: "blue" };
    assert.deepEqual(desired.metadata, metadata);
    assert.equal(desired.primary, a.node.node);
  });

  await t.test(
    "a name is one volume in the whole cluster, however often and wherever it is created",
    async () => {
      await create(a, "unique");
      const first = await datasetNamed(rig, "unique");
      await Promise.all([create(a, "unique"), create(b, "unique", { size: "1G" }), create(b, "unique")]);
      const all = await rig.client.api.listDatasets({ query: { name: "unique", deleted: "any" } });
      assert.deepEqual(all.status === 200 && all.body.datasets.map((one) => one.dataset_id), [
        first?.dataset_id,
      ]);
      assert.equal((await must(a, "/VolumeDriver.Get", { Name: "unique" }))["Err"], "", "known at once");
    },
  );

  await t.test(
    "a mount answers the path under a lease that counts; the last unmount gives it back",
    async () => {
      await create(a, "counted");
      const path = await mount(a, "counted", "one");
      const held = await datasetNamed(rig, "counted");
      assert.deepEqual(held?.lease, { node_id: a.node.node, expires_at: null, acknowledged: true });
      assert.equal(path, join(a.node.mountRoot, held.dataset_id));
      await writeFile(join(path, "file"), "text");
      assert.equal((await must(a, "/VolumeDriver.Path", { Name: "counted" }))["Mountpoint"], path);
      assert.equal(await mount(a, "counted", "two"), path);
      // As for docker cp: the same ID again.
      assert.equal(await mount(a, "counted", "one"), path);
      await unmount(a, "counted", "one");
      await unmount(a, "counted", "two");
      await unmount(a, "counted", "stranger");
      assert.equal((await datasetNamed(rig, "counted"))?.lease?.node_id, a.node.node, "one user is left");
      await unmount(a, "counted", "one");
      assert.equal((await datasetNamed(rig, "counted"))?.lease, null);
      await unmount(a, "counted", "one");
      const again = await must(a, "/VolumeDriver.Get", { Name: "counted" });
      assert.equal((again["Volume"] as { Mountpoint: string }).Mountpoint, path, "it stays where it is");
    },
  );

  await t.test("an old Docker, which sends no ID, may mount and unmount", async () => {
    await create(a, "old");
    await must(a, "/VolumeDriver.Mount", { Name: "old" });
    await must(a, "/VolumeDriver.Mount", { Name: "old" });
    await must(a, "/VolumeDriver.Unmount", { Name: "old" });
    assert.notEqual((await datasetNamed(rig, "old"))?.lease, null);
    await must(a, "/VolumeDriver.Unmount", { Name: "old" });
    assert.equal((await datasetNamed(rig, "old"))?.lease, null);
  });

  await t.test(
    "a volume in use elsewhere says where and by what, and is moved as soon as it is free",
    async (s) => {
      await create(a, "wanted");
      await writeFile(join(await mount(a, "wanted", "one"), "file"), "from a");
      const impatient = await makePlugin(s, rig, rig.node(1), {
        name: "impatient",
        settings: "mount-timeout: 1s",
      });
      await impatient.start();
      const refused = await call(impatient, "/VolumeDriver.Mount", { Name: "wanted", ID: "two" });
      assert.equal(refused.status, 500);
      assert.match(err(refused), /in use on node-1 \([0-9a-f]{8}\), by a lease that user-local took at 20/);
      const dataset = await datasetNamed(rig, "wanted");
      assert.deepEqual([dataset?.desired?.primary, dataset?.lease?.node_id], [a.node.node, a.node.node]);

      const waits = line(b.process, "mount-waits", '"wanted"');
      const moved = mount(b, "wanted", "two");
      await waits;
      await unmount(a, "wanted", "one");
      assert.equal(await readFile(join(await moved, "file"), "utf8"), "from a");
      assert.deepEqual(await servedBy(rig, dataset?.dataset_id ?? ""), ["node-2"]);
      await unmount(b, "wanted", "two");
    },
  );

  await t.test(
    "who mounts at the same time on two nodes gets it one after the other, never both",
    async () => {
      await create(a, "contended");
      const free = async (plugin: RunnablePlugin): Promise<void> => {
        const path = await mount(plugin, "contended", plugin.node.name);
        const dataset = await datasetNamed(rig, "contended");
        assert.equal(dataset?.lease?.node_id, plugin.node.node);
        await writeFile(join(path, plugin.node.name), "was here");
        await unmount(plugin, "contended", plugin.node.name);
      };
      for (let round = 0; round < 3; round += 1) await Promise.all([free(a), free(b)]);
    },
  );

  await t.test(
    "a move that is asked for at the same time waits for the mount, or goes before it",
    async () => {
      await create(a, "raced");
      for (let round = 0; round < 4; round += 1) {
        const dataset = await datasetNamed(rig, "raced");
        const away = rig.client.api.updateDataset({
          params: { dataset_id: dataset?.dataset_id ?? "" },
          body: { primary: b.node.node },
        });
        const path = await mount(a, "raced", "one");
        await writeFile(join(path, "file"), String(round));
        await away;
        assert.deepEqual(await servedBy(rig, dataset?.dataset_id ?? ""), ["node-1"]);
        await unmount(a, "raced", "one");
      }
    },
  );

  await t.test(
    "what is removed can be undeleted; what is in use is not removed, and it says where",
    async () => {
      await create(a, "removed");
      await mount(a, "removed", "one");
      for (const plugin of [a, b])
        assert.match(err(await remove(plugin, "removed")), /is not removed.* node-1/);
      await unmount(a, "removed", "one");
      const before = await datasetNamed(rig, "removed");
      assert.equal((await remove(b, "removed")).status, 200);
      assert.equal(await datasetNamed(rig, "removed"), undefined);
      assert.equal((await call(b, "/VolumeDriver.Get", { Name: "removed" })).status, 500);
      assert.equal((await remove(b, "removed")).status, 200, "what is gone is removed");
      const params = { dataset_id: before?.dataset_id ?? "" };
      assert.equal((await rig.client.api.undeleteDataset({ params })).status, 200);
      await untilDataset(rig, "removed", "mounted again", (dataset) => dataset?.converged === true);
      assert.equal((await datasetNamed(rig, "removed"))?.lease, null);
      await mount(a, "removed", "one");
      await unmount(a, "removed", "one");
    },
  );

  await t.test("all volumes are listed, by mount point and name", async () => {
    const listed = (await must(a, "/VolumeDriver.List"))["Volumes"] as { Name: string; Mountpoint: string }[];
    const all = await rig.client.api.listDatasets({});
    assert.ok(all.status === 200);
    assert.deepEqual(
      listed.map(({ Name }) => Name).toSorted((a, b) => (a < b ? -1 : 1)),
      all.body.datasets.map(({ name }) => name ?? "").toSorted((a, b) => (a < b ? -1 : 1)),
    );
    const keys = listed.map(({ Mountpoint, Name }) => `${Mountpoint}\0${Name}`);
    assert.deepEqual(keys, keys.toSorted());
  });

  await t.test(
    "without the control service, looking is answered at once from what was known, and says so",
    async () => {
      await create(a, "remembered");
      const path = await mount(a, "remembered", "one");
      // It neither answers nor refuses.
      rig.cluster.control.signal("SIGSTOP");
      const times: number[] = [];
      const quick = async (call: string, body?: object): Promise<Record<string, unknown>> => {
        const start = performance.now();
        const answer = await must(a, call, body);
        times.push(performance.now() - start);
        return answer;
      };
      const slow = call(a, "/VolumeDriver.Create", { Name: "later" });
      for (let round = 0; round < 20; round += 1) {
        await quick("/VolumeDriver.Get", { Name: "remembered" });
        await quick("/VolumeDriver.Path", { Name: "remembered" });
        await quick("/VolumeDriver.List");
      }
      times.sort((x, y) => x - y);
      const median = times[times.length / 2] ?? Infinity;
      assert.ok(median < 10, `half of the answers took at most ${median.toFixed(1)} ms`);
      rig.cluster.control.signal("SIGCONT");
      assert.equal((await slow).status, 200);

      const lost = line(a.process, "cluster-unreachable");
      await rig.cluster.control.stop("SIGKILL");
      await lost;
      const shown = (await must(a, "/VolumeDriver.Get", { Name: "remembered" }))["Volume"] as {
        Status: Record<string, unknown>;
      };
      assert.match(String(shown.Status["controlService"]), /control service/);
      assert.match(String(shown.Status["asOf"]), /^20\d\d-/);
      assert.equal(await mount(a, "remembered", "two"), path, "what is held already can be mounted again");
      await unmount(a, "remembered", "one");
      await unmount(a, "remembered", "two");
      rig.cluster.control.start();
      await ready(rig);
      await untilFree(rig, "remembered");
    },
  );
});
