import type { Capacity, DatasetId } from "@flocker/core";
import { isUuid, ProblemError } from "@flocker/core";

import { refuse } from "../problems.ts";
import { poolProblem, unlessSuspended } from "./programs.ts";
import {
  openProperty,
  receivingProperty,
  recordProperty,
  trashedAtProperty,
  type Context,
} from "./layout.ts";

/** One line of a sweep: a file system, a volume or a snapshot. */
export interface Row {
  readonly name: string;
  readonly guid: string;
  /** Milliseconds since 1970; ZFS counts whole seconds. */
  readonly createdAt: number;
  /** The transaction group: the order of snapshots, also within one second. */
  readonly createdIn: number;
  readonly writtenBytes: number | null;
  readonly usedBytes: number | null;
  readonly availableBytes: number | null;
  /** Null where there is none. */
  readonly quotaBytes: number | null;
  readonly isMounted: boolean;
  readonly isReadOnly: boolean;
  readonly mountPoint: string | null;
  readonly isEncrypted: boolean;
  readonly isKeyMissing: boolean;
  readonly resumeToken: string | null;
  /** How many holds a snapshot has. */
  readonly holds: number;
  /** What depends on a snapshot, separated by commas. */
  readonly clones: string | null;
  readonly open: string | null;
  readonly trashedAt: string | null;
  readonly receiving: string | null;
  readonly record: string | null;
  /** The lines that follow it make no sense: a property has been set to a text with line breaks or tabs. */
  readonly isBroken: boolean;
}

/** A dataset of ZFS with what belongs to it. */
export interface Entry {
  readonly row: Row;
  /** Oldest first. */
  readonly snapshots: readonly Row[];
  /** File systems and volumes that somebody has made below it. */
  readonly children: readonly string[];
}

const columns = [
  "name",
  "guid",
  "creation",
  "createtxg",
  "written",
  "used",
  "available",
  "refquota",
  "mounted",
  "readonly",
  "mountpoint",
  "encryption",
  "keystatus",
  "receive_resume_token",
  "userrefs",
  "clones",
  openProperty,
  trashedAtProperty,
  receivingProperty,
  recordProperty,
] as const;

const noLimit: readonly string[] = ["-r"];
/** What is named alone. */
const itself: readonly string[] = ["-d", "0"];
/** What is named, its snapshots, and what lies directly below it. */
const oneLevel: readonly string[] = ["-d", "1"];

/** What has those names and what lies below it, in one command. What is not there is left out. */
async function list(
  context: Context,
  doing: string,
  depth: readonly string[],
  names: readonly string[],
): Promise<readonly Row[]> {
  const types = ["-t", "filesystem,volume,snapshot"];
  const argv = ["zfs", "list", "-Hp", ...depth, ...types, "-o", columns.join(","), ...names];
  const abort = AbortSignal.timeout(sweepTimeoutMs);
  const rows: Row[] = [];
  const decoder = new TextDecoder();
  let rest = "";
  const take = (line: string): void => {
    const row = parseRow(line);
    if (row !== undefined) rows.push(row);
    else if (rows.length > 0) rows.push({ ...(rows.pop() as Row), isBroken: true });
  };
  try {
    for await (const chunk of context.commands.stream(argv, { abort })) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) take(line);
    }
    if (rest !== "") take(rest);
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    if (onlyMissing(error.problem.message)) return rows;
    throw new ProblemError((await poolProblem(context)) ?? unreadable(doing, error.problem.message), {
      cause: error,
    });
  }
  return rows;
}

const sweepTimeoutMs = 120_000;

/** Whether all that a listing complains of is that names are not there. */
function onlyMissing(message: string): boolean {
  const [, said = ""] = message.split("It said: ");
  const lines = said.trim().split("\n");
  return lines.every((line) => /^cannot open '[^']*': dataset does not exist$/.test(line.trim()));
}

function unreadable(doing: string, said: string): ProblemError["problem"] {
  return {
    code: "storage-unreadable",
    message: `${doing} failed: ${said}`,
    remedy: "See what zpool status says; it is tried again by itself.",
  };
}

