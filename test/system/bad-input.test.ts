// Everything that an operator can get wrong around a running cluster: each is a clear error with its cause
// and its remedy, told where the operator looks for it, and nothing is lost.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test, type TestContext } from "node:test";
import { promisify } from "node:util";
import {
  flockerCommand,
  LocalProcess,
  openLocalCluster,
  pollUntil,
  type LocalCluster,
} from "@flocker/cli/local";
import { openSqliteStore } from "@flocker/control";
import { createHttpsClient, loadCredentials, systemClock, systemIds } from "@flocker/host";
import { makeTestCertificates } from "@flocker/host/testing";
import { createDataset, fileOn, move, servedBy, settled, settleTimeoutMs, show, startRig } from "./rig.ts";

const run = promisify(execFile);

/** Files of a cluster of which nothing runs yet. */
async function prepared(t: TestContext, nodeCount = 1): Promise<LocalCluster> {
  const folder = await mkdtemp(join(tmpdir(), "flocker-input-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const opened = await openLocalCluster({ folder, nodeCount, clock: systemClock });
  assert.ok(opened.ok);
  return opened.value;
}

/** Starts a service that must refuse to start; answers its exit code and what it said. */
async function refusal(
  kind: "control" | "agent",
  configurationFile: string,
): Promise<{ code: number; said: string }> {
  const [program, ...rest] = [...flockerCommand(), kind, "--config", configurationFile];
  assert.ok(program !== undefined);
  try {
    await run(program, rest, { timeout: 30_000 });
  } catch (error) {
    const { code, stderr, stdout } = error as { code: number; stderr: string; stdout: string };
    return { code, said: stderr + stdout };
  }
  return assert.fail("it has not refused to start");
}

test("broken YAML: the file, the line and what to do", async (t) => {
  const { files } = await prepared(t);
  const [node] = files.nodes;
  assert.ok(node !== undefined);
  await writeFile(
    node.configurationFile,
    "version: 1\ncontrol-service: { hostname: 127.0.0.1\ndataset:\n  - x\n",
  );
  const { code, said } = await refusal("agent", node.configurationFile);
  assert.notEqual(code, 0);
  assert.match(said, /agent\.yml/);
  assert.match(said, /line 3|:3/);
});

test("a wrong key in a configuration: its name, its line, and the one that was meant", async (t) => {
  const { files } = await prepared(t);
  const text = await readFile(files.controlConfigurationFile, "utf8");
  await writeFile(files.controlConfigurationFile, text.replace("grace-time", "grace-tme"));
  const { said } = await refusal("control", files.controlConfigurationFile);
  assert.match(said, /grace-tme/);
  assert.match(said, /grace-time/);
});

test("an occupied port is named", async (t) => {
  const { files } = await prepared(t);
  const server = createServer().listen(files.apiPort, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  t.after(() => void server.close());
  const { code, said } = await refusal("control", files.controlConfigurationFile);
  assert.notEqual(code, 0);
  assert.match(said, /port-in-use/);
  assert.match(said, new RegExp(String(files.apiPort)));
});

test("a store of a newer version is left as it is", async (t) => {
  const { files } = await prepared(t);
  const folder = join(files.controlFolder, "data");
  await mkdir(folder);
  const path = join(folder, "configuration.sqlite");
  const store = openSqliteStore(path, { clock: systemClock, ids: systemIds });
  assert.ok(store.ok);
  store.value.close();
  const database = new DatabaseSync(path);
  database.exec("PRAGMA user_version = 4711");
  database.close();
  const before = await readFile(path);
  const { said } = await refusal("control", files.controlConfigurationFile);
  assert.match(said, /store-newer/);
  assert.deepEqual(await readFile(path), before);
});

test("expired and foreign certificates, and one of another role, are told apart", async (t) => {
  const { files } = await prepared(t);
  const [node] = files.nodes;
  assert.ok(node !== undefined);
  const made = makeTestCertificates(await mkdtemp(join(files.folder, "certificates-")));
  const use = async (from: {
    certificateFile: string;
    keyFile: string;
    clusterCertificateFile: string;
  }): Promise<string> => {
    await cp(from.clusterCertificateFile, join(node.folder, "cluster.crt"));
    await cp(from.certificateFile, join(node.folder, "node.crt"));
    await cp(from.keyFile, join(node.folder, "node.key"));
    return (await refusal("agent", node.configurationFile)).said;
  };
  assert.match(await use(made.node(node.node, { validity: "expired" })), /certificate-expired/);
  assert.match(await use(made.user("somebody")), /certificate-role/);
  const foreign = made.foreign.node(node.node);
  const own = made.node(node.node);
  assert.match(
    await use({ ...foreign, clusterCertificateFile: own.clusterCertificateFile }),
    /certificate-foreign/,
  );
});

test("a data folder that cannot be used is named, and what is there is left alone", async (t) => {
  const { files } = await prepared(t);
  const [node] = files.nodes;
  assert.ok(node !== undefined);
  await writeFile(node.datasetRoot, "a file where the folder should be");
  const { code, said } = await refusal("agent", node.configurationFile);
  assert.notEqual(code, 0);
  assert.match(said, new RegExp(node.datasetRoot));
  assert.match(said, /remedy/);
  assert.equal(await readFile(node.datasetRoot, "utf8"), "a file where the folder should be");
});

test("an agent's certificate cannot use the API, and is told so", async (t) => {
  const rig = await startRig(t, { nodeCount: 1 });
  const node = rig.node(0);
  const credentials = loadCredentials({
    clusterCertificateFile: join(node.folder, "cluster.crt"),
    certificateFile: join(node.folder, "node.crt"),
    keyFile: join(node.folder, "node.key"),
  });
  assert.ok(credentials.ok);
  const client = createHttpsClient({
    host: "127.0.0.1",
    port: rig.cluster.files.apiPort,
    credentials: credentials.value,
    timeoutMs: 5_000,
  });
  t.after(() => client.close());
  const answer = await client.send({ method: "GET", path: "/v2/datasets", headers: {}, body: null });
  assert.equal(answer.status, 403);
  const problem = JSON.parse(answer.body) as { code: string; remedy: string; detail: string };
  assert.equal(problem.code, "certificate-role");
  assert.match(problem.remedy, /flocker ca user/);
});

test("two nodes with the same certificate: the second is refused and shown, the first serves on", async (t) => {
  const rig = await startRig(t, { nodeCount: 1 });
  const node = rig.node(0);
  const dataset = await createDataset(rig, "stays", node);
  const folder = join(rig.cluster.files.folder, "copied-node");
  await mkdir(folder);
  for (const name of ["cluster.crt", "node.crt", "node.key"])
    await cp(join(node.folder, name), join(folder, name));
  const text = await readFile(node.configurationFile, "utf8");
  const [otherPort] = [node.dataPort + 20_000 > 65_535 ? node.dataPort - 20_000 : node.dataPort + 20_000];
  await writeFile(join(folder, "agent.yml"), text.replace(String(node.dataPort), String(otherPort)));
  const second = new LocalProcess({
    name: "second",
    logFile: join(folder, "log"),
    argv: [...flockerCommand(), "agent", "--config", join(folder, "agent.yml")],
  });
  const refused = new Promise<string>((resolve) => {
    second.onLine((line) => line.includes("duplicate-node-session") && resolve(line));
  });
  second.start();
  t.after(() => second.stop("SIGKILL"));
  assert.match(await refused, /flocker ca node/);
  const shown = await rig.client.api.getNode({ params: { node_id: node.node } });
  assert.equal(shown.status, 200);
  assert.ok(JSON.stringify(shown.body).includes("refused"), JSON.stringify(shown.body));
  await settled(rig, dataset, node);
});

test("a full disk on the target: the reason is shown, the source serves on, and space lets it go on", async (t) => {
  const rig = await startRig(t, { nodeCount: 2 });
  const [a, b] = [rig.node(0), rig.node(1)];
  await b.agent.stop();
  try {
    await run("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", b.datasetRoot]);
  } catch {
    t.skip("this machine lets us mount no small disk");
    return;
  }
  rig.cleanUps.push(() => run("umount", [b.datasetRoot]));
  b.agent.start();
  const dataset = await createDataset(rig, "large", a);
  const data = Buffer.alloc(12 * 2 ** 20, 7);
  await writeFile(fileOn(a, dataset, "data"), data);
  await move(rig, dataset, b);
  const seen = await pollUntil(systemClock, {
    waitingFor: "the reason to be shown",
    timeoutMs: settleTimeoutMs,
    ask: async () => (await show(rig, dataset)).reasons.find((reason) => reason.code === "no-space"),
  });
  assert.ok(seen.ok, seen.ok ? "" : seen.problem.message);
  assert.match(seen.value.message, /space/);
  const served = await pollUntil(systemClock, {
    waitingFor: "the source to serve on",
    timeoutMs: settleTimeoutMs,
    ask: async () => ((await servedBy(rig, dataset)).join() === a.name ? true : undefined),
  });
  assert.ok(served.ok);
  await run("mount", ["-o", "remount,size=64m", b.datasetRoot]);
  await settled(rig, dataset, b);
  assert.deepEqual(await readFile(fileOn(b, dataset, "data")), data);
});
