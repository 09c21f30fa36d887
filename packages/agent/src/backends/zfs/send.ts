import type { Abort, SendRequest, SendStream } from "@flocker/core";

import { refuse } from "../problems.ts";
import { streamProgram } from "../programs.ts";
import { requireCopy, type CopyState } from "./copies.ts";
import { holdTagPrefix, type Context } from "./layout.ts";
import { tryZfs, zfsFailed } from "./programs.ts";
import type { Row } from "./sweep.ts";

/**
 * Opens the stream of a snapshot: compressed blocks as they are, and those of encrypted datasets without
 * their key.
 */
export async function openSend(context: Context, request: SendRequest, abort: Abort): Promise<SendStream> {
  const { dataset } = request;
  const state = await requireCopy(context, dataset);
  const snapshot = requireSnapshot(state, request.snapshot);
  const base = request.base === null ? null : requireSnapshot(state, request.base);
  const options = ["-L", "-e", "-c", ...(state.entry.row.isEncrypted ? ["-w"] : [])];
  const what = [...(base === null ? [] : ["-i", base.name]), snapshot.name];
  const doing = `Sending dataset ${dataset}`;
  const args = ["send", "-nP", ...options, ...what];
  const estimate = await tryZfs(context, args);
  if (estimate.exitCode !== 0) throw await zfsFailed(context, doing, args, estimate);
  // Depending on the version it is said on the one output or the other.
  const [, size] = /^size\s+(\d+)$/m.exec(`${estimate.stdout}\n${estimate.stderr}`) ?? [];
  const names = base === null ? [snapshot.name] : [base.name, snapshot.name];
  return {
    stream: held(context, doing, names, () =>
      streamProgram(context.commands, doing, ["zfs", "send", ...options, ...what], { abort }),
    ),
    estimatedBytes: size === undefined ? null : Number(size),
  };
}

/** Holds snapshots for as long as a stream of them lives, so that nobody destroys them meanwhile. */
async function* held(
  context: Context,
  doing: string,
  names: readonly string[],
  stream: () => AsyncGenerator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const tag = `${holdTagPrefix}${context.ids.uuid()}`;
  const args = ["hold", tag, ...names];
  const result = await tryZfs(context, args);
  if (result.exitCode !== 0) throw await zfsFailed(context, doing, args, result);
  try {
    yield* stream();
  } finally {
    await release(context, tag, names);
  }
}

async function release(context: Context, tag: string, names: readonly string[]): Promise<void> {
  const released = await context.commands.run(["zfs", "release", tag, ...names], { timeoutMs: 60_000 });
  if (released.ok && released.value.exitCode === 0) return;
  // The next start of the agent releases it.
  context.log?.write("warn", "snapshots-not-released", { tag, names });
}

/** Releases the holds of transfers that have died with an agent. */
export async function releaseStale(context: Context, snapshots: readonly Row[]): Promise<void> {
  const names = snapshots.filter(({ holds }) => holds > 0).map(({ name }) => name);
  if (names.length === 0) return;
  const listed = await tryZfs(context, ["holds", "-H", ...names]);
  const byTag = new Map<string, string[]>();
  for (const line of listed.stdout.split("\n")) {
    const [name, tag] = line.split("\t");
    if (name === undefined || tag === undefined || !tag.startsWith(holdTagPrefix)) continue;
    byTag.set(tag, [...(byTag.get(tag) ?? []), name]);
  }
  for (const [tag, held] of byTag) await release(context, tag, held);
}

function requireSnapshot({ entry, observed }: CopyState, guid: string): Row {
  const row = entry.snapshots.find((candidate) => candidate.guid === guid);
  if (row !== undefined) return row;
  throw refuse(
    "snapshot-missing",
    `The copy of dataset ${observed.dataset} has no snapshot ${guid}.`,
    "Send from a snapshot that both copies have, or everything.",
  );
}
