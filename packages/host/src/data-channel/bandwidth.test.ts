import assert from "node:assert/strict";
import test from "node:test";
import type { Clock } from "@flocker/core";
import { bandwidthLimit } from "./bandwidth.ts";

const never = new AbortController().signal;

/** A clock that stands still except while somebody sleeps. */
function steppedClock(): Clock {
  let now = 1000;
  return {
    now: () => now,
    monotonic: () => now,
    sleep: (ms) => {
      now += ms;
      return Promise.resolve();
    },
  };
}

test("over time no more goes out than the limit and one burst", async () => {
  for (const bytesPerSecond of [1, 1000, 1_000_000, 1_000_000_000]) {
    const clock = steppedClock();
    const limit = bandwidthLimit(clock, bytesPerSecond);
    const startedAt = clock.monotonic();
    let sent = 0;
    while (sent < bytesPerSecond * 20) {
      await limit.take(limit.pieceBytes, never);
      sent += limit.pieceBytes;
      const allowed = (bytesPerSecond * (clock.monotonic() - startedAt + 100)) / 1000;
      assert.ok(sent <= allowed + 1, `${sent} bytes after allowing ${allowed}`);
    }
    const rate = (sent * 1000) / (clock.monotonic() - startedAt);
    assert.ok(rate > bytesPerSecond * 0.99, `only ${rate} of ${bytesPerSecond} bytes per second`);
  }
});

test("time in which nothing was sent is not saved up beyond one burst", async () => {
  const clock = steppedClock();
  const limit = bandwidthLimit(clock, 1000);
  await clock.sleep(60_000);
  assert.equal(limit.take(100, never), undefined);
  const startedAt = clock.monotonic();
  await limit.take(1000, never);
  assert.equal(clock.monotonic() - startedAt, 1000);
});
