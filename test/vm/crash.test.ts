// The agent dies before each command of a method, on real OpenZFS: the copy is as before or as after.
// `FLOCKER_VM_THOROUGH=1` tries all methods, which takes five minutes in emulation.
import assert from "node:assert/strict";
import type { DatasetId } from "@flocker/core";
import { recordOf, value } from "../../packages/agent/src/backends/conformance/world.ts";
import { crashRules, type Scene } from "../../packages/agent/src/backends/testing/crashes.ts";
import { isThorough } from "./machine.ts";
import { harnessInMachine } from "./pools-machine.ts";
import type { ZfsNode } from "./zfs-nodes.ts";

const source = (node: ZfsNode, dataset: DatasetId): string => `${node.pool}/by-hand-${dataset}`;

const adoption: Scene = {
  prepare: async (world, dataset) => {
    const node = world.a as ZfsNode;
    const line =
      'zfs create -o mountpoint="/srv/$2" "$1" && echo rows >"/srv/$2/table" && zfs snapshot "$1@mine"';
    await node.sh(line, source(node, dataset), dataset);
  },
  async act(node, dataset) {
    const origin = { source: source(node as ZfsNode, dataset) };
    const result = await node.backend.create(recordOf(dataset), null, origin);
    // Taken over before the death, if it is there already.
    return !result.ok && result.problem.code === "duplicate-id" ? { ok: true, value: undefined } : result;
  },
};

const usual: ReadonlySet<string> = new Set(["writeRecord", "create out of a file system that is there"]);

crashRules<ZfsNode>({
  chosen: (method) => isThorough || usual.has(method),
  liveSnapshots: true,
  make: harnessInMachine(),
  contents,
  assertTidy,
  scenes: { "create out of a file system that is there": adoption },
});

/**
 * The files of a copy, also of one that is not mounted or lies in the trash. What is exactly at a snapshot is
 * read there: to mount the copy itself, even read-only, writes a block.
 */
async function contents(node: ZfsNode, dataset: DatasetId): Promise<Record<string, string>> {
  const line =
    'at=$(grep "/$2 zfs" /proc/mounts | cut -d" " -f2); name=$1/flocker/$2; ' +
    'zfs list "$name" >/dev/null 2>&1 || name=$1/flocker-trash/$2; ' +
    'if [ -z "$at" ]; then at=/tmp/look; mkdir -p $at; ' +
    'snapshot=$(zfs list -H -t snapshot -o name -s createtxg "$name" | tail -n 1); ' +
    '[ "$(zfs get -Hp -o value written "$name")" != 0 ] || name=${snapshot:-$name}; ' +
    'mount -t zfs -o zfsutil,ro "$name" $at; fi; ' +
    'cd "$at" && find . -type f | sort | while read -r file; do echo "$file=$(cat "$file")"; done; ' +
    "cd /; [ $at != /tmp/look ] || umount $at";
  const said = await node.sh(line, node.pool, dataset);
  return Object.fromEntries(
    said
      .split("\n")
      .filter((each) => each !== "")
      .map((each) => {
        const [name = "", content = ""] = each.split("=");
        return [name.slice(2), content];
      }),
  );
}

async function assertTidy(node: ZfsNode, dataset: DatasetId): Promise<void> {
  const names = await node.sh('zfs list -H -o name -r "$1/flocker-staging"', node.pool);
  assert.doesNotMatch(names, new RegExp(`${dataset}-(new|old)`));
  const { copies } = value(await node.backend.discover(dataset));
  assert.ok(copies.length <= 1);
}
