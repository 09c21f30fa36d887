import type { Abort, ByteStream, ReceiveRequest } from "@flocker/core";
import { ProblemError } from "@flocker/core";

import { noSpace, refuse, tellsOfNoSpace } from "../problems.ts";
import { lend, programFailed, tryProgram } from "../programs.ts";
import { findCopy, placeCopy, writeState } from "./copies.ts";
import { dataPath, mountPath, snapshotFolder, snapshotName, type Context } from "./layout.ts";
import { lookAtMountPoint, readMountView } from "./mounts.ts";
import { discard, discardStaged, makeStaging } from "./removal.ts";
import { corrupt, guardStream, interrupted, readable, type StreamHeader } from "./send-stream.ts";
import { adopt } from "./snapshots.ts";
import { sameRecord } from "../stored-state.ts";
import { heldSnapshot, type CopyState, type StoredSnapshot } from "./state.ts";
import { showSubvolume, snapshotSubvolume } from "./subvolumes.ts";

interface Receiving {
  readonly context: Context;
  readonly request: ReceiveRequest;
  readonly abort: Abort;
  /** The folder that the snapshot is received into; it becomes the snapshot's own. */
  readonly staging: string;
}

/**
 * Takes a stream into a copy. The snapshot is received into the staging area, beside the old copy; one rename
 * then makes it valid. A received snapshot is never made writable: that would take its identity away. It
 * stays as the base of the next increment, and the data are a snapshot of it, made when the copy is mounted.
 */
export async function receiveStream(
  context: Context,
  request: ReceiveRequest,
  stream: ByteStream,
  abort: Abort,
): Promise<void> {
  const { dataset } = request;
  const before = await context.exclusively(dataset, async () => {
    const state = await requireReceivable(context, request);
    return (await finishIfHeld(context, request, state)) ? "held" : state;
  });
  if (before === "held") return;
  const staging = await makeStaging(context);
  try {
    const receiving = { context, request, abort, staging };
    await extract(receiving, stream);
    const snapshot = await verify(receiving, before);
    await context.exclusively(dataset, () => switchOver(receiving, before, snapshot));
  } catch (error) {
    if (await context.files.exists(staging)) await discardStaged(context, staging);
    throw error;
  }
}

/** The copy as it is, or null; throws where it may not be received into. */
async function requireReceivable(context: Context, request: ReceiveRequest): Promise<CopyState | null> {
  const { dataset, base } = request;
  const found = await findCopy(context, dataset);
  if (found.kind === "unreadable") throw new ProblemError(found.unreadable.problem);
  if (found.kind === "absent") {
    if (base === null) return null;
    throw wrongBase(request, "there is no copy here");
  }
  const { state } = found;
  if (state.record.role === "primary") {
    throw refuse(
      "target-holds-primary",
      `This node holds the primary copy of dataset ${dataset}, which is never overwritten.`,
      "Find out which node should own the dataset (flocker explain).",
    );
  }
  if (state.trashedAt !== null) {
    throw refuse(
      "dataset-deleted",
      `The copy of dataset ${dataset} on this node lies in the trash.`,
      "Wait until it has been destroyed, or take it back (flocker undelete).",
    );
  }
  if (lookAtMountPoint(context, await readMountView(context), dataset).kind === "mounted") {
    throw refuse(
      "target-holds-primary",
      `Dataset ${dataset} is in use on this node, at ${mountPath(context, dataset)}.`,
      "Unmount it first.",
    );
  }
  const held = heldSnapshot(state)?.guid ?? null;
  if (held !== request.snapshot.guid && base !== null && held !== base) {
    throw wrongBase(request, `the copy is ${held === null ? "not at any snapshot" : "at another one"}`);
  }
  return state;
}

function wrongBase(request: ReceiveRequest, why: string): ProblemError {
  return refuse(
    "snapshot-missing",
    `An increment of dataset ${request.dataset} from snapshot ${request.base} cannot be taken: ${why}.`,
    "Send from the snapshot that this copy is at, or everything; this is done by itself.",
  );
}

/** Where the copy is at the snapshot already, only the record may be new. */
async function finishIfHeld(
  context: Context,
  request: ReceiveRequest,
  state: CopyState | null,
): Promise<boolean> {
  if (state === null || heldSnapshot(state)?.guid !== request.snapshot.guid) return false;
  const { record, maximumSizeBytes } = request;
  if (!sameRecord(state.record, record) || state.maximumSizeBytes !== maximumSizeBytes) {
    await writeState(context, { ...state, record, maximumSizeBytes });
  }
  return true;
}

/** Lets btrfs make the snapshot in the staging area, confined to it. */
async function extract({ context, request, abort, staging }: Receiving, stream: ByteStream): Promise<void> {
  const check = (header: StreamHeader): void => checkHeader(request, header);
  const input = lend(guardStream(readable(stream, abort), check));
  const argv = ["btrfs", "-q", "receive", "--chroot", staging];
  let result: Awaited<ReturnType<typeof tryProgram>>;
  try {
    result = await tryProgram(context.commands, argv, { stdin: input.stream, abort });
    if (result.exitCode === 0) await input.drain();
  } catch (error) {
    input.check();
    if (abort.aborted) throw interrupted("it was stopped");
    throw error;
  } finally {
    input.close();
  }
  if (result.exitCode !== 0) throw receiveFailed(context, request, argv, result.exitCode, result.stderr);
  input.check();
}

