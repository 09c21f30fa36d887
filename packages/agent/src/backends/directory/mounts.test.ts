import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";

import type { DatasetId, Snapshot } from "@flocker/core";

import { never, recordOf, refused, requestOf, streamOf, value, World } from "../conformance/world.ts";
import { directoryHarness, type DirectoryNode } from "./testing/directory-harness.ts";
import { python } from "./testing/tree-listing.ts";

interface Scene {
  readonly world: World;
  readonly node: DirectoryNode;
  readonly dataset: DatasetId;
  /** The mount point. */
  readonly place: string;
  readonly tree: string;
}

async function withCopy(body: (scene: Scene) => Promise<void>): Promise<void> {
  const harness = await directoryHarness();
  try {
    const world = new World(harness);
    const [node] = harness.nodes;
    const dataset = await world.born(node);
    const tree = join(node.root, "copies", dataset, "tree-1");
    await body({ world, node, dataset, place: join(node.mountRoot, dataset), tree });
  } finally {
    await harness.dispose();
  }
}

const occupants: Readonly<Record<string, (place: string) => void>> = {
  "a folder": (place) => fs.mkdirSync(place),
  "a file": (place) => fs.writeFileSync(place, "mine"),
  "a symlink to somewhere else": (place) => fs.symlinkSync("/etc", place),
  "a symlink to nowhere": (place) => fs.symlinkSync("/nowhere", place),
};

for (const [what, put] of Object.entries(occupants)) {
  test(`${what} at the mount point is told, and never removed`, async () => {
    await withCopy(async ({ world, node, dataset, place }) => {
      put(place);
      const before = fs.lstatSync(place, { bigint: true });
      assert.match(refused(await node.backend.mount(dataset), "file-exists"), new RegExp(place));
      assert.equal((await world.seen(node, dataset)).mountedAt, null);
      value(await node.backend.unmount(dataset));
      value(await node.backend.trash(dataset, 1));
      value(await node.backend.destroy(dataset));
      const after = fs.lstatSync(place, { bigint: true });
      assert.deepEqual([after.ino, after.mtimeNs], [before.ino, before.mtimeNs]);
    });
  });
}

test("the mount root is made where it is missing", async () => {
  await withCopy(async ({ node, dataset, place, tree }) => {
    fs.rmdirSync(node.mountRoot);
    value(await node.backend.mount(dataset));
    assert.equal(fs.readlinkSync(place), tree);
  });
});

/** A whole stream of the same dataset, made on another node. */
async function streamFromElsewhere(
  world: World,
  dataset: DatasetId,
): Promise<{ snapshot: Snapshot; bytes: Buffer }> {
  value(await world.b.backend.create(recordOf(dataset), null));
  const snapshot = await world.snapshot(world.b, dataset);
  return { snapshot, bytes: await world.stream(world.b, dataset, null, snapshot.guid) };
}

test("a symlink that somebody removed shows as unmounted, but the copy is known to be in use", async () => {
  await withCopy(async ({ world, node, dataset, place }) => {
    value(await node.backend.mount(dataset));
    const holder = await node.hold(dataset);
    fs.unlinkSync(place);
    await node.reopen();
    assert.equal((await world.seen(node, dataset)).mountedAt, null);
    // Its user still writes, so nothing that needs silence is done.
    refused(await node.backend.snapshot(dataset, "no"), "busy-mount");
    refused(await node.backend.trash(dataset, 1), "busy-mount");
    refused(await node.backend.unmount(dataset), "busy-mount");
    assert.ok(!fs.existsSync(place));
    const replica = recordOf(dataset, "replica");
    value(await node.backend.writeRecord(replica));
    const { snapshot, bytes } = await streamFromElsewhere(world, dataset);
    const request = requestOf(dataset, null, snapshot);
    refused(await node.backend.receive(request, streamOf(bytes), never), "busy-mount");
    await holder.release();
    value(await node.backend.snapshot(dataset, "yes"));
    value(await node.backend.receive(request, streamOf(bytes), never));
  });
});

test("a symlink that somebody removed is put back by mounting", async () => {
  await withCopy(async ({ node, dataset, place, tree }) => {
    value(await node.backend.mount(dataset));
    fs.unlinkSync(place);
    value(await node.backend.mount(dataset));
    assert.equal(fs.readlinkSync(place), tree);
  });
});

test("a symlink that somebody made counts as mounted, and the copy as changed", async () => {
  await withCopy(async ({ world, node, dataset, place, tree }) => {
    const { guid } = await world.snapshot(node, dataset);
    fs.symlinkSync(tree, place);
    const seen = await world.seen(node, dataset);
    assert.deepEqual([seen.mountedAt, seen.unchangedSince], [place, null]);
    value(await node.backend.mount(dataset));
    fs.unlinkSync(place);
    // Not unchanged any more: it was mounted in between.
    assert.equal((await world.seen(node, dataset)).unchangedSince, null);
    assert.ok((await world.seen(node, dataset)).snapshots.some((snapshot) => snapshot.guid === guid));
  });
});

test("data that vanish while mounted show as unreadable", async () => {
  await withCopy(async ({ node, dataset, tree }) => {
    value(await node.backend.mount(dataset));
    fs.rmdirSync(tree);
    const { copies, unreadable } = value(await node.backend.discover(dataset));
    assert.deepEqual(copies, []);
    assert.equal(unreadable[0]?.problem.code, "storage-unreadable");
  });
});

async function started(child: ChildProcess): Promise<ChildProcess> {
  await once(child.stdout ?? child, "data");
  return child;
}

