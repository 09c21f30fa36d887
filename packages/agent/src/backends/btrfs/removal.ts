import { ProblemError } from "@flocker/core";

import { programFailed, runProgram, tryProgram } from "../programs.ts";
import type { Context } from "./layout.ts";
import { subvolumeInode } from "./subvolumes.ts";

/**
 * Removes something of the staging area, with the subvolumes in it. It may be a subvolume itself. Only our
 * own few folders are walked through: what lies in a subvolume goes with it.
 */
export async function removeStaged(context: Context, path: string): Promise<void> {
  const { files } = context;
  const stats = await files.lstat(path);
  if (!stats.isDirectory()) return await files.unlink(path);
  if (stats.ino === subvolumeInode) return await deleteSubvolume(context, path);
  for (const name of await files.list(path)) await removeStaged(context, `${path}/${name.toString()}`);
  await files.removeFolder(path);
}

/** Deletes a subvolume, and first those that somebody has made inside of it, the innermost first. */
async function deleteSubvolume(context: Context, path: string): Promise<void> {
  const doing = `Removing ${path}`;
  const remove = ["btrfs", "subvolume", "delete", path];
  const first = await tryProgram(context.commands, remove);
  if (first.exitCode === 0) return;
  const inner = await innerSubvolumes(context, path);
  if (inner.length === 0) throw programFailed(doing, remove, first.exitCode, first.stderr);
  for (const each of inner) await deleteSubvolume(context, each);
  await runProgram(context.commands, doing, remove);
}

/** The subvolumes directly inside of one; those are no part of its snapshots. It looks at every folder. */
async function innerSubvolumes(context: Context, path: string): Promise<string[]> {
  const argv = [
    "find",
    path,
    ..."-xdev -mindepth 1 -type d -inum".split(" "),
    String(subvolumeInode),
    "-print0",
  ];
  const { stdout } = await runProgram(context.commands, `Looking for subvolumes in ${path}`, argv);
  return stdout.split("\0").filter((each) => each !== "");
}

/**
 * Like {@link removeStaged}, for what nobody waits for: a failure is logged, and the next start tries again.
 */
export async function discardStaged(context: Context, path: string): Promise<void> {
  try {
    await removeStaged(context, path);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const what = error instanceof ProblemError ? error.problem : error.message;
    context.log?.write("warn", "staging-left-over", { path, problem: what });
  }
}

/** Makes a new, private folder in the staging area. */
export async function makeStaging(context: Context): Promise<string> {
  const path = `${context.staging}/${context.ids.uuid()}`;
  await context.files.makeFolder(path, 0o700);
  return path;
}

/** Takes something out of a copy at once, by one rename; it is then for {@link removeStaged}. */
export async function moveToStaging(context: Context, path: string): Promise<string> {
  const staged = `${context.staging}/${context.ids.uuid()}`;
  await context.files.rename(path, staged);
  return staged;
}

/** Takes something that may be there out of a copy and removes it. */
export async function discard(context: Context, path: string): Promise<void> {
  if (await context.files.exists(path)) await discardStaged(context, await moveToStaging(context, path));
}
