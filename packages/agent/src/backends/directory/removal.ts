import type { Context } from "./layout.ts";
import { ProblemError } from "@flocker/core";
import { programFailed, tryProgram } from "../programs.ts";

/**
 * Removes a folder of the staging area with all that is in it, whatever its permissions. Other file systems
 * mounted below are left alone, and then it fails. Files may be shared, as hard links, with a copy that is in
 * use: only the permissions of folders are ever changed.
 */
export async function removeStaged(context: Context, path: string): Promise<void> {
  const remove = ["rm", "--recursive", "--force", "--one-file-system", "--", path];
  const first = await tryProgram(context.commands, remove);
  if (first.exitCode === 0) return;
  // Without privileges, what lies in a folder without the permission to write can only be removed after this.
  // It is done for each folder before find looks into it.
  await tryProgram(context.commands, [
    "find",
    path,
    ..."-xdev -type d ! -perm -0700 -exec chmod u+rwx {} ;".split(" "),
  ]);
  const second = await tryProgram(context.commands, remove);
  if (second.exitCode === 0) return;
  throw programFailed(`Removing ${path}`, remove, second.exitCode, second.stderr);
}

/**
 * Like {@link removeStaged}, for what nobody waits for: a failure is logged, and the next start tries again.
 */
export async function discardStaged(context: Context, path: string): Promise<void> {
  try {
    await removeStaged(context, path);
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    context.log?.write("warn", "staging-left-over", { path, problem: error.problem });
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
