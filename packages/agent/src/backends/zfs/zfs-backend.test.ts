// What is refused before anything is asked of ZFS. What it does on real pools is in test/vm.
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock, systemCommands, systemIds } from "@flocker/host";
import { openZfsBackend } from "./zfs-backend.ts";

test("a pool's name is one of ZFS's, and without blanks", async () => {
  for (const pool of ["tank volumes", "/tank", "tank/", "-tank", "tank@now", ""]) {
    const opened = await openZfsBackend({
      pool,
      mountRoot: "/flocker",
      commands: systemCommands,
      clock: systemClock,
      ids: systemIds,
    });
    assert.equal(opened.ok ? undefined : opened.problem.code, "configuration-invalid", pool);
  }
});
