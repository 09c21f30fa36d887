import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";

import { backendConformance } from "@flocker/agent/backend-conformance";

import { prepareImage } from "./image.ts";
import { describeMachine, makeDisk } from "./machine.ts";
import { makePool, zfsHarness } from "./zfs-nodes.ts";

const folder = mkdtempSync(join(tmpdir(), "flocker-vm-"));
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
  rmSync(folder, { recursive: true });
});

backendConformance("zfs", () => zfsHarness(machine, pools));
