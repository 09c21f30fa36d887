import { createHash, randomBytes } from "node:crypto";
import type { DatasetId } from "@flocker/core";

import type { VmNode } from "./vm-cluster.ts";

/** Writes bytes that do not compress, synced; answers their checksum. */
export async function writeRandom(
  { storage }: VmNode,
  dataset: DatasetId,
  name: string,
  sizeBytes: number,
): Promise<string> {
  const bytes = randomBytes(sizeBytes);
  await storage.write(dataset, name, bytes);
  await storage.sh('sync -f "$1"', `${storage.mountRoot}/${dataset}/${name}`);
  return createHash("sha256").update(bytes).digest("hex");
}

/** The checksum of a file as a program in the machine reads it. */
export async function checksumOf({ storage }: VmNode, dataset: DatasetId, name: string): Promise<string> {
  const said = await storage.sh('sha256sum "$1"', `${storage.mountRoot}/${dataset}/${name}`);
  return said.slice(0, 64);
}
