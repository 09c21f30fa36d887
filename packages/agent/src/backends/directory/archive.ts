import type { Commands } from "@flocker/core";

import { refuse } from "../problems.ts";
import { tryProgram } from "../programs.ts";

/** What the `tar` of this machine can do. */
export interface TarFeatures {
  readonly acls: boolean;
}

/** Finds out what `tar` can do. Only GNU tar keeps all that a copy needs to keep. */
export async function probeTar(commands: Commands): Promise<TarFeatures> {
  const version = await tryProgram(commands, ["tar", "--version"]);
  if (!version.stdout.startsWith("tar (GNU tar)")) {
    throw refuse(
      "not-supported",
      "The directory backend sends and receives with GNU tar, and the tar of this machine is another one.",
      "Install GNU tar (package tar) and make it the first tar in the agent's PATH.",
    );
  }
  const help = await tryProgram(commands, ["tar", "--help"]);
  for (const option of ["--xattrs-include", "--verbatim-files-from", "--delay-directory-restore"]) {
    if (help.stdout.includes(option)) continue;
    throw refuse(
      "not-supported",
      `The directory backend needs a tar that knows ${option}, and this machine's does not.`,
      "Install GNU tar 1.29 or newer.",
    );
  }
  // The option is also accepted, and ignored with a warning, by builds without the library for it.
  const acls = await tryProgram(commands, [
    "tar",
    "--acls",
    "--create",
    "--file=/dev/null",
    "--files-from=/dev/null",
  ]);
  return { acls: acls.exitCode === 0 && acls.stderr === "" };
}

/**
 * Writes an archive of the paths on its standard input (each closed by a NUL, relative to the working
 * folder).
 */
export function createArguments(features: TarFeatures): string[] {
  return [
    "tar",
    "--create",
    "--format=posix",
    // Access times change by reading, and status change times cannot be set.
    "--pax-option=delete=atime,delete=ctime",
    "--sparse",
    "--xattrs",
    "--xattrs-include=*",
    ...(features.acls ? ["--acls"] : []),
    "--numeric-owner",
    "--null",
    "--no-unquote",
    "--verbatim-files-from",
    "--no-recursion",
    "--files-from=-",
  ];
}

/**
 * Extracts the archive on its standard input into the working folder. The owner is always set: where that is
 * not allowed, tar fails, and a copy with other owners is never taken for the same.
 */
export function extractArguments(features: TarFeatures): string[] {
  return [
    "tar",
    "--extract",
    "--preserve-permissions",
    "--same-owner",
    "--numeric-owner",
    "--delay-directory-restore",
    "--xattrs",
    "--xattrs-include=*",
    ...(features.acls ? ["--acls"] : []),
    "--warning=no-timestamp",
  ];
}
