import assert from "node:assert/strict";
import { test } from "node:test";
import type { v2 } from "@flocker/api";
import { nodeA, nodeB, testCluster } from "../cluster-fixtures.test.ts";

interface DatasetJson extends Pick<v2.Dataset, "dataset_id" | "name" | "desired" | "converged"> {}

test("a dataset is created where it is said, and shows in the list once it is there", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  cluster.connect(nodeB, "node-b");
  const made = await cluster.run(["create", "pg1", "--node", "node-a", "--size", "1GB", "-m", "team=blue"]);
  assert.equal(made.exitCode, 0, made.error);
  assert.match(made.out, /^created pg1 \([0-9a-f-]{36}\) on node-a, at most 953\.7 MiB\n$/);
  const before = await cluster.run(["list"]);
  assert.match(
    before.out,
    /^NAME +ID +NODE +SIZE +USED +STATE\npg1 +[0-9a-f]{8} +node-a +953\.7 MiB +- +creating\n$/,
  );
  const { dataset_id, desired } = await cluster.json<DatasetJson>(["show", "pg1"]);
  assert.equal(desired?.maximum_size, 1_000_000_512, "rounded up to what the API takes");
  assert.deepEqual(desired?.metadata, { name: "pg1", team: "blue" });
  cluster.report(nodeA, dataset_id);
  const after = await cluster.run(["list", "--wide"]);
  assert.match(
    after.out,
    new RegExp(`^pg1 +${dataset_id} .* 4 KiB  ok +node-a  /flocker/${dataset_id}$`, "m"),
  );
});

test("storage that a node has already is imported, with a profile where one is named", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  const made = await cluster.run(["import", "tank/data/pg", "pg1", "--profile", "gold", "-s", "1GiB"]);
  assert.equal(made.exitCode, 0, made.error);
  assert.match(made.out, /^created pg1 \([0-9a-f-]{36}\) on node-a, out of tank\/data\/pg, at most 1 GiB\n$/);
  const { desired } = await cluster.json<DatasetJson>(["show", "pg1"]);
  assert.equal(desired?.source, "tank/data/pg");
  assert.deepEqual(desired?.metadata, { name: "pg1", "clusterhq:flocker:profile": "gold" });
  const shown = (await cluster.run(["show", "pg1"])).out;
  assert.match(shown, /^Made out of: +tank\/data\/pg\nProfile: +gold$/m);
  const without = await cluster.run(["import"]);
  assert.equal(without.exitCode, 2);
  const strange = await cluster.run(["import", "tank/\n"]);
  assert.equal(strange.exitCode, 2);
  assert.match(strange.error, /no name of storage/);
});

test("with one node there is no need to name it, with several there is", async (t) => {
  const cluster = await testCluster(t);
  const none = await cluster.run(["create", "pg1"]);
  assert.equal(none.exitCode, 2);
  assert.match(none.error, /start an agent first/);
  cluster.connect(nodeA, "node-a");
  assert.equal((await cluster.json<DatasetJson>(["create", "pg1"])).desired?.primary, nodeA);
  cluster.connect(nodeB, "node-b");
  const several = await cluster.run(["create", "pg2"]);
  assert.equal(several.exitCode, 2);
  assert.match(several.error, /--node.*node-a, node-b/);
});

test("a name that is in use, an unknown node, a size that is none: each is refused by name", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  await cluster.json(["create", "pg1"]);
  const again = await cluster.run(["create", "pg1"]);
  assert.equal(again.exitCode, 4);
  assert.match(again.error, /pg1/);
  const unknown = await cluster.run(["create", "pg2", "-n", "node-b"]);
  assert.equal(unknown.exitCode, 3);
  assert.match(unknown.error, /no node "node-b"[\s\S]*Did you mean node-a/);
  const never = await cluster.run(["create", "pg2", "-n", nodeB]);
  assert.equal(never.exitCode, 3, never.error);
  for (const size of ["huge", "1MB", "10GX"]) {
    assert.equal((await cluster.run(["create", "pg2", "-s", size])).exitCode, 2, size);
  }
  assert.equal((await cluster.json<{ datasets: unknown[] }>(["list"])).datasets.length, 1);
});

