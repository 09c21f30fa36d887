import assert from "node:assert/strict";
import { test } from "node:test";
import type { Snapshot } from "@flocker/core";
import fc from "fast-check";
import { Bench, dataset, okValue } from "./testing/model-bench.ts";

// The property: whatever is done in whatever order, contents are what a plain map says, and bytes what
// counting says.
type Step =
  | { readonly do: "write"; readonly key: number; readonly size: number }
  | { readonly do: "remove"; readonly key: number }
  | { readonly do: "snapshot" }
  | { readonly do: "forget"; readonly which: number }
  | { readonly do: "send" }
  | { readonly do: "remount" };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("write" as const), key: fc.nat(5), size: fc.nat(20) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("remove" as const), key: fc.nat(5) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("snapshot" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("forget" as const), which: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("send" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("remount" as const) }) },
);

/** What a plain model knows: a map, and maps that were kept. */
interface Plain {
  readonly live: Map<string, { readonly text: string; readonly id: number }>;
  readonly kept: { readonly snapshot: Snapshot; readonly files: Map<string, { text: string; id: number }> }[];
}

function usedBytesOf(plain: Plain): number {
  const blocks = new Map<number, number>();
  for (const files of [plain.live, ...plain.kept.map((kept) => kept.files)]) {
    for (const [key, { text, id }] of files) blocks.set(id, key.length + text.length);
  }
  return [...blocks.values()].reduce((sum, bytes) => sum + bytes, 0);
}

test("contents, snapshots, increments and bytes agree with a plain model", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { maxLength: 40 }), async (steps) => {
      const bench = new Bench();
      const plain: Plain = { live: new Map(), kept: [] };
      let nextId = 0;
      await bench.mounted(bench.a);
      for (const step of steps) {
        nextId += 1;
        await perform(bench, plain, step, nextId);
        const texts = new Map([...plain.live].map(([key, { text }]): [string, string] => [key, text]));
        assert.deepEqual(bench.a.disk.peek(dataset), texts);
        const copy = await bench.look(bench.a);
        assert.equal(copy?.usedBytes, usedBytesOf(plain));
        const { totalBytes, freeBytes } = bench.a.disk.capacity;
        assert.equal(totalBytes - freeBytes, usedBytesOf(plain));
        assert.deepEqual(
          copy?.snapshots,
          plain.kept.map((kept) => kept.snapshot),
        );
      }
    }),
    { numRuns: 60 },
  );
});

async function perform(bench: Bench, plain: Plain, step: Step, id: number): Promise<void> {
  const { a, b } = bench;
  switch (step.do) {
    case "write": {
      const text = `${id}`.padEnd(step.size, ".");
      okValue(a.disk.write(bench.path(`k${step.key}`), text));
      plain.live.set(`k${step.key}`, { text, id });
      return;
    }
    case "remove":
      okValue(a.disk.remove(bench.path(`k${step.key}`)));
      plain.live.delete(`k${step.key}`);
      return;
    case "snapshot":
      plain.kept.push({ snapshot: await bench.snapshot(a, `s${id}`), files: new Map(plain.live) });
      return;
    case "forget": {
      const [kept] = plain.kept.splice(step.which, 1);
      if (kept === undefined) return;
      okValue(await bench.call(a, (backend) => backend.destroySnapshots(dataset, [kept.snapshot.guid])));
      return;
    }
    case "send": {
      const newest = plain.kept.at(-1);
      if (newest === undefined) return;
      const heldAt = (await bench.look(b))?.unchangedSince;
      const base = plain.kept.find((kept) => kept.snapshot.guid === heldAt)?.snapshot.guid ?? null;
      okValue(await bench.transfer(base, newest.snapshot));
      assert.deepEqual(b.disk.peek(dataset), a.disk.peek(dataset, newest.snapshot.guid));
      return;
    }
    case "remount":
      okValue(await bench.call(a, (backend) => backend.unmount(dataset)));
      okValue(await bench.call(a, (backend) => backend.mount(dataset)));
      return;
  }
}
