import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, statfsSync, truncateSync } from "node:fs";
import { join } from "node:path";

/** What a node keeps its datasets on: btrfs, or folders on ext4. */
export type DiskKind = "btrfs" | "directory";

const defaultSizeBytes = 512 * 2 ** 20;
const leftBytes = 2 ** 20;

/** A file system of its own for a node, on a loop device. */
export interface Disk {
  readonly folder: string;
  /** Takes nearly all of its space; answers what gives it back. */
  fill(): () => void;
  remove(): void;
}

/** Makes one; its image lies beside it unless told otherwise. */
export function makeDisk(
  folder: string,
  kind: DiskKind,
  {
    sizeBytes = defaultSizeBytes,
    image = `${folder}.img`,
  }: { readonly sizeBytes?: number; readonly image?: string } = {},
): Disk {
  mkdirSync(folder, { recursive: true });
  closeSync(openSync(image, "w"));
  truncateSync(image, sizeBytes);
  if (kind === "btrfs") execFileSync("mkfs.btrfs", ["-q", image]);
  else execFileSync("mkfs.ext4", ["-q", "-F", image]);
  execFileSync("mount", ["-o", "loop", image, folder]);
  return {
    folder,
    fill: () => fill(join(folder, "other-peoples-data")),
    remove() {
      spawnSync("umount", ["--recursive", "--lazy", folder]);
      rmSync(image, { force: true });
    },
  };
}

/** Unmounts everything below a folder, whatever uses it. */
export function unmountAll(folder: string): void {
  const points = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((point) => point.startsWith(`${folder}/`));
  for (const point of points.toReversed()) spawnSync("umount", ["--lazy", point]);
}

function fill(path: string): () => void {
  const { bavail, bsize } = statfsSync(join(path, ".."));
  const bytes = bavail * bsize - leftBytes;
  if (bytes > 0) spawnSync("fallocate", ["--length", String(bytes), path]);
  return () => rmSync(path, { force: true });
}
