import { readFileSync } from "node:fs";
import { failure, success } from "@flocker/core";
import type { Era, Result } from "@flocker/core";

/**
 * The boot id of this machine's kernel: a new one after each boot, the same for all processes in between.
 * `file-unreadable` where the kernel does not show one.
 */
export function readEra(path: string = "/proc/sys/kernel/random/boot_id"): Result<Era> {
  let reason: string;
  try {
    const text = readFileSync(path, "utf8").trim().toLowerCase();
    if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) return success(text as Era);
    reason = `it holds ${JSON.stringify(text.slice(0, 80))} instead of a uuid`;
  } catch (error) {
    reason = (error as NodeJS.ErrnoException).code ?? String(error);
  }
  return failure(
    "file-unreadable",
    `Reading the boot id of this machine from ${path} failed: ${reason}.`,
    "Run the agent on Linux with /proc mounted.",
  );
}
