import type { Abort, ByteStream, ReceiveRequest } from "@flocker/core";
import { ProblemError } from "@flocker/core";

import { extractArguments, type TarFeatures } from "./archive.ts";
import { findCopy, newState, placeNewCopy, writeState } from "./copies.ts";
import { corrupt, FrameReader, interrupted, type StreamHeader } from "./frames.ts";
import { copyFolder, manifestFile, mountPath, treeFolder, type Context } from "./layout.ts";
import { writeManifest, type ManifestSummary } from "./manifest.ts";
import { clockTickMs, lookAtMountPoint, requireUnmounted } from "./mounts.ts";
import { noSpace, refuse, tellsOfNoSpace } from "../problems.ts";
import { lend, programFailed, runProgram, tryProgram } from "../programs.ts";
import { discardStaged, makeStaging, moveToStaging } from "./removal.ts";
import { listTree } from "./snapshots.ts";
import { sameRecord } from "../stored-state.ts";
import type { CopyState } from "./state.ts";
import { TarGuard } from "./tar-guard.ts";
import { TreeChanges } from "./tree-changes.ts";

/**
 * Takes a stream into a copy. The new tree is built in the staging area, beside the old one, with hard links
 * to what stays the same; one rename of the state file then makes it the valid one. The old tree is only read
 * until then.
 */
export async function receiveStream(
  context: Context,
  tar: TarFeatures,
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
    const built = await build({ context, tar, request, abort, staging }, before, stream);
    await context.exclusively(dataset, () => switchOver(context, request, before, built));
  } catch (error) {
    await discardStaged(context, staging);
    if (request.base !== null && before !== null) await renewAfterFailure(context, request.base, before);
    throw error;
  }
  await discardStaged(context, staging);
  if (before !== null) await clearAfter(context, request, before);
}

interface Receiving {
  readonly context: Context;
  readonly tar: TarFeatures;
  readonly request: ReceiveRequest;
  readonly abort: Abort;
  readonly staging: string;
}

