import type { CopyRecord } from "@flocker/core";

import { refuse } from "../problems.ts";
import { place, readOnlyFor, requireAbsent } from "./copies.ts";
import { fixedProperties, isChangeable, isDatasetName, recordProperty, type Context } from "./layout.ts";
import { unmountName } from "./mounts.ts";
import { tellsOfSmallLimit, tryZfs, zfs, zfsFailed } from "./programs.ts";
import { recordSetting, parseRecord } from "./record.ts";
import { mountPoints } from "./system.ts";

/** What is to become a copy, and what it becomes. */
export interface Adoption {
  readonly record: CopyRecord;
  /** ZFS's name of a file system in the same pool. */
  readonly source: string;
  readonly maximumSizeBytes: number | null;
  /** Properties that it gets, beside those that it has. */
  readonly settings: readonly string[];
}

/**
 * Makes a copy out of a file system that is there, with its data and snapshots: it is unmounted, gets its
 * record, and the rename makes it a copy. Until then nothing of it is changed but the settings, and it can be
 * tried again.
 */
export async function adoptDataset(context: Context, adoption: Adoption): Promise<void> {
  const { record, source, maximumSizeBytes, settings } = adoption;
  const { dataset } = record;
  const doing = `Making ${source} dataset ${dataset}`;
  await requireAbsent(context, dataset);
  const found = await findSource(context, doing, source);
  requireFree(found, adoption, doing);
  if (found.isMounted) await unmountSource(context, doing, source);
  const all = [...settings.filter(isChangeable), ...fixedProperties(context, dataset), readOnlyFor(record)];
  if (maximumSizeBytes !== null) all.push(`refquota=${maximumSizeBytes}`);
  const args = ["set", ...all, recordSetting(record), source];
  const result = await tryZfs(context, args);
  if (result.exitCode !== 0 && tellsOfSmallLimit(result.stderr))
    throw unusable(
      doing,
      `it holds more than the maximum size of ${maximumSizeBytes} bytes`,
      "Give it more (flocker resize).",
    );
  if (result.exitCode !== 0) throw await zfsFailed(context, doing, args, result);
  await place(context, doing, source, dataset);
}

interface Source {
  readonly type: string;
  readonly isMounted: boolean;
  readonly record: string | null;
  /** What lies directly below it. */
  readonly children: readonly string[];
}

async function findSource(context: Context, doing: string, source: string): Promise<Source> {
  if (!isDatasetName(source))
    throw unusable(doing, "that is no name of a dataset of ZFS", "See zfs list for the names.");
  const own = [context.live, context.trash, context.staging];
  if (own.some((parent) => `${source}/`.startsWith(`${parent}/`)))
    throw unusable(
      doing,
      "it is where this node's agent keeps its own copies",
      "Name a file system of your own; rename it away first if it is one.",
    );
  const args = [
    "list",
    "-Hp",
    "-d",
    "1",
    "-t",
    "filesystem,volume",
    "-o",
    `name,type,mounted,${recordProperty}`,
  ];
  const listed = await tryZfs(context, [...args, source]);
  if (/dataset does not exist/.test(listed.stderr))
    throw unusable(
      doing,
      "there is no such dataset of ZFS on this node",
      "See zfs list there; if it has been made another dataset already, delete this one.",
    );
  if (listed.exitCode !== 0) throw await zfsFailed(context, doing, args, listed);
  const lines = listed.stdout.split("\n").filter((line) => line !== "");
  const rows = lines.map((line) => line.split("\t"));
  const [, type = "", mounted, record = "-"] = rows.find(([name]) => name === source) ?? [];
  const children = rows.flatMap(([name]) => (name === undefined || name === source ? [] : [name]));
  return { type, isMounted: mounted === "yes", record: record === "-" ? null : record, children };
}

function requireFree(
  { type, record, children }: Source,
  { source, record: own }: Adoption,
  doing: string,
): void {
  if (type !== "filesystem")
    throw unusable(
      doing,
      `it is a ${type} of ZFS`,
      "Only file systems can be taken over: copy its data into one.",
    );
  if (children.length > 0)
    throw unusable(
      doing,
      `other datasets lie below it: ${children.slice(0, 3).join(", ")}`,
      "Rename those away first (zfs rename), and take each over by itself.",
    );
  if (record === null) return;
  const before = parseRecord(own.dataset, source, record);
  if (!before.ok)
    throw unusable(
      doing,
      "it carries the record of another dataset of Flocker's",
      `If that was given up, say so: zfs inherit ${recordProperty} ${source}.`,
    );
}

async function unmountSource(context: Context, doing: string, source: string): Promise<void> {
  const mountedAt = mountPoints(await context.system.mounts()).get(source);
  if (mountedAt === undefined)
    throw refuse(
      "busy-mount",
      `${doing} needs it to be unmounted, and it is mounted where this agent cannot see it.`,
      `Unmount it (zfs unmount ${source}); it goes on by itself then.`,
    );
  await unmountName(context, { doing, name: source, mountedAt, subject: source }, async () => {
    await zfs(context, doing, "mount", source);
  });
}

function unusable(doing: string, why: string, remedy: string): Error {
  return refuse("source-unusable", `${doing} is not possible: ${why}.`, remedy);
}
