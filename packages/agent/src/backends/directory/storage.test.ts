import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import type { DatasetId } from "@flocker/core";
import { systemClock, systemCommands, systemIds } from "@flocker/host";

import { freshDataset, recordOf, refused, value, World } from "../conformance/world.ts";
import { openDirectoryBackend } from "./directory-backend.ts";
import { lockStorage } from "../lock.ts";
import { directoryHarness, type DirectoryNode } from "./testing/directory-harness.ts";

async function onOneNode(body: (node: DirectoryNode, world: World) => Promise<void>): Promise<void> {
  const harness = await directoryHarness();
  try {
    await body(harness.nodes[0], new World(harness));
  } finally {
    await harness.dispose();
  }
}

const ports = { commands: systemCommands, clock: systemClock, ids: systemIds };

function copyFolder(node: DirectoryNode, dataset: DatasetId): string {
  return join(node.root, "copies", dataset);
}

/** The only unreadable copy of a node; gives its problem. */
async function onlyUnreadable(
  node: DirectoryNode,
  dataset: DatasetId,
): Promise<{ code: string; message: string }> {
  const { copies, unreadable } = value(await node.backend.discover(null));
  assert.deepEqual(copies, []);
  assert.equal(unreadable.length, 1);
  assert.deepEqual(value(await node.backend.discover(dataset)).unreadable, unreadable);
  const [copy] = unreadable;
  assert.ok(copy !== undefined && copy.dataset === dataset);
  return copy.problem;
}

test("two agents cannot use one storage folder, and the second is told who has it", async () => {
  await onOneNode(async (node) => {
    const { root, mountRoot } = node;
    const second = await openDirectoryBackend({ root, mountRoot, ...ports });
    assert.match(refused(second, "store-locked"), new RegExp(`process ${process.pid}`));
    // By another path it is the same folder.
    const link = join(node.folder, "another-way");
    fs.symlinkSync(root, link);
    refused(await openDirectoryBackend({ root: link, mountRoot, ...ports }), "store-locked");
    node.stop();
    const third = value(await openDirectoryBackend({ root, mountRoot, ...ports }));
    third.close();
  });
});

test("the lock of a killed agent is free at once", async () => {
  await onOneNode(async (node) => {
    node.stop();
    const script = `
      const { lockStorage } = await import(${JSON.stringify(new URL("../lock.ts", import.meta.url).href)});
      await lockStorage(${JSON.stringify(node.root)});
      console.log("locked");
      setInterval(() => undefined, 1000);
    `;
    const argv = ["--conditions=source", "--input-type=module", "--eval", script];
    const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    const opened = await openDirectoryBackend({ root: node.root, mountRoot: node.mountRoot, ...ports });
    assert.match(refused(opened, "store-locked"), new RegExp(`process ${child.pid}`));
    child.kill("SIGKILL");
    await once(child, "exit");
    const lock = await lockStorage(node.root);
    lock.release();
  });
});

test("a storage folder that cannot be made or is not absolute is a problem", async () => {
  await onOneNode(async (node) => {
    const { mountRoot } = node;
    const file = join(node.folder, "file");
    fs.writeFileSync(file, "");
    refused(
      await openDirectoryBackend({ root: join(file, "storage"), mountRoot, ...ports }),
      "storage-unreadable",
    );
    refused(await openDirectoryBackend({ root: "storage", mountRoot, ...ports }), "configuration-invalid");
  });
});

const breakages: Readonly<Record<string, (folder: string) => string>> = {
  "no state file": (folder) => (fs.unlinkSync(join(folder, "copy.json")), "storage-unreadable"),
  "an empty state file": (folder) => (fs.writeFileSync(join(folder, "copy.json"), ""), "storage-unreadable"),
  "a state file that is no JSON": (folder) => (
    fs.writeFileSync(join(folder, "copy.json"), "{"),
    "storage-unreadable"
  ),
  "a state file without a record": (folder) => rewrite(folder, (state) => ({ ...state, record: undefined })),
  "a record with an unknown role": (folder) =>
    rewrite(folder, (state) => ({ ...state, record: { ...Object(state.record), role: "owner" } })),
  "the state of another dataset": (folder) =>
    rewrite(folder, (state) => ({ ...state, record: { ...Object(state.record), dataset: freshDataset() } })),
  "a state file of a newer version": (folder) => (
    rewrite(folder, (state) => ({ ...state, version: 2 })),
    "store-newer"
  ),
  "no data": (folder) => (fs.rmSync(join(folder, "tree-1"), { recursive: true }), "storage-unreadable"),
  "a file in place of the data": (folder) => {
    fs.rmSync(join(folder, "tree-1"), { recursive: true });
    fs.writeFileSync(join(folder, "tree-1"), "");
    return "storage-unreadable";
  },
  "a file in place of the copy": (folder) => {
    fs.rmSync(folder, { recursive: true });
    fs.writeFileSync(folder, "");
    return "storage-unreadable";
  },
  "a symlink to nowhere in place of the copy": (folder) => {
    fs.rmSync(folder, { recursive: true });
    fs.symlinkSync("/nowhere", folder);
    return "storage-unreadable";
  },
  "an empty folder in place of the copy": (folder) => {
    fs.rmSync(folder, { recursive: true });
    fs.mkdirSync(folder);
    return "storage-unreadable";
  },
};

