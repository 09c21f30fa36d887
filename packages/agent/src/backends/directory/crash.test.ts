import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";

import type { DatasetId, Result, Snapshot } from "@flocker/core";

import {
  freshDataset,
  never,
  recordOf,
  requestOf,
  stable,
  streamOf,
  value,
  World,
} from "../conformance/world.ts";
import { nodeFiles, replaceFile, type Files } from "../files.ts";
import { newLife } from "../testing/life.ts";
import { directoryHarness, fastFolder, type DirectoryNode } from "./testing/directory-harness.ts";

/** One method, tried with a death of the agent before each of its operations. */
interface Scene {
  readonly isSlow?: boolean;
  readonly prepare: (world: World, dataset: DatasetId) => Promise<unknown>;
  readonly act: (node: DirectoryNode, dataset: DatasetId, prepared: unknown) => Promise<Result<unknown>>;
}

const files = { "folder/one": "1", two: "2" };

async function bornWith(world: World, dataset: DatasetId): Promise<void> {
  value(await world.a.backend.create(recordOf(dataset), null));
  await world.use(world.a, dataset, files);
}

interface Stream {
  readonly base: Snapshot | null;
  readonly next: Snapshot;
  readonly bytes: Buffer;
}

/** A stream for A, made on B; A is at the base, if there is one. */
async function streamFor(world: World, dataset: DatasetId, incremental: boolean): Promise<Stream> {
  const { a, b } = world;
  value(await b.backend.create(recordOf(dataset), null));
  await world.use(b, dataset, files);
  const base = incremental ? await world.snapshot(b, dataset) : null;
  if (base !== null) value(await world.transfer(b, a, dataset, null, base));
  await world.use(b, dataset, { "folder/one": null, two: "22", three: "3" });
  const next = await world.snapshot(b, dataset);
  return { base, next, bytes: await world.stream(b, dataset, base?.guid ?? null, next.guid) };
}

async function receive(node: DirectoryNode, dataset: DatasetId, prepared: unknown): Promise<Result<unknown>> {
  const { base, next, bytes } = prepared as Stream;
  return await node.backend.receive(requestOf(dataset, base?.guid ?? null, next), streamOf(bytes), never);
}

const scenes: Readonly<Record<string, Scene>> = {
  create: {
    prepare: async () => undefined,
    async act(node, dataset) {
      const result = await node.backend.create(recordOf(dataset), 2 ** 20);
      // Created before the death, if it is there already.
      return !result.ok && result.problem.code === "duplicate-id" ? { ok: true, value: undefined } : result;
    },
  },
  writeRecord: {
    prepare: bornWith,
    act: (node, dataset) =>
      node.backend.writeRecord({ ...recordOf(dataset, "replica"), epoch: { term: 9, step: 9 } }),
  },
  mount: {
    prepare: bornWith,
    act: (node, dataset) => node.backend.mount(dataset),
  },
  unmount: {
    async prepare(world, dataset) {
      await bornWith(world, dataset);
      value(await world.a.backend.mount(dataset));
    },
    act: (node, dataset) => node.backend.unmount(dataset),
  },
  snapshot: {
    prepare: bornWith,
    act: (node, dataset) => node.backend.snapshot(dataset, "name"),
  },
  destroySnapshots: {
    async prepare(world, dataset) {
      await bornWith(world, dataset);
      return [await world.snapshot(world.a, dataset), await world.snapshot(world.a, dataset)];
    },
    act: (node, dataset, prepared) =>
      node.backend.destroySnapshots(
        dataset,
        (prepared as Snapshot[]).map(({ guid }) => guid),
      ),
  },
  trash: {
    prepare: bornWith,
    act: (node, dataset) => node.backend.trash(dataset, 77),
  },
  destroy: {
    async prepare(world, dataset) {
      await bornWith(world, dataset);
      value(await world.a.backend.trash(dataset, 77));
    },
    act: (node, dataset) => node.backend.destroy(dataset),
  },
  "receive of a whole copy": {
    isSlow: true,
    prepare: (world, dataset) => streamFor(world, dataset, false),
    act: receive,
  },
  "receive of an increment": {
    isSlow: true,
    prepare: (world, dataset) => streamFor(world, dataset, true),
    act: receive,
  },
};

/** What can be seen of a copy, or "absent"; what differs from one copy to the next by chance is left out. */
async function look(node: DirectoryNode, dataset: DatasetId): Promise<string> {
  const { copies, unreadable } = value(await node.backend.discover(dataset));
  assert.deepEqual(unreadable, []);
  const [copy] = copies;
  if (copy === undefined) return "absent";
  let text = JSON.stringify(stable(copy)).replaceAll(dataset, "DATASET");
  copy.snapshots.forEach(({ guid, name, createdAt }, index) => {
    text = text.replaceAll(guid, `GUID-${index}`).replaceAll(name, `NAME-${index}`);
    text = text.replaceAll(String(createdAt), `TIME-${index}`);
  });
  return `${text} ${JSON.stringify(contents(node, dataset))}`;
}

function contents(node: DirectoryNode, dataset: DatasetId): Record<string, string> {
  const folder = join(node.root, "copies", dataset);
  const { tree } = JSON.parse(readFileSync(join(folder, "copy.json"), "utf8")) as { tree: number };
  const data = join(folder, `tree-${tree}`);
  const found = readdirSync(data, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    found.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(data.length + 1), readFileSync(path, "utf8")];
    }),
  );
}

