import { failure, ProblemError, success } from "@flocker/core";
import type {
  Abort,
  Backend,
  ByteStream,
  Clock,
  DatasetId,
  Problem,
  ReceiveRequest,
  Result,
  SendRequest,
  SendStream,
  Snapshot,
} from "@flocker/core";
import type { ModelDisk } from "./model-disk.ts";
import * as operations from "./model-operations.ts";
import { beginReceive, Intake } from "./model-receive.ts";
import { changesBetween, countBefore, encodeStream } from "./model-stream.ts";
import type { Range } from "./network.ts";
import type { Incarnation } from "./node.ts";
import type { SeededRandom } from "./random.ts";

/** The methods of a backend that take time and may fail. */
export type BackendMethod = Exclude<keyof Backend, "kind" | "capabilities" | "watch">;

/**
 * What becomes of a call: nothing special, or an error although (or because) it was (or was not) done. An
 * answer that is lost for good goes with a crash: see `crashAtEffect`.
 */
export type BackendFate =
  | { readonly kind: "normal" }
  | { readonly kind: "fails"; readonly done: boolean; readonly problem?: Problem }
  | { readonly kind: "slow"; readonly extraMs: number };

/** Decides what becomes of each call, in the order in which they are made. */
export type BackendFates = (method: BackendMethod, dataset: DatasetId | null) => BackendFate;

/** What a model backend works with. */
export interface ModelBackendParts {
  readonly disk: ModelDisk;
  readonly incarnation: Incarnation;
  readonly clock: Clock;
  readonly random: SeededRandom;
  /** How long each call takes. */
  readonly callMs: Range;
  readonly fates: BackendFates;
  /** Whether the storage tells what happens behind the agent's back. */
  readonly watches: boolean;
}

/** A backend over a model disk, as one incarnation of the agent sees it. */
export function modelBackend(parts: ModelBackendParts): Backend {
  const { disk, random, clock } = parts;
  const call = <Value>(
    method: BackendMethod,
    dataset: DatasetId | null,
    effect: () => Result<Value>,
  ): Promise<Result<Value>> => callOnce(parts, method, dataset, effect);
  return {
    kind: "model",
    capabilities: disk.options.capabilities,
    discover: (dataset) => call("discover", dataset, () => operations.discover(disk, dataset)),
    create: (record, maximumSizeBytes) =>
      call("create", record.dataset, () => operations.create(disk, record, maximumSizeBytes)),
    writeRecord: (record) => call("writeRecord", record.dataset, () => operations.writeRecord(disk, record)),
    mount: (dataset) => call("mount", dataset, () => operations.mount(disk, dataset)),
    unmount: (dataset) => call("unmount", dataset, () => operations.unmount(disk, dataset)),
    snapshot: (dataset, name) => {
      const fresh: Snapshot = { guid: random.uuid(), name, createdAt: clock.now() };
      return call("snapshot", dataset, () => operations.snapshot(disk, dataset, fresh));
    },
    destroySnapshots: (dataset, guids) =>
      call("destroySnapshots", dataset, () => operations.destroySnapshots(disk, dataset, guids)),
    resize: (dataset, maximumSizeBytes) =>
      call("resize", dataset, () => operations.resize(disk, dataset, maximumSizeBytes)),
    trash: (dataset, at) => call("trash", dataset, () => operations.trash(disk, dataset, at)),
    restore: (dataset) => call("restore", dataset, () => operations.restore(disk, dataset)),
    destroy: (dataset) => call("destroy", dataset, () => operations.destroy(disk, dataset)),
    ...(disk.options.capabilities.resume
      ? {
          discardPartial: (dataset: DatasetId) =>
            call("discardPartial", dataset, () => operations.discardPartial(disk, dataset)),
        }
      : {}),
    send: (request, abort) => call("send", request.dataset, () => openStream(parts, request, abort)),
    receive: (request, stream, abort) => receive(parts, request, stream, abort),
    ...(parts.watches ? { watch: watchDisk(parts) } : {}),
  };
}

/** One effect at a later instant, and its answer later still; a fate may turn the answer into an error. */
function callOnce<Value>(
  parts: ModelBackendParts,
  method: BackendMethod,
  dataset: DatasetId | null,
  effect: () => Result<Value>,
): Promise<Result<Value>> {
  const { incarnation, random, callMs, disk } = parts;
  return new Promise((resolve) => {
    if (!incarnation.alive) return;
    incarnation.node.counters.countBackendCall(method);
    const fate = parts.fates(method, dataset);
    const totalMs = random.between(callMs.min, callMs.max) + (fate.kind === "slow" ? fate.extraMs : 0);
    const effectMs = random.between(0, totalMs);
    incarnation.performAfter(
      `${method} ${dataset ?? "all"}`,
      { effectMs, answerMs: totalMs - effectMs },
      () => {
        if (disk.broken !== null) return { ok: false, problem: disk.broken } as const;
        if (fate.kind !== "fails") return effect();
        if (fate.done) effect();
        return { ok: false, problem: fate.problem ?? commandFailed(disk, method, dataset) } as const;
      },
      resolve,
    );
  });
}