test("a dataset is found by name, id, and what begins only its id", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  const one = "d1000000-0000-4000-8000-000000000001";
  const two = "d1100000-0000-4000-8000-000000000002";
  await cluster.json(["create", "pg1", "--id", one]);
  await cluster.json(["create", "d1", "--id", two]);
  for (const word of ["pg1", one, one.toUpperCase(), "d10"]) {
    assert.equal((await cluster.json<DatasetJson>(["show", word])).dataset_id, one, word);
  }
  assert.equal((await cluster.json<DatasetJson>(["show", "d1"])).dataset_id, two, "a name wins");
  const ambiguous = await cluster.run(["show", "d"]);
  assert.equal(ambiguous.exitCode, 2);
  assert.match(ambiguous.error, /fits 2 datasets: pg1 \(d1000000.*\), d1 \(d1100000/);
  const unknown = await cluster.run(["show", "pg2"]);
  assert.equal(unknown.exitCode, 3);
  assert.match(unknown.error, /Did you mean pg1/);
});

test("a move changes the wish, and waiting for it shows what goes on until it is there", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  cluster.connect(nodeB, "node-b");
  const { dataset_id } = await cluster.json<DatasetJson>(["create", "pg1", "-n", "node-a"]);
  cluster.report(nodeA, dataset_id);
  const moving = cluster.run(["move", "pg1", "node-b", "--wait", "--timeout", "20s"]);
  const ended = moving.then(() => true);
  while (cluster.cluster.revision() < 2) await Promise.race([ended, new Promise(setImmediate)]);
  const since = Date.now();
  const reasons = [{ code: "lease-held", message: "A lease keeps it here.", since } as const];
  cluster.report(nodeA, dataset_id, { reasons });
  await cluster.run(["show", "pg1"]);
  cluster.report(nodeA, dataset_id, { role: "replica", mounted: false });
  cluster.report(nodeB, dataset_id, { epoch: { term: 1, step: 1 } });
  const { exitCode, out, error } = await moving;
  assert.equal(exitCode, 0, error);
  const [first, last] = out.trimEnd().split("\n");
  assert.equal(first, "moving pg1 from node-a to node-b");
  assert.match(
    last ?? "",
    new RegExp(`^pg1 is in place on node-b at /flocker/${dataset_id} \\(\\d+\\.\\ds\\)$`),
  );
  assert.match(error, /^\[0s\] pg1: /);
  const where = await cluster.run(["move", "pg1", "node-b"]);
  assert.equal(where.out, "pg1 belongs on node-b already\n");
});

test("a wait that takes too long says what is in the way, and ends with its own code", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  cluster.connect(nodeB, "node-b");
  const { dataset_id } = await cluster.json<DatasetJson>(["create", "pg1", "-n", "node-a"]);
  cluster.report(nodeA, dataset_id);
  await cluster.json(["move", "pg1", "node-b"]);
  const reasons = [{ code: "busy-mount", message: "postgres (pid 7) uses it.", since: Date.now() } as const];
  cluster.report(nodeA, dataset_id, { reasons });
  const waited = await cluster.run(["wait", "pg1", "--timeout", "300ms"]);
  assert.equal(waited.exitCode, 5);
  assert.match(waited.error, /not yet converged: pg1 is waiting: postgres \(pid 7\) uses it/);
  assert.match(waited.error, /flocker explain pg1/);
  const explained = await cluster.run(["explain", "pg1"]);
  assert.match(
    explained.out,
    /^pg1 belongs on node-b\. Its primary copy is on node-a, mounted at \/flocker\//,
  );
  assert.match(explained.out, /node-a: postgres \(pid 7\) uses it\. \(busy-mount, for /);
  assert.match(explained.out, /To do: stop the program that uses it\./);
  const json = await cluster.json<{ reasons: { code: string }[] }>(["explain", "pg1"]);
  assert.ok(json.reasons.some((reason) => reason.code === "busy-mount"));
  const list = await cluster.run(["list", "--unfinished"]);
  assert.match(list.out, /waiting: busy-mount/);
});

