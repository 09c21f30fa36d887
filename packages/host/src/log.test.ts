import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog, ringLog, silentLog } from "./log.ts";

function collecting(level: "debug" | "info"): { log: ReturnType<typeof createLog>; lines: () => unknown[] } {
  const written: string[] = [];
  const log = createLog({ level, destination: { write: (line) => written.push(line) } });
  return { log, lines: () => written.map((line) => JSON.parse(line) as unknown) };
}

test("each line is one JSON object with level, time, event and fields", () => {
  const { log, lines } = collecting("info");
  log.with({ node: "n1" }).write("warn", "copy-unreadable", { sizeBytes: 3 });
  const [line] = lines() as [Record<string, unknown>];
  const { time, ...rest } = line;
  assert.deepEqual(rest, { level: "warn", event: "copy-unreadable", node: "n1", sizeBytes: 3 });
  assert.match(String(time), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
});

test("lines below the level are not written", () => {
  const { log, lines } = collecting("info");
  log.write("debug", "noise");
  log.write("info", "news");
  assert.deepEqual(
    (lines() as { event: string }[]).map((line) => line.event),
    ["news"],
  );
});

test("errors show their message and stack, and fields cannot replace what each line has", () => {
  const { log, lines } = collecting("debug");
  log.write("error", "crashed", { error: new Error("boom"), time: 5, level: "x", event: "y" });
  const [line] = lines() as [{ level: string; event: string; time_: number; error: Record<string, string> }];
  assert.equal(line.level, "error");
  assert.equal(line.event, "crashed");
  assert.equal(line.time_, 5);
  assert.equal(line.error["message"], "boom");
  assert.match(String(line.error["stack"]), /log\.test\.ts/);
});

test("a ring log keeps its newest lines, those of its derived logs too", () => {
  const log = ringLog(2);
  log.write("info", "one");
  log.with({ a: 1 }).with({ b: 2 }).write("warn", "two", { c: 3 });
  log.write("error", "three");
  assert.deepEqual(log.entries(), [
    { level: "warn", event: "two", fields: { a: 1, b: 2, c: 3 } },
    { level: "error", event: "three", fields: {} },
  ]);
  assert.equal(silentLog.with({}), silentLog);
});