interface AnyState {
  readonly record?: unknown;
  readonly [key: string]: unknown;
}

function rewrite(folder: string, change: (state: AnyState) => AnyState): string {
  const path = join(folder, "copy.json");
  fs.writeFileSync(path, JSON.stringify(change(JSON.parse(fs.readFileSync(path, "utf8")) as AnyState)));
  return "storage-unreadable";
}

for (const [name, breakIt] of Object.entries(breakages)) {
  test(`a copy with ${name} is unreadable, survives a start, and is not created again`, async () => {
    await onOneNode(async (node, world) => {
      const dataset = await world.born(node);
      const code = breakIt(copyFolder(node, dataset));
      assert.equal((await onlyUnreadable(node, dataset)).code, code);
      await node.reopen();
      assert.equal((await onlyUnreadable(node, dataset)).code, code);
      refused(await node.backend.create(recordOf(dataset), null), "duplicate-id");
    });
  });
}

test("what is not named by a dataset's id is no copy and is left alone", async () => {
  await onOneNode(async (node) => {
    fs.mkdirSync(join(node.root, "copies", "lost+found"));
    fs.writeFileSync(join(node.root, "copies", "notes.txt"), "");
    const { copies, unreadable } = value(await node.backend.discover(null));
    assert.deepEqual([copies, unreadable], [[], []]);
    await node.reopen();
    assert.deepEqual(fs.readdirSync(join(node.root, "copies")).sort(), ["lost+found", "notes.txt"]);
  });
});

test("a new copy may be written by anybody, whatever the umask, as Flocker always made them", async () => {
  await onOneNode(async (node, world) => {
    const before = process.umask(0o077);
    try {
      const dataset = await world.born(node);
      assert.equal(fs.statSync(join(copyFolder(node, dataset), "tree-1")).mode & 0o7777, 0o777);
      assert.equal(fs.statSync(copyFolder(node, dataset)).mode & 0o7777, 0o711);
    } finally {
      process.umask(before);
    }
  });
});

test("a copy with folders that nobody may write is destroyed all the same", async () => {
  await onOneNode(async (node, world) => {
    const dataset = await world.bornWith(node, { "deep/er/file": "1", "closed/file": "1" });
    const tree = join(copyFolder(node, dataset), "tree-1");
    fs.chmodSync(join(tree, "deep", "er"), 0o555);
    fs.chmodSync(join(tree, "deep"), 0o555);
    fs.chmodSync(join(tree, "closed"), 0);
    value(await node.backend.trash(dataset, 1));
    value(await node.backend.destroy(dataset));
    assert.deepEqual(fs.readdirSync(join(node.root, "staging")), []);
  });
});

test("discovery of a thousand copies takes little time and writes nothing", async () => {
  await onOneNode(async (node, world) => {
    const first = await world.born(node);
    for (let count = 1; count < 1000; count++) {
      const dataset = freshDataset();
      const folder = copyFolder(node, dataset);
      fs.mkdirSync(join(folder, "tree-1"), { recursive: true });
      const text = fs.readFileSync(join(copyFolder(node, first), "copy.json"), "utf8");
      fs.writeFileSync(join(folder, "copy.json"), text.replaceAll(first, dataset));
    }
    const changed = (): number => fs.statSync(join(node.root, "copies")).ctimeMs;
    const before = [changed(), node.life.operations()];
    const start = performance.now();
    const { copies } = value(await node.backend.discover(null));
    const tookMs = performance.now() - start;
    assert.equal(copies.length, 1000);
    assert.equal(changed(), before[0]);
    const each = (node.life.operations() - (before[1] ?? 0)) / 1000;
    assert.ok(each < 4, `${each} operations for each copy`);
    // Some 100 ms on an idle machine; the bound only catches what grows worse than it should.
    assert.ok(tookMs < 3000, `${tookMs} ms`);
  });
});

test("changes behind the agent's back are told", async () => {
  await onOneNode(async (node, world) => {
    const dataset = await world.born(node);
    value(await node.backend.mount(dataset));
    let changed = (): void => undefined;
    const change = new Promise<void>((resolve) => {
      changed = resolve;
    });
    const stop = node.backend.watch?.(() => changed());
    assert.ok(stop !== undefined);
    fs.unlinkSync(join(node.mountRoot, dataset));
    // The watcher alone does not keep the process alive.
    const alive = setInterval(() => undefined, 1000);
    await change;
    clearInterval(alive);
    stop();
  });
});

test("without privileges the same rules hold", async (context) => {
  if (process.getuid?.() !== 0) return context.skip("everything else here runs without privileges already");
  if (spawnSync("setpriv", ["--version"]).error !== undefined) {
    return context.skip("setpriv, which gives up privileges, is not installed");
  }
  const file = new URL("directory-backend.test.ts", import.meta.url).pathname;
  const nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
  // The heart of it; all of it would double the time of the tests.
  const rules = "moves around|brings what changed|not unmounted|ends early|only that|survives a crash";
  const argv = [...nobody, process.execPath, "--conditions=source", "--test", "--test-isolation=none"];
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawn("setpriv", [...argv, `--test-name-pattern=${rules}`, file], { env });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  if (/EACCES.*(node_modules|packages)/.test(output))
    return context.skip("other users may not read this checkout");
  assert.equal(code, 0, output);
  assert.match(output, /pass [5-9]/);
});
