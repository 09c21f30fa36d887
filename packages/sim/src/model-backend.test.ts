// The model backend: streams, space, and what crashes and fates do to calls.
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDatasetId, ProblemError } from "@flocker/core";
import type { ByteStream, DatasetId } from "@flocker/core";
import { defaultModelDiskOptions } from "./model-disk.ts";
import { Bench, codeOf, dataset, okValue, recordOf } from "./testing/model-bench.ts";
import type { Tamper } from "./testing/model-bench.ts";

test("a workload can write only while the copy is mounted", async () => {
  const bench = new Bench();
  const { a } = bench;
  okValue(await bench.call(a, (backend) => backend.create(recordOf("primary"), null)));
  assert.equal(codeOf(a.disk.write(bench.path("x"), "1")), "not-found");
  okValue(await bench.call(a, (backend) => backend.mount(dataset)));
  okValue(a.disk.write(bench.path("dir/x"), "1"));
  okValue(a.disk.append(bench.path("log"), "one"));
  okValue(a.disk.append(bench.path("log"), "two"));
  assert.equal(a.disk.read(bench.path("dir/x")), "1");
  assert.equal(codeOf(a.disk.write("/elsewhere/x", "1")), "not-found");
  okValue(await bench.call(a, (backend) => backend.unmount(dataset)));
  assert.equal(codeOf(a.disk.write(bench.path("x"), "2")), "not-found");
  assert.equal(a.disk.read(bench.path("dir/x")), undefined);
  assert.deepEqual(
    a.disk.peek(dataset),
    new Map([
      ["dir/x", "1"],
      ["log", "one\ntwo\n"],
    ]),
  );
});

test("a mount in use stays, and the problem names who uses it", async () => {
  const bench = new Bench();
  await bench.mounted(bench.a);
  const release = bench.a.disk.hold(dataset, "postgres[412]");
  const busy = await bench.call(bench.a, (backend) => backend.unmount(dataset));
  assert.ok(!busy.ok && busy.problem.code === "busy-mount");
  assert.match(busy.problem.message, /postgres\[412\]/);
  assert.equal((await bench.look(bench.a))?.mountedAt, `/flocker/${dataset}`);
  release();
  okValue(await bench.call(bench.a, (backend) => backend.unmount(dataset)));
  assert.equal((await bench.look(bench.a))?.mountedAt, null);
});

test("increments carry changes and removals, and the copy is exactly at the snapshot", async () => {
  const bench = new Bench();
  const { a, b } = bench;
  await bench.mounted(a);
  for (let n = 0; n < 40; n += 1) okValue(a.disk.write(bench.path(`f${n}`), `text ${n} – ünïcode`));
  const first = await bench.snapshot(a, "first");
  okValue(await bench.transfer(null, first));
  okValue(a.disk.write(bench.path("f1"), "changed"));
  okValue(a.disk.remove(bench.path("f2")));
  const second = await bench.snapshot(a, "second");
  okValue(a.disk.write(bench.path("f1"), "after the snapshot"));
  assert.equal((await bench.look(b))?.unchangedSince, first.guid);
  okValue(await bench.transfer(first.guid, second));
  assert.deepEqual(b.disk.peek(dataset), a.disk.peek(dataset, second.guid));
  assert.deepEqual(b.disk.peek(dataset, first.guid), a.disk.peek(dataset, first.guid));
  const copy = await bench.look(b);
  assert.deepEqual(copy?.snapshots, [first, second]);
  assert.equal(copy?.unchangedSince, second.guid);
  assert.equal(copy?.record.role, "replica");
  okValue(await bench.transfer(first.guid, second));
});

