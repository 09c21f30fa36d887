// The world itself: time, order, chance, crashes and pauses, on small programs written for the purpose.
import assert from "node:assert/strict";
import { test } from "node:test";
import { isUuid } from "@flocker/core";
import { EventQueue } from "./event-queue.ts";
import type { QueuedEvent } from "./event-queue.ts";
import { seededRandom } from "./random.ts";
import { SimulationError } from "./scheduler.ts";
import { World } from "./world.ts";
import type { NodePorts } from "./world.ts";

/** A program with something of everything: it sleeps, writes, calls its backend and talks over links. */
async function chatter(ports: NodePorts): Promise<void> {
  const never = new AbortController().signal;
  const link = await ports.dialer.dial(never);
  for (let round = 0; round < 20; round += 1) {
    await ports.clock.sleep(ports.random.next() * 100);
    ports.store.write([{ table: "rounds", key: String(round), value: ports.ids.uuid() }]);
    await ports.backend.discover(null);
    if (link.ok) link.value.send({ kind: "round", round });
  }
}

async function traceOf(seed: number): Promise<string> {
  const world = new World({ seed });
  world.node("control").start((ports) => ports.serveLinks(() => {}));
  for (const name of ["a", "b", "c"]) world.node(name).start(chatter);
  await world.run(1_500);
  world.node("a").machine.crash();
  world.node("a").restart();
  await world.run(5_000);
  return world.traceHash();
}

test("a seed gives the same trace each time, and another seed another one", async () => {
  const first = await traceOf(1);
  assert.equal(await traceOf(1), first);
  assert.notEqual(await traceOf(2), first);
});

test("events happen in the order of their time", () => {
  const queue = new EventQueue();
  const random = seededRandom("order");
  const events: QueuedEvent[] = Array.from({ length: 500 }, (_, sequence) => ({
    timeMs: random.integer(0, 50),
    tieBreak: random.next(),
    sequence,
    label: "",
    happen: () => {},
    cancelled: false,
  }));
  for (const event of events) queue.push(event);
  const cancelled = new Set(events.filter((event) => event.sequence % 7 === 0));
  for (const event of cancelled) queue.cancel(event);
  assert.equal(queue.size, events.length - cancelled.size);
  const popped: QueuedEvent[] = [];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) popped.push(next);
  const expected = events
    .filter((event) => !cancelled.has(event))
    .toSorted((a, b) => a.timeMs - b.timeMs || a.tieBreak - b.tieBreak);
  assert.deepEqual(
    popped.map((event) => event.sequence),
    expected.map((event) => event.sequence),
  );
  assert.equal(queue.size, 0);
});

test("the order of one moment is the seed's, not that of the calls", async () => {
  const orders = new Set<string>();
  for (let seed = 0; seed < 8; seed += 1) {
    const world = new World({ seed });
    const order: number[] = [];
    for (const number of [1, 2, 3]) world.scheduler.after(5, "now", () => order.push(number));
    await world.run(5);
    orders.add(order.join());
  }
  assert.ok(orders.size > 1, [...orders].join(" "));
});

test("a promise chain of any length ends before the next event", async () => {
  const world = new World({ seed: 1 });
  const seen: string[] = [];
  world.node("a").start(async ({ clock }) => {
    await clock.sleep(10);
    for (let depth = 0; depth < 500; depth += 1) await Promise.resolve();
    seen.push("chain");
  });
  world.scheduler.after(10.001, "next", () => seen.push("next"));
  await world.run(11);
  assert.deepEqual(seen, ["chain", "next"]);
});

test("forks depend on their label only, and ids are version 4 uuids", () => {
  const drawn = seededRandom("x");
  drawn.next();
  assert.equal(drawn.fork("a").next(), seededRandom("x").fork("a").next());
  assert.notEqual(drawn.fork("a").next(), drawn.fork("b").next());
  const ids = Array.from({ length: 200 }, () => drawn.uuid());
  assert.ok(ids.every(isUuid));
  assert.equal(new Set(ids).size, ids.length);
  const numbers = Array.from({ length: 2_000 }, () => drawn.next());
  assert.ok(numbers.every((number) => number >= 0 && number < 1));
  const mean = numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
  assert.ok(Math.abs(mean - 0.5) < 0.03, String(mean));
});

test("a sleep ends at its time, or early when it is called off, and never rejects", async () => {
  const world = new World({ seed: 1 });
  const controller = new AbortController();
  const ends: Record<string, number> = {};
  world.node("a").start(async ({ clock }) => {
    const asleep = async (name: string, ms: number, abort?: AbortSignal): Promise<void> => {
      await clock.sleep(ms, abort);
      ends[name] = clock.monotonic();
    };
    const all = [asleep("whole", 300), asleep("forever", Infinity, controller.signal)];
    all.push(asleep("called off", 300, controller.signal));
    all.push(asleep("already called off", 300, AbortSignal.abort()));
    await clock.sleep(100);
    controller.abort();
    await Promise.all(all);
  });
  await world.run(1_000);
  assert.deepEqual(ends, { "already called off": 0, "called off": 100, forever: 100, whole: 300 });
});