test("waiting outlasts a control service that is away, and an interruption ends it", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  await cluster.json(["create", "pg1"]);
  const controller = new AbortController();
  const begun = Promise.withResolvers<void>();
  const noticed = Promise.withResolvers<void>();
  const waiting = cluster.run(["wait", "pg1", "--timeout", "1m"], {
    interrupted: controller.signal,
    onError: (text) => {
      begun.resolve();
      if (/nothing listens there.*Waiting for it/.test(text)) noticed.resolve();
    },
  });
  const ended = waiting.then((outcome) => assert.fail(`it ended by itself: ${outcome.error}`));
  await Promise.race([ended, begun.promise]);
  await cluster.close();
  await Promise.race([ended, noticed.promise]);
  ended.catch(() => undefined);
  controller.abort();
  assert.equal((await waiting).exitCode, 130);
});

test("a resize changes the limit, or lifts it", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  await cluster.json(["create", "pg1", "-s", "1GiB"]);
  const larger = await cluster.run(["resize", "pg1", "2GiB"]);
  assert.equal(larger.out, "resizing pg1 from 1 GiB to 2 GiB\n");
  const lifted = await cluster.json<DatasetJson>(["resize", "pg1", "none"]);
  assert.equal(lifted.desired?.maximum_size, null);
});

test("what is deleted is hidden, listed as deleted, and can be had back", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  await cluster.json(["create", "pg1"]);
  await cluster.json(["create", "pg2"]);
  const deleted = await cluster.run(["delete", "pg1", "pg2"]);
  assert.equal(deleted.exitCode, 0, deleted.error);
  assert.match(
    deleted.out,
    /^deleted pg1; flocker undelete pg1 brings it back until 20\d\d-.* UTC\ndeleted pg2; /,
  );
  assert.equal((await cluster.run(["list"])).error, "No datasets.\n");
  assert.match((await cluster.run(["list", "--deleted"])).out, /^pg1 .* deleted$/m);
  assert.match((await cluster.run(["show", "pg1"])).out, /State: +deleted \(deleted; flocker undelete/);
  assert.equal((await cluster.run(["move", "pg1", "node-a"])).exitCode, 3, "only undelete finds it by name");
  const back = await cluster.run(["undelete", "pg1"]);
  assert.equal(back.out, "undeleted pg1\n");
  assert.equal((await cluster.run(["undelete", "pg1"])).exitCode, 3);
  assert.deepEqual(
    (await cluster.json<{ datasets: DatasetJson[] }>(["list"])).datasets.map((dataset) => dataset.name),
    ["pg1"],
  );
});

test("of several datasets to delete, none is touched where one is unknown", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  await cluster.json(["create", "pg1"]);
  assert.equal((await cluster.run(["delete", "pg1", "nothing"])).exitCode, 3);
  assert.equal((await cluster.json<{ datasets: unknown[] }>(["list"])).datasets.length, 1);
});

test("names from the cluster cannot write to the terminal", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node\u001b[31m");
  await cluster.json(["create", "pg\u001b[2J\n1"]);
  for (const words of [
    ["list"],
    ["show", "pg\u001b[2J\n1"],
    ["explain", "pg\u001b[2J\n1"],
    ["nodes"],
    ["history"],
  ]) {
    const { out, exitCode } = await cluster.run(words);
    assert.equal(exitCode, 0);
    assert.ok(!out.includes("\u001b"), words[0]);
    assert.match(out, /\\x1b/);
  }
});
