// `npm run test:vm`: makes the image, then runs the tests in virtual machines, two files at a time.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { makeImage } from "./requirements.ts";

/** Runs the tests; they end with this process where it is told to end. */
function runTests(): void {
  const folder = import.meta.dirname;
  const files = readdirSync(folder).filter((name) => name.endsWith(".test.ts"));
  const argv = ["--conditions=source", "--test", "--test-concurrency=2"];
  const child = spawn(process.execPath, [...argv, ...files.map((name) => join(folder, name))], {
    stdio: "inherit",
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
  child.on("exit", (code) => (process.exitCode = code ?? 1));
}

const lacking = makeImage();
if (lacking === null) runTests();
else process.stdout.write(`The tests in virtual machines are left out: ${lacking}.\n`);