test("a clock that jumps does not disturb sleeps", async () => {
  const world = new World({ seed: 1 });
  const { clock } = world.node("a").ports;
  const before = clock.now();
  const sleeping = clock.sleep(1_000);
  world.node("a").machine.jumpClock(-3_600_000);
  await world.settle(sleeping);
  assert.equal(world.elapsedMs, 1_000);
  assert.equal(clock.monotonic(), 1_000);
  assert.equal(clock.now(), before + 1_000 - 3_600_000);
  assert.equal(world.node("b").ports.clock.now(), before + 1_000);
});

test("after a crash nothing of the old incarnation goes on, and what it wrote is there", async () => {
  const world = new World({ seed: 1 });
  const node = world.node("a");
  const starts: unknown[] = [];
  node.start(async (ports) => {
    starts.push(ports.store.all("counter").get("n"));
    for (let n = 1; ; n += 1) {
      ports.store.write([{ table: "counter", key: "n", value: n }]);
      await ports.clock.sleep(10);
    }
  });
  const old = node.ports;
  await world.run(35);
  node.machine.crash();
  old.store.write([{ table: "counter", key: "n", value: "from the grave" }]);
  await world.run(500);
  assert.equal(old.store.all("counter").get("n"), 4);
  node.restart();
  await world.run(515);
  assert.deepEqual(starts, [undefined, 4]);
  assert.equal(node.ports.store.all("counter").get("n"), 2);
  assert.notEqual(node.ports.ids.uuid(), old.ids.uuid());
});

test("a value is removed with undefined, and what is read is not what was written but equal to it", () => {
  const { store } = new World({ seed: 1 }).node("a").ports;
  const value = { list: [1] };
  store.write([
    { table: "t", key: "x", value },
    { table: "t", key: "y", value: 2 },
  ]);
  value.list.push(2);
  store.write([{ table: "t", key: "y", value: undefined }]);
  assert.deepEqual(store.all("t"), new Map([["x", { list: [1] }]]));
  assert.deepEqual(store.all("other"), new Map());
});

test("a crash point in a write leaves all of it or nothing", () => {
  for (const done of [true, false]) {
    const node = new World({ seed: 1 }).node("a");
    node.machine.crashAtEffect({ effect: 2, kind: "program", done });
    const write = (key: string): void =>
      node.ports.store.write([
        { table: "t", key, value: 1 },
        { table: "u", key, value: 1 },
      ]);
    for (const key of ["first", "second", "third"]) write(key);
    assert.equal(node.machine.alive, false);
    node.restart();
    const expected = done ? ["first", "second"] : ["first"];
    for (const table of ["t", "u"]) assert.deepEqual([...node.ports.store.all(table).keys()], expected);
  }
});

test("the era changes with the machine, not with the program", () => {
  const { machine } = new World({ seed: 1 }).node("a");
  const first = machine.era;
  machine.crash("program");
  machine.restart();
  assert.equal(machine.era, first);
  machine.crash("machine");
  machine.restart();
  assert.notEqual(machine.era, first);
  assert.ok(isUuid(machine.era) && isUuid(machine.id));
});

test("what reaches a paused node arrives at the resume, in its order", async () => {
  const world = new World({ seed: 3 });
  const node = world.node("a");
  const woken: number[] = [];
  node.start(async ({ clock }) => {
    await Promise.all(
      [30, 10, 20, 40].map(async (ms) => {
        await clock.sleep(ms);
        woken.push(ms, Math.round(clock.monotonic()));
      }),
    );
  });
  await world.run(15);
  node.machine.pause();
  await world.run(35);
  assert.deepEqual(woken, [10, 10]);
  node.machine.resume();
  await world.run(50);
  assert.deepEqual(woken, [10, 10, 20, 35, 30, 35, 40, 40]);
});

test("a program that fails ends the run with seed and trace", async () => {
  const world = new World({ seed: 77 });
  world.node("a").start(async ({ clock, log }) => {
    log.write("info", "about-to-fail");
    await clock.sleep(5);
    throw new TypeError("a mistake");
  });
  await assert.rejects(world.run(10), (error) => {
    assert.ok(error instanceof SimulationError);
    assert.match(error.message, /a mistake[^]*SEED=77[^]*about-to-fail/);
    return true;
  });
});

test("a condition that cannot come true, or not in time, fails the run", async () => {
  const idle = new World({ seed: 1 });
  await assert.rejects(
    idle.run(() => false, { waitingFor: "Godot" }),
    /Waiting for Godot: nothing is left/,
  );
  const busy = new World({ seed: 1 });
  busy.node("a").start(async ({ clock }) => {
    for (;;) await clock.sleep(10);
  });
  await assert.rejects(
    busy.run(() => false, { withinMs: 1_000 }),
    /1000 ms of simulated time are over/,
  );
  const endless = new World({ seed: 1, eventsMax: 100 });
  endless.node("a").start(async ({ clock }) => {
    for (;;) await clock.sleep(0);
  });
  await assert.rejects(endless.run(10), /endless loop/);
});

test("a check that does not hold ends the run", async () => {
  const world = new World({ seed: 1 });
  let value = 0;
  world.scheduler.addCheck("value stays 0", () => (value === 0 ? undefined : `it is ${value}`));
  world.scheduler.after(5, "change", () => {
    value = 9;
  });
  await assert.rejects(world.run(10), /value stays 0: it is 9/);
});
