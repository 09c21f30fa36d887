import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { root } from "./repository.ts";

// Core's purity rests on its compiler options. This compiles small files with exactly those options, to see
// that each door to the outside world is shut and that the test can tell.

const impure: Readonly<Record<string, string>> = {
  setTimeout: "setTimeout(() => {}, 1);",
  setInterval: "setInterval(() => {}, 1);",
  queueMicrotask: "queueMicrotask(() => {});",
  process: "process.exit();",
  fetch: `void fetch("https://example.org");`,
  console: `console.log("x");`,
  Buffer: `Buffer.from("x");`,
  WebSocket: `new WebSocket("wss://example.org");`,
  crypto: "crypto.randomUUID();",
  performance: "performance.now();",
  require: `require("fs");`,
  "node:fs": `import { readFileSync } from "node:fs";\nreadFileSync("x");`,
  "node:net": `import net from "node:net";\nnet.connect(1);`,
};
const pure = "export const sum = (a: number, b: number): number => a + b;\nexport const at = new Date(0);\n";

test("core does not compile when it touches a timer, the network or Node", () => {
  // Inside the repository, so that what is installed there is as near as it is to core itself.
  mkdirSync(join(root, ".cache"), { recursive: true });
  const folder = mkdtempSync(join(root, ".cache", "core-purity-"));
  try {
    const names = Object.keys(impure);
    names.forEach((name, index) =>
      writeFileSync(join(folder, `impure-${index}.ts`), `${impure[name]}\nexport {};\n`),
    );
    writeFileSync(join(folder, "pure.ts"), pure);
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({
        extends: "../../packages/core/tsconfig.json",
        compilerOptions: { rootDir: ".", outDir: "dist", tsBuildInfoFile: "dist/.tsbuildinfo" },
        include: ["*.ts"],
        exclude: [],
      }),
    );
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    const args = [tsc, "-p", folder, "--noEmit", "--pretty", "false"];
    const { stdout, stderr, error } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
    assert.equal(error, undefined);
    const output = stdout + stderr;
    assert.doesNotMatch(output, /^pure\.ts/m, `the compiler must accept what is pure:\n${output}`);
    names.forEach((name, index) => {
      const pattern = new RegExp(`^impure-${index}\\.ts.*error.*'${name}'`, "m");
      assert.match(output, pattern, `core must not compile with ${name}; the compiler said:\n${output}`);
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
