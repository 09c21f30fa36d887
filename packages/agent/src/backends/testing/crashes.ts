import assert from "node:assert/strict";
import { suite, test } from "node:test";

import type { DatasetId, Result, Snapshot } from "@flocker/core";

import type { BackendHarness, BackendNode } from "../conformance.ts";
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
import type { Life } from "./life.ts";

/** A node whose agent a test can let die before any of its operations. */
export interface MortalNode extends BackendNode {
  readonly life: Life;
  /** Lets its agent, if there is one, die, and starts another with a life of its own. */
  start(): Promise<void>;
}

/** What is known of a backend's own folders, past the backend. */
export interface Inside<Node extends MortalNode> {
  /** Whether it takes snapshots of mounted copies. */
  readonly liveSnapshots: boolean;
  make(): Promise<BackendHarness & { readonly nodes: readonly [Node, ...unknown[]] }>;
  /** The files that a copy consists of. */
  contents(node: Node, dataset: DatasetId): Record<string, string> | Promise<Record<string, string>>;
  /** That nothing lies about which no copy needs. */
  assertTidy(node: Node, dataset: DatasetId): void | Promise<void>;
  /** What only this backend can do. */
  readonly scenes?: Readonly<Record<string, Scene>>;
  /** The methods to try; all of them unless told. */
  readonly chosen?: (method: string) => boolean;
}

/** One method, tried with a death of the agent before each of its operations. */
export interface Scene {
  readonly needsLiveSnapshots?: boolean;
  readonly prepare: (world: World, dataset: DatasetId) => Promise<unknown>;
  readonly act: (node: MortalNode, dataset: DatasetId, prepared: unknown) => Promise<Result<unknown>>;
  /** What a death may also leave, made of how it was before; the method goes on from there. */
  readonly between?: (before: string) => string;
}

const files = { "folder/one": "1", two: "2" };

async function bornWith(world: World, dataset: DatasetId): Promise<void> {
  value(await world.a.backend.create(recordOf(dataset), null));
  await world.use(world.a, dataset, files);
}

/** A stream for one node, made on another. */
export interface Stream {
  readonly base: Snapshot | null;
  readonly next: Snapshot;
  readonly bytes: Buffer;
}

/** A stream for A, made on B; A is at the base, if there is one. */
export async function streamFor(world: World, dataset: DatasetId, incremental: boolean): Promise<Stream> {
  const { a, b } = world;
  value(await b.backend.create(recordOf(dataset), null));
  await world.use(b, dataset, files);
  const base = incremental ? await world.snapshot(b, dataset) : null;
  if (base !== null) value(await world.transfer(b, a, dataset, null, base));
  await world.use(b, dataset, { "folder/one": null, two: "22", three: "3" });
  const next = await world.snapshot(b, dataset);
  return { base, next, bytes: await world.stream(b, dataset, base?.guid ?? null, next.guid) };
}

/** Takes such a stream. */
export async function receive(
  node: MortalNode,
  dataset: DatasetId,
  prepared: unknown,
): Promise<Result<unknown>> {
  const { base, next, bytes } = prepared as Stream;
  return await node.backend.receive(requestOf(dataset, base?.guid ?? null, next), streamOf(bytes), never);
}

