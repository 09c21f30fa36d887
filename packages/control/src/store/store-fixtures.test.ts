import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@flocker/host";
import { openSqliteStore } from "./sqlite-store.ts";
import { sampleIds } from "./sample-values.ts";
import type { StoreUnderTest } from "./store-conformance.ts";
import type { ConfigurationStore } from "./store.ts";

export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), "flocker-store-"));
}

export function openStore(path: string): ConfigurationStore {
  const opened = openSqliteStore(path, { clock: systemClock, ids: sampleIds() });
  assert.ok(opened.ok, opened.ok ? "" : opened.problem.message);
  return opened.value;
}

/** A store in a file of its own, or in memory. */
export function storeUnderTest(kind: "file" | "memory"): StoreUnderTest {
  const folder = temporaryFolder();
  const path = kind === "file" ? join(folder, "data", "store.sqlite") : ":memory:";
  let store = openStore(path);
  const reopen = (): ConfigurationStore => {
    store.close();
    store = openStore(path);
    return store;
  };
  return {
    store,
    reopen,
    backups: { path: join(folder, "backup.sqlite"), open: openStore },
    dispose: () => {
      store.close();
      rmSync(folder, { recursive: true });
    },
  };
}
