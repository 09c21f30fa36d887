import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { files, root } from "./tidy/repository.ts";
import type { TestLine } from "./test-run/events.ts";

// A checker that never fires is worth nothing. This breaks every rule of tidy in a copy of the repository,
// and expects each of its tests to fail there.

/** Replacements in files of the copy; a file that is not there is made. */
const breaks: Readonly<Record<string, (text: string) => string>> = {
  "package-lock.json": (text) =>
    text.replace(
      `"node_modules/ws": {`,
      `"node_modules/ws": { "hasInstallScript": true, "resolved": "elsewhere",`,
    ),
  "packages/core/package.json": (text) =>
    text.replace(`"dependencies": {`, `"dependencies": { "@flocker/sim": "0.1.0", "left-pad": "1.0.0"`),
  "packages/core/tsconfig.json": (text) => text.replace(/"types": \[\]/, `"types": ["node"]`),
  "packages/core/src/index.ts": (text) => `${text}export * from "./string-utils.ts";\n`,
  "packages/core/src/string-utils.ts": () =>
    [
      `import "right-pad";`,
      `export const at = new Date();`,
      `// ${"TO"}DO: later`,
      `const home = "${"/ho"}me/somebody";`,
      `const long = "${"x".repeat(120)}";`,
      ...Array.from({ length: 500 }, (_, index) => `const line${index} = ${index};`),
    ].join("\n"),
  "packages/core/src/a-fixtures.test.ts": () => "test();",
  "packages/extra/package.json": () => `{ "name": "@flocker/extra", "dependencies": {} }`,
  "packages/extra/tsconfig.json": () => "{}",
  "docs/reference/errors.md": (text) => text.replace(/^\| `bad-request` .*\n/m, ""),
  "docs/reference/reasons.md": (text) => text.replace(/^\| `working` .*$/m, "| `unheard-of` | | | |"),
  "docs/decisions/0001-workspace-and-unbuilt-typescript.md": (text) => text.replace("## Context", "## Why"),
  "README.md": (text) =>
    `${text}\n[gone](docs/gone.md) [here](#nowhere) \`packages/gone.ts\` npm run unheard-of\n`,
};

test("every rule of tidy fails where it is broken", () => {
  const copy = mkdtempSync(join(tmpdir(), "flocker-tidy-bites-"));
  try {
    for (const path of [...files, "package-lock.json"]) cpSync(join(root, path), join(copy, path));
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
    for (const [path, change] of Object.entries(breaks)) {
      const target = join(copy, path);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, change(files.includes(path) || path === "package-lock.json" ? read(target) : ""));
    }
    const results = runTidy(copy);
    const passed = results.filter((line) => line.outcome === "passed").map((line) => line.name);
    assert.ok(results.length > 15, "tidy ran in the copy");
    assert.deepEqual(passed, [], "rules that do not notice what breaks them");
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
});

function read(path: string): string {
  return readFileSync(path, "utf8");
}

function runTidy(copy: string): readonly Extract<TestLine, { kind: "result" }>[] {
  const tests = files.filter((path) => path.startsWith("tools/tidy/") && path.endsWith(".test.ts"));
  const reporter = `--test-reporter=${join(root, "tools/test-run/events.ts")}`;
  const args = ["--conditions=source", "--test", "--test-isolation=none", reporter, ...tests];
  const { NODE_TEST_CONTEXT: _outer, ...env } = process.env;
  const { stdout } = spawnSync(process.execPath, args, {
    cwd: copy,
    env,
    encoding: "utf8",
    maxBuffer: 2 ** 24,
  });
  return stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as TestLine)
    .filter((line) => line.kind === "result");
}
