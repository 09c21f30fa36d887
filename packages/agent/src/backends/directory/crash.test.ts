import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import type { DatasetId } from "@flocker/core";

import { freshDataset, value, World } from "../conformance/world.ts";
import { nodeFiles, replaceFile, type Files } from "../files.ts";
import { crashRules, look, receive, streamFor, type Inside } from "../testing/crashes.ts";
import { newLife } from "../testing/life.ts";
import { directoryHarness, fastFolder, type DirectoryNode } from "./testing/directory-harness.ts";

const inside: Inside<DirectoryNode> = {
  liveSnapshots: false,
  make: () => directoryHarness(fastFolder),
  contents,
  assertTidy,
};
crashRules(inside);

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

test("a death while a start tidies up after a death does no harm", async () => {
  const harness = await directoryHarness(fastFolder);
  try {
    const world = new World(harness);
    const [node] = harness.nodes;
    const dataset = freshDataset();
    const prepared = await streamFor(world, dataset, true);
    const before = await look(inside, node, dataset);
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
      assert.equal(await look(inside, node, dataset), before);
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
