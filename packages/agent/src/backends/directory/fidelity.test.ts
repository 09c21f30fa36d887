import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import type { DatasetId } from "@flocker/core";
import fc from "fast-check";

import { value, World } from "../conformance/world.ts";
import { directoryHarness, type DirectoryNode } from "./testing/directory-harness.ts";
import { listAttributes, listTree, python } from "./testing/tree-listing.ts";

const isRoot = process.getuid?.() === 0;

async function withWorld(
  body: (world: World, nodes: readonly DirectoryNode[]) => Promise<void>,
): Promise<void> {
  const harness = await directoryHarness();
  try {
    await body(new World(harness), harness.nodes);
  } finally {
    await harness.dispose();
  }
}

/** Where the data of a copy are now. */
function treeOf(node: DirectoryNode, dataset: DatasetId): string {
  const folder = join(node.root, "copies", dataset);
  const { tree } = JSON.parse(fs.readFileSync(join(folder, "copy.json"), "utf8")) as { tree: number };
  return join(folder, `tree-${tree}`);
}

/** Mounts, lets a test write into the tree with whatever means, and unmounts. */
async function edit(node: DirectoryNode, dataset: DatasetId, write: (tree: string) => void): Promise<void> {
  value(await node.backend.mount(dataset));
  write(treeOf(node, dataset));
  value(await node.backend.unmount(dataset));
}

function assertSameTree(one: DirectoryNode, other: DirectoryNode, dataset: DatasetId): void {
  assert.deepEqual(listTree(treeOf(other, dataset)), listTree(treeOf(one, dataset)));
  assert.equal(listAttributes(treeOf(other, dataset)), listAttributes(treeOf(one, dataset)));
}

const names = ["a", "b", "d", "é", "new\nline", "-dash", " blank ", "..x", "*?[", "a!", "x".repeat(200)];
const name = fc.oneof(
  fc.constantFrom(...names.map((text) => Buffer.from(text))),
  fc.constantFrom(Buffer.from([0xff, 0xfe]), Buffer.from([0x80])),
);
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => {
  return Buffer.concat(parts.flatMap((part) => [Buffer.from("/"), part]));
});
const text = fc.string({ maxLength: 40 });

const edits = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("write" as const), path, text }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("append" as const), path, text }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("folder" as const), path }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("hole" as const), path, size: fc.nat(300_000), text }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("remove" as const), path }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("rename" as const), path, to: path }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("link" as const), path, to: path }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("symlink" as const),
      path,
      text: fc.oneof(text, fc.constantFrom("/etc", "../../..", ".", "a")),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("mode" as const), path, mode: fc.nat(0o7777) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("times" as const),
      path,
      time: fc.double({ min: -1e9, max: 4e9, noNaN: true }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("owner" as const), path, id: fc.nat(100_000) }) },
);
type Edit = typeof edits extends fc.Arbitrary<infer Value> ? Value : never;

function appendToExisting(path: Buffer, addition: string): void {
  const file = fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_APPEND);
  fs.writeSync(file, addition);
  fs.closeSync(file);
}

/** Applies an edit; one that makes no sense in this tree is left out. */
function apply(tree: string, change: Edit): void {
  const at = (place: Buffer): Buffer => Buffer.concat([Buffer.from(tree), place]);
  const target = at(change.path);
  try {
    switch (change.kind) {
      case "write":
        return fs.writeFileSync(target, change.text);
      case "append":
        return appendToExisting(target, change.text);
      case "folder":
        return fs.mkdirSync(target);
      case "hole": {
        const file = fs.openSync(target, "w");
        fs.writeSync(file, Buffer.from(change.text), 0, undefined, change.size);
        fs.ftruncateSync(file, change.size * 2);
        return fs.closeSync(file);
      }
      case "remove":
        return fs.rmSync(target, { recursive: true });
      case "rename":
        return fs.renameSync(target, at(change.to));
      case "link":
        return fs.linkSync(target, at(change.to));
      case "symlink":
        return fs.symlinkSync(change.text, target);
      case "mode":
        // Without privileges, a folder that its owner cannot read cannot be copied either.
        return fs.chmodSync(target, isRoot ? change.mode : change.mode | 0o700);
      case "times":
        return fs.lutimesSync(target, change.time, change.time);
      case "owner":
        return isRoot ? fs.lchownSync(target, change.id, change.id + 1) : undefined;
    }
  } catch (error) {
    if (!(error instanceof Error && "code" in error) || String(error.code).startsWith("ERR_FS_CP"))
      throw error;
  }
}