test("a wrong, short or broken stream leaves the copy as it was", async () => {
  const collect = async (stream: ByteStream): Promise<Uint8Array[]> => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    return chunks;
  };
  const tampers: readonly (readonly [string, Tamper])[] = [
    [
      "transfer-interrupted",
      async function* (stream) {
        yield* (await collect(stream)).slice(0, -1);
      },
    ],
    ["transfer-interrupted", async function* () {}],
    [
      "transfer-corrupt",
      async function* (stream) {
        yield* (await collect(stream)).slice(1);
      },
    ],
    [
      "transfer-corrupt",
      async function* (stream) {
        for (const chunk of await collect(stream))
          yield Buffer.from(Buffer.from(chunk).toString().replace("text 1", "text 2"));
      },
    ],
    [
      "transfer-corrupt",
      async function* (stream) {
        yield* await collect(stream);
        yield Buffer.from("{}\n");
      },
    ],
    [
      "transfer-corrupt",
      async function* () {
        yield Uint8Array.of(0xff, 0xfe);
      },
    ],
    [
      "transfer-interrupted",
      async function* (stream) {
        for await (const chunk of stream) {
          yield chunk;
          throw new ProblemError({ code: "peer-unreachable", message: "Gone.", remedy: "Wait." });
        }
      },
    ],
  ];
  for (const [code, tamper] of tampers) {
    const bench = new Bench();
    await bench.mounted(bench.a);
    const first = await bench.snapshot(bench.a, "first");
    for (let n = 0; n < 40; n += 1) okValue(bench.a.disk.write(bench.path(`f${n}`), `text ${n}`));
    const second = await bench.snapshot(bench.a, "second");
    assert.equal(codeOf(await bench.transfer(null, second, tamper)), code);
    assert.equal(await bench.look(bench.b), undefined);
    okValue(await bench.transfer(null, first));
    const before = await bench.look(bench.b);
    assert.equal(codeOf(await bench.transfer(first.guid, second, tamper)), code);
    assert.deepEqual(await bench.look(bench.b), before);
    assert.equal(bench.b.disk.capacity.freeBytes, bench.b.disk.capacity.totalBytes);
    okValue(await bench.transfer(first.guid, second));
  }
});

test("a receive refuses what it must not touch, and names a base that is missing", async () => {
  const bench = new Bench();
  await bench.mounted(bench.a);
  const first = await bench.snapshot(bench.a, "first");
  const second = await bench.snapshot(bench.a, "second");
  assert.equal(codeOf(await bench.transfer(first.guid, second)), "snapshot-missing");
  await bench.mounted(bench.b);
  assert.equal(codeOf(await bench.transfer(null, first)), "target-holds-primary");
  okValue(await bench.call(bench.b, (backend) => backend.unmount(dataset)));
  assert.equal(codeOf(await bench.transfer(null, first)), "target-holds-primary");
  okValue(await bench.call(bench.b, (backend) => backend.writeRecord(recordOf("replica"))));
  okValue(await bench.transfer(null, first));
});

test("a full disk refuses writes and receives, and gives back what the receive had taken", async () => {
  const bench = new Bench({ capacityBytes: 1_000 });
  await bench.mounted(bench.a);
  for (let n = 0; n < 40; n += 1) okValue(bench.a.disk.write(bench.path(`f${n}`), "x".repeat(10)));
  assert.equal(codeOf(bench.a.disk.write(bench.path("big"), "x".repeat(600))), "no-space");
  const first = await bench.snapshot(bench.a, "first");
  const other = parseDatasetId("0b1c2d3e-4f50-4a1b-8c2d-3e4f5a6b7c8d") as DatasetId;
  okValue(
    await bench.call(bench.b, (backend) => backend.create({ ...recordOf("primary"), dataset: other }, null)),
  );
  okValue(await bench.call(bench.b, (backend) => backend.mount(other)));
  okValue(bench.b.disk.write(`/flocker/${other}/big`, "x".repeat(600)));
  const { freeBytes } = bench.b.disk.capacity;
  assert.equal(codeOf(await bench.transfer(null, first)), "no-space");
  assert.equal(bench.b.disk.capacity.freeBytes, freeBytes);
  okValue(bench.b.disk.remove(`/flocker/${other}/big`));
  okValue(await bench.transfer(null, first));
});

