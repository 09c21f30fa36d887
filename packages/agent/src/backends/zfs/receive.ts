import type { Abort, ByteStream, CommandResult, ReceiveRequest } from "@flocker/core";
import { ProblemError, snapshotNamePrefix } from "@flocker/core";

import { corrupt, interrupted, readable } from "../btrfs/send-stream.ts";
import { noSpace, refuse } from "../problems.ts";
import { lend } from "../programs.ts";
import { sameRecord } from "../stored-state.ts";
import {
  findCopy,
  limitSize,
  noteReceiving,
  place,
  publicSnapshot,
  settle,
  settled,
  writeRecord,
  type CopyState,
} from "./copies.ts";
import {
  fixedProperties,
  isChangeable,
  poolNameOf,
  receivingProperty,
  unset,
  type Context,
} from "./layout.ts";
import { saidBy, tellsOfFullPool, tryZfs, zfs, zfsFailed } from "./programs.ts";
import { recordSetting } from "./record.ts";
import { discardPartial, partialOf } from "./partials.ts";
import { destroyArrived, destroyEntry } from "./removal.ts";
import { guardStream } from "./stream-header.ts";
import { sweepOne, type Entry, type Swept } from "./sweep.ts";

/** Takes a stream into a copy; see the contract of {@link Backend.receive}. */
export async function receiveStream(
  context: Context,
  request: ReceiveRequest,
  stream: ByteStream,
  abort: Abort,
): Promise<void> {
  const { dataset } = request;
  const prepared = await context.exclusively(dataset, () => prepare(context, request));
  if (prepared === "held") return;
  if (!prepared.hasArrived) await extract(context, request, prepared.into, { stream, abort });
  await context.exclusively(dataset, () => finish(context, request, prepared.into));
}

interface Prepared {
  /** What ZFS receives into. */
  readonly into: string;
  /** An earlier receive had got everything, and died before it was made valid. */
  readonly hasArrived: boolean;
}

async function prepare(context: Context, request: ReceiveRequest): Promise<Prepared | "held"> {
  const { dataset, base, snapshot } = request;
  const { state, staged } = await requireReceivable(context, request);
  if (state !== null && state.observed.unchangedSince === snapshot.guid) {
    await finishHeld(context, request, state);
    return "held";
  }
  const doing = `Receiving dataset ${dataset}`;
  if (request.resume !== undefined) requirePartial(request, state?.entry, staged);
  if (base !== null && state !== null) {
    if (request.resume === undefined && state.entry.row.resumeToken !== null)
      await discardPartial(context, doing, state.name);
    await destroyArrived(context, doing, staged);
    const { record, maximumSizeBytes } = request;
    // What arrives may be more than the old limit allows.
    const isHigher = maximumSizeBytes === null || maximumSizeBytes > (state.entry.row.quotaBytes ?? 0);
    if (isHigher && state.entry.row.quotaBytes !== null)
      await limitSize(context, doing, state.entry.row, maximumSizeBytes);
    await noteReceiving(context, state, { record, base, snapshot: snapshot.guid, maximumSizeBytes });
    return { into: state.name, hasArrived: false };
  }
  // Before anything is sent: a profile that is not known here is refused.
  context.settingsFor(request.profile);
  const into = stagedName(context, request);
  if (state !== null && state.entry.row.resumeToken !== null)
    await discardPartial(context, doing, state.name);
  let hasArrived = false;
  for (const [suffix, entry] of staged) {
    if (suffix.startsWith("kept-") || suffix === "old") continue;
    if (entry.row.name === into && entry.snapshots.some(({ guid }) => guid === snapshot.guid))
      hasArrived = true;
    else if (request.resume === undefined || entry.row.name !== into)
      await destroyEntry(context, doing, entry);
  }
  return { into, hasArrived };
}

/** Where a full stream is received. */
function stagedName({ staging }: Context, { dataset, snapshot }: ReceiveRequest): string {
  return `${staging}/${dataset}-${snapshot.guid}`;
}

/** The rest of a stream is taken only by what has exactly its beginning. */
function requirePartial(request: ReceiveRequest, live: Entry | undefined, staged: Swept["staged"]): void {
  const { dataset, resume, snapshot, base } = request;
  if (resume === undefined) return;
  const partial = partialOf(dataset, { live, trashed: undefined, staged });
  if (partial?.token === resume && partial.snapshot === snapshot.guid && partial.base === base) return;
  throw refuse(
    "resume-token-dead",
    `The transfer of dataset ${dataset} cannot go on where it stopped: ` +
      `${partial === undefined ? "nothing of it is here" : "what is here is something else"}.`,
    "It is sent anew by itself.",
  );
}