test("whatever is done to a tree, every move by increments brings exactly it", async () => {
  const round = fc.record({ to: fc.nat(1), edits: fc.array(edits, { maxLength: 25 }) });
  const property = fc.asyncProperty(fc.array(round, { minLength: 2, maxLength: 4 }), (rounds) =>
    withWorld(async (world, nodes) => {
      const dataset = await world.born(world.a);
      const heldBy = new Map<DirectoryNode, string>();
      let [owner] = nodes;
      for (const { to, edits: changes } of rounds) {
        assert.ok(owner !== undefined);
        await edit(owner, dataset, (tree) => {
          for (const change of changes) apply(tree, change);
        });
        const target = nodes.filter((node) => node !== owner)[to];
        assert.ok(target !== undefined);
        // The newest snapshot that the target is at and the owner has been at too.
        const held = heldBy.get(target);
        const { snapshots } = await world.seen(owner, dataset);
        const base = snapshots.some(({ guid }) => guid === held) ? (held ?? null) : null;
        const snapshot = await world.move(owner, target, dataset, base);
        heldBy.set(owner, snapshot.guid);
        heldBy.set(target, snapshot.guid);
        assertSameTree(owner, target, dataset);
        owner = target;
      }
    }),
  );
  await fc.assert(property, { numRuns: Number(process.env["FIDELITY_RUNS"] ?? 4), endOnFailure: true });
});

/**
 * One dataset on A that is sent whole to B, changed, and sent as an increment; both times B must be equal.
 */
async function twoSteps(first: (tree: string) => void, second: (tree: string) => void): Promise<void> {
  await withWorld(async (world, [a, b]) => {
    assert.ok(a !== undefined && b !== undefined);
    const dataset = await world.born(a);
    await edit(a, dataset, first);
    const base = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, base));
    assertSameTree(a, b, dataset);
    await edit(a, dataset, second);
    const next = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, base.guid, next));
    assertSameTree(a, b, dataset);
  });
}

test("names that share a hard link stay one file when only one of them changes", async () => {
  await twoSteps(
    (tree) => {
      fs.writeFileSync(join(tree, "one"), "1");
      fs.linkSync(join(tree, "one"), join(tree, "two"));
      fs.mkdirSync(join(tree, "folder"));
      fs.linkSync(join(tree, "one"), join(tree, "folder", "three"));
      fs.symlinkSync("/nowhere", join(tree, "symlink"));
      fs.linkSync(join(tree, "symlink"), join(tree, "symlink-too"));
    },
    (tree) => {
      fs.appendFileSync(join(tree, "two"), "2");
      fs.renameSync(join(tree, "folder", "three"), join(tree, "folder", "four"));
      fs.linkSync(join(tree, "symlink"), join(tree, "symlink-three"));
    },
  );
});

test("kinds replace each other: file, folder, symlink", async () => {
  await twoSteps(
    (tree) => {
      fs.writeFileSync(join(tree, "file-to-folder"), "1");
      fs.mkdirSync(join(tree, "folder-to-file", "deep"), { recursive: true });
      fs.writeFileSync(join(tree, "folder-to-file", "deep", "file"), "1");
      fs.mkdirSync(join(tree, "folder-to-symlink", "deep"), { recursive: true });
      fs.symlinkSync("file-to-folder", join(tree, "symlink-to-folder"));
      fs.symlinkSync("file-to-folder", join(tree, "symlink-to-file"));
    },
    (tree) => {
      for (const each of fs.readdirSync(tree)) fs.rmSync(join(tree, each), { recursive: true });
      fs.mkdirSync(join(tree, "file-to-folder"));
      fs.writeFileSync(join(tree, "file-to-folder", "file"), "2");
      fs.writeFileSync(join(tree, "folder-to-file"), "2");
      fs.symlinkSync("/etc", join(tree, "folder-to-symlink"));
      fs.mkdirSync(join(tree, "symlink-to-folder"));
      fs.writeFileSync(join(tree, "symlink-to-folder", "file"), "2");
      fs.writeFileSync(join(tree, "symlink-to-file"), "2");
    },
  );
});

test("holes stay holes", async () => {
  await withWorld(async (world, [a, b]) => {
    assert.ok(a !== undefined && b !== undefined);
    const dataset = await world.born(a);
    const sizeBytes = 48 * 2 ** 20;
    await edit(a, dataset, (tree) => {
      const file = fs.openSync(join(tree, "sparse"), "w");
      fs.writeSync(file, Buffer.from("middle"), 0, undefined, 2 ** 25);
      fs.ftruncateSync(file, sizeBytes);
      fs.closeSync(file);
    });
    const snapshot = await world.snapshot(a, dataset);
    const { estimatedBytes } = value(
      await a.backend.send({ dataset, base: null, snapshot: snapshot.guid }, new AbortController().signal),
    );
    assert.ok((estimatedBytes ?? 0) < 2 ** 20, "holes are not counted");
    const bytes = await world.stream(a, dataset, null, snapshot.guid);
    assert.ok(bytes.length < 2 ** 20, `${bytes.length} bytes for a hole`);
    value(await world.transfer(a, b, dataset, null, snapshot));
    const stats = fs.statSync(join(treeOf(b, dataset), "sparse"));
    assert.equal(stats.size, sizeBytes);
    assert.ok(stats.blocks * 512 < 2 ** 20, `${stats.blocks} blocks`);
    assertSameTree(a, b, dataset);
  });
});

