import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { systemClock } from "@flocker/host";
import type { Terminal } from "./output.ts";
import { runProgram } from "./program.ts";

const interruption = new AbortController();
// The first Ctrl-C lets the command end in its own way, a second one ends it at once.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interruption.abort());

// Whoever reads us may stop reading (flocker list | head): that is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});

process.exitCode = await runProgram(
  process.argv.slice(2),
  {
    terminal: processTerminal(),
    env: process.env,
    workingFolder: process.cwd(),
    homeFolder: homedir(),
    clock: systemClock,
    interrupted: interruption.signal,
  },
  ownVersion(),
);

function processTerminal(): Terminal {
  return {
    out: (text) => process.stdout.write(text),
    error: (text) => process.stderr.write(text),
    live: process.stderr.isTTY && process.env["TERM"] !== "dumb",
    colour: process.stdout.isTTY && process.stdout.hasColors(),
    columns: process.stdout.columns || process.stderr.columns || 80,
  };
}

function ownVersion(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
