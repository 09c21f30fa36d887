import type { ProblemError } from "@flocker/core";

import { refuse } from "../problems.ts";
import { runProgram, streamProgram } from "../programs.ts";
import type { Context } from "./layout.ts";

/** The inode number of a subvolume's own folder, which nothing else has. */
export const subvolumeInode = 256n;

/** What btrfs tells of one subvolume. */
export interface Subvolume {
  readonly uuid: string;
  /** The subvolume that this one began as a snapshot of. */
  readonly parentUuid: string | null;
  /** The uuid that its origin has on the file system where it was sent from. */
  readonly receivedUuid: string | null;
  readonly isReadOnly: boolean;
  /** It grows with every transaction that changes the subvolume. */
  readonly generation: number;
  readonly generationAtCreation: number;
  /** Bytes that can be reached in it, whoever else shares them; null where no account is kept. */
  readonly referencedBytes: number | null;
  /** Bytes that only it holds; null where no account is kept. */
  readonly exclusiveBytes: number | null;
}

/** Makes an empty subvolume. It is durable when this returns. */
export async function createSubvolume(context: Context, doing: string, path: string): Promise<void> {
  await runProgram(context.commands, doing, ["btrfs", "subvolume", "create", path]);
}

/**
 * Makes a snapshot of a subvolume. The kernel writes out all data of the source first, and both are durable
 * when this returns.
 */
export async function snapshotSubvolume(
  context: Context,
  doing: string,
  from: string,
  to: string,
  options: { readonly readOnly: boolean },
): Promise<void> {
  const flags = options.readOnly ? ["-r"] : [];
  await runProgram(context.commands, doing, ["btrfs", "subvolume", "snapshot", ...flags, from, to]);
}

/** What btrfs tells of the subvolume at a path. */
export async function showSubvolume(context: Context, doing: string, path: string): Promise<Subvolume> {
  const { stdout } = await runProgram(context.commands, doing, ["btrfs", "subvolume", "show", "--raw", path]);
  return parseShown(path, stdout);
}

/** Reads the output of `btrfs subvolume show --raw`. */
export function parseShown(path: string, text: string): Subvolume {
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, name, value] = /^\s+([A-Z][A-Za-z ]+):\s*(.*?)\s*$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) fields.set(name, value);
  }
  const need = (name: string): string => {
    const value = fields.get(name);
    if (value === undefined) throw notUnderstood(`of ${path}, ${name} is missing`);
    return value;
  };
  const optional = (name: string): string | null => {
    const value = need(name);
    return value === "-" ? null : value;
  };
  const bytes = (name: string): number | null => {
    const value = fields.get(name);
    return value === undefined || !/^\d+$/.test(value) ? null : Number(value);
  };
  return {
    uuid: need("UUID"),
    parentUuid: optional("Parent UUID"),
    receivedUuid: optional("Received UUID"),
    isReadOnly: need("Flags").split(/[ ,]+/).includes("readonly"),
    generation: Number(need("Generation")),
    generationAtCreation: Number(need("Gen at creation")),
    referencedBytes: bytes("Usage referenced"),
    exclusiveBytes: bytes("Usage exclusive"),
  };
}

/** What one sweep tells of a subvolume. */
export interface Swept {
  readonly id: number;
  readonly generation: number;
  readonly generationAtCreation: number;
}

/** All subvolumes of the file system by their uuid, in one sweep. */
export async function listSubvolumes(context: Context): Promise<Map<string, Swept>> {
  const argv = ["btrfs", "subvolume", "list", "-u", "-c", context.copies];
  const found = new Map<string, Swept>();
  for await (const line of linesOf(context, "Listing the subvolumes", argv)) {
    const match = /^ID (\d+) gen (\d+) cgen (\d+) .*?\buuid ([0-9a-f-]{36}) path /.exec(line);
    if (match === null) {
      if (line.trim() === "") continue;
      throw notUnderstood(`the line "${line}" in the list of subvolumes`);
    }
    const [, id, generation, generationAtCreation, uuid] = match;
    found.set(String(uuid), {
      id: Number(id),
      generation: Number(generation),
      generationAtCreation: Number(generationAtCreation),
    });
  }
  return found;
}

/** The lines of a program's output, however much that is. */
export async function* linesOf(
  context: Context,
  doing: string,
  argv: readonly string[],
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of streamProgram(context.commands, doing, argv)) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
}

function notUnderstood(what: string): ProblemError {
  return refuse(
    "command-failed",
    `The output of the btrfs program is not understood: ${what}.`,
    "Install btrfs-progs 5.10 or newer on this node; with those, please report it.",
  );
}