function needsPython(context: TestContext): boolean {
  if (python("pass") !== undefined) return true;
  context.skip("python3 is not installed, and nothing else here can set extended attributes");
  return false;
}

const setAttribute = "import os, sys; os.setxattr(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]))";
const dropAttribute = "import os, sys; os.removexattr(sys.argv[1], sys.argv[2])";

test("extended attributes come along, are changed and are taken away", async (context) => {
  if (!needsPython(context)) return;
  await twoSteps(
    (tree) => {
      fs.mkdirSync(join(tree, "folder", "inner"), { recursive: true });
      fs.writeFileSync(join(tree, "folder", "file"), "1");
      for (const path of [
        tree,
        join(tree, "folder"),
        join(tree, "folder", "file"),
        join(tree, "folder", "inner"),
      ]) {
        python(setAttribute, path, "user.kept", "00ff0a3d");
        python(setAttribute, path, "user.dropped", "31");
      }
    },
    (tree) => {
      for (const path of [tree, join(tree, "folder"), join(tree, "folder", "file")]) {
        python(dropAttribute, path, "user.dropped");
        python(setAttribute, path, "user.kept", "32");
      }
    },
  );
});

test("access control lists come along, also those for new files", async (context) => {
  if (!needsPython(context)) return;
  // Version 2; owner rwx, user 12345 rw-, group r-x, mask rwx, others ---.
  const list = ["02000000", "01000700ffffffff", "0200060039300000", "04000500ffffffff", "10000700ffffffff"];
  const access = [...list, "20000000ffffffff"].join("");
  await twoSteps(
    (tree) => {
      fs.mkdirSync(join(tree, "folder"));
      fs.writeFileSync(join(tree, "folder", "file"), "1");
      fs.writeFileSync(join(tree, "plain"), "1");
      python(setAttribute, join(tree, "folder", "file"), "system.posix_acl_access", access);
      python(setAttribute, join(tree, "folder"), "system.posix_acl_default", access);
    },
    (tree) => {
      python(dropAttribute, join(tree, "folder"), "system.posix_acl_default");
      python(dropAttribute, join(tree, "folder", "file"), "system.posix_acl_access");
      python(setAttribute, join(tree, "plain"), "system.posix_acl_access", access);
    },
  );
});

test("pipes and devices are kept, sockets are left out", async (context) => {
  if (!isRoot) return context.skip("only root can make device files");
  await withWorld(async (world, [a, b]) => {
    assert.ok(a !== undefined && b !== undefined);
    const dataset = await world.born(a);
    const server = createServer();
    await new Promise<void>((resolve) => {
      server.listen(join(treeOf(a, dataset), "socket"), resolve);
    });
    await edit(a, dataset, (tree) => {
      assert.equal(spawnSync("mkfifo", [join(tree, "pipe")]).status, 0);
      assert.equal(spawnSync("mknod", [join(tree, "null"), "c", "1", "3"]).status, 0);
    });
    value(await world.transfer(a, b, dataset, null, await world.snapshot(a, dataset)));
    const listing = listTree(treeOf(b, dataset));
    assert.deepEqual([...listing.keys()], [".", "./null", "./pipe"]);
    assert.equal(fs.statSync(join(treeOf(b, dataset), "null")).rdev, 0x103);
    server.close();
  });
});

test("what was written within one tick of the clock before a snapshot is sent again", async () => {
  await withWorld(async (world, [a, b]) => {
    assert.ok(a !== undefined && b !== undefined);
    const dataset = await world.born(a);
    await edit(a, dataset, (tree) => fs.writeFileSync(join(tree, "file"), "old"));
    const base = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, base));
    const path = join(treeOf(a, dataset), "file");
    // The manifest's clock is set to the very change, so that the next one could bear the same time.
    const manifest = join(a.root, "copies", dataset, "snapshots", `${base.guid}.manifest`);
    const changedAtNs = fs.statSync(path, { bigint: true }).ctimeNs;
    const listed = fs.readFileSync(manifest, "latin1").replace(/^(\S+ 1) \d+/, `$1 ${changedAtNs}`);
    fs.writeFileSync(manifest, listed, "latin1");
    const next = await world.snapshot(a, dataset);
    const bytes = await world.stream(a, dataset, base.guid, next.guid);
    assert.ok(bytes.includes("./file"), "the file is in the increment");
  });
});
