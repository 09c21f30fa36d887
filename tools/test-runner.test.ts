import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { before, describe, test } from "node:test";

// Runs the runner itself on small trees of test files, each of which goes wrong in its own way.

const importTest = `import { test } from "node:test";\n`;

function runOn(
  files: Readonly<Record<string, string>>,
  ...options: string[]
): { status: number; text: string } {
  const root = mkdtempSync(join(tmpdir(), "flocker-runner-test-"));
  try {
    for (const [path, body] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), importTest + body);
    }
    const runner = join(import.meta.dirname, "test-runner.ts");
    const args = ["--conditions=source", runner, "--root", root, ...options];
    const { CI: _ci, ...env } = process.env;
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", env });
    return { status: status ?? -1, text: stdout + stderr };
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

const good = `test("holds", () => {});`;
const bad = `test("breaks", () => { console.log("a trace"); throw new Error("no luck"); });`;
const hanging = `test("waits for ever", () => new Promise(() => setInterval(() => {}, 1000)));`;
const nested = `test("outer", async (t) => { await t.test("inner", () => { throw new Error("deep"); }); });`;

test("a green run ends with the totals alone on the last line, and success", () => {
  const { status, text } = runOn({
    "packages/core/src/a.test.ts": good,
    "packages/core/src/b.test.ts": good,
    "packages/host/src/some-fixtures.test.ts": "",
    "test/story.test.ts": `test("is told", () => {});\ntest("needs the moon", { skip: "no moon" }, () => {});`,
  });
  assert.equal(status, 0, text);
  assert.equal(text.trimEnd().split("\n").at(-1), "3 passed, 0 failed, 1 skipped");
  assert.match(text, /Skipped\n {2}no moon\n {4}test\/story\.test\.ts: needs the moon/);
});

describe("a run with one of everything that goes wrong", () => {
  let status = 0;
  let text = "";
  before(() => {
    const files = {
      "packages/core/src/good.test.ts": good,
      "packages/core/src/empty.test.ts": "",
      "packages/host/src/bad.test.ts": bad,
      "packages/host/src/throws.test.ts": `throw new Error("at the top");`,
      "packages/host/src/leaves.test.ts": `test("leaves", () => process.exit(0));`,
      "packages/host/src/hangs.test.ts": hanging,
      "packages/host/src/lazy.test.ts": `test("says nothing", { skip: true }, () => {});`,
      "test/nested.test.ts": nested,
    };
    ({ status, text } = runOn(files, "--bound", "4"));
  });

  test("fails", () => {
    assert.equal(status, 1);
    assert.match(text, /\n1 passed, 7 failed, 1 skipped\n$/);
  });
  test("shows the error and output of a failing test and the command that repeats its file", () => {
    assert.match(text, /FAIL packages\/host\/src\/bad\.test\.ts\n {2}breaks\n {6}Error: no luck/);
    assert.match(text, /a trace/);
    assert.match(text, /again: npm test -- packages\/host\/src\/bad\.test\.ts/);
  });
  test("says that a file reported no tests, in a shared process too", () => {
    assert.match(text, /FAIL packages\/core\/src\/empty\.test\.ts\n {2}the file reported no tests/);
    assert.match(text, /FAIL packages\/host\/src\/leaves\.test\.ts\n {2}the file reported no tests/);
  });
  test("says that a file broke before its tests", () => {
    assert.match(text, /throws\.test\.ts\n {2}the file's process ended with exit code 1\n[^]*at the top/);
  });
  test("kills a file that hangs and names what was running", () => {
    assert.match(text, /hangs\.test\.ts\n {2}the file did not end in time and was killed\n.*waits for ever/);
  });
  test("refuses a skip without a reason", () => {
    assert.match(text, /lazy\.test\.ts\n {2}says nothing\n {6}It was skipped without a reason/);
  });
  test("counts a nested failure once", () => {
    assert.match(text, /nested\.test\.ts\n {2}inner\n {6}Error: deep/);
  });
});

test("files that share a process run alone when it does not finish, and the culprit is named", () => {
  const files = {
    "packages/api/src/a.test.ts": good,
    "packages/core/src/b.test.ts": `test("x", () => process.exit(3));`,
  };
  const { status, text } = runOn(files);
  assert.equal(status, 1);
  assert.match(text, /ok {3}packages\/api\/src\/a\.test\.ts/);
  assert.match(text, /FAIL packages\/core\/src\/b\.test\.ts\n {2}the file's process ended with exit code 3/);
});

test("in CI, a skip whose reason is not allowed is an error", () => {
  const files = { "test/a.test.ts": `test("needs the moon", { skip: "no moon" }, () => {});` };
  const { status, text } = runOn(files, "--ci");
  assert.equal(status, 1);
  assert.match(text, /needs the moon\n {6}It was skipped: no moon/);
});

test("a filter runs only the files whose path contains it, and one without a match is an error", () => {
  const files = {
    "test/one.test.ts": good,
    "test/two.test.ts": `test("breaks", () => { throw new Error(); });`,
  };
  assert.match(runOn(files, "one").text, /\n1 passed, 0 failed, 0 skipped\n$/);
  const none = runOn(files, "three");
  assert.equal(none.status, 2);
  assert.match(none.text, /No test file's path contains three/);
});
