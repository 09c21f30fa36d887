import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { World } from "../../packages/agent/src/backends/conformance/world.ts";
import { prepareImage } from "./image.ts";
import { atEnd } from "./leftovers.ts";
import { describeMachine, makeDisk } from "./machine.ts";
import { makePool, zfsHarness, type ZfsNode } from "./zfs-nodes.ts";

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

/** What a story is told with: the nodes of one machine, and the words of all backends' rules. */
export interface MachineStory {
  readonly world: World;
  readonly a: ZfsNode;
  readonly b: ZfsNode;
  readonly c: ZfsNode;
}

/** Answers what registers the stories of a file, each on pools that are empty. */
export function storiesInMachine(): (name: string, body: (story: MachineStory) => Promise<void>) => void {
  const makeHarness = harnessInMachine();
  return (name, body) => {
    test(name, async () => {
      const harness = await makeHarness();
      const [a, b, c] = harness.nodes;
      await body({ world: new World(harness), a, b, c });
      await harness.dispose();
    });
  };
}
