import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import type { Problem } from "@flocker/core";
import { Type } from "typebox";
import { loadConfigurationFile } from "./configuration-file.ts";
import { Duration, Size, durationMs, parseDurationMs, sizeBytes } from "./quantities.ts";

const folder = mkdtempSync(join(tmpdir(), "flocker-configuration-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, "agent.yml");

const closed = { additionalProperties: false };
const schema = Type.Object(
  {
    control: Type.Object(
      {
        host: Type.String({ minLength: 1, description: "where the control service runs" }),
        port: Type.Integer({ minimum: 1, maximum: 65_535, default: 4524 }),
      },
      closed,
    ),
    backend: Type.Union([
      Type.Object({ kind: Type.Literal("directory"), folder: Type.String() }, closed),
      Type.Object({ kind: Type.Literal("zfs"), pool: Type.String() }, closed),
    ]),
    retention: Type.Optional(Duration),
    bandwidth: Type.Optional(Size),
    level: Type.Optional(Type.Union([Type.Literal("info"), Type.Literal("debug")])),
    labels: Type.Optional(Type.Array(Type.String())),
    limit: Type.Optional(Type.Union([Type.Integer({ minimum: 0 }), Type.Null()])),
  },
  closed,
);

const good = `# comment
control:
  host: control.example
backend: {kind: zfs, pool: tank}
`;

function load(text: string): ReturnType<typeof loadConfigurationFile<typeof schema>> {
  writeFileSync(path, text);
  return loadConfigurationFile(path, schema);
}

function problemOf(text: string): Problem {
  const loaded = load(text);
  assert.ok(!loaded.ok, "this configuration is refused");
  assert.equal(loaded.problem.code, "configuration-invalid");
  assert.ok(loaded.problem.message.includes(path));
  return loaded.problem;
}

/** Asserts the one mistake: line, column and cause as the message has them, and the remedy. */
function mistaken(text: string, message: RegExp, remedy: RegExp, field?: string): void {
  const problem = problemOf(text);
  assert.match(problem.message, message);
  assert.doesNotMatch(problem.message, /mistakes/);
  assert.match(problem.remedy, remedy);
  assert.equal(problem.field, field);
}

test("a good file is read, with the schema's defaults filled in", () => {
  const loaded = load(`${good}retention: 7d\nbandwidth: 10MiB\nlimit: null\nlabels: [a, "1"]\n`);
  assert.ok(loaded.ok, JSON.stringify(loaded));
  assert.deepEqual(loaded.value.control, { host: "control.example", port: 4524 });
  assert.equal(durationMs(loaded.value.retention ?? ""), 7 * 86_400_000);
  assert.equal(sizeBytes(loaded.value.bandwidth ?? ""), 10 * 2 ** 20);
  assert.deepEqual(loaded.value.labels, ["a", "1"]);
});

test("an unknown key is pointed at, with the key that was probably meant", () => {
  const typo = good.replace("host:", "hots:");
  assert.match(problemOf(typo).message, /line 3, column 3: control\.hots: .*did you mean host\?/);
  mistaken(
    `${good}Retention: 7d\n`,
    /line 5, column 1: Retention: .*mean retention\?/,
    /Write retention/,
    "Retention",
  );
  mistaken(
    `${good}zzz: 1\n`,
    /line 5, column 1: zzz: there is no such key\./,
    /known here are: control, /,
    "zzz",
  );
});

test("a missing key is pointed at where it belongs", () => {
  mistaken(
    "backend: {kind: zfs, pool: tank}\ncontrol:\n  port: 1\n",
    /line 2, column 1: control\.host: is missing \(where the control service runs\)/,
    /Add host: a text/,
    "control.host",
  );
  const empty = problemOf("");
  assert.match(empty.message, /line 1, column 1: control: is missing/);
  assert.match(empty.message, /backend: is missing/);
});

test("values of the wrong type or out of range are pointed at, with what is wanted", () => {
  const port = (value: string): string => good.replace("  host", `  port: ${value}\n  host`);
  const where = /line 3, column 9: control\.port: /;
  mistaken(port("https"), where, /a whole number from 1 up to 65535/, "control.port");
  assert.match(problemOf(port("https")).message, /must be a whole number, but is the text "https"/);
  assert.match(problemOf(port("0")).message, /must be at least 1, but is 0/);
  assert.match(problemOf(port("70000")).message, /must be at most 65535, but is 70000/);
  assert.match(problemOf(port("")).message, /line 3, column 3: control\.port: .*but is empty/);
  assert.match(
    problemOf(good.replace("control.example", "[a]")).message,
    /control\.host: must be a text, but is a list/,
  );
  mistaken(
    `${good}labels: [a, 5]\n`,
    /line 5, column 13: labels\.1: must be a text, but is 5/,
    /a text/,
    "labels.1",
  );
  mistaken(
    `${good}limit: -1\n`,
    /line 5, column 8: limit: must be at least 0/,
    /whole number from 0/,
    "limit",
  );
  assert.match(problemOf("- a list\n").message, /line 1, column 1: must be a mapping/);
});

test("durations and sizes are told how to be written", () => {
  mistaken(
    `${good}retention: 7 days\n`,
    /line 5, column 12: retention: the text "7 days" is no length of time/,
    /30s/,
    "retention",
  );
  mistaken(`${good}retention: 30\n`, /must be a text, but is 30/, /such as 30s or 15m or 7d/, "retention");
  mistaken(`${good}bandwidth: 10 Mb\n`, /the text "10 Mb" is no size/, /10MiB/, "bandwidth");
});

test("of several alternatives, the mistakes are about the one that was meant", () => {
  const backend = (value: string): string => good.replace("{kind: zfs, pool: tank}", value);
  mistaken(backend("{kind: zfs}"), /line 4, column 1: backend\.pool: is missing/, /Add pool/, "backend.pool");
  mistaken(
    backend("{kind: ntfs}"),
    /line 4, column 17: backend\.kind: must be one of directory, zfs/,
    /one of/,
    "backend.kind",
  );
  mistaken(
    backend("{pool: tank}"),
    /backend\.kind: is missing/,
    /Add kind: one of directory, zfs/,
    "backend.kind",
  );
  mistaken(backend("zfs"), /backend: must be a mapping/, /mapping/, "backend");
  mistaken(
    `${good}level: loud\n`,
    /level: must be one of info, debug, but is the text "loud"/,
    /info, debug/,
    "level",
  );
});

test("mistakes in the YAML itself are pointed at", () => {
  mistaken(`${good}control: {}\n`, /line 5, column 1: this key is here a second time/, /Keep one/);
  mistaken("control:\n\thost: x\n", /line 2, column 1: a tab/, /spaces/);
  mistaken("control: {host: x\n", /line \d, column \d+: this is no YAML/, /syntax/);
  assert.match(problemOf(`${good}---\na: 1\n`).message, /second document/);
  assert.match(problemOf(`${good}retention: !odd 7d\n`).message, /line 5, column 12: .*!odd/);
  assert.match(problemOf(`${good}retention: *gone\n`).message, /alias/i);
});

test("several mistakes are listed at once, in the order of the file", () => {
  const problem = problemOf("control:\n  prt: 0\nretention: soon\nbackend: {kind: zfs, pool: 5}\n");
  const places = [...problem.message.matchAll(/line (\d), column \d+: ([a-z.]+): /g)].map(
    (match) => match[2],
  );
  assert.deepEqual(places, ["control.host", "control.prt", "retention", "backend.pool"]);
  assert.match(problem.message, /it has 4 mistakes/);
  assert.equal(problem.remedy.split("\n").length, 4);
});

test("mistakes inside of what an alias stands for are pointed at", () => {
  const text = good.replace("control:\n", "control: &c\n").replace("  host: control.example", "  host: 5");
  assert.match(problemOf(text).message, /line 3, column 9: control\.host/);
  const aliased = "backend: &b {kind: zfs, pol: 1}\ncontrol: *b\n";
  assert.match(problemOf(aliased).message, /line 2, column \d+: control/);
});

test("rules beyond the schema point at their place as well", () => {
  writeFileSync(path, `${good}labels: [a, a]\n`);
  const loaded = loadConfigurationFile(path, schema, {
    check: (value) =>
      value.labels?.[0] === value.labels?.[1]
        ? [{ path: ["labels", 1], at: "value", cause: "is there twice", remedy: "Remove one." }]
        : [],
  });
  assert.match(loaded.ok ? "" : loaded.problem.message, /line 5, column 13: labels\.1: is there twice/);
});

test("a file that is not there, no text or far too large is a problem", () => {
  const missing = loadConfigurationFile(join(folder, "none.yml"), schema);
  assert.equal(!missing.ok && missing.problem.code, "file-unreadable");
  writeFileSync(path, Buffer.of(0xff, 0xfe, 0));
  const binary = loadConfigurationFile(path, schema);
  assert.match(binary.ok ? "" : binary.problem.message, /UTF-8/);
  assert.match(problemOf("#".repeat(2 ** 20 + 1)).message, /bytes/);
});

test("durations are read exactly", () => {
  const cases: readonly (readonly [string, number | undefined])[] = [
    ["250ms", 250],
    ["30s", 30_000],
    ["1.5h", 5_400_000],
    ["1h30m", 5_400_000],
    ["1w2d", 9 * 86_400_000],
    ["0s", 0],
    ["", undefined],
    ["5", undefined],
    ["-5s", undefined],
    ["5 s", undefined],
    ["5S", undefined],
    ["30m1h", undefined],
    ["1s1s", undefined],
    ["0.5ms", undefined],
    ["99999999999w", undefined],
  ];
  for (const [text, ms] of cases) assert.equal(parseDurationMs(text), ms, text);
  fc.assert(
    fc.property(fc.nat(), (ms) => {
      assert.equal(parseDurationMs(`${Math.floor(ms / 1000)}s${ms % 1000}ms`), ms);
    }),
  );
});
