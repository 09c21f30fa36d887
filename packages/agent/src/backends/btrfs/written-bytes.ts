import { linesOf } from "./subvolumes.ts";
import type { Context } from "./layout.ts";

/** From so many bytes on it does not matter how many more they are. */
const enoughBytes = 1024 ** 4;

/**
 * How many bytes of a subvolume have been written after a generation, as far as they are still there. It
 * costs as much as has changed; the program first lets the file system write out what is in memory.
 */
export async function bytesWrittenSince(context: Context, path: string, generation: number): Promise<number> {
  // The program also counts what is of the asked generation itself.
  const argv = ["btrfs", "subvolume", "find-new", path, String(generation + 1)];
  let bytes = 0;
  for await (const line of linesOf(context, `Measuring what has been written to ${path}`, argv)) {
    bytes += Number(/^inode \d+ file offset \d+ len (\d+) /.exec(line)?.[1] ?? 0);
    if (bytes >= enoughBytes) break;
  }
  return bytes;
}
