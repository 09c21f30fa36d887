import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { flocker, temporaryFolder } from "./cli-fixtures.test.ts";

const launcher = fileURLToPath(new URL("../bin/flocker.cjs", import.meta.url));
const run = promisify(execFile);

async function ownVersion(): Promise<string> {
  const text = await readFile(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** A file that, required first, makes Node say that it is an old one. */
async function oldNode(t: TestContext): Promise<string> {
  const path = join(await temporaryFolder(t), "old.cjs");
  const versions = '{ ...process.versions, node: "20.20.2" }';
  await writeFile(path, `Object.defineProperty(process, "versions", { value: ${versions} });`);
  return path;
}

test("the launcher runs the sources of a checkout, whatever folder it is called in", async (t) => {
  const { stdout } = await run(process.execPath, [launcher, "--version"], { cwd: await temporaryFolder(t) });
  assert.equal(stdout, `${await ownVersion()}\n`);
});

test("exit codes and arguments pass through it unchanged", async () => {
  const failing = run(process.execPath, [launcher, "ca", "user", "a b", "--json"]);
  const error = await failing.then(
    () => assert.fail("it succeeded"),
    (reason: { code: number; stderr: string }) => reason,
  );
  assert.equal(error.code, 1, "there is no authority in this folder");
  assert.match(error.stderr, /cluster\.crt/);
});

test("on an old Node the launcher takes the one that npm brings, or says what is needed", async (t) => {
  const old = await oldNode(t);
  const lone = await temporaryFolder(t);
  await mkdir(join(lone, "bin"));
  await copyFile(launcher, join(lone, "bin", "flocker.cjs"));
  const without = run(process.execPath, ["--require", old, join(lone, "bin", "flocker.cjs"), "--version"]);
  await assert.rejects(without, { code: 1, stderr: /needs Node 24\.15 or newer/ });
  const stands = join(lone, "node_modules", ".bin");
  await mkdir(stands, { recursive: true });
  await writeFile(join(stands, "node"), '#!/bin/sh\necho "$@"\n', { mode: 0o755 });
  const { stdout } = await run(process.execPath, [
    "--require",
    old,
    join(lone, "bin", "flocker.cjs"),
    "list",
    "-w",
  ]);
  assert.equal(stdout, `${join(lone, "dist", "main.js")} list -w\n`);
});

test("an interruption ends a command that waits, with the code for it", async (t) => {
  const folder = await temporaryFolder(t);
  for (const words of [
    ["init", "c"],
    ["user", "alice"],
  ])
    await flocker(["ca", ...words], { folder });
  // Takes connections and never answers.
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const connected = once(server, "connection");
  const child = spawn(process.execPath, [launcher, "list"], {
    stdio: ["ignore", "ignore", "pipe"],
    env: {
      ...process.env,
      FLOCKER_SERVER: `127.0.0.1:${address.port}`,
      FLOCKER_CLUSTER_CERTIFICATE: join(folder, "cluster.crt"),
      FLOCKER_CERTIFICATE: join(folder, "alice.crt"),
      FLOCKER_KEY: join(folder, "alice.key"),
    },
  });
  const ended = once(child, "exit");
  await Promise.race([connected, ended]);
  child.kill("SIGINT");
  assert.deepEqual(await ended, [130, null]);
});
