import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { startRig } from "./rig.ts";

const tool = join(import.meta.dirname, "..", "..", "tools", "v1-cases.ts");

test("the recorded cases of /v1 hold for a real cluster with a real agent, over TLS", async (t) => {
  const rig = await startRig(t, { nodeCount: 1 });
  const folder = dirname(rig.cluster.files.clientConfigurationFile);
  const era = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  const options = [
    `--base-url=https://127.0.0.1:${rig.cluster.files.apiPort}`,
    `--era=${era}`,
    `--cert=${join(folder, "user.crt")}`,
    `--key=${join(folder, "user.key")}`,
    `--cacert=${join(folder, "cluster.crt")}`,
  ];
  const { stdout } = await promisify(execFile)(process.execPath, ["--conditions=source", tool, ...options]);
  assert.match(stdout, /^\d{3} passed, 0 failed, 2 skipped\n$/);
});
