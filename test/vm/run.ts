// `npm run test:vm`: makes the image, then runs the tests in virtual machines, two files at a time. So that
// it takes ten minutes and not twenty, half of the files take turns, by the day or by `FLOCKER_SEED`; `--all`
// runs all of them, and so does `FLOCKER_VM_THOROUGH=1`.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { isThorough, seed } from "./machine.ts";
import { makeImage } from "./requirements.ts";

/** Each takes some nine minutes of a processor in emulation. */
const turns: readonly (readonly string[])[] = [
  ["conformance-transfers.test.ts"],
  ["conformance.test.ts", "crash.test.ts", "gaps.test.ts", "by-hand.test.ts"],
];

/** The files of this run. */
function chosenFiles(folder: string): readonly string[] {
  const files = readdirSync(folder).filter((name) => name.endsWith(".test.ts"));
  if (isThorough || process.argv.includes("--all")) return files;
  // The lowest digit chooses whose power is cut.
  const turn = turns[Math.floor(seed / 2) % turns.length] ?? [];
  const others = turns.flat().filter((name) => !turn.includes(name));
  process.stdout.write(`FLOCKER_SEED=${seed}: left for another turn, or for --all: ${others.join(", ")}.\n`);
  return files.filter((name) => !others.includes(name));
}

/** Runs the tests; they end with this process where it is told to end. */
function runTests(): void {
  const folder = import.meta.dirname;
  const files = chosenFiles(folder);
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