/** The line of one dataset, or undefined where it has another form. */
function parseRow(line: string): Row | undefined {
  const fields = line.split("\t");
  if (fields.length !== columns.length) return undefined;
  const text = (column: (typeof columns)[number]): string | null => {
    const value = fields[columns.indexOf(column)] ?? "-";
    return value === "-" || value === "" || value === "none" ? null : value;
  };
  const count = (column: (typeof columns)[number]): number | null => {
    const value = text(column);
    return value === null || !/^\d+$/.test(value) ? null : Number(value);
  };
  const [name, guid] = [text("name"), text("guid")];
  if (name === null || guid === null) return undefined;
  const quota = count("refquota");
  const encryption = text("encryption");
  return {
    name,
    guid,
    createdAt: (count("creation") ?? 0) * 1000,
    createdIn: count("createtxg") ?? 0,
    writtenBytes: count("written"),
    usedBytes: count("used"),
    availableBytes: count("available"),
    quotaBytes: quota === 0 ? null : quota,
    isMounted: text("mounted") === "yes",
    isReadOnly: text("readonly") === "on",
    mountPoint: text("mountpoint"),
    isEncrypted: encryption !== null && encryption !== "off",
    isKeyMissing: text("keystatus") === "unavailable",
    resumeToken: text("receive_resume_token"),
    holds: count("userrefs") ?? 0,
    clones: text("clones"),
    open: text(openProperty),
    trashedAt: text(trashedAtProperty),
    receiving: text(receivingProperty),
    record: text(recordProperty),
    isBroken: false,
  };
}

/** What lies directly below a name of the layout, by the rest of its own name. */
function entriesBelow(rows: readonly Row[], parent: string): Map<string, Entry> {
  const entries = new Map<string, { row: Row; snapshots: Row[]; children: string[] }>();
  for (const row of rows) {
    if (!row.name.startsWith(`${parent}/`)) continue;
    const [path = "", snapshot] = row.name.slice(parent.length + 1).split("@");
    const [name = "", ...below] = path.split("/");
    const entry = entries.get(name);
    if (below.length > 0) {
      if (snapshot === undefined) entry?.children.push(row.name);
    } else if (snapshot === undefined) entries.set(name, { row, snapshots: [], children: [] });
    else entry?.snapshots.push(row);
  }
  for (const entry of entries.values()) entry.snapshots.sort((a, b) => a.createdIn - b.createdIn);
  return entries;
}

/** What ZFS shows of one dataset. */
export interface Swept {
  readonly live: Entry | undefined;
  readonly trashed: Entry | undefined;
  /** By the suffix of its name; see the layout. */
  readonly staged: ReadonlyMap<string, Entry>;
}

/** Everything that ZFS shows, by dataset. */
export async function sweepAll(context: Context, doing: string): Promise<ReadonlyMap<DatasetId, Swept>> {
  const { live, trash, staging } = context;
  const rows = await looking(context, () => list(context, doing, noLimit, [live, trash, staging]));
  await requireLayout(context, rows);
  return grouped(context, rows);
}

/** Looks while nothing is renamed, but waits for no rename that hangs on a suspended pool. */
async function looking<Value>(context: Context, steps: () => Promise<Value>): Promise<Value> {
  return await unlessSuspended(context, () => context.names.shared(steps));
}

/** Bytes of the pool. */
export async function sweepCapacity(context: Context, doing: string): Promise<Capacity> {
  const { pool } = context;
  const rows = await list(context, doing, itself, [pool]);
  return capacityOf(context, rows);
}

/** What is probably found, which saves asking for it by commands of their own. */
export interface Expectation {
  readonly isAbsent?: boolean;
  /** Names in the staging area. */
  readonly staged?: readonly string[];
}

