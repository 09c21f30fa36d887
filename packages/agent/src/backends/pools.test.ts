// Several pools as one backend: the rules of all backends, and what only several have. The pools are folders.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import { failure, need, success, type Backend, type DatasetId, type Result } from "@flocker/core";

import { backendConformance, type BackendHarness, type BackendNode } from "./conformance.ts";
import { freshDataset, never, recordOf, refused, requestOf, value, World } from "./conformance/world.ts";
import { DirectoryNode } from "./directory/testing/directory-harness.ts";
import { acrossPools } from "./pools.ts";

/** A node with a usual pool and one for the profile `fast`, each in a folder of its own. */
class PooledNode implements BackendNode {
  readonly usual: DirectoryNode;
  readonly fast: DirectoryNode;
  #backend: Backend | undefined;
  isFastThere = true;

  constructor(folder: string) {
    this.usual = new DirectoryNode(join(folder, "usual"));
    this.fast = new DirectoryNode(join(folder, "fast"));
  }

  get backend(): Backend {
    assert.ok(this.#backend !== undefined, "the node has been started");
    return this.#backend;
  }

  async start(): Promise<void> {
    this.usual.stop();
    this.fast.stop();
    await this.usual.start();
    const openFast = async (): Promise<Result<Backend>> => {
      if (!this.isFastThere)
        return failure("storage-unreadable", "The pool fast is not there.", "Import it.");
      await this.fast.start();
      return success(this.fast.backend);
    };
    const pools = [
      { name: "usual", open: () => Promise.resolve(success(this.usual.backend)) },
      { name: "fast", open: openFast },
    ];
    this.#backend = need(await acrossPools(pools, ({ profile }) => (profile === "fast" ? "fast" : "usual")));
  }

  reopen(): Promise<void> {
    return this.start();
  }

  readonly write: BackendNode["write"] = (...file) => this.usual.write(...file);
  readonly remove: BackendNode["remove"] = (...file) => this.usual.remove(...file);
  readonly files: BackendNode["files"] = (dataset) => this.usual.files(dataset);
  readonly hold: BackendNode["hold"] = (dataset) => this.usual.hold(dataset);
  readonly breakRecord: BackendNode["breakRecord"] = (dataset) => this.usual.breakRecord(dataset);
  readonly fillDisk: BackendNode["fillDisk"] = { notPossible: "see full-disk.test.ts" };

  readonly breakStorage = async (): Promise<() => Promise<void>> => {
    const releases = [await this.usual.breakStorage(), await this.fast.breakStorage()];
    return async () => {
      for (const release of releases) await release();
    };
  };
}

async function pooledHarness(): Promise<BackendHarness & { readonly nodes: PooledNodes }> {
  const folder = await mkdtemp(join(tmpdir(), "flocker-pools-"));
  const nodes = ["a", "b", "c"].map((name) => new PooledNode(join(folder, name))) as unknown as PooledNodes;
  for (const node of nodes) await node.start();
  return {
    nodes,
    async dispose() {
      for (const { usual, fast } of nodes) for (const each of [usual, fast]) each.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

type PooledNodes = readonly [PooledNode, PooledNode, PooledNode];

// What happens within a copy is the pool's own, and tried on it alone.
const chapters = ["birth and record", "unreadable is not absent", "trash"];
backendConformance(
  "several pools'",
  pooledHarness,
  (sentence, chapter) => chapters.includes(chapter) && !sentence.startsWith("the maximum size is enforced"),
);

interface Story {
  readonly world: World;
  readonly a: PooledNode;
  readonly b: PooledNode;
}

function story(name: string, body: (story: Story, context: TestContext) => Promise<void>): void {
  void test(name, async (context) => {
    const harness = await pooledHarness();
    try {
      const [a, b] = harness.nodes;
      await body({ world: new World(harness), a, b }, context);
    } finally {
      await harness.dispose();
    }
  });
}

async function bornFast(node: PooledNode): Promise<DatasetId> {
  const dataset = freshDataset();
  value(await node.backend.create(recordOf(dataset), null, { profile: "fast" }));
  return dataset;
}

async function isIn(pool: DirectoryNode, dataset: DatasetId): Promise<boolean> {
  return value(await pool.backend.discover(dataset)).copies.length === 1;
}

story("a copy is made in the pool of its profile, and worked on there", async ({ world, a }) => {
  const dataset = await bornFast(a);
  assert.deepEqual([await isIn(a.fast, dataset), await isIn(a.usual, dataset)], [true, false]);
  value(await a.backend.mount(dataset));
  value(await a.backend.unmount(dataset));
  value(await a.backend.trash(dataset, 1));
  await a.reopen();
  value(await a.backend.restore(dataset));
  value(await a.backend.trash(dataset, 1));
  value(await a.backend.destroy(dataset));
  await world.isAbsent(a, dataset);
});

story(
  "a received copy is made in the pool of its profile, and later ones stay there",
  async ({ world, a, b }) => {
    const dataset = await world.bornWith(a, { file: "1" });
    const receive = async (base: string | null, profile?: string): Promise<string> => {
      const snapshot = await world.snapshot(a, dataset);
      const request = requestOf(dataset, base, snapshot);
      const { stream } = value(await a.backend.send({ dataset, base, snapshot: snapshot.guid }, never));
      value(
        await b.backend.receive(profile === undefined ? request : { ...request, profile }, stream, never),
      );
      return snapshot.guid;
    };
    const first = await receive(null, "fast");
    assert.deepEqual([await isIn(b.fast, dataset), await isIn(b.usual, dataset)], [true, false]);
    await b.reopen();
    await receive(first);
    assert.deepEqual([await isIn(b.fast, dataset), await isIn(b.usual, dataset)], [true, false]);
  },
);

story("a pool that cannot be seen hides what is in it, and only that", async ({ world, a }) => {
  const [hidden, shown] = [await bornFast(a), await world.born(a)];
  const release = await a.fast.breakStorage();
  const all = value(await a.backend.discover(null));
  assert.deepEqual(
    all.copies.map(({ dataset }) => dataset),
    [shown],
  );
  assert.equal(all.unseen?.code, "storage-unreadable");
  value(await a.backend.discover(shown));
  refused(await a.backend.discover(hidden), "storage-unreadable");
  refused(await a.backend.discover(freshDataset()), "storage-unreadable");
  value(await a.backend.mount(shown));
  refused(await a.backend.mount(hidden), "storage-unreadable");
  await release();
  assert.equal(value(await a.backend.discover(null)).copies.length, 2);
});

story("a pool that hangs delays nothing that is in another", async ({ world, a }) => {
  const shown = await world.born(a);
  const discover = a.fast.backend.discover.bind(a.fast.backend);
  let isAsked = false;
  a.fast.backend.discover = () => {
    isAsked = true;
    return new Promise(() => undefined);
  };
  value(await a.backend.discover(shown));
  value(await a.backend.mount(shown));
  assert.equal(isAsked, false);
  a.fast.backend.discover = discover;
});

story("nothing is made while a pool cannot be seen, since a copy may be in it", async ({ a }) => {
  const dataset = await bornFast(a);
  const release = await a.fast.breakStorage();
  refused(await a.backend.create(recordOf(dataset), null), "storage-unreadable");
  await release();
  refused(await a.backend.create(recordOf(dataset), null), "duplicate-id");
});

story("a pool that is not there when the agent starts is opened once it is", async ({ world, a }) => {
  const [hidden, shown] = [await bornFast(a), await world.born(a)];
  a.isFastThere = false;
  await a.reopen();
  value(await a.backend.mount(shown));
  refused(await a.backend.mount(hidden), "storage-unreadable");
  a.isFastThere = true;
  value(await a.backend.mount(hidden));
});

story("two copies of a dataset in two pools are shown as such, and neither is touched", async ({ a }) => {
  const dataset = freshDataset();
  for (const pool of [a.usual, a.fast]) value(await pool.backend.create(recordOf(dataset), null));
  const { copies, unreadable } = value(await a.backend.discover(null));
  assert.equal(copies.length, 0);
  assert.match(unreadable[0]?.problem.message ?? "", /two copies .* in usual and in fast/);
  refused(await a.backend.mount(dataset), "storage-unreadable");
  refused(await a.backend.destroy(dataset), "dataset-not-deleted");
});
