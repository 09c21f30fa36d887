import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { nodeA, nodeB, testCluster, type TestCluster } from "../cluster-fixtures.test.ts";

const wanted = `datasets:
  - name: pg1
    node: node-b
    size: 2GiB
    metadata: { team: red }
  - name: pg2
    node: node-a
`;

async function clusterWithFile(t: TestContext, text = wanted): Promise<TestCluster> {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  cluster.connect(nodeB, "node-b");
  await cluster.json(["create", "pg1", "-n", "node-a", "-s", "1GiB", "-m", "team=blue", "-m", "old=x"]);
  await cluster.json(["create", "other", "-n", "node-a"]);
  await writeFile(join(cluster.folder, "cluster.yaml"), text);
  return cluster;
}

test("a dry run shows the difference and changes nothing", async (t) => {
  const cluster = await clusterWithFile(t);
  const revision = cluster.cluster.revision();
  const shown = await cluster.run(["apply", "-f", "cluster.yaml", "--dry-run"]);
  assert.equal(shown.exitCode, 0, shown.error);
  assert.equal(
    shown.out,
    "+ create  pg2  on node-a\n" +
      "~ change  pg1  node: node-a -> node-b, size: 1 GiB -> 2 GiB, metadata team: blue -> red, " +
      "metadata old: x -> (none)\n" +
      "  not in the file, left alone (--prune deletes): other\n" +
      "1 to create, 1 to change, 0 to delete, 0 unchanged\n",
  );
  assert.equal(cluster.cluster.revision(), revision);
  const coded = await cluster.run(["apply", "-f", "cluster.yaml", "--dry-run", "--exit-code", "--json"]);
  assert.equal(coded.exitCode, 8);
  assert.equal((JSON.parse(coded.out) as { applied: number }).applied, 0);
});

test("applying makes it so, and applying again changes nothing", async (t) => {
  const cluster = await clusterWithFile(t);
  const done = await cluster.run(["apply", "-f", "cluster.yaml"]);
  assert.equal(done.exitCode, 0, done.error);
  assert.match(done.out, /^created pg2 on node-a$/m);
  assert.match(done.out, /^changed pg1 node: node-a -> node-b/m);
  const { desired } = await cluster.json<{ desired: Record<string, unknown> }>(["show", "pg1"]);
  assert.equal(desired["primary"], nodeB);
  assert.equal(desired["maximum_size"], 2 * 2 ** 30);
  assert.deepEqual(desired["metadata"], { name: "pg1", team: "red" });
  const revision = cluster.cluster.revision();
  const again = await cluster.run(["apply", "-f", "cluster.yaml", "--exit-code"]);
  assert.match(again.out, /0 to create, 0 to change, 0 to delete, 2 unchanged/);
  assert.equal(again.exitCode, 0);
  assert.equal(cluster.cluster.revision(), revision);
});

test("pruning deletes what is not in the file, but only with --yes", async (t) => {
  const cluster = await clusterWithFile(t);
  const revision = cluster.cluster.revision();
  const asked = await cluster.run(["apply", "-f", "cluster.yaml", "--prune"]);
  assert.equal(asked.exitCode, 4);
  assert.match(asked.out, /^- delete  other  from node-a; its bytes are kept for the grace time$/m);
  assert.match(asked.error, /One dataset would be deleted\. Nothing has been changed/);
  assert.equal(cluster.cluster.revision(), revision);
  const done = await cluster.run(["apply", "-f", "cluster.yaml", "--prune", "--yes"]);
  assert.equal(done.exitCode, 0, done.error);
  const { datasets } = await cluster.json<{ datasets: { name: string }[] }>(["list"]);
  assert.deepEqual(datasets.map((dataset) => dataset.name).toSorted(), ["pg1", "pg2"]);
  assert.equal((await cluster.run(["undelete", "other"])).exitCode, 0, "it can be had back");
});

test("a node that is not there is named with its line, and nothing is changed", async (t) => {
  const cluster = await clusterWithFile(t, `${wanted}  - name: pg3\n    node: node-c\n`);
  const revision = cluster.cluster.revision();
  const refused = await cluster.run(["apply", "-f", "cluster.yaml"]);
  assert.equal(refused.exitCode, 2);
  assert.match(refused.error, /cluster\.yaml.*line 9.*no node "node-c"/);
  assert.equal(cluster.cluster.revision(), revision);
});

test("a broken or missing file is told before the cluster is asked", async (t) => {
  const cluster = await clusterWithFile(t, "datasets:\n  - nam: pg1\n    node: node-a\n");
  await cluster.close();
  const broken = await cluster.run(["apply", "-f", "cluster.yaml"]);
  assert.equal(broken.exitCode, 2);
  assert.match(broken.error, /line 2.*did you mean name/);
  assert.equal((await cluster.run(["apply", "-f", "missing.yaml"])).exitCode, 1);
  assert.equal((await cluster.run(["apply"])).exitCode, 2);
});

test("applying with --wait returns when all of it is in place", async (t) => {
  const cluster = await clusterWithFile(t, "datasets:\n  - name: pg2\n    node: node-a\n");
  const applying = cluster.run(["apply", "-f", "cluster.yaml", "--wait", "--timeout", "20s"]);
  const ended = applying.then(() => true);
  const revision = 3;
  while (cluster.cluster.revision() < revision) await Promise.race([ended, new Promise(setImmediate)]);
  const { dataset_id } = await cluster.json<{ dataset_id: string }>(["show", "pg2"]);
  cluster.report(nodeA, dataset_id);
  const done = await applying;
  assert.equal(done.exitCode, 0, done.error);
  assert.match(done.out, /^pg2 is in place on node-a/m);
});
