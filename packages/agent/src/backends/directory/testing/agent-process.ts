import { readFile } from "node:fs/promises";

import type { DatasetId, Snapshot } from "@flocker/core";
import { systemClock, systemCommands, systemIds } from "@flocker/host";

import { never, requestOf, streamOf } from "../../conformance/world.ts";
import { openDirectoryBackend } from "../directory-backend.ts";

/**
 * An agent's process for tests that must kill one or run it as another user: opens a storage, receives a
 * stream from a file, and prints the result of each step as a line of JSON.
 *
 *     node --conditions=source agent-process.ts ROOT MOUNT-ROOT DATASET BASE-OR-- SNAPSHOT-AS-JSON STREAM
 */
const [root = "", mountRoot = "", dataset = "", base = "-", snapshot = "{}", stream = ""] =
  process.argv.slice(2);
const ports = { commands: systemCommands, clock: systemClock, ids: systemIds };
const opened = await openDirectoryBackend({ root, mountRoot, ...ports });
print(opened.ok ? "open" : opened.problem);
if (opened.ok) {
  print(await opened.value.discover(null));
  const bytes = await readFile(stream);
  const request = requestOf(
    dataset as DatasetId,
    base === "-" ? null : base,
    JSON.parse(snapshot) as Snapshot,
  );
  // Small pieces, so that there are many moments at which it can be killed.
  print(await opened.value.receive(request, streamOf(bytes, 20_000), never));
  opened.value.close();
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
