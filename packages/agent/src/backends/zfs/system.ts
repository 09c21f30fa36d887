import { readFile, stat } from "node:fs/promises";

import { findHolders, type Holder, type HolderSearch } from "../holders.ts";

/** What the backend asks the system for beside ZFS's own programs. */
export interface ZfsSystem {
  /** The text of /proc/self/mounts; proc_pid_mounts(5). */
  mounts(): Promise<string>;
  /** The device number of what is at a path, or undefined where nothing can be seen. */
  deviceOf(path: string): Promise<bigint | undefined>;
  /** Who uses a tree; see {@link findHolders}. */
  holders(search: HolderSearch): Promise<readonly Holder[]>;
}

/** This machine. */
export const thisSystem: ZfsSystem = {
  mounts: () => readFile("/proc/self/mounts", "utf8"),
  async deviceOf(path) {
    try {
      return (await stat(path, { bigint: true })).dev;
    } catch {
      return undefined;
    }
  },
  holders: findHolders,
};

/**
 * Where file systems are mounted, by their source: ZFS's name for a dataset. The last mount of one counts.
 */
export function mountPoints(mounts: string): ReadonlyMap<string, string> {
  const points = new Map<string, string>();
  for (const line of mounts.split("\n")) {
    const [source, point, type] = line.split(" ");
    if (source !== undefined && point !== undefined && type === "zfs")
      points.set(unescaped(source), unescaped(point));
  }
  return points;
}

/** Blanks, tabs, line breaks and backslashes are written in octal. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
