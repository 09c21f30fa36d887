import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { readEra } from "./boot-id.ts";
import { systemIds, systemRandom } from "./randomness.ts";
import { isUuid } from "@flocker/core";

const folder = mkdtempSync(join(tmpdir(), "flocker-boot-id-"));
after(() => rmSync(folder, { recursive: true, force: true }));

test("the era is this boot's, and the same each time", () => {
  const era = readEra();
  assert.ok(era.ok);
  assert.deepEqual(readEra(), era);
});

test("a boot id that is missing or no uuid is a problem", () => {
  const path = join(folder, "boot_id");
  const missing = readEra(path);
  assert.equal(!missing.ok && missing.problem.code, "file-unreadable");
  writeFileSync(path, "nonsense\n");
  const wrong = readEra(path);
  assert.match(wrong.ok ? "" : wrong.problem.message, /nonsense/);
});

test("ids are version 4 uuids, chance lies from 0 up to 1", () => {
  assert.ok(isUuid(systemIds.uuid()));
  assert.notEqual(systemIds.uuid(), systemIds.uuid());
  const chance = systemRandom.next();
  assert.ok(chance >= 0 && chance < 1);
});
