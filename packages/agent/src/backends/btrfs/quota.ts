import { runProgram, tryProgram } from "../programs.ts";
import type { Context } from "./layout.ts";
import { linesOf } from "./subvolumes.ts";

/**
 * Whether the file system keeps account of its subvolumes, after it has been told to if that is wished. It is
 * a property of the whole file system and stays on; each change of shared data costs a little more with it.
 */
export async function prepareQuota(
  context: Pick<Context, "commands" | "root">,
  enable: boolean,
): Promise<boolean> {
  const { commands, root } = context;
  const isOn = (await tryProgram(commands, ["btrfs", "qgroup", "show", root])).exitCode === 0;
  if (isOn || !enable) return isOn;
  await runProgram(commands, `Switching on quotas at ${root}`, ["btrfs", "quota", "enable", root]);
  return true;
}

/**
 * Limits the bytes that can be reached in a subvolume, or lifts the limit. What it shares with snapshots
 * counts, the snapshots themselves do not.
 */
export async function limitSize(
  context: Context,
  doing: string,
  path: string,
  maximumSizeBytes: number | null,
): Promise<void> {
  if (!context.quota) return;
  const limit = maximumSizeBytes === null ? "none" : String(maximumSizeBytes);
  await runProgram(context.commands, doing, ["btrfs", "qgroup", "limit", limit, path]);
}

/** The bytes of each subvolume by its id, in one sweep; empty where no account is kept. */
export async function sweepUsage(context: Context): Promise<Map<number, Usage>> {
  const usage = new Map<number, Usage>();
  if (!context.quota) return usage;
  const argv = ["btrfs", "qgroup", "show", "--raw", context.copies];
  for await (const line of linesOf(context, "Reading how much each subvolume uses", argv)) {
    const [, id, referenced, exclusive] = /^0\/(\d+)\s+(\d+)\s+(\d+)\b/.exec(line) ?? [];
    if (id === undefined) continue;
    usage.set(Number(id), { referencedBytes: Number(referenced), exclusiveBytes: Number(exclusive) });
  }
  return usage;
}

/** How many bytes a subvolume uses, with others and alone. */
export interface Usage {
  readonly referencedBytes: number;
  readonly exclusiveBytes: number;
}
