import assert from "node:assert/strict";
import { test } from "node:test";

import { concernedBy } from "./watch.ts";

const dataset = "0c8fd1f6-1c39-4b5b-9d9a-0d4b33c1a6f1";
const layout = { live: "tank/flocker", trash: "tank/flocker-trash", staging: "tank/flocker-staging" };

/** As OpenZFS 2.1 tells it, shortened. */
function history(name: string, did: string, what = " "): string {
  return [
    "Nov 25 2026 22:15:08.123456789 sysevent.fs.zfs.history_event",
    '        class = "sysevent.fs.zfs.history_event"',
    '        pool = "tank"',
    `        history_dsname = "${name}"`,
    `        history_internal_str = "${what}"`,
    `        history_internal_name = "${did}"`,
    "        eid = 0x2d",
  ].join("\n");
}

const scrub =
  'Nov 25 2026 22:15:08.1 sysevent.fs.zfs.scrub_start\n        class = "sysevent.fs.zfs.scrub_start"';

const error = (what: string): string =>
  `Nov 25 2026 22:15:08.1 ereport.fs.zfs.${what}\n        class = "ereport.fs.zfs.${what}"`;

const copy = `tank/flocker/${dataset}`;

for (const [what, event, concerned] of [
  ["a property of a copy", history(copy, "set", "flocker:open=yes"), dataset],
  ["a snapshot of a copy", history(`${copy}@daily`, "snapshot"), dataset],
  ["what is made below a copy", history(`${copy}/below`, "create"), dataset],
  ["a destruction in the trash", history(`tank/flocker-trash/${dataset}`, "destroy"), dataset],
  ["a rename into place", history(`tank/flocker-staging/${dataset}-new`, "rename", `-> ${copy}`), dataset],
  ["what all copies inherit", history("tank/flocker", "set", "readonly=1"), "any"],
  ["what the whole pool inherits", history("tank", "inherit", "compression=2"), "any"],
  ["a rename from elsewhere", history("tank/aside", "rename", `-> ${copy}`), "any"],
  ["a clone that takes its origin's snapshots", history("tank/clone", "promote"), "any"],
  ["an event of the pool", scrub, "any"],
  ["a pool that is suspended", error("io_failure"), "any"],
  ["a write that has failed", error("io"), "none"],
  ["a snapshot of the pool's own file system", history("tank@daily", "snapshot"), "none"],
  ["another file system of the pool", history("tank/home", "set", "quota=1"), "none"],
  ["one whose name begins alike", history("tank/flockers@daily", "snapshot"), "none"],
] as const)
  test(`${what} is taken for a change of ${concerned === dataset ? "that copy" : concerned}`, () => {
    assert.equal(concernedBy(layout, event), concerned);
  });
