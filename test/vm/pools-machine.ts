import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";

import { prepareImage } from "./image.ts";
import { atEnd } from "./leftovers.ts";
import { describeMachine, makeDisk } from "./machine.ts";
import { makePool, zfsHarness } from "./zfs-nodes.ts";

/** Three nodes in the pools of one virtual machine, which runs while the tests of this file do. */
export function harnessInMachine(): ReturnType<typeof zfsHarness> {
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

  return zfsHarness(machine, pools);
}
