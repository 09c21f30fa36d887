import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite, test } from "node:test";
import fc from "fast-check";
import { nodeA, nodeB, testCluster } from "../cluster-fixtures.test.ts";
import type { Imported } from "./importing.ts";
import { readOriginalConfiguration, type OriginalConfiguration } from "./original-configuration.ts";

const fileOf = (version: number) => join(import.meta.dirname, "testdata", `version-${version}.json`);
const dataset = (number: number) => `d6bc5d94-95ad-4d80-ae1d-${String(number).padStart(12, "0")}`;
const versions = [1, 2, 3, 4, 5, 6];

function read(version: number): OriginalConfiguration {
  const result = readOriginalConfiguration(readFileSync(fileOf(version), "utf8"));
  assert.ok(result.ok);
  return result.value;
}

suite("the original's file", () => {
  for (const version of versions)
    test(`of version ${version} is read`, () => {
      const { datasets, containers, leases, ...rest } = read(version);
      assert.equal(rest.version, version);
      assert.deepEqual(datasets, [
        { dataset_id: dataset(1), primary: nodeA, metadata: { name: "pg" }, maximum_size: 107_374_182_400 },
        {
          dataset_id: dataset(2),
          primary: nodeA,
          metadata: {},
          ...(version < 4 ? { maximum_size: 67_108_864 } : {}),
        },
        { dataset_id: dataset(4), primary: nodeB, metadata: {} },
      ]);
      assert.deepEqual(
        containers.map(({ name, node_uuid: node, image }) => [name, node, image]),
        [
          ["web", nodeA, "nginx:1.9"],
          ["db", nodeA, "nginx:1.9"],
          ["other", nodeB, "nginx:1.9"],
        ],
      );
      const [web, db] = containers;
      assert.deepEqual(web?.ports, [{ internal: 80, external: 8080 }]);
      assert.deepEqual(web?.links, [{ alias: "db", local_port: 5432, remote_port: 5432 }]);
      assert.deepEqual(web?.environment, { A: "b" });
      assert.deepEqual(db?.volumes, [{ dataset_id: dataset(1), mountpoint: "/data" }]);
      assert.deepEqual(db?.restart_policy, { name: "on-failure", maximum_retry_count: 3 });
      assert.equal(db?.swappiness, version === 6 ? 10 : undefined);
      assert.deepEqual(
        leases.map((lease) => lease.expiresAt),
        version < 3 ? [] : [null, 4_102_444_800_000, 1_450_000_000_500],
      );
      const notes = rest.notes.join("\n");
      assert.match(notes, /000000000003 is left out: it was deleted/);
      assert.match(notes, /replica of dataset .*000000000002/);
      assert.equal(/raised from 1000 to 67108864 bytes/.test(notes), version < 4);
      assert.equal(/block device/.test(notes), version >= 4);
    });

  test("of a newer version, of another program, or damaged, is refused", () => {
    for (const text of [
      "",
      "[]",
      "{}",
      "null",
      '{"$__class__$": "Configuration", "version": 7, "deployment": {"$__class__$": "Deployment"}}',
      '{"$__class__$": "Configuration", "version": "6", "deployment": {"$__class__$": "Deployment"}}',
      '{"$__class__$": "Configuration", "version": 6}',
    ]) {
      const result = readOriginalConfiguration(text);
      assert.equal(result.ok ? "" : result.problem.code, "configuration-invalid", text);
    }
  });

  test("of a time when nodes had no uuid is read by their addresses", () => {
    const text = readFileSync(fileOf(1), "utf8")
      .replace(/"uuid": \{\s*"\$__class__\$": "UUID",\s*"hex": "aaaa[^}]*\}/, '"hostname": "192.0.2.1"')
      .replace(/"uuid": \{\s*"\$__class__\$": "UUID",\s*"hex": "bbbb[^}]*\}/, '"hostname": "192.0.2.2"');
    const result = readOriginalConfiguration(text, new Map([["192.0.2.1", nodeB]]));
    assert.ok(result.ok);
    assert.deepEqual(new Set(result.value.datasets.map((one) => one.primary)), new Set([nodeB]));
    assert.match(result.value.notes.join("\n"), /What is on node 192\.0\.2\.2 is left out/);
  });

  test("with anything in it is read or refused, and nothing else", () => {
    const original = JSON.parse(readFileSync(fileOf(6), "utf8")) as object;
    const paths = pathsIn(original);
    fc.assert(
      fc.property(fc.constantFrom(...paths), fc.jsonValue(), (path, value) => {
        const changed = structuredClone(original);
        set(changed, path, value);
        const result = readOriginalConfiguration(JSON.stringify(changed));
        if (!result.ok) assert.equal(result.problem.code, "configuration-invalid");
      }),
      { numRuns: 300 },
    );
  });
});

function pathsIn(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== "object" || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([key, member]) => pathsIn(member, [...path, key]))].filter(
    (one) => one.length > 0,
  );
}

function set(target: object, path: readonly string[], value: unknown): void {
  let at = target as Record<string, unknown>;
  for (const key of path.slice(0, -1)) at = at[key] as Record<string, unknown>;
  at[path.at(-1) ?? ""] = value;
}

interface Report {
  readonly version: number;
  readonly imported: readonly Imported[];
  readonly notes: readonly string[];
}

suite("flocker import-config", () => {
  for (const version of versions)
    test(`takes over a file of version ${version}, and finds all there the second time`, async (t) => {
      const cluster = await testCluster(t);
      const dry = await cluster.json<Report>(["import-config", fileOf(version), "--dry-run"]);
      assert.equal(cluster.cluster.revision(), 0);
      const first = await cluster.json<Report>(["import-config", fileOf(version)]);
      assert.deepEqual(dry.imported, first.imported);
      const counted = (report: Report, kind: Imported["kind"], result: Imported["result"]): number =>
        report.imported.filter((one) => one.kind === kind && one.result === result).length;
      assert.equal(counted(first, "dataset", "created"), 3);
      assert.equal(counted(first, "container", "created"), 3);
      assert.equal(counted(first, "lease", "created"), version < 3 ? 0 : 2);
      assert.equal(counted(first, "lease", "there"), version < 3 ? 0 : 1);
      assert.equal(
        first.imported.some((one) => one.result === "failed"),
        false,
      );
      const revision = cluster.cluster.revision();
      const again = await cluster.json<Report>(["import-config", fileOf(version)]);
      assert.ok(again.imported.every((one) => one.result === "there"));
      assert.equal(cluster.cluster.revision(), revision);
      assert.equal([...cluster.cluster.datasets()].length, 3);
    });

  test("says what it did, what is otherwise here, and what it could not do", async (t) => {
    const cluster = await testCluster(t);
    const lenient = { author: "user-alice", lenient: true };
    const wish = { maximumSizeBytes: null, metadata: {}, primary: nodeB };
    assert.ok(cluster.cluster.createDataset({ ...wish, dataset: dataset(1) as never }, lenient).ok);
    const { exitCode, out, error } = await cluster.run(["import-config", fileOf(6)]);
    assert.equal(exitCode, 1);
    assert.match(out, /^dataset d6bc.*01: there already \(it is on node bbbbbbbb-.* here\)$/m);
    assert.match(out, /^dataset d6bc.*02: created$/m);
    assert.match(out, /^container db: FAILED \(The dataset is on another node\.\)$/m);
    assert.match(error, /^note: Dataset d6bc.*03 is left out: it was deleted\./m);
    assert.match(error, /Version 6 of the file: \d created, 2 there already, 1 failed, \d notes\./);
  });

  test("tells of a file that is none before it looks for the cluster", async (t) => {
    const cluster = await testCluster(t);
    await cluster.close();
    await writeFile(join(cluster.folder, "none.json"), "{}");
    const none = await cluster.run(["import-config", "none.json"]);
    assert.equal(none.exitCode, 2);
    assert.match(none.error, /there is no Deployment in it/);
    const missing = await cluster.run(["import-config", "missing.json"]);
    assert.match(missing.error, /Reading missing\.json failed: ENOENT/);
  });
});