interface Built {
  readonly tree: string;
  readonly manifest: string;
  readonly summary: ManifestSummary;
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
  if (found.state.record.role === "primary") {
    throw refuse(
      "target-holds-primary",
      `This node holds the primary copy of dataset ${dataset}, which is never overwritten.`,
      "Find out which node should own the dataset (flocker explain).",
    );
  }
  if (found.state.trashedAt !== null) {
    throw refuse(
      "dataset-deleted",
      `The copy of dataset ${dataset} on this node lies in the trash.`,
      "Wait until it has been destroyed, or take it back (flocker undelete).",
    );
  }
  const point = await lookAtMountPoint(context, dataset, found.state.tree);
  if (point.kind === "mounted") {
    throw refuse(
      "target-holds-primary",
      `Dataset ${dataset} is in use on this node, at ${mountPath(context, dataset)}.`,
      "Unmount it first.",
    );
  }
  // Where the symlink was removed by somebody else, its users may still be there.
  const state = await requireUnmounted(context, found.state, "Receiving");
  const isHeld = state.unchangedSince === request.snapshot.guid;
  if (!isHeld && base !== null && state.unchangedSince !== base) {
    throw wrongBase(
      request,
      `the copy is ${state.unchangedSince === null ? "not at any snapshot" : "at another one"}`,
    );
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
  if (state === null || state.unchangedSince !== request.snapshot.guid) return false;
  const { record, maximumSizeBytes } = request;
  if (!sameRecord(state.record, record) || state.maximumSizeBytes !== maximumSizeBytes) {
    await writeState(context, { ...state, record, maximumSizeBytes });
  }
  return true;
}

/**
 * Builds the tree of the snapshot in the staging area, durably, and proves that it is the one that was sent.
 */
async function build(receiving: Receiving, before: CopyState | null, stream: ByteStream): Promise<Built> {
  const { context, request, staging } = receiving;
  const doing = `Receiving dataset ${request.dataset}`;
  const tree = `${staging}/tree`;
  const reader = new FrameReader(stream, receiving.abort);
  try {
    const header = await reader.begin();
    checkHeader(receiving, header);
    if (request.base === null || before === null) {
      await context.files.makeFolder(tree, 0o700);
    } else {
      const old = treeFolder(context, request.dataset, before.tree);
      const argv = ["cp", "--archive", "--link", "--no-target-directory", "--", old, tree];
      await runProgram(context.commands, doing, argv, { abort: receiving.abort });
    }
    const changes = new TreeChanges(context, tree);
    while ((await reader.kind()) === "D") await changes.remove(await reader.content());
    await changes.finish();
    while ((await reader.kind()) === "F") await changes.remake(await reader.content());
    await extract(receiving, tree, reader, changes);
    await reader.end();
    await runProgram(context.commands, doing, ["sync", "--file-system", tree]);
    const manifest = `${staging}/manifest`;
    const summary = await writeManifest(context, tree, manifest);
    if (summary.digest !== header.digest) {
      throw corrupt(
        `the tree that came out of it (${summary.entries} entries) is not the one that was sent (${header.entries})`,
      );
    }
    return { tree, manifest, summary };
  } finally {
    reader.close();
  }
}

function checkHeader({ request, tar }: Receiving, header: StreamHeader): void {
  const { dataset, base, snapshot } = request;
  if (header.dataset !== dataset || header.base !== base || header.snapshot.guid !== snapshot.guid) {
    throw corrupt(
      `it carries snapshot ${header.snapshot.guid} of dataset ${header.dataset}, which is not what was announced`,
    );
  }
  if (header.acls && !tar.acls) {
    throw refuse(
      "not-supported",
      "The sending node keeps access control lists, and the tar of this node cannot.",
      "Install a GNU tar with support for access control lists on this node.",
    );
  }
}

async function extract(
  { context, tar, request, abort }: Receiving,
  tree: string,
  reader: FrameReader,
  changes: TreeChanges,
): Promise<void> {
  const doing = `Receiving dataset ${request.dataset}`;
  const guard = new TarGuard((path) => changes.isSymlink(path));
  const input = lend(guard.pass(reader.contents("T")));
  const argv = extractArguments(tar);
  let result: Awaited<ReturnType<typeof tryProgram>>;
  try {
    result = await tryProgram(context.commands, argv, { cwd: tree, stdin: input.stream, abort });
  } catch (error) {
    input.check();
    if (abort.aborted) throw interrupted("it was stopped");
    throw error;
  }
  input.check();
  const said = result.stderr;
  if (tellsOfNoSpace(said)) throw new ProblemError(noSpace(doing, `${context.root}: ${lastLines(said)}`));
  // Without the right or the ability to keep something, tar fails or only warns; neither is the same copy.
  if (/Cannot (change ownership|mknod|set|setfattr)|xattr|acl|setfacl/i.test(said)) {
    throw refuse(
      "not-supported",
      `${doing} failed, since this node cannot keep all that belongs to its files: ${lastLines(said)}`,
      "Run the agent on this node as root, and put its storage on a file system with extended attributes.",
    );
  }
  if (result.exitCode !== 0 || said !== "") throw programFailed(doing, argv, result.exitCode, said);
  await input.drain();
}

function lastLines(text: string): string {
  return text.trim().split("\n").slice(-3).join("; ");
}

/** Makes what was built the valid copy, if the old one is still what it was when this began. */
async function switchOver(
  context: Context,
  request: ReceiveRequest,
  before: CopyState | null,
  built: Built,
): Promise<void> {
  const now = await requireReceivable(context, request);
  if (now?.tree !== before?.tree || now?.unchangedSince !== before?.unchangedSince) {
    throw interrupted("the copy here was changed by something else meanwhile");
  }
  const { dataset, record, maximumSizeBytes } = request;
  const { guid, name, createdAt } = request.snapshot;
  const snapshot = { guid, name, createdAt, ...built.summary };
  if (now === null) {
    const fresh = newState(record, maximumSizeBytes);
    const state: CopyState = { ...fresh, unchangedSince: guid, snapshots: [snapshot] };
    await placeNewCopy(context, state, { tree: built.tree, manifest: built.manifest, guid });
    return;
  }
  const { files } = context;
  const tree = now.tree + 1;
  const path = treeFolder(context, dataset, tree);
  // A leftover of a crash that has not been tidied up yet.
  if (await files.exists(path)) await discardStaged(context, await moveToStaging(context, path));
  await files.rename(built.tree, path);
  await files.rename(built.manifest, manifestFile(context, dataset, guid));
  await files.syncFolder(`${copyFolder(context, dataset)}/snapshots`);
  // After a full stream the copy has no past.
  const past =
    request.base === null ? [] : now.snapshots.filter((old) => old.guid !== guid && old.name !== name);
  const snapshots = [...past, snapshot];
  await writeState(context, { ...now, record, maximumSizeBytes, tree, unchangedSince: guid, snapshots });
}

/**
 * After the switch: removes the old tree and lists the new one again. The files that both trees shared got a
 * new time of status change by the last link's removal, and with the old list they would all look changed to
 * the next transfer.
 */
async function clearAfter(context: Context, request: ReceiveRequest, before: CopyState): Promise<void> {
  const { dataset, snapshot } = request;
  await context.exclusively(dataset, async () => {
    const old = treeFolder(context, dataset, before.tree);
    const found = await findCopy(context, dataset);
    if (found.kind !== "copy" || found.state.tree === before.tree) return;
    if (await context.files.exists(old)) await discardStaged(context, await moveToStaging(context, old));
    await renewManifest(context, found.state, snapshot.guid);
  });
}

/** After a failure: the links of the staged tree have come and gone, see {@link clearAfter}. */
async function renewAfterFailure(context: Context, base: string, before: CopyState): Promise<void> {
  const { dataset } = before.record;
  try {
    await context.exclusively(dataset, async () => {
      const found = await findCopy(context, dataset);
      if (found.kind === "copy") await renewManifest(context, found.state, base);
    });
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    context.log?.write("warn", "manifest-not-renewed", { dataset, problem: error.problem });
  }
}

async function renewManifest(context: Context, state: CopyState, guid: string): Promise<void> {
  const { dataset } = state.record;
  const snapshot = state.snapshots.find((candidate) => candidate.guid === guid);
  if (snapshot === undefined || state.unchangedSince !== guid || state.inUse) return;
  // What changed within the last tick of the clock would count as changed for ever.
  await context.clock.sleep(clockTickMs);
  const summary = await listTree(context, dataset, guid, treeFolder(context, dataset, state.tree));
  if (summary.digest === snapshot.digest) return;
  // Somebody has written into an unmounted copy: it is no longer at the snapshot.
  await writeState(context, { ...state, unchangedSince: null });
  throw corrupt("the copy was changed while nobody may change it");
}
