import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { suite, test } from "node:test";
import type { Problem, Result } from "@flocker/core";
import { systemClock } from "@flocker/host";
import { openDatabase } from "./database.ts";
import { sampleBirth, sampleContainer, sampleDataset, sampleIds } from "./sample-values.ts";
import { migrations, type Migration } from "./schema.ts";
import { openSqliteStore, storeIn } from "./sqlite-store.ts";
import { openStore, temporaryFolder } from "./store-fixtures.test.ts";
import type { ConfigurationStore } from "./store.ts";

const ports = { clock: systemClock, ids: sampleIds() };

function problemOf(result: Result<ConfigurationStore>): Problem {
  if (!result.ok) return result.problem;
  result.value.close();
  return assert.fail("opening must fail");
}

function inFolder(body: (folder: string, path: string) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const folder = temporaryFolder();
    try {
      await body(folder, join(folder, "store.sqlite"));
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
}

function fill(path: string, count: number): void {
  const store = openStore(path);
  const changes = Array.from({ length: count - 1 }, (_none, index) => sampleBirth(index + 1));
  if (count > 1) assert.ok(store.commit({ expectedRevision: 0, changes, author: "user-a", at: 1 }).ok);
  assert.ok(commitOne(store, count).ok);
  store.close();
}

function commitOne(store: ConfigurationStore, number: number) {
  return store.commit({ expectedRevision: null, changes: [sampleBirth(number)], author: "user-a", at: 1 });
}

suite("opening the store", () => {
  test(
    "a store that this process has open cannot be opened again until it is closed",
    inFolder((_, path) => {
      const first = openStore(path);
      assert.ok(commitOne(first, 1).ok);
      const problem = problemOf(openSqliteStore(path, ports));
      assert.equal(problem.code, "store-locked");
      assert.match(problem.message, /another process has it open/);
      assert.match(problem.remedy, /stop the other one/);
      assert.ok(commitOne(first, 2).ok, "the first goes on unharmed");
      first.close();
      openStore(path).close();
    }),
  );

  test(
    "a store that another process has open is locked until that process ends, however it ends",
    inFolder(async (_, path) => {
      fill(path, 1);
      const child = spawn(
        process.execPath,
        [
          "-e",
          `const { DatabaseSync } = require("node:sqlite");
           const open = new DatabaseSync(${JSON.stringify(path)});
           open.exec("PRAGMA locking_mode = EXCLUSIVE");
           open.exec("SELECT count(*) FROM sqlite_schema");
           console.log("open");
           setInterval(() => open.isOpen, 1000);`,
        ],
        { stdio: ["ignore", "pipe", "inherit"] },
      );
      try {
        await once(child.stdout, "data");
        assert.equal(problemOf(openSqliteStore(path, ports)).code, "store-locked");
      } finally {
        child.kill("SIGKILL");
        await once(child, "exit");
      }
      openStore(path).close();
    }),
  );

  test(
    "a store of a newer version is refused and left untouched, to the byte",
    inFolder((folder, path) => {
      fill(path, 3);
      const future = new DatabaseSync(path);
      future.exec("PRAGMA user_version = 7");
      future.close();
      const bytes = readFileSync(path);
      const problem = problemOf(openSqliteStore(path, ports));
      assert.equal(problem.code, "store-newer");
      assert.match(problem.message, /version 7/);
      assert.match(problem.remedy, /newer version/);
      assert.deepEqual(readFileSync(path), bytes);
      assert.deepEqual(readdirSync(folder), ["store.sqlite"]);
    }),
  );

  test(
    "another program's database is refused and left untouched",
    inFolder((folder, path) => {
      const other = new DatabaseSync(path);
      other.exec("CREATE TABLE recipes (name TEXT)");
      other.close();
      const bytes = readFileSync(path);
      const problem = problemOf(openSqliteStore(path, ports));
      assert.equal(problem.code, "store-unreadable");
      assert.match(problem.message, /another program/);
      assert.deepEqual(readFileSync(path), bytes);
      assert.deepEqual(readdirSync(folder), ["store.sqlite"]);
    }),
  );

  test(
    "a file that is no database is refused and left untouched",
    inFolder((_, path) => {
      writeFileSync(path, "volumes:\n  - name: postgres\n".repeat(100));
      const bytes = readFileSync(path);
      assert.equal(problemOf(openSqliteStore(path, ports)).code, "store-unreadable");
      assert.deepEqual(readFileSync(path), bytes);
    }),
  );

  test(
    "a store with a damaged page or a missing end is refused",
    inFolder((_, path) => {
      fill(path, 200);
      const whole = readFileSync(path);
      const pageSize = 4096;
      let refused = 0;
      const pages = whole.length / pageSize;
      for (let page = 1; page < pages; page += 1) {
        const damaged = Buffer.from(whole);
        damaged.fill(0xa5, page * pageSize, page * pageSize + 64);
        writeFileSync(path, damaged);
        const result = openSqliteStore(path, ports);
        if (result.ok) {
          // Only history may be damaged unnoticed: the configuration itself is whole.
          assert.equal(result.value.current().datasets.length, 200);
          result.value.close();
        } else {
          assert.equal(result.problem.code, "store-unreadable");
          refused += 1;
        }
      }
      assert.ok(refused >= pages / 4, `${refused} of ${pages} damaged pages were noticed`);
      writeFileSync(path, whole);
      truncateSync(path, pageSize * 3);
      assert.equal(problemOf(openSqliteStore(path, ports)).code, "store-unreadable");
    }),
  );

  test(
    "a path that cannot be a file is a problem that names it",
    inFolder((folder, path) => {
      mkdirSync(path);
      writeFileSync(join(folder, "file"), "");
      for (const wrong of [path, join(folder, "file", "store.sqlite")]) {
        const problem = problemOf(openSqliteStore(wrong, ports));
        assert.equal(problem.code, "file-unreadable");
        assert.ok(problem.message.includes(wrong));
      }
    }),
  );

  test(
    "an empty file becomes a new store, as after a crash at the very start",
    inFolder((_, path) => {
      writeFileSync(path, "");
      const store = openStore(path);
      assert.equal(store.current().revision, 0);
      store.close();
    }),
  );
});

suite("migrating the store", () => {
  const newest = migrations.length;
  const next: Migration = {
    version: newest + 1,
    statements: "CREATE TABLE label (name TEXT) STRICT; INSERT INTO label VALUES ('two');",
  };
  const open = (path: string, steps: readonly Migration[]) => {
    const database = openDatabase(path);
    assert.ok(database.ok);
    return storeIn(database.value, ports, steps);
  };

  test(
    "a store of an older version is copied beside itself and then brought to the newest",
    inFolder((folder, path) => {
      fill(path, 2);
      const migrated = open(path, [...migrations, next]);
      assert.ok(migrated.ok);
      assert.equal(migrated.value.current().datasets.length, 2);
      migrated.value.close();
      assert.deepEqual(readdirSync(folder).toSorted(), ["store.sqlite", `store.sqlite.version-${newest}`]);
      // What is new now stays closed to the older program, and the copy is there to go back.
      assert.equal(problemOf(openSqliteStore(path, ports)).code, "store-newer");
      const copy = openStore(join(folder, `store.sqlite.version-${newest}`));
      assert.equal(copy.current().datasets.length, 2);
      copy.close();
    }),
  );

  test(
    "a store from before there were containers is taken over, history included",
    inFolder((_, path) => {
      const value = { ...sampleDataset(1), revision: 1 };
      const text = JSON.stringify(value);
      const old = new DatabaseSync(path);
      old.exec(migrations[0]?.statements ?? "");
      old.exec("PRAGMA application_id = 0x464c4f43; PRAGMA user_version = 1");
      old.prepare("INSERT INTO cluster VALUES (1, ?)").run(value.dataset);
      old.prepare("INSERT INTO revision VALUES (1, ?, 'user-a', 5)").run("0".repeat(32));
      old.prepare("INSERT INTO history VALUES (1, 0, 'dataset', ?, NULL, ?)").run(value.dataset, text);
      old.prepare("INSERT INTO dataset VALUES (1, ?, ?)").run(value.dataset, text);
      old.close();
      const store = openStore(path);
      const { datasets, containers, tag } = store.current();
      assert.deepEqual(
        { datasets, containers, tag },
        { datasets: [value], containers: [], tag: "0".repeat(32) },
      );
      assert.deepEqual(store.history(0, 2), [
        { revision: 1, author: "user-a", at: 5, changes: [{ kind: "dataset", before: null, after: value }] },
      ]);
      const added = store.commit({
        expectedRevision: 1,
        changes: [{ kind: "put-container", value: sampleContainer(1) }],
        author: "user-a",
        at: 6,
      });
      assert.ok(added.ok);
      store.close();
    }),
  );

  test(
    "a migration that fails leaves the store as it was, and its copy is not overwritten by the next",
    inFolder((folder, path) => {
      fill(path, 2);
      const broken = { version: newest + 2, statements: "INSERT INTO nowhere VALUES (1);" };
      for (let attempt = 0; attempt < 2; attempt += 1)
        assert.equal(problemOf(open(path, [...migrations, next, broken])).code, "store-unreadable");
      assert.deepEqual(readdirSync(folder).toSorted(), [
        "store.sqlite",
        `store.sqlite.version-${newest}`,
        `store.sqlite.version-${newest}-2`,
      ]);
      const store = openStore(path);
      assert.equal(store.current().revision, 2);
      store.close();
    }),
  );
});

suite("a store at its limits", () => {
  test(
    "a commit that finds no space is refused whole, and later ones succeed once there is some",
    inFolder((_, path) => {
      const database = openDatabase(path);
      assert.ok(database.ok);
      const opened = storeIn(database.value, ports, migrations);
      assert.ok(opened.ok);
      const store = opened.value;
      assert.ok(commitOne(store, 1).ok);
      const before = store.current();
      // As a full disk would: no page more than there are.
      const pages = database.value.prepare("PRAGMA page_count").first()?.number("page_count") ?? 0;
      database.value.execute(`PRAGMA max_page_count = ${pages}`);
      const metadata = Object.fromEntries(
        Array.from({ length: 16 }, (_none, index) => [`key-${index}`, "v".repeat(256)]),
      );
      const large = store.commit({
        expectedRevision: 1,
        changes: [{ kind: "put-dataset", value: sampleDataset(1, { metadata }) }],
        author: "user-a",
        at: 1,
      });
      assert.equal(large.ok ? "" : large.problem.code, "no-space");
      assert.deepEqual(store.current(), before);
      database.value.execute("PRAGMA max_page_count = 1000000");
      const next = commitOne(store, 2);
      assert.ok(next.ok);
      assert.equal(next.value.revision, 2);
      store.close();
    }),
  );

  test(
    "a backup that is made while commits go on is one of the states in between",
    inFolder(async (folder, path) => {
      fill(path, 300);
      const store = openStore(path);
      const target = join(folder, "backup.sqlite");
      let done = false;
      const backup = store.backup(target).finally(() => (done = true));
      let number = 300;
      while (!done) {
        for (let burst = 0; burst < 5; burst += 1) assert.ok(commitOne(store, (number += 1)).ok);
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.ok((await backup).ok);
      const restored = openStore(target);
      const { revision } = restored.current();
      assert.ok(revision >= 2 && revision <= number - 298, "it is one of the revisions there were meanwhile");
      const original = store.readAt(revision);
      assert.ok(original.ok);
      assert.deepEqual(restored.current(), original.value);
      restored.close();
      store.close();
      assert.equal(statSync(path).isFile(), true);
      assert.ok(!readdirSync(folder).some((name) => name.includes("partial")));
    }),
  );

  test(
    "a backup into a folder that is not there is a problem",
    inFolder(async (folder, path) => {
      const store = openStore(path);
      const result = await store.backup(join(folder, "nowhere", "backup.sqlite"));
      assert.equal(result.ok ? "" : result.problem.code, "file-unreadable");
      store.close();
    }),
  );
});