async function ended(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

/**
 * How a program can use a copy: each prints a line once it does, and then waits. A text says why it cannot be
 * tried.
 */
const uses: Readonly<Record<string, (scene: Scene) => ChildProcess | string>> = {
  "an open file": ({ place }) =>
    spawn("sh", ["-c", `exec 3>"${place}/file"; echo ready; exec sleep 1000`], {
      stdio: ["ignore", "pipe", "inherit"],
    }),
  "an open file that has been removed": ({ place }) =>
    spawn("sh", ["-c", `exec 3>"${place}/file"; rm "${place}/file"; echo ready; exec sleep 1000`], {
      stdio: ["ignore", "pipe", "inherit"],
    }),
  "a working folder": ({ place }) =>
    spawn("sh", ["-c", `cd "${place}"; echo ready; exec sleep 1000`], {
      stdio: ["ignore", "pipe", "inherit"],
    }),
  "a program that runs from it": ({ place }) => {
    fs.copyFileSync("/bin/sh", `${place}/program`);
    return spawn(`${place}/program`, ["-c", "cd /; echo ready; read line"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
  },
  "a file that is mapped but closed": ({ place }) => {
    if (python("pass") === undefined) return "python3, which maps a file here, is not installed";
    const script = `
import mmap, os, sys, time
file = os.open(sys.argv[1] + "/mapped", os.O_RDWR | os.O_CREAT)
os.write(file, b"x" * 4096)
mapped = mmap.mmap(file, 4096)
os.close(file)
links = {fd: "/proc/self/fd/" + fd for fd in os.listdir("/proc/self/fd")}
os.close([int(fd) for fd, link in links.items() if os.path.exists(link) and "mapped" in os.readlink(link)][0])
print("ready", flush=True)
time.sleep(1000)
`;
    return spawn("python3", ["-c", script, place], { stdio: ["ignore", "pipe", "inherit"] });
  },
  "a container that has it mounted": ({ place, node }) => {
    if (spawnSync("unshare", ["--mount", "true"]).status !== 0) {
      return "mount namespaces cannot be made here (needs root)";
    }
    const inside = join(node.folder, "inside");
    fs.mkdirSync(inside);
    const script = `mount --bind "$(readlink -f "${place}")" "${inside}" && echo ready && exec sleep 1000`;
    return spawn("unshare", ["--mount", "sh", "-c", script], { stdio: ["ignore", "pipe", "inherit"] });
  },
  "a container that sees all of the disk elsewhere": ({ tree, node }) => {
    if (spawnSync("unshare", ["--mount", "true"]).status !== 0) {
      return "mount namespaces cannot be made here (needs root)";
    }
    const inside = join(node.folder, "inside");
    fs.mkdirSync(inside);
    const rest = tree.slice(node.folder.length);
    const script = `mount --bind "${node.folder}" "${inside}" && exec 3>"${inside}${rest}/file" && echo ready && exec sleep 1000`;
    return spawn("unshare", ["--mount", "sh", "-c", script], { stdio: ["ignore", "pipe", "inherit"] });
  },
};

void suite("a copy in use stays mounted", () => {
  for (const [how, use] of Object.entries(uses)) {
    void test(how, async (context) => {
      await withCopy(async (scene) => {
        const { node, dataset, place, tree } = scene;
        value(await node.backend.mount(dataset));
        const child = use(scene);
        if (typeof child === "string") return context.skip(child);
        await started(child);
        try {
          const message = refused(await node.backend.unmount(dataset), "busy-mount");
          assert.match(message, new RegExp(`\\(pid ${child.pid}, `));
          assert.equal(fs.readlinkSync(place), tree);
        } finally {
          await ended(child);
        }
        value(await node.backend.unmount(dataset));
      });
    });
  }
});

test("a program in another copy, whose path begins alike, does not count", async () => {
  await withCopy(async ({ node, dataset, tree }) => {
    value(await node.backend.mount(dataset));
    fs.mkdirSync(`${tree}0`);
    const child = spawn("sleep", ["1000"], { cwd: `${tree}0` });
    await once(child, "spawn");
    value(await node.backend.unmount(dataset));
    await ended(child);
  });
});

test("at most five users are named", async () => {
  await withCopy(async ({ node, dataset, place }) => {
    value(await node.backend.mount(dataset));
    const children = Array.from({ length: 8 }, () => spawn("sleep", ["1000"], { cwd: place }));
    await Promise.all(children.map((child) => once(child, "spawn")));
    const message = refused(await node.backend.unmount(dataset), "busy-mount");
    assert.equal(message.match(/sleep \(pid \d+/g)?.length, 5);
    await Promise.all(children.map(ended));
  });
});

test("a write right after the mount is told apart from one right before the snapshot", async () => {
  await withCopy(async ({ world, node, dataset, place }) => {
    for (let round = 0; round < 5; round++) {
      value(await node.backend.mount(dataset));
      fs.writeFileSync(`${place}/file`, `old ${round}`);
      value(await node.backend.unmount(dataset));
      const base = await world.snapshot(node, dataset);
      value(await node.backend.mount(dataset));
      // The same size, and the same time of change as far as programs can set it.
      const { atime, mtime } = fs.statSync(`${place}/file`);
      fs.writeFileSync(`${place}/file`, `new ${round}`);
      fs.utimesSync(`${place}/file`, atime, mtime);
      value(await node.backend.unmount(dataset));
      const next = await world.snapshot(node, dataset);
      const bytes = await world.stream(node, dataset, base.guid, next.guid);
      assert.ok(bytes.includes(`new ${round}`));
    }
    value(await node.backend.writeRecord(recordOf(dataset)));
  });
});