interface Receivable {
  /** The copy as it is, or null. */
  readonly state: CopyState | null;
  readonly staged: Swept["staged"];
}

/** Throws where a copy may not be received into. */
async function requireReceivable(context: Context, request: ReceiveRequest): Promise<Receivable> {
  const { dataset, base, snapshot } = request;
  const expected = base === null ? { isAbsent: true, staged: [stagedName(context, request)] } : {};
  const found = await findCopy(context, dataset, expected);
  if (found.kind === "unreadable") throw new ProblemError(found.unreadable.problem);
  if (found.kind === "absent") {
    if (base === null) return { state: null, staged: found.staged };
    throw wrongBase(request, "there is no copy here");
  }
  const state = await settled(context, found.state);
  const { observed, record, staged } = state;
  if (record.role === "primary")
    throw refuse(
      "target-holds-primary",
      `This node holds the primary copy of dataset ${dataset}, which is never overwritten.`,
      "Find out which node should own the dataset (flocker explain).",
    );
  if (observed.trashedAt !== null)
    throw refuse(
      "dataset-deleted",
      `The copy of dataset ${dataset} on this node lies in the trash.`,
      "Wait until it has been destroyed, or take it back (flocker undelete).",
    );
  if (observed.mountedAt !== null)
    throw refuse(
      "target-holds-primary",
      `Dataset ${dataset} is in use on this node, at ${observed.mountedAt}.`,
      "Unmount it first.",
    );
  const { unchangedSince } = observed;
  if (unchangedSince === snapshot.guid) return { state, staged };
  if (base !== null && unchangedSince !== base)
    throw wrongBase(
      request,
      `the copy is ${unchangedSince === null ? "not at any snapshot" : "at another one"}`,
    );
  if (base === null && unchangedSince === null) throw diverged(state);
  return { state, staged };
}

function wrongBase(request: ReceiveRequest, why: string): ProblemError {
  return refuse(
    "snapshot-missing",
    `An increment of dataset ${request.dataset} from snapshot ${request.base} cannot be taken: ${why}.`,
    "Send from the snapshot that this copy is at, or everything; this is done by itself.",
  );
}

function diverged({ name, observed }: CopyState): ProblemError {
  return refuse(
    "peer-refused",
    `The replica of dataset ${observed.dataset} on this node (${name}) has been written to since its newest snapshot, ` +
      `about ${observed.writtenBytes ?? "?"} bytes, and they would be lost with it.`,
    `Look at what it holds (zfs diff ${name}@SNAPSHOT ${name}), save what is needed, then delete them with zfs rollback.`,
  );
}

/** The copy is at the snapshot already: only its record and its size may be new. */
async function finishHeld(context: Context, request: ReceiveRequest, state: CopyState): Promise<void> {
  const { record, maximumSizeBytes, dataset } = request;
  await limitSize(context, `Resizing dataset ${dataset}`, state.entry.row, maximumSizeBytes);
  if (!sameRecord(state.record, record)) await writeRecord(context, record);
}

/**
 * Lets ZFS receive. Whatever ends it early leaves the copy as it was, and perhaps what has arrived beside it.
 */
async function extract(
  context: Context,
  request: ReceiveRequest,
  into: string,
  { stream, abort }: { readonly stream: ByteStream; readonly abort: Abort },
): Promise<void> {
  const doing = `Receiving dataset ${request.dataset}`;
  const expected = { base: request.base, snapshot: request.snapshot.guid };
  const source = endingAtBreak(guardStream(readable(stream, abort), expected));
  const input = lend(source.stream);
  const args = ["receive", "-s", "-u", `${into}@${request.snapshot.name}`];
  let result: CommandResult;
  try {
    result = await tryZfs(context, args, { stdin: input.stream, abort });
    if (result.exitCode === 0) await input.drain();
    input.check();
  } catch (error) {
    if (error instanceof ProblemError && error.problem.code === "transfer-corrupt")
      await discardPartial(context, doing, into);
    input.check();
    if (abort.aborted) throw interrupted("it was stopped");
    throw error;
  } finally {
    input.close();
  }
  // What has arrived before the break is kept, also where ZFS has got everything: the next look shows it.
  const broken = source.brokenBy();
  if (broken !== undefined && !tellsOfFullPool(saidBy(result))) throw broken;
  if (result.exitCode === 0) return;
  const error = await receiveFailed(context, request, args, result);
  // What is corrupt cannot be gone on with, and on a full pool it stands in the way of everything else.
  if (error.problem.code !== "transfer-interrupted") await discardPartial(context, doing, into);
  throw error;
}