/** What ZFS shows of one dataset. That there is nothing is said only after the layout has been seen. */
export async function sweepOne(
  context: Context,
  doing: string,
  dataset: DatasetId,
  expected: Expectation = {},
): Promise<Swept> {
  const { pool } = context;
  const names = [...(expected.isAbsent === true ? [pool] : []), ...(expected.staged ?? [])];
  return await looking(context, async () => {
    const { of, rows } = await sweepNames(context, doing, dataset, names);
    const isAbsent = of.live === undefined && of.trashed === undefined;
    if (isAbsent)
      await requireLayout(
        context,
        names.includes(pool) ? rows : await list(context, doing, oneLevel, [pool]),
      );
    return of;
  });
}

/** The same, and bytes of the pool, in one command. */
export async function sweepOneAndPool(
  context: Context,
  doing: string,
  dataset: DatasetId,
): Promise<{ readonly swept: Swept; readonly capacity: Capacity }> {
  return await looking(context, async () => {
    const { of, rows } = await sweepNames(context, doing, dataset, [context.pool]);
    await requireLayout(context, rows);
    return { swept: of, capacity: capacityOf(context, rows) };
  });
}

async function sweepNames(
  context: Context,
  doing: string,
  dataset: DatasetId,
  names: readonly string[],
): Promise<{ readonly of: Swept; readonly rows: readonly Row[] }> {
  const { live, trash, staging } = context;
  const all = [...names, `${live}/${dataset}`, `${trash}/${dataset}`, staging];
  const rows = await list(context, doing, oneLevel, all);
  const found = grouped(context, rows).get(dataset) ?? nothing;
  // Nearly always there is nothing in the staging area.
  const staged = [...found.staged.values()]
    .map(({ row }) => row.name)
    .filter((name) => !names.includes(name));
  if (staged.length === 0) return { of: found, rows };
  const below = await list(context, doing, oneLevel, staged);
  const others = rows.filter(({ name }) => !staged.includes(name));
  return { of: grouped(context, [...others, ...below]).get(dataset) ?? nothing, rows };
}

const nothing: Swept = { live: undefined, trashed: undefined, staged: new Map() };

function grouped(context: Context, rows: readonly Row[]): Map<DatasetId, Swept> {
  const swept = new Map<DatasetId, { live?: Entry; trashed?: Entry; staged: Map<string, Entry> }>();
  const of = (dataset: string): { live?: Entry; trashed?: Entry; staged: Map<string, Entry> } => {
    const known = swept.get(dataset as DatasetId) ?? { staged: new Map<string, Entry>() };
    swept.set(dataset as DatasetId, known);
    return known;
  };
  for (const [name, entry] of entriesBelow(rows, context.live)) if (isUuid(name)) of(name).live = entry;
  for (const [name, entry] of entriesBelow(rows, context.trash)) if (isUuid(name)) of(name).trashed = entry;
  for (const [name, entry] of entriesBelow(rows, context.staging)) {
    const [dataset, suffix] = [name.slice(0, uuidLength), name.slice(uuidLength + 1)];
    if (isUuid(dataset) && suffix !== "") of(dataset).staged.set(suffix, entry);
  }
  return new Map(
    [...swept].map(([dataset, { live, trashed, staged }]) => [dataset, { live, trashed, staged }]),
  );
}

const uuidLength = 36;

/** Throws where the datasets that all copies lie below cannot be seen. */
async function requireLayout(context: Context, rows: readonly Row[]): Promise<void> {
  const { live, trash, staging } = context;
  const missing = [live, trash, staging].find((each) => !rows.some(({ name }) => name === each));
  if (missing === undefined) return;
  const problem = await poolProblem(context);
  throw problem === null ? layoutMissing(context, missing) : new ProblemError(problem);
}

function capacityOf(context: Context, rows: readonly Row[]): Capacity {
  const { usedBytes = null, availableBytes = null } = rows.find(({ name }) => name === context.pool) ?? {};
  return { totalBytes: (usedBytes ?? 0) + (availableBytes ?? 0), freeBytes: availableBytes ?? 0 };
}

function layoutMissing(context: Context, name: string): ProblemError {
  return refuse(
    "storage-unreadable",
    `The dataset ${name} of ZFS, below which copies lie, is not there.`,
    `If somebody has renamed it, rename it back. If it has been destroyed, see zpool history ${context.pool}; ` +
      "the agent makes an empty one when it is started again.",
  );
}
