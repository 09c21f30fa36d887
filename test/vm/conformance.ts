import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";

import { backendConformance } from "@flocker/agent/backend-conformance";

import { prepareImage } from "./image.ts";
import { atEnd } from "./leftovers.ts";
import { describeMachine, makeDisk } from "./machine.ts";
import { makePool, zfsHarness } from "./zfs-nodes.ts";

/** What is about transfers takes as long as all the rest, and runs beside it in a machine of its own. */
export function isOfTransfers(_sentence: string, chapter: string): boolean {
  return chapter.includes("transfer");
}

/** Runs the chosen rules of all backends on OpenZFS, in one virtual machine with three pools. */
export function conformanceInMachine(chosen: (sentence: string, chapter: string) => boolean): void {
  const folder = mkdtempSync(join(tmpdir(), "flocker-vm-"));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  const disk = join(folder, "disk");
  const machine = describeMachine({ image: prepareImage(), disk });
  const pools = ["one", "two", "three"] as const;

  before(async () => {
    makeDisk(disk, pools.length, 512);
    await machine.start();
    for (const [index, pool] of pools.entries()) await makePool(machine, pool, index + 1);
  });

  after(async () => {
    await machine.cutPower();
  });

  backendConformance("zfs", zfsHarness(machine, pools), chosen);
}
