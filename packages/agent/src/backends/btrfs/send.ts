import type { Abort, SendRequest, SendStream } from "@flocker/core";
import type { ProblemError } from "@flocker/core";

import { refuse } from "../problems.ts";
import { streamProgram } from "../programs.ts";
import { requireCopy } from "./copies.ts";
import type { Context } from "./layout.ts";
import { corrupt, readHeader } from "./send-stream.ts";
import { pathOf } from "./snapshots.ts";
import type { CopyState, StoredSnapshot } from "./state.ts";
import { showSubvolume } from "./subvolumes.ts";

/**
 * Opens the stream of a snapshot. It is checked to be of the snapshot that was asked for before any of it
 * leaves.
 */
export async function openSend(context: Context, request: SendRequest, abort: Abort): Promise<SendStream> {
  const { dataset } = request;
  const state = await requireCopy(context, dataset);
  const snapshot = requireSnapshot(state, request.snapshot);
  const base = request.base === null ? null : requireSnapshot(state, request.base);
  const doing = `Sending dataset ${dataset}`;
  const shown = await showSubvolume(context, doing, pathOf(context, dataset, snapshot));
  if (shown.uuid !== snapshot.uuid || !shown.isReadOnly) throw replaced(dataset, snapshot);
  const argv = ["btrfs", "-q", "send"];
  if (base !== null) argv.push("-p", pathOf(context, dataset, base));
  argv.push(pathOf(context, dataset, snapshot));
  return {
    stream: checked(streamProgram(context.commands, doing, argv, { abort }), request),
    estimatedBytes: base === null ? shown.referencedBytes : null,
  };
}

async function* checked(source: AsyncIterable<Uint8Array>, request: SendRequest): AsyncGenerator<Uint8Array> {
  let begun: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of source) {
    if (begun === undefined) {
      yield chunk;
      continue;
    }
    begun = Buffer.concat([begun, chunk]);
    const header = readHeader(begun);
    if (header === undefined) continue;
    if (header.uuid !== request.snapshot || header.baseUuid !== request.base) {
      throw corrupt(`btrfs sends snapshot ${header.uuid} where ${request.snapshot} was asked for`);
    }
    yield begun;
    begun = undefined;
  }
}

function replaced(dataset: string, snapshot: StoredSnapshot): ProblemError {
  return refuse(
    "snapshot-missing",
    `Snapshot ${snapshot.guid} of dataset ${dataset} has been replaced or made writable.`,
    "Take a new snapshot; this is done by itself.",
  );
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
