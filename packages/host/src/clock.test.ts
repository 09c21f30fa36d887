import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { systemClock } from "./clock.ts";

test("a sleep lasts as long as asked", async () => {
  const start = systemClock.monotonic();
  await systemClock.sleep(30);
  assert.ok(systemClock.monotonic() - start >= 30);
});

test("an abort ends a sleep at once and without an error", async () => {
  const controller = new AbortController();
  const start = systemClock.monotonic();
  const sleeping = systemClock.sleep(60_000, controller.signal);
  controller.abort();
  await sleeping;
  await systemClock.sleep(60_000, controller.signal);
  assert.ok(systemClock.monotonic() - start < 5000);
});

test("sleeps leave no listeners behind", async () => {
  const controller = new AbortController();
  for (let i = 0; i < 20; i += 1) await systemClock.sleep(0, controller.signal);
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
});

test("a sleep longer than a timer can count does not end at once", async () => {
  const controller = new AbortController();
  let ended = false;
  const sleeping = systemClock.sleep(2 ** 40, controller.signal).then(() => (ended = true));
  await systemClock.sleep(20);
  assert.equal(ended, false);
  controller.abort();
  await sleeping;
});

test("a loop over sleeps of nothing lets others have their turn", async () => {
  let turn = false;
  setImmediate(() => (turn = true));
  for (let i = 0; i < 5; i += 1) await systemClock.sleep(0);
  assert.equal(turn, true);
});