test("the maximum size limits the live content where the storage enforces it", async () => {
  for (const quota of [true, false]) {
    const bench = new Bench({ capabilities: { ...defaultModelDiskOptions.capabilities, quota } });
    await bench.mounted(bench.a);
    okValue(bench.a.disk.write(bench.path("x"), "x".repeat(99)));
    okValue(await bench.call(bench.a, (backend) => backend.resize(dataset, 150)));
    const refused = quota ? "no-space" : "ok";
    assert.equal(codeOf(bench.a.disk.write(bench.path("y"), "y".repeat(100))), refused);
    const tooSmall = await bench.call(bench.a, (backend) => backend.resize(dataset, 50));
    assert.equal(codeOf(tooSmall), quota ? "size-out-of-range" : "ok");
    assert.equal((await bench.look(bench.a))?.maximumSizeBytes, quota ? 150 : 50);
  }
});

test("without live snapshots one is taken only while unmounted, and a mount makes changes possible", async () => {
  const capabilities = { ...defaultModelDiskOptions.capabilities, liveSnapshots: false };
  const bench = new Bench({ capabilities });
  await bench.mounted(bench.a);
  const live = await bench.call(bench.a, (backend) => backend.snapshot(dataset, "live"));
  assert.equal(codeOf(live), "busy-mount");
  okValue(await bench.call(bench.a, (backend) => backend.unmount(dataset)));
  const first = await bench.snapshot(bench.a, "first");
  assert.equal((await bench.look(bench.a))?.unchangedSince, first.guid);
  okValue(await bench.call(bench.a, (backend) => backend.mount(dataset)));
  okValue(await bench.call(bench.a, (backend) => backend.unmount(dataset)));
  assert.equal((await bench.look(bench.a))?.unchangedSince, null);
});

test("the trash keeps a copy until it is destroyed, and only from there it can be", async () => {
  const bench = new Bench();
  const { a } = bench;
  await bench.mounted(a);
  okValue(a.disk.write(bench.path("x"), "1"));
  assert.equal(codeOf(await bench.call(a, (backend) => backend.trash(dataset, 5))), "busy-mount");
  okValue(await bench.call(a, (backend) => backend.unmount(dataset)));
  assert.equal(codeOf(await bench.call(a, (backend) => backend.destroy(dataset))), "dataset-not-deleted");
  okValue(await bench.call(a, (backend) => backend.trash(dataset, 5)));
  okValue(await bench.call(a, (backend) => backend.trash(dataset, 6)));
  assert.equal((await bench.look(a))?.trashedAt, 5);
  assert.equal(codeOf(await bench.call(a, (backend) => backend.mount(dataset))), "dataset-deleted");
  okValue(await bench.call(a, (backend) => backend.restore(dataset)));
  okValue(await bench.call(a, (backend) => backend.mount(dataset)));
  assert.equal(a.disk.read(bench.path("x")), "1");
  okValue(await bench.call(a, (backend) => backend.unmount(dataset)));
  okValue(await bench.call(a, (backend) => backend.trash(dataset, 7)));
  okValue(await bench.call(a, (backend) => backend.destroy(dataset)));
  okValue(await bench.call(a, (backend) => backend.destroy(dataset)));
  assert.equal(await bench.look(a), undefined);
  assert.equal(a.disk.capacity.freeBytes, a.disk.capacity.totalBytes);
});

test("an unreadable copy is listed as such and refuses all work", async () => {
  const bench = new Bench();
  await bench.mounted(bench.a);
  const problem = { code: "storage-unreadable", message: "I/O error.", remedy: "Replace the disk." } as const;
  bench.a.disk.breakCopy(dataset, problem);
  const seen = okValue(await bench.call(bench.a, (backend) => backend.discover(null)));
  assert.deepEqual([seen.copies, seen.unreadable], [[], [{ dataset, problem }]]);
  assert.equal(
    codeOf(await bench.call(bench.a, (backend) => backend.unmount(dataset))),
    "storage-unreadable",
  );
  const again = await bench.call(bench.a, (backend) => backend.create(recordOf("primary"), null));
  assert.equal(codeOf(again), "duplicate-id");
});

test("a call may fail although it was done, or because it was not", async () => {
  for (const done of [true, false]) {
    const bench = new Bench();
    bench.a.backendFates = (method) => (method === "create" ? { kind: "fails", done } : { kind: "normal" });
    const result = await bench.call(bench.a, (backend) => backend.create(recordOf("primary"), null));
    assert.equal(codeOf(result), "command-failed");
    assert.equal((await bench.look(bench.a)) !== undefined, done);
  }
});

