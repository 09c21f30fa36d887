import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { sampleBirth, sampleDataset, sampleDatasetId, sampleOwnership } from "./sample-values.ts";
import { openStore, temporaryFolder } from "./store-fixtures.test.ts";

const rounds = 10;
const loop = "commit-loop";

/** In the child: commits until it is killed, and acknowledges each commit once it has returned. */
function commitLoop(path: string): void {
  const store = openStore(path);
  for (let { revision } = store.current(); ; revision += 1) {
    const number = revision + 1;
    const committed = store.commit({
      expectedRevision: revision,
      // A second dataset that changes all the time makes the log wrap around, too.
      changes: [
        sampleBirth(number),
        { kind: "put-dataset", value: sampleDataset(number, { metadata: { padding: "x".repeat(200) } }) },
      ],
      author: "user-a",
      at: number,
    });
    assert.ok(committed.ok);
    store.saveOwnerships([sampleOwnership(number, { born: true })]);
    writeSync(1, `${number} ${committed.value.tag}\n`);
  }
}

if (process.argv[2] === loop) commitLoop(process.argv[3] ?? "");
else
  test(`kill -9 at ${rounds} random moments loses nothing that was acknowledged`, async () => {
    const folder = temporaryFolder();
    const path = join(folder, "store.sqlite");
    try {
      const acknowledgedOnes = new Set<string>();
      let acknowledgedBefore = 0;
      for (let round = 0; round < rounds; round += 1) {
        const output = await killedAfter(path, Math.random() * 250);
        const lines = output.split("\n").slice(0, -1);
        const store = openStore(path);
        const { revision, datasets } = store.current();
        const last = lines.at(-1)?.split(" ") ?? [];
        const acknowledged = lines.length === 0 ? acknowledgedBefore : Number(last[0]);
        // The commit under way at the kill may be there too; its acknowledgement was only never heard.
        assert.ok(revision >= acknowledged, `revision ${revision} after ${acknowledged} was acknowledged`);
        assert.ok(revision <= acknowledged + 1);
        assert.equal(datasets.length, revision);
        const read = store.readAt(acknowledged);
        assert.ok(read.ok);
        if (last[1] !== undefined) assert.equal(read.value.tag, last[1]);
        for (const line of lines) acknowledgedOnes.add(sampleDatasetId(Number(line.split(" ")[0])));
        for (const { born, dataset } of store.ownerships())
          assert.ok(born || !acknowledgedOnes.has(dataset), "what was saved of ownership is there");
        store.close();
        acknowledgedBefore = revision;
      }
      assert.ok(acknowledgedOnes.size > rounds, "the rounds did commit");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

/** What the child had acknowledged when it was killed that long after its first word. */
async function killedAfter(path: string, delayMs: number): Promise<string> {
  const child = spawn(process.execPath, ["--conditions=source", import.meta.filename, loop, path], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  await once(child.stdout, "data");
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  child.kill("SIGKILL");
  await once(child, "close");
  return output;
}