function checkHeader(request: ReceiveRequest, header: StreamHeader): void {
  const { snapshot, base } = request;
  if (header.uuid !== snapshot.guid || header.baseUuid !== base) {
    throw corrupt(
      `it carries snapshot ${header.uuid} from base ${header.baseUuid ?? "none"}, which is not what was announced`,
    );
  }
  if (header.name !== snapshotName) throw corrupt(`its subvolume is called ${JSON.stringify(header.name)}`);
}

function receiveFailed(
  context: Context,
  request: ReceiveRequest,
  argv: readonly string[],
  exitCode: number,
  stderr: string,
): ProblemError {
  const doing = `Receiving dataset ${request.dataset}`;
  const said = stderr.trim().split("\n").slice(-3).join("; ");
  if (tellsOfNoSpace(stderr)) return new ProblemError(noSpace(doing, `${context.root}: ${said}`));
  if (/cannot find parent subvolume/.test(stderr)) return wrongBase(request, said);
  if (/Input\/output error|Read-only file system/.test(stderr)) {
    return refuse(
      "storage-unreadable",
      `${doing} failed, since the file system at ${context.root} does not take it: ${said}.`,
      "Look for disk errors in the kernel's log, and mount the file system read-write.",
    );
  }
  if (/Cannot allocate memory|Operation not permitted|unrecognized option/.test(stderr)) {
    return programFailed(doing, argv, exitCode, stderr);
  }
  return corrupt(`btrfs receive says: ${said}`);
}

/**
 * Proves that what came out is the snapshot, made from the very base that the copy is at, and makes it
 * durable.
 */
async function verify(receiving: Receiving, before: CopyState | null): Promise<StoredSnapshot> {
  const { context, request, staging } = receiving;
  const { guid, name, createdAt } = request.snapshot;
  const doing = `Receiving dataset ${request.dataset}`;
  const path = `${staging}/${snapshotName}`;
  const shown = await showSubvolume(context, doing, path);
  if (shown.receivedUuid !== guid || !shown.isReadOnly) {
    throw corrupt(`what came out of it is snapshot ${shown.receivedUuid ?? "none"} and not ${guid}`);
  }
  // The btrfs program looks for the base by its identity in the whole file system. Where there are several,
  // as after somebody's own backup, it may take one that is not ours, and only this tells.
  const base = request.base === null ? null : before === null ? null : heldSnapshot(before);
  if (shown.parentUuid !== (base?.uuid ?? null)) {
    throw refuse(
      "snapshot-missing",
      `An increment of dataset ${request.dataset} cannot be taken: btrfs took another subvolume of this file system ` +
        `(uuid ${shown.parentUuid ?? "none"}) for snapshot ${request.base}, which has the same identity.`,
      "Find it with btrfs subvolume list -u, and delete it or move it to another file system; it is tried again by itself.",
    );
  }
  // The program leaves data in memory only. Making a snapshot writes out those of this subvolume, and no
  // others.
  const flush = `${staging}/flush`;
  await snapshotSubvolume(context, doing, path, flush, { readOnly: false });
  await discardStaged(context, flush);
  return { guid, name, createdAt, uuid: shown.uuid };
}

/** Makes what was received the valid copy, if the old one is still what it was when this began. */
async function switchOver(
  { context, request, staging }: Receiving,
  before: CopyState | null,
  snapshot: StoredSnapshot,
): Promise<void> {
  const now = await requireReceivable(context, request);
  if (JSON.stringify(now?.snapshots) !== JSON.stringify(before?.snapshots) || now?.data !== before?.data) {
    throw interrupted("the copy here was changed by something else meanwhile");
  }
  const { dataset, record, maximumSizeBytes } = request;
  if (now === null) {
    const state: CopyState = { record, maximumSizeBytes, data: null, trashedAt: null, snapshots: [snapshot] };
    await placeReceived(context, staging, state, snapshot);
    return;
  }
  await adopt(context, dataset, staging, snapshot.uuid);
  // After a full stream the copy has no past.
  const past =
    request.base === null
      ? []
      : now.snapshots.filter(({ guid, name }) => guid !== snapshot.guid && name !== snapshot.name);
  const snapshots = [...past, snapshot];
  await writeState(context, { ...now, record, maximumSizeBytes, data: null, snapshots });
  if (now.data !== null) await discard(context, dataPath(context, dataset));
  for (const old of now.snapshots) {
    if (!past.includes(old)) await discard(context, snapshotFolder(context, dataset, old.uuid));
  }
}

async function placeReceived(
  context: Context,
  received: string,
  state: CopyState,
  snapshot: StoredSnapshot,
): Promise<void> {
  const whole = await makeStaging(context);
  try {
    await context.files.makeFolder(`${whole}/snapshots`, 0o700);
    await context.files.rename(received, `${whole}/snapshots/${snapshot.uuid}`);
    await placeCopy(context, whole, state);
  } catch (error) {
    await discardStaged(context, whole);
    throw error;
  }
}
