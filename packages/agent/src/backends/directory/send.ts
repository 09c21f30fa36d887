import type { Abort, SendRequest, SendStream } from "@flocker/core";

import { createArguments, type TarFeatures } from "./archive.ts";
import { requireCopy } from "./copies.ts";
import {
  listChanges,
  surveyDifference,
  type Difference,
  type ManifestPair,
  type PathChange,
} from "./difference.ts";
import { FrameWriter, interrupted } from "./frames.ts";
import { manifestFile, treeFolder, type Context } from "./layout.ts";
import { refuse } from "../problems.ts";
import { streamProgram } from "../programs.ts";
import { publicSnapshot } from "../stored-state.ts";
import type { CopyState, StoredSnapshot } from "./state.ts";

/** Opens the stream from the base (null for all) to a snapshot, which the data must still be at. */
export async function openSend(
  context: Context,
  tar: TarFeatures,
  request: SendRequest,
  abort: Abort,
): Promise<SendStream> {
  const { dataset } = request;
  const state = await requireCopy(context, dataset);
  const snapshot = requireSnapshot(state, request.snapshot);
  if (state.unchangedSince !== snapshot.guid) {
    throw refuse(
      "snapshot-missing",
      `The data of dataset ${dataset} are no longer those of snapshot ${snapshot.name}: it has been in use since.`,
      "Take a new snapshot and send that. The directory backend does not keep the data of older ones.",
    );
  }
  if (request.base !== null) requireSnapshot(state, request.base);
  const pair: ManifestPair = {
    base: request.base === null ? null : manifestFile(context, dataset, request.base),
    current: manifestFile(context, dataset, snapshot.guid),
  };
  const difference = await surveyDifference(context, pair);
  const stream = produce({ context, tar, request, snapshot, tree: state.tree, pair, difference, abort });
  return { stream, estimatedBytes: difference.estimatedBytes };
}

interface Sending {
  readonly context: Context;
  readonly tar: TarFeatures;
  readonly request: SendRequest;
  readonly snapshot: StoredSnapshot;
  readonly tree: number;
  readonly pair: ManifestPair;
  readonly difference: Difference;
  readonly abort: Abort;
}

async function* produce(sending: Sending): AsyncGenerator<Uint8Array> {
  const { context, tar, request, snapshot, abort } = sending;
  const frames = new FrameWriter();
  yield frames.begin({
    dataset: request.dataset,
    base: request.base,
    snapshot: publicSnapshot(snapshot),
    digest: snapshot.digest,
    entries: snapshot.entries,
    acls: tar.acls,
  });
  if (request.base !== null) {
    yield* frames.frames(
      "D",
      listedPaths(sending, (change) => change.remove),
    );
    yield* frames.frames(
      "F",
      listedPaths(sending, (change) => change.remake),
    );
  }
  const archive = streamProgram(
    context.commands,
    `Reading the data of dataset ${request.dataset}`,
    createArguments(tar),
    {
      cwd: treeFolder(context, request.dataset, sending.tree),
      stdin: listedPaths(sending, (change) => change.send, "./"),
      abort,
    },
  );
  yield* frames.frames("T", archive);
  await requireUnchanged(sending);
  yield* frames.end();
}

/** The paths of the chosen changes, each with a prefix and closed by a NUL. */
async function* listedPaths(
  sending: Sending,
  chosen: (change: PathChange) => boolean,
  prefix = "",
): AsyncGenerator<Uint8Array> {
  const before = Buffer.from(prefix);
  for await (const changes of listChanges(sending.context, sending.pair, sending.difference)) {
    if (sending.abort.aborted) throw interrupted("it was stopped");
    const listed = changes.filter(chosen);
    if (listed.length > 0) yield Buffer.concat(listed.flatMap(({ path }) => [before, path, closingNul]));
  }
}

const closingNul = Buffer.from([0]);

/** Before the end mark: a copy that was mounted while it was read may have been changed under tar's hands. */
async function requireUnchanged(sending: Sending): Promise<void> {
  const { context, request, snapshot, tree } = sending;
  const now = await requireCopy(context, request.dataset);
  if (now.unchangedSince === snapshot.guid && now.tree === tree) return;
  throw interrupted("the copy was mounted or replaced while it was sent");
}

function requireSnapshot(state: CopyState, guid: string): StoredSnapshot {
  const snapshot = state.snapshots.find((candidate) => candidate.guid === guid);
  if (snapshot !== undefined) return snapshot;
  throw refuse(
    "snapshot-missing",
    `The copy of dataset ${state.record.dataset} has no snapshot ${guid}.`,
    "Send from a snapshot that both copies have, or everything.",
  );
}
