import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadAgentConfiguration } from "./configuration.ts";

const folder = mkdtempSync(join(tmpdir(), "flocker-agent-"));
after(() => rmSync(folder, { recursive: true }));

function load(dataset: string): ReturnType<typeof loadAgentConfiguration> {
  const file = join(folder, "agent.yml");
  writeFileSync(file, `version: 1\ncontrol-service: { hostname: control }\ndataset: ${dataset}\n`);
  return loadAgentConfiguration(file);
}

test("a pool of ZFS is named as the original named it, with properties for new copies", () => {
  const loaded = load("{ backend: zfs, pool: tank/volumes, properties: { compression: zstd } }");
  assert.ok(loaded.ok);
  const { kind, pool, properties, mountRoot } = loaded.value.backend;
  assert.deepEqual(
    { kind, pool, properties, mountRoot },
    {
      kind: "zfs",
      pool: "tank/volumes",
      properties: { compression: "zstd" },
      mountRoot: "/flocker",
    },
  );
  const unnamed = load("{ backend: zfs }");
  assert.equal(unnamed.ok && unnamed.value.backend.pool, "flocker");
});

test("what belongs to another backend, or to Flocker itself, is refused with its place", () => {
  for (const [dataset, field] of [
    ["{ backend: zfs, root: /srv }", "dataset.root"],
    ["{ backend: zfs, quota: true }", "dataset.quota"],
    ["{ backend: btrfs, pool: tank }", "dataset.pool"],
    ["{ backend: directory, properties: { atime: off } }", "dataset.properties"],
    ["{ backend: zfs, properties: { mountpoint: /mnt } }", "dataset.properties.mountpoint"],
    ["{ backend: zfs, properties: { 'flocker:record': x } }", "dataset.properties.flocker:record"],
  ] as const) {
    const loaded = load(dataset);
    assert.equal(loaded.ok ? undefined : loaded.problem.field, field, dataset);
  }
});
