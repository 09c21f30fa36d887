import type { Abort, SendRequest, SendStream } from "@flocker/core";
import { ProblemError } from "@flocker/core";

import { refuse } from "../problems.ts";
import { streamProgram } from "../programs.ts";
import { requireCopy, type CopyState } from "./copies.ts";
import { holdTagPrefix, type Context } from "./layout.ts";
import { poolProblem, tryZfs, zfsFailed } from "./programs.ts";
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
  const raw = state.entry.row.isEncrypted ? ["-w"] : [];
  const increment = base === null ? [] : ["-i", base.name];
  // A token names the snapshots, and how the stream was made.
  const what =
    request.resume === undefined
      ? ["-L", "-e", "-c", ...raw, ...increment, snapshot.name]
      : ["-t", request.resume];
  const doing = `Sending dataset ${dataset}`;
  const args = ["send", "-nvP", ...what];
  const estimate = await tryZfs(context, args);
  // Depending on the version it is said on the one output or the other.
  const said = `${estimate.stdout}\n${estimate.stderr}`;
  if (request.resume !== undefined)
    await requireAlive(context, request, estimate.exitCode === 0 ? said : null);
  if (estimate.exitCode !== 0) throw await zfsFailed(context, doing, args, estimate);
  const names = base === null ? [snapshot.name] : [base.name, snapshot.name];
  return {
    stream: held(context, doing, names, () =>
      streamProgram(context.commands, doing, ["zfs", "send", ...what], { abort }),
    ),
    estimatedBytes: estimateIn(said),
  };
}

/**
 * The size of a stream that `zfs send -nP` tells. That of a resumed one is what was estimated less what has
 * been sent: near the end it may be less than nothing, which OpenZFS 2.1 shows as a number near 2^64.
 */
export function estimateIn(said: string): number | null {
  const [, size] = /^size\s+(\d+)$/m.exec(said) ?? [];
  return size === undefined || !Number.isSafeInteger(Number(size)) ? null : Number(size);
}

/** A token must be of these very snapshots, as ZFS reads it; `contents` is null where it cannot use it. */
async function requireAlive(
  context: Context,
  { dataset, snapshot, base }: SendRequest,
  contents: string | null,
): Promise<void> {
  const guid = (field: string): string | null => {
    const [, hex] = new RegExp(`^\\s*${field} = (0x[0-9a-f]+)$`, "m").exec(contents ?? "") ?? [];
    return hex === undefined ? null : BigInt(hex).toString();
  };
  if (guid("toguid") === snapshot && guid("fromguid") === base) return;
  const problem = await poolProblem(context);
  if (problem !== null) throw new ProblemError(problem);
  throw refuse(
    "resume-token-dead",
    `The transfer of dataset ${dataset} cannot go on where it stopped: ` +
      `${contents === null ? "ZFS has no use for its token here" : "its token is of another snapshot"}.`,
    "It is sent anew by itself.",
  );
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
