import { after, test } from "node:test";

import { backendConformance } from "../conformance.ts";
import { btrfsImpossible } from "./testing/btrfs-disks.ts";
import { BtrfsDisks } from "./testing/btrfs-harness.ts";

const reason = btrfsImpossible();
if (reason === undefined) {
  const disks = new BtrfsDisks();
  after(() => disks.dispose());
  // With quotas, since those concern everything; other tests go without.
  backendConformance("btrfs", () => disks.harness({ quota: true }));
} else {
  void test("the btrfs backend passes the suite of all backends", { skip: reason });
}
