import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { nodeA, nodeB, testCluster } from "../cluster-fixtures.test.ts";
import { clockShiftedBy } from "../cli-fixtures.test.ts";

const dayMs = 86_400_000;

test("status counts what is in place, what is not, and the nodes", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  cluster.connect(nodeB, "node-b");
  cluster.cluster.nodeDisconnected(nodeB);
  const { dataset_id } = await cluster.json<{ dataset_id: string }>(["create", "pg1", "-n", "node-a"]);
  await cluster.json(["create", "pg2", "-n", "node-a"]);
  cluster.report(nodeA, dataset_id);
  const { out, exitCode } = await cluster.run(["status"]);
  assert.equal(exitCode, 0);
  assert.match(out, /^Version: +1\.2\.3$/m);
  assert.match(out, /^Nodes: +1 of 2 connected \(flocker nodes\)$/m);
  assert.match(out, /^Datasets: +1 of 2 in place, 1 not yet$/m);
  assert.match(out, /^Certificate: +valid until \S+ \(182\d days\)$/m);
});

test("nodes shows each node's connection and storage, and a certificate that is used twice", async (t) => {
  const cluster = await testCluster(t);
  assert.match((await cluster.run(["nodes"])).error, /No node has connected yet/);
  cluster.connect(nodeA, "node-a");
  cluster.connect(nodeB, "node-b");
  cluster.cluster.nodeDisconnected(nodeB);
  cluster.cluster.sessionRefused(nodeA, "192.0.2.99");
  const { out, error } = await cluster.run(["nodes", "--wide"]);
  assert.match(out, new RegExp(`^node-a  ${nodeA}  connected +now +directory`, "m"));
  assert.match(out, /^node-b .* disconnected +\d+s ago .*192\.0\.2\.1:4525/m);
  assert.match(error, /warning: a second agent with the certificate of node-a was refused .*192\.0\.2\.99/);
  const { nodes } = await cluster.json<{ nodes: { name: string }[] }>(["nodes"]);
  assert.deepEqual(
    nodes.map((node) => node.name),
    ["node-a", "node-b"],
  );
});

test("history tells who changed what, the last first or from a revision on", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  cluster.connect(nodeB, "node-b");
  await cluster.json(["create", "pg1", "-n", "node-a", "-s", "1GiB"]);
  await cluster.json(["create", "pg2", "-n", "node-a"]);
  await cluster.json(["move", "pg1", "node-b"]);
  await cluster.json(["resize", "pg1", "none"]);
  await cluster.run(["delete", "pg1"]);
  const all = await cluster.run(["history"]);
  const lines = all.out.trimEnd().split("\n");
  assert.equal(lines.length, 10);
  assert.match(lines[0] ?? "", /^ +1  20\d\d-\d\d-\d\d \d\d:\d\d UTC  user-alice$/);
  assert.equal(lines[1], "        pg1: created on node-a, at most 1 GiB");
  assert.equal(lines[5], "        pg1: moved from node-a to node-b");
  assert.equal(lines[7], "        pg1: resized from 1 GiB to no limit");
  assert.match(lines[9] ?? "", /pg1: deleted \(kept until /);
  const revisions = async (...words: string[]): Promise<number[]> =>
    (await cluster.json<{ commits: { revision: number }[] }>(["history", ...words])).commits.map(
      (commit) => commit.revision,
    );
  assert.deepEqual(await revisions("--limit", "2"), [4, 5]);
  assert.deepEqual(await revisions("--after", "1", "--limit", "2"), [2, 3]);
  assert.deepEqual(await revisions("pg2"), [2]);
  assert.deepEqual(await revisions("pg1", "--limit", "1"), [5]);
});

test("connection shows who one is and that the service answers", async (t) => {
  const cluster = await testCluster(t);
  const { out, exitCode } = await cluster.run(["connection"]);
  assert.equal(exitCode, 0);
  assert.match(out, new RegExp(`^Server: +127\\.0\\.0\\.1:${cluster.port}$`, "m"));
  assert.match(out, /^You are: +user-alice, until /m);
  assert.match(out, /^Control service: +answers, version 1\.2\.3$/m);
});

test("every way in which a connection fails has its code and its remedy", async (t) => {
  const cluster = await testCluster(t);
  const file = (name: string): string => join(cluster.folder, name);
  const failing = async (env: Record<string, string>, options = {}) => {
    const { exitCode, error } = await cluster.run(["list"], { env, ...options });
    return `${exitCode} ${error}`;
  };
  assert.match(await failing({ FLOCKER_SERVER: "127.0.0.1:1" }), /^6 error: .*nothing listens there/);
  assert.match(await failing({ FLOCKER_SERVER: "" }), /^2 error: Which control service/);
  assert.match(await failing({ FLOCKER_SERVER_NAME: "other" }), /^7 error: .*another name/);
  const missing = await failing({ FLOCKER_CERTIFICATE: file("missing.crt") });
  assert.match(missing, /^1 error: .*missing\.crt/);
  const node = { FLOCKER_CERTIFICATE: file(`${nodeA}.crt`), FLOCKER_KEY: file(`${nodeA}.key`) };
  assert.match(await failing(node), /^7 error: .*is that of node-.*\n.*flocker ca user/);
  assert.match(await failing({ FLOCKER_KEY: file(`${nodeA}.key`) }), /^7 error: .*does not belong/);
  assert.match(await failing({}, { clock: clockShiftedBy(6 * 365 * dayMs) }), /^7 error: .*expired/);
  await writeFile(file("client.yaml"), "sever: x\n");
  assert.match(
    await failing({ FLOCKER_CONFIG: file("client.yaml") }),
    /^2 error: .*line 1.*did you mean server/,
  );
});

test("Tab completes with what the cluster has, and leaves out what a shell would read as something else", async (t) => {
  const cluster = await testCluster(t);
  cluster.connect(nodeA, "node-a");
  await cluster.json(["create", "pg1"]);
  await cluster.json(["create", "$(reboot)"]);
  await cluster.json(["create", "gone"]);
  await cluster.run(["delete", "gone"]);
  const candidates = async (...words: string[]) => (await cluster.run(["__complete", "--", ...words])).out;
  assert.equal(await candidates("show", ""), "pg1\n");
  assert.equal(await candidates("undelete", ""), "gone\n");
  assert.equal(await candidates("move", "pg1", ""), "node-a\n");
});
