import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";

import type { DatasetId } from "@flocker/core";

import { crashRules } from "../testing/crashes.ts";
import type { CopyState } from "./state.ts";
import { btrfsImpossible } from "./testing/btrfs-disks.ts";
import { BtrfsDisks, type BtrfsNode } from "./testing/btrfs-harness.ts";

const reason = btrfsImpossible();
if (reason === undefined) {
  const disks = new BtrfsDisks();
  after(() => disks.dispose());
  crashRules({ liveSnapshots: true, make: () => disks.harness({ quota: true }), contents, assertTidy });
} else {
  void test("a death of the agent leaves the copy as before or as after", { skip: reason });
}

function stateOf(node: BtrfsNode, dataset: DatasetId): CopyState {
  return JSON.parse(readFileSync(join(node.copyFolder(dataset), "copy.json"), "utf8")) as CopyState;
}

function contents(node: BtrfsNode, dataset: DatasetId): Record<string, string> {
  const { data, snapshots } = stateOf(node, dataset);
  const subvolume = data === null ? join("snapshots", snapshots.at(-1)?.uuid ?? "", "snapshot") : "data";
  const body = join(node.copyFolder(dataset), subvolume);
  const found = readdirSync(body, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    found.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(body.length + 1), readFileSync(path, "utf8")];
    }),
  );
}

function assertTidy(node: BtrfsNode, dataset: DatasetId): void {
  assert.deepEqual(readdirSync(join(node.root, "flocker", "staging")), []);
  const folder = node.copyFolder(dataset);
  if (!existsSync(folder)) return;
  const { data, snapshots } = stateOf(node, dataset);
  const own = data === null ? ["copy.json", "snapshots"] : ["copy.json", "data", "snapshots"];
  assert.deepEqual(readdirSync(folder).sort(), own);
  const uuids = snapshots.map(({ uuid }) => uuid).sort();
  assert.deepEqual(readdirSync(join(folder, "snapshots")).sort(), uuids);
  for (const uuid of uuids) assert.deepEqual(readdirSync(join(folder, "snapshots", uuid)), ["snapshot"]);
}