/**
 * A stream that ends where its source breaks, so that ZFS reads all that came before: it knows a whole stream
 * by its last record, and keeps what it has of another. What is corrupt still fails.
 */
function endingAtBreak(source: ByteStream): {
  readonly stream: ByteStream;
  readonly brokenBy: () => ProblemError | undefined;
} {
  let broken: ProblemError | undefined;
  async function* stream(): AsyncGenerator<Uint8Array> {
    try {
      yield* source;
    } catch (error) {
      if (!(error instanceof ProblemError) || error.problem.code === "transfer-corrupt") throw error;
      broken = error;
    }
  }
  return { stream: stream(), brokenBy: () => broken };
}

async function receiveFailed(
  context: Context,
  request: ReceiveRequest,
  args: readonly string[],
  result: CommandResult,
): Promise<ProblemError> {
  const said = saidBy(result);
  const doing = `Receiving dataset ${request.dataset}`;
  if (tellsOfFullPool(said)) return new ProblemError(noSpace(doing, said));
  if (/does not match incremental source|has been modified|no such snapshot|missing snapshot/.test(said))
    return wrongBase(request, said);
  if (/unsupported feature|must be upgraded|feature.*not enabled/.test(said))
    return refuse(
      "not-supported",
      `${doing} failed, because this node's pool cannot hold it: ${said}.`,
      `Update OpenZFS on this node, and the pool: zpool upgrade ${poolNameOf(context.pool)}.`,
    );
  if (
    /checksum mismatch|invalid stream|incomplete stream|invalid backup stream|stream is corrupt/i.test(said)
  )
    return corrupt(said);
  if (/is busy/.test(said)) return interrupted(said);
  return await zfsFailed(context, doing, args, result);
}

/** Makes what has arrived the copy, if the copy is still what it was. */
async function finish(context: Context, request: ReceiveRequest, into: string): Promise<void> {
  const { dataset, base, snapshot, record, maximumSizeBytes, profile } = request;
  const doing = `Receiving dataset ${dataset}`;
  if (base !== null) {
    const found = await findCopy(context, dataset);
    const state = found.kind === "copy" ? found.state : null;
    if (state?.unsettled?.snapshot !== snapshot.guid)
      throw interrupted("the copy here was changed by something else meanwhile");
    await settle(context, state);
    return;
  }
  const { state: before, staged } = await requireReceivable(context, request);
  const arrived = staged.get(snapshot.guid);
  if (!arrived?.snapshots.some(({ guid }) => guid === snapshot.guid))
    throw corrupt(`what came out of it is not snapshot ${snapshot.guid}`);
  const settings = context.settingsFor(profile).filter(isChangeable);
  settings.push(...fixedProperties(context, dataset), "readonly=on");
  settings.push(recordSetting(record), `${receivingProperty}=${unset}`);
  await zfs(context, doing, "set", ...settings, into);
  await limitSize(context, doing, arrived.row, maximumSizeBytes);
  if (before === null) await place(context, doing, into, dataset);
  else await replace(context, doing, before, into);
}

/** Puts a received copy in the place of an older replica. */
async function replace(context: Context, doing: string, before: CopyState, into: string): Promise<void> {
  const { dataset } = before.observed;
  const old = `${context.staging}/${dataset}-old`;
  await context.names.alone(async () => {
    await zfs(context, doing, "rename", before.name, old);
    try {
      await zfs(context, doing, "rename", into, before.name);
    } catch (error) {
      await zfs(context, doing, "rename", old, before.name);
      throw error;
    }
  });
  const swept = await sweepOne(context, doing, dataset);
  await clearReplaced(context, dataset, swept.staged.get("old"));
}

/**
 * Destroys what has been replaced. With snapshots that people have made, which the new copy lacks, it is kept
 * aside until the dataset is destroyed.
 */
export async function clearReplaced(
  context: Context,
  dataset: CopyState["observed"]["dataset"],
  old: Entry | undefined,
): Promise<void> {
  if (old === undefined) return;
  const doing = `Clearing away the replaced copy of dataset ${dataset}`;
  const theirs = old.snapshots.filter((row) => !publicSnapshot(row).name.startsWith(snapshotNamePrefix));
  if (theirs.length === 0) return await destroyEntry(context, doing, old);
  const kept = `${context.staging}/${dataset}-kept-${old.snapshots.at(-1)?.guid}`;
  await zfs(context, doing, "rename", old.row.name, kept);
  context.log?.write("warn", "replaced-copy-kept", {
    dataset,
    name: kept,
    snapshots: theirs.map((row) => publicSnapshot(row).name),
  });
}