/** That nothing lies about which no copy needs. */
function assertTidy(node: DirectoryNode, dataset: DatasetId): void {
  assert.deepEqual(readdirSync(join(node.root, "staging")), []);
  const folder = join(node.root, "copies", dataset);
  if (!existsSync(folder)) return;
  const state = JSON.parse(readFileSync(join(folder, "copy.json"), "utf8")) as {
    tree: number;
    snapshots: { guid: string }[];
  };
  assert.deepEqual(readdirSync(folder).sort(), ["copy.json", "snapshots", `tree-${state.tree}`]);
  const manifests = state.snapshots.map(({ guid }) => `${guid}.manifest`).sort();
  assert.deepEqual(readdirSync(join(folder, "snapshots")).sort(), manifests);
}

/** Lets the agent die before each operation of a method, and gives what was found afterwards. */
async function dieEverywhere(world: World, node: DirectoryNode, scene: Scene): Promise<ReadonlySet<string>> {
  const prepare = async (): Promise<{ dataset: DatasetId; prepared: unknown }> => {
    const dataset = freshDataset();
    const prepared = await scene.prepare(world, dataset);
    // A fresh start each time, so that the method always takes as many operations.
    await node.start(newLife());
    return { dataset, prepared };
  };
  // Once without a death.
  const whole = await prepare();
  const before = await look(node, whole.dataset);
  value(await scene.act(node, whole.dataset, whole.prepared));
  const after = await look(node, whole.dataset);
  assert.notEqual(before, after);
  const seen = new Set<string>();
  let { dataset, prepared } = await prepare();
  for (let survived = 0; ; survived++) {
    node.life.dieAfter(survived);
    const result = await scene.act(node, dataset, prepared);
    const died = node.life.isDead();
    await node.start(newLife());
    const found = await look(node, dataset);
    assert.ok([before, after].includes(found), `after ${survived} operations: ${found}`);
    if (result.ok) assert.equal(found, after, "what was answered is durable");
    if (!died) return seen;
    seen.add(found === before ? "before" : "after");
    assertTidy(node, dataset);
    // A receive takes long to prepare, and where it has changed nothing it can go on from there.
    if (found === before && scene.isSlow === true && survived % 8 !== 0) continue;
    value(await scene.act(node, dataset, prepared));
    assert.equal(await look(node, dataset), after);
    assertTidy(node, dataset);
    ({ dataset, prepared } = await prepare());
  }
}

void suite("a death of the agent before any operation leaves the copy as before or as after", () => {
  for (const [name, scene] of Object.entries(scenes)) {
    void test(name, async () => {
      const harness = await directoryHarness(fastFolder);
      try {
        const seen = await dieEverywhere(new World(harness), harness.nodes[0], scene);
        assert.deepEqual(seen, new Set(["before", "after"]));
      } finally {
        await harness.dispose();
      }
    });
  }
});

test("a death while a start tidies up after a death does no harm", async () => {
  const harness = await directoryHarness(fastFolder);
  try {
    const world = new World(harness);
    const [node] = harness.nodes;
    const dataset = freshDataset();
    const prepared = await streamFor(world, dataset, true);
    const before = await look(node, dataset);
    const folder = join(node.root, "copies", dataset);
    for (let survived = 0; ; survived++) {
      // What deaths at different moments leave behind.
      mkdirSync(join(folder, "tree-2", "folder"), { recursive: true });
      mkdirSync(join(node.root, "staging", randomUUID(), "tree"), { recursive: true });
      for (const path of [
        "tree-2/folder/file",
        "copy.json.new",
        "snapshots/old.manifest",
        "snapshots/x.manifest.new",
      ]) {
        writeFileSync(join(folder, path), "");
      }
      const life = newLife();
      life.dieAfter(survived);
      await node.start(life).catch(() => undefined);
      const wasEnough = !life.isDead();
      await node.start(newLife());
      assert.equal(await look(node, dataset), before);
      assertTidy(node, dataset);
      if (wasEnough) break;
    }
    value(await receive(node, dataset, prepared));
    assert.deepEqual(contents(node, dataset), { three: "3", two: "22" });
  } finally {
    await harness.dispose();
  }
});

test("a file is replaced in an order that a loss of power cannot break", async () => {
  const harness = await directoryHarness(fastFolder);
  try {
    const folder = harness.nodes[0].folder;
    const trace: string[] = [];
    const traced: Files = {
      ...nodeFiles,
      async createFile(path) {
        const writer = await nodeFiles.createFile(path);
        trace.push(`create ${path.slice(folder.length)}`);
        return {
          ...writer,
          write: (chunk) => writer.write(chunk).finally(() => trace.push("write")),
          sync: () => writer.sync().finally(() => trace.push("sync file")),
        };
      },
      rename: (from, to) => nodeFiles.rename(from, to).finally(() => trace.push("rename")),
      syncFolder: (path) => nodeFiles.syncFolder(path).finally(() => trace.push("sync folder")),
    };
    await replaceFile(traced, folder, "state", "text");
    assert.deepEqual(trace, ["create /state.new", "write", "sync file", "rename", "sync folder"]);
    assert.equal(readFileSync(join(folder, "state"), "utf8"), "text");
  } finally {
    await harness.dispose();
  }
});