test("a crash leaves a call in flight done or not done, by the seed, and silent in any case", async () => {
  const outcomes = new Set<boolean>();
  for (let seed = 0; seed < 30; seed += 1) {
    const bench = new Bench({}, seed);
    let settled = false;
    void bench.a.ports.backend.create(recordOf("primary"), null).finally(() => {
      settled = true;
    });
    await bench.world.runFor(0.1);
    bench.a.machine.crash();
    await bench.world.runFor(1_000);
    outcomes.add(bench.a.disk.copies.has(dataset));
    assert.equal(settled, false);
  }
  assert.deepEqual(outcomes, new Set([true, false]));
});

test("mounts survive the crash of a program and not that of a machine", async () => {
  const bench = new Bench();
  await bench.mounted(bench.a);
  bench.a.disk.hold(dataset, "postgres");
  bench.a.machine.crash("program");
  bench.a.restart();
  assert.notEqual((await bench.look(bench.a))?.mountedAt, null);
  bench.a.machine.crash("machine");
  bench.a.restart();
  assert.equal((await bench.look(bench.a))?.mountedAt, null);
  okValue(await bench.call(bench.a, (backend) => backend.mount(dataset)));
  okValue(await bench.call(bench.a, (backend) => backend.unmount(dataset)));
});

test("a receive that a crash ends gives its space back and leaves the copy as it was, or done", async () => {
  const outcomes = new Set<string>();
  for (let effect = 1; effect <= 3; effect += 1) {
    for (const done of [true, false]) {
      const bench = new Bench();
      const { a, b, world } = bench;
      await bench.mounted(a);
      for (let n = 0; n < 40; n += 1) okValue(a.disk.write(bench.path(`f${n}`), `text ${n}`));
      const first = await bench.snapshot(a, "first");
      const stream = await bench.open(null, first);
      b.machine.crashAtEffect({ effect, kind: "program", done });
      const received = bench.receive(null, first, stream);
      await world.run(() => !b.machine.alive || b.disk.copies.has(dataset));
      await world.runFor(10_000);
      const content = b.disk.peek(dataset);
      if (content !== undefined) assert.deepEqual(content, a.disk.peek(dataset));
      const used = (node: typeof a): number => node.disk.capacity.totalBytes - node.disk.capacity.freeBytes;
      assert.equal(used(b), content === undefined ? 0 : used(a));
      if (b.machine.alive) okValue(await received);
      outcomes.add(`${b.machine.alive ? "alive" : "down"}, ${content === undefined ? "absent" : "there"}`);
    }
  }
  assert.deepEqual(outcomes, new Set(["down, absent", "down, there", "alive, there"]));
});

test("a crash in the middle of a receive gives the space back", async () => {
  const bench = new Bench();
  const { a, b, world } = bench;
  await bench.mounted(a);
  for (let n = 0; n < 400; n += 1) okValue(a.disk.write(bench.path(`f${n}`), `text ${n}`));
  const first = await bench.snapshot(a, "first");
  void bench.receive(null, first, await bench.open(null, first));
  await world.run(() => b.disk.capacity.freeBytes < b.disk.capacity.totalBytes);
  b.machine.crash();
  await world.runFor(10_000);
  assert.deepEqual([b.disk.capacity.freeBytes, b.disk.copies.size], [b.disk.capacity.totalBytes, 0]);
});

test("ten thousand datasets are discovered in one cheap sweep", async () => {
  const bench = new Bench();
  const { a, world } = bench;
  const count = 10_000;
  const created = Array.from({ length: count }, () =>
    a.ports.backend.create({ ...recordOf("primary"), dataset: world.random.uuid() as DatasetId }, null),
  );
  await world.settle(Promise.all(created));
  okValue(await bench.call(a, (backend) => backend.discover(null)));
  const since = performance.now();
  const seen = okValue(await bench.call(a, (backend) => backend.discover(null)));
  const tookMs = performance.now() - since;
  assert.equal(seen.copies.length, count);
  assert.ok(tookMs < 200, `${tookMs} ms`);
});