/** First it is durable that somebody may write, and then somebody may. */
function writable(before: string): string {
  return before.replace(/"unchangedSince":"[^"]*"/, `"unchangedSince":null`);
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
  "mount of a copy that is at a snapshot": {
    async prepare(world, dataset) {
      await bornWith(world, dataset);
      await world.snapshot(world.a, dataset);
    },
    act: (node, dataset) => node.backend.mount(dataset),
    between: writable,
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
  "snapshot of a mounted copy": {
    needsLiveSnapshots: true,
    async prepare(world, dataset) {
      await bornWith(world, dataset);
      value(await world.a.backend.mount(dataset));
    },
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
    between: writable,
  },
  trash: {
    prepare: bornWith,
    act: (node, dataset) => node.backend.trash(dataset, 77),
  },
  restore: {
    async prepare(world, dataset) {
      await bornWith(world, dataset);
      value(await world.a.backend.trash(dataset, 77));
    },
    act: (node, dataset) => node.backend.restore(dataset),
  },
  destroy: {
    async prepare(world, dataset) {
      await bornWith(world, dataset);
      value(await world.a.backend.trash(dataset, 77));
    },
    act: (node, dataset) => node.backend.destroy(dataset),
  },
  "receive of a whole copy": {
    prepare: (world, dataset) => streamFor(world, dataset, false),
    act: receive,
  },
  "receive of an increment": {
    prepare: (world, dataset) => streamFor(world, dataset, true),
    act: receive,
  },
};

/** What can be seen of a copy, or "absent"; what differs from one copy to the next by chance is left out. */
export async function look<Node extends MortalNode>(
  inside: Inside<Node>,
  node: Node,
  dataset: DatasetId,
): Promise<string> {
  const { copies, unreadable } = value(await node.backend.discover(dataset));
  assert.deepEqual(unreadable, []);
  const [copy] = copies;
  if (copy === undefined) return "absent";
  // Times are left out: where they count whole seconds, several snapshots may have the same one.
  const snapshots = copy.snapshots.map(({ guid, name }) => ({ guid, name }));
  let text = JSON.stringify(stable({ ...copy, snapshots: [] })).replaceAll(dataset, "DATASET");
  text = `${text} ${JSON.stringify(snapshots)}`;
  snapshots.forEach(({ guid, name }, index) => {
    text = text.replaceAll(guid, `GUID-${index}`).replaceAll(name, `NAME-${index}`);
  });
  return `${text} ${JSON.stringify(await inside.contents(node, dataset))}`;
}

/** Lets the agent die before each operation of a method, and gives what was found afterwards. */
async function dieEverywhere<Node extends MortalNode>(
  inside: Inside<Node>,
  { world, node, scene }: { world: World; node: Node; scene: Scene },
): Promise<ReadonlySet<string>> {
  const prepare = async (): Promise<{ dataset: DatasetId; prepared: unknown }> => {
    const dataset = freshDataset();
    const prepared = await scene.prepare(world, dataset);
    // A fresh start each time, so that the method always takes as many operations.
    await node.start();
    return { dataset, prepared };
  };
  // Once without a death.
  const whole = await prepare();
  const before = await look(inside, node, whole.dataset);
  value(await scene.act(node, whole.dataset, whole.prepared));
  const after = await look(inside, node, whole.dataset);
  assert.notEqual(before, after);
  const between = scene.between?.(before) ?? before;
  const seen = new Set<string>();
  let { dataset, prepared } = await prepare();
  for (let survived = 0; ; survived++) {
    node.life.dieAfter(survived);
    const result = await scene.act(node, dataset, prepared);
    const died = node.life.isDead();
    await node.start();
    const found = await look(inside, node, dataset);
    assert.ok([before, between, after].includes(found), `after ${survived} operations: ${found}`);
    if (result.ok) assert.equal(found, after, "what was answered is durable");
    if (!died) return seen;
    seen.add(found === after ? "after" : "before");
    await inside.assertTidy(node, dataset);
    // To prepare takes long. Where a death has changed nothing, the next one can be tried from there.
    if (found === before && survived % 8 !== 0) continue;
    value(await scene.act(node, dataset, prepared));
    assert.equal(await look(inside, node, dataset), after);
    await inside.assertTidy(node, dataset);
    ({ dataset, prepared } = await prepare());
  }
}

/** Registers a test for each method, for `node --test`. */
export function crashRules<Node extends MortalNode>(inside: Inside<Node>): void {
  void suite("a death of the agent before any operation leaves the copy as before or as after", () => {
    for (const [name, scene] of Object.entries({ ...scenes, ...inside.scenes })) {
      if (scene.needsLiveSnapshots === true && !inside.liveSnapshots) continue;
      if (inside.chosen?.(name) === false) continue;
      void test(name, async () => {
        const harness = await inside.make();
        try {
          const [node] = harness.nodes;
          const seen = await dieEverywhere(inside, { world: new World(harness), node, scene });
          assert.ok(seen.has("before"), "some deaths were early enough to prevent it");
        } finally {
          await harness.dispose();
        }
      });
    }
  });
}
