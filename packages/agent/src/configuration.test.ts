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

test("profiles name properties, and a pool of their own where they have one", () => {
  const loaded = load(
    "{ backend: zfs, snapshots: all, profiles: { gold: { pool: fast }, cold: { properties: { compression: zstd } } } }",
  );
  assert.ok(loaded.ok);
  const { profiles, carriesSnapshots } = loaded.value.backend;
  assert.deepEqual(profiles, {
    gold: { pool: "fast", properties: {} },
    cold: { properties: { compression: "zstd" } },
  });
  assert.equal(carriesSnapshots, true);
});

test("what belongs to another backend, or to Flocker itself, is refused with its place", () => {
  for (const [dataset, field] of [
    ["{ backend: zfs, root: /srv }", "dataset.root"],
    ["{ backend: zfs, quota: true }", "dataset.quota"],
    ["{ backend: btrfs, pool: tank }", "dataset.pool"],
    ["{ backend: directory, properties: { atime: off } }", "dataset.properties"],
    ["{ backend: zfs, properties: { mountpoint: /mnt } }", "dataset.properties.mountpoint"],
    ["{ backend: btrfs, profiles: { gold: {} } }", "dataset.profiles"],
    ["{ backend: directory, snapshots: all }", "dataset.snapshots"],
    ["{ backend: zfs, properties: { Compression: zstd } }", "dataset.properties.Compression"],
    ["{ backend: zfs, snapshots: some }", "dataset.snapshots"],
    ["{ backend: zfs, profiles: { gold: { disk: sda } } }", "dataset.profiles.gold.disk"],
    [
      "{ backend: zfs, profiles: { gold: { properties: { readonly: on } } } }",
      "dataset.profiles.gold.properties.readonly",
    ],
    ["{ backend: zfs, properties: { 'flocker:record': x } }", "dataset.properties.flocker:record"],
  ] as const) {
    const loaded = load(dataset);
    assert.equal(loaded.ok ? undefined : loaded.problem.field, field, dataset);
  }
});