function openStream(parts: ModelBackendParts, request: SendRequest, abort: Abort): Result<SendStream> {
  const { disk } = parts;
  const found = operations.find(disk, request.dataset, "Sending");
  if (!found.ok) return found;
  const wanted = (guid: string) => found.value.snapshots.find(({ identity }) => identity.guid === guid);
  const snapshot = wanted(request.snapshot);
  const base = request.base === null ? null : wanted(request.base);
  if (snapshot === undefined || base === undefined) {
    const missing = snapshot === undefined ? request.snapshot : request.base;
    return failure(
      "snapshot-missing",
      `Sending dataset ${request.dataset} from ${disk.name}: the snapshot ${missing} is not there.`,
      "Look again at what both sides hold.",
    );
  }
  // The changes are taken now, and snapshots never change: the stream needs no hold on anything.
  const changes = changesBetween(base?.content ?? null, snapshot.content);
  const from = countBefore(request, changes);
  if (from === undefined) {
    return failure(
      "resume-token-dead",
      `Sending dataset ${request.dataset} from ${disk.name}: it does not begin as what has been received does.`,
      "It is sent anew by itself.",
    );
  }
  // The header and the end of the stream are some 200 bytes.
  const estimatedBytes = changes
    .slice(from)
    .reduce((bytes, change) => bytes + JSON.stringify(change).length, 200);
  const chunks = encodeStream(request, changes, { linesPerChunk: disk.options.linesPerChunk, from });
  return success({ stream: paced(parts, chunks, abort), estimatedBytes });
}

/** Chunks as a disk gives them: each takes its time. */
async function* paced(
  parts: ModelBackendParts,
  chunks: IterableIterator<Uint8Array>,
  abort: Abort,
): AsyncGenerator<Uint8Array> {
  const { clock, random, callMs, disk } = parts;
  for (const chunk of chunks) {
    await clock.sleep(random.between(0, callMs.max / 10), abort);
    if (abort.aborted) {
      throw new ProblemError({
        code: "transfer-interrupted",
        message: `Reading a stream on ${disk.name}: it was called off.`,
        remedy: "The transfer starts again by itself.",
      });
    }
    yield chunk;
  }
}

async function receive(
  parts: ModelBackendParts,
  request: ReceiveRequest,
  stream: ByteStream,
  abort: Abort,
): Promise<Result<void>> {
  const { disk, incarnation, random } = parts;
  const start = await callOnce(parts, "receive", request.dataset, () => beginReceive(disk, request));
  if (!start.ok) return start;
  const intake = new Intake(disk, request, start.value.before);
  // What a program has written outlives it; a loss of power may take what was not synced yet.
  const forget = incarnation.onDown((kind) => intake.keep(kind === "machine" ? random.next() : 1));
  try {
    if (!start.value.isThere) {
      const taken = await intake.take(stream, abort);
      if (!taken.ok && taken.problem.code === "transfer-interrupted") intake.keep();
      if (!taken.ok) return taken;
    }
    return await finishReceive(parts, request, intake);
  } finally {
    intake.abandon();
    forget();
  }
}

/**
 * The switch to the new content is an effect of its own: a crash just before or after it is where it hurts.
 */
function finishReceive(
  parts: ModelBackendParts,
  request: ReceiveRequest,
  intake: Intake,
): Promise<Result<void>> {
  const { disk, incarnation, random, callMs } = parts;
  return new Promise((resolve) => {
    const effectMs = random.between(callMs.min, callMs.max);
    incarnation.performAfter(
      `receive ${request.dataset} completes`,
      { effectMs, answerMs: random.between(0, callMs.min) },
      (): Result<void> => (disk.broken === null ? intake.finish() : { ok: false, problem: disk.broken }),
      resolve,
    );
  });
}

function watchDisk(parts: ModelBackendParts): NonNullable<Backend["watch"]> {
  return (onChange) => {
    const { disk, incarnation } = parts;
    const stop = disk.watch(() => incarnation.after(0, "hears of a change of its storage", onChange));
    incarnation.onDown(stop);
    return stop;
  };
}

function commandFailed(disk: ModelDisk, method: BackendMethod, dataset: DatasetId | null): Problem {
  return failure(
    "command-failed",
    `The step ${method} for ${dataset ?? "all datasets"} on ${disk.name} ended with an error.`,
    "It is tried again by itself; look at the storage if it goes on.",
  ).problem;
}
