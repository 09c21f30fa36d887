import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import type { DatasetId, Discovery, Result, Snapshot } from "@flocker/core";

import { freshDataset, refused, requestOf, never, streamOf, value, World } from "../conformance/world.ts";
import { directoryHarness, type DirectoryNode } from "./testing/directory-harness.ts";

interface Receiving {
  readonly dataset: DatasetId;
  readonly base: string | null;
  readonly snapshot: Snapshot;
  readonly stream: string;
}

/** Starts an agent's process on a node's storage that receives a stream. */
function receiveApart(
  node: DirectoryNode,
  { dataset, base, snapshot, stream }: Receiving,
  wrapper: string[] = [],
): ChildProcess {
  const script = new URL("testing/agent-process.ts", import.meta.url).pathname;
  const argv = [...wrapper, process.execPath, "--conditions=source", script, node.root, node.mountRoot];
  argv.push(dataset, base ?? "-", JSON.stringify(snapshot), stream);
  return spawn("env", argv, { stdio: ["ignore", "pipe", "pipe"] });
}

test("kill -9 at any moment of a receive leaves the old or the new copy, and never stands in the way", async () => {
  const harness = await directoryHarness();
  try {
    const world = new World(harness);
    const [a, b] = harness.nodes;
    const many = Object.fromEntries(
      Array.from({ length: 150 }, (_, index) => [`d${index % 7}/f${index}`, "x".repeat(index * 50)]),
    );
    const dataset = await world.bornWith(a, many);
    let base = await world.snapshot(a, dataset);
    value(await world.transfer(a, b, dataset, null, base));
    const outcomes = new Set<string>();
    for (let round = 0; round < 4; round++) {
      await world.use(a, dataset, {
        [`d${round % 7}/new`]: `${round}`,
        [`d1/f${7 * round + 1}`]: "y".repeat(200_000),
      });
      const snapshot = await world.snapshot(a, dataset);
      const stream = join(a.folder, "stream");
      fs.writeFileSync(stream, await world.stream(a, dataset, base.guid, snapshot.guid));
      b.stop();
      const child = receiveApart(b, { dataset, base: base.guid, snapshot, stream });
      await once(child.stdout ?? child, "data");
      // Not a condition to wait for: the moment itself is what is varied.
      await sleep(round * 90);
      const exit = once(child, "exit");
      if (child.exitCode === null) {
        child.kill("SIGKILL");
        await exit;
      }
      await b.start();
      const { unchangedSince } = await world.seen(b, dataset);
      assert.ok(unchangedSince === base.guid || unchangedSince === snapshot.guid);
      outcomes.add(unchangedSince === base.guid ? "old" : "new");
      const bytes = fs.readFileSync(stream);
      value(await b.backend.receive(requestOf(dataset, base.guid, snapshot), streamOf(bytes), never));
      base = snapshot;
    }
    assert.ok(outcomes.has("old"));
    assert.deepEqual(await world.contents(b, dataset), await world.contents(a, dataset));
  } finally {
    await harness.dispose();
  }
});

test("without privileges, what cannot be kept or read is told as such", async (context) => {
  if (process.getuid?.() !== 0) return context.skip("only root can make what others may not read");
  if (spawnSync("setpriv", ["--version"]).error !== undefined) {
    return context.skip("setpriv, which gives up privileges, is not installed");
  }
  const harness = await directoryHarness();
  try {
    const world = new World(harness);
    const [a, b] = harness.nodes;
    const dataset = await world.bornWith(a, { "of-root": "1" });
    const snapshot = await world.snapshot(a, dataset);
    const stream = join(harness.nodes[2].folder, "stream");
    fs.chmodSync(join(a.folder, ".."), 0o755);
    fs.writeFileSync(stream, await world.stream(a, dataset, null, snapshot.guid));
    // A copy on B that the user may not look into.
    const closed = await world.born(b);
    b.stop();
    spawnSync("chown", ["-R", "65534:65534", b.folder]);
    fs.chownSync(join(b.root, "copies", closed), 0, 0);
    fs.chmodSync(join(b.root, "copies", closed), 0o700);
    const wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    const child = receiveApart(b, { dataset, base: null, snapshot, stream }, wrapper);
    let complaints = "";
    child.stderr?.on("data", (chunk: Buffer) => (complaints += chunk.toString()));
    assert.ok(child.stdout !== null);
    const lines: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) lines.push(line);
    if (/EACCES/.test(complaints)) return context.skip("other users may not read this checkout");
    const [opened, discovered, received] = lines.map((line: string): unknown => JSON.parse(line));
    assert.equal(opened, "open", complaints);
    const { copies, unreadable } = value(discovered as Result<Discovery>);
    assert.deepEqual(copies, []);
    assert.deepEqual(
      unreadable.map((copy) => [copy.dataset, copy.problem.code]),
      [[closed, "storage-unreadable"]],
    );
    assert.match(refused(received as Result<void>, "not-supported"), /owner/);
    await b.start();
    await world.isAbsent(b, dataset);
    await world.isAbsent(b, freshDataset());
  } finally {
    await harness.dispose();
  }
});
