#!/usr/bin/env node
// Starts `flocker` on a Node that can run it. It is old-fashioned JavaScript so that an old Node can read it.
"use strict";
const { existsSync } = require("node:fs");
const path = require("node:path");

const [major, minor] = process.versions.node.split(".").map(Number);
const package_ = path.join(__dirname, "..");
// In a checkout there is the source, which runs as it is; an installed package has only dist.
const source = existsSync(path.join(package_, "src", "main.ts"));
const entry = source ? path.join(package_, "src", "main.ts") : path.join(package_, "dist", "main.js");
const newEnough = major > 24 || (major === 24 && minor >= 15);
const conditioned = !source || process.execArgv.includes("--conditions=source");

const flags = source ? ["--conditions=source"] : [];

// An agent's nursery stays small; src/local/local-cluster.ts says why. In a process that runs it can only be
// kept from growing.
if (process.argv[2] === "agent") {
  flags.push("--max-semi-space-size=1");
  require("node:v8").setFlagsFromString("--semi-space-growth-factor=1");
}

if (newEnough && conditioned) {
  void import(require("node:url").pathToFileURL(entry).href);
} else if (newEnough) {
  // Not as a child: there must be one process only, which gets each signal once.
  const argv = [process.execPath, ...process.execArgv, ...flags, entry, ...process.argv.slice(2)];
  process.execve(process.execPath, argv, process.env);
} else {
  const beside = [
    path.join(package_, "..", "..", "node_modules", ".bin", "node"),
    path.join(package_, "node_modules", ".bin", "node"),
  ];
  const node = beside.find((candidate) => existsSync(candidate));
  if (node === undefined) {
    process.stderr.write(
      `error: flocker needs Node 24.15 or newer; this is ${process.version}.\n` +
        "  Install a current Node from https://nodejs.org or, in a checkout, run npm ci, which brings one.\n",
    );
    process.exit(1);
  }
  // An old Node cannot give its place to another program. A terminal sends Ctrl-C to both; other signals are
  // passed on.
  const child = require("node:child_process").spawn(node, [...flags, entry, ...process.argv.slice(2)], {
    stdio: "inherit",
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
    process.on(signal, () => {
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  child.on("exit", (code, signal) => {
    if (signal !== null) {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    } else process.exit(code ?? 1);
  });
}
