import { AssertionError, failure, ProblemError, success } from "@flocker/core";
import type { Abort, ByteStream, Problem, ReceiveRequest, Result } from "@flocker/core";
import { makeBlock, newCopy } from "./model-content.ts";
import type { Block, ModelSnapshot } from "./model-content.ts";
import { noSpace } from "./model-disk.ts";
import type { ModelDisk, ModelPartial } from "./model-disk.ts";
import { StreamCorrupt, StreamDecoder, tokenAfter } from "./model-stream.ts";
import type { Change } from "./model-stream.ts";

/** What a receive begins with, looked at before a byte is read and again before the switch. */
type ReceiveStart =
  | { readonly kind: "already-there" }
  | { readonly kind: "go"; readonly base: ModelSnapshot | null };

/** Whether the stream may be taken in at all. */
function startReceive(disk: ModelDisk, request: ReceiveRequest): Result<ReceiveStart> {
  const { dataset } = request;
  const copy = disk.copies.get(dataset) ?? null;
  if (copy === null) {
    return request.base === null ? success({ kind: "go", base: null }) : baseMissing(disk, request);
  }
  if (copy.unreadable !== null) return { ok: false, problem: copy.unreadable };
  if (copy.mounted || copy.record.role === "primary") {
    return failure(
      "target-holds-primary",
      `Receiving dataset ${dataset} on ${disk.name}: its copy there is ${copy.mounted ? "mounted" : "the primary"}.`,
      "Nothing is overwritten. Look at which node owns the dataset.",
    );
  }
  if (copy.trashedAt !== null) {
    return failure(
      "dataset-deleted",
      `Receiving dataset ${dataset} on ${disk.name}: its copy there lies in the trash.`,
      "Restore it, or wait until it has been destroyed.",
    );
  }
  if (copy.snapshots.at(-1)?.identity.guid === request.snapshot.guid && !copy.dirty) {
    return success({ kind: "already-there" });
  }
  if (request.base === null) return success({ kind: "go", base: null });
  // An increment fits only onto exactly its base: what came after it here would be lost.
  const newest = copy.snapshots.at(-1);
  if (newest?.identity.guid !== request.base || copy.dirty) return baseMissing(disk, request);
  return success({ kind: "go", base: newest });
}

function baseMissing(disk: ModelDisk, request: ReceiveRequest): { ok: false; problem: Problem } {
  return failure(
    "snapshot-missing",
    `Receiving dataset ${request.dataset} on ${disk.name}: there is no copy that is exactly at ${request.base}.`,
    "Send it from the snapshot that the copy is at, or in full.",
  );
}

/** How a receive begins: there is nothing to do, or a stream to be taken in, with what has come before it. */
export function beginReceive(
  disk: ModelDisk,
  request: ReceiveRequest,
): Result<{ readonly isThere: boolean; readonly before: ModelPartial | null }> {
  const start = startReceive(disk, request);
  if (!start.ok) return start;
  if (start.value.kind === "already-there") return success({ isThere: true, before: null });
  const before = takeUpPartial(disk, request);
  return before.ok ? success({ isThere: false, before: before.value }) : before;
}

/** A stream from its beginning throws away whatever an interrupted one has left. */
function takeUpPartial(disk: ModelDisk, request: ReceiveRequest): Result<ModelPartial | null> {
  const { dataset, base, snapshot, resume } = request;
  const partial = disk.partials.get(dataset) ?? null;
  if (resume === undefined) {
    disk.keepPartial(dataset, null);
    return success(null);
  }
  if (partial?.token === resume && partial.snapshot === snapshot.guid && partial.base === base)
    return success(partial);
  return failure(
    "resume-token-dead",
    `Receiving dataset ${dataset} on ${disk.name}: there is not what this stream goes on with.`,
    "It is sent anew by itself.",
  );
}

/** A receive under way: what has come so far lies beside the copy and takes space, but is not part of it. */
export class Intake {
  readonly #disk: ModelDisk;
  readonly #request: ReceiveRequest;
  readonly #decoder: StreamDecoder;
  readonly #changes: Change[];
  #bytes: number;
  #abandoned = false;

  constructor(disk: ModelDisk, request: ReceiveRequest, before: ModelPartial | null) {
    this.#disk = disk;
    this.#request = request;
    this.#changes = [...(before?.changes ?? [])];
    this.#bytes = before?.bytes ?? 0;
    const expected = { base: request.base, snapshot: request.snapshot.guid };
    this.#decoder = new StreamDecoder(expected, this.#changes);
    disk.keepPartial(request.dataset, null);
    disk.reserve(this, this.#bytes);
  }

  /** Takes the whole stream in. */
  async take(stream: ByteStream, abort: Abort): Promise<Result<void>> {
    const iterator = stream[Symbol.asyncIterator]();
    const aborting = onceAborted(abort);
    try {
      for (;;) {
        const next = await Promise.race([iterator.next(), aborting.promise]);
        if (next === "aborted") return this.#interrupted("it was called off");
        if (next.done === true) break;
        const refused = this.#takeChunk(next.value);
        if (refused !== null) return refused;
      }
    } catch (error) {
      return this.#broken(error);
    } finally {
      aborting.dispose();
      // Not awaited: a stream that hangs would never answer.
      iterator.return?.().catch(() => {});
    }
    return this.#decoder.complete ? success() : this.#interrupted("the stream ended too early");
  }

  /** Makes the copy hold exactly the snapshot, in one step. */
  finish(): Result<void> {
    const start = startReceive(this.#disk, this.#request);
    if (!start.ok) return start;
    const { dataset, snapshot, record, maximumSizeBytes } = this.#request;
    // What was reserved becomes the copy's own.
    this.abandon();
    const { value } = start;
    const existing = this.#disk.copies.get(dataset);
    const copy = existing ?? newCopy(record, maximumSizeBytes);
    if (value.kind === "go") {
      const older = value.base === null ? [] : copy.snapshots;
      copy.content = this.#content(value.base);
      copy.snapshots = [
        ...older,
        {
          identity: Object.freeze({ ...snapshot }),
          content: copy.content,
          birth: this.#disk.nextTransaction(),
        },
      ];
      copy.shared = true;
      copy.dirty = false;
    }
    copy.record = { ...record };
    copy.maximumSizeBytes = maximumSizeBytes;
    if (existing === undefined) this.#disk.addCopy(dataset, copy);
    this.#disk.recount(copy);
    this.#disk.tell({ kind: "received", dataset, snapshot: snapshot.guid });
    return success();
  }

  /**
   * Keeps what has arrived, so that it can go on, where this storage can; after a loss of power only as much
   * of it as was synced.
   */
  keep(syncedShare: number = 1): void {
    if (this.#abandoned) return;
    this.abandon();
    const { dataset, base, snapshot } = this.#request;
    const changes = this.#changes.slice(0, Math.ceil(this.#changes.length * syncedShare));
    if (!this.#disk.options.capabilities.resume || changes.length === 0) return;
    const token = tokenAfter({ base, snapshot: snapshot.guid }, changes);
    const bytes = changes.reduce((sum, change) => sum + bytesOfChange(change), 0);
    this.#disk.keepPartial(dataset, { dataset, snapshot: snapshot.guid, base, token, changes, bytes });
  }

  /** Gives back what the unfinished part has taken. */
  abandon(): void {
    this.#abandoned = true;
    this.#disk.reserve(this, null);
  }

  #takeChunk(chunk: Uint8Array): Result<void> | null {
    for (const change of this.#decoder.take(chunk)) {
      this.#changes.push(change);
      this.#bytes += bytesOfChange(change);
    }
    // After a crash the stream may still bring something, but nobody is there to take it.
    if (!this.#abandoned) this.#disk.reserve(this, this.#bytes);
    if (this.#disk.freeBytes >= 0) return null;
    return noSpace(`Receiving dataset ${this.#request.dataset} on ${this.#disk.name}: the disk is full.`);
  }

  #content(base: ModelSnapshot | null): Map<string, Block> {
    const content = new Map(base?.content);
    const birth = this.#disk.nextTransaction();
    for (const change of this.#changes) {
      if ("put" in change) content.set(change.put, makeBlock(change.put, change.text, birth));
      else content.delete(change.drop);
    }
    return content;
  }

  #broken(error: unknown): Result<void> {
    if (error instanceof StreamCorrupt) {
      return failure(
        "transfer-corrupt",
        `Receiving dataset ${this.#request.dataset} on ${this.#disk.name}: the stream is wrong, ${error.message}.`,
        "The transfer starts again by itself.",
      );
    }
    if (error instanceof AssertionError) throw error;
    if (!(error instanceof ProblemError)) return this.#interrupted(String(error));
    if (error.problem.code.startsWith("transfer-")) return { ok: false, problem: error.problem };
    return this.#interrupted(error.problem.message);
  }

  #interrupted(why: string): { ok: false; problem: Problem } {
    return failure(
      "transfer-interrupted",
      `Receiving dataset ${this.#request.dataset} on ${this.#disk.name}: ${why}.`,
      "The transfer starts again by itself.",
    );
  }
}

function bytesOfChange(change: Change): number {
  return "put" in change ? makeBlock(change.put, change.text, 0).sizeBytes : 0;
}

function onceAborted(abort: Abort): { readonly promise: Promise<"aborted">; dispose(): void } {
  let onAbort = (): void => {};
  const promise = new Promise<"aborted">((resolve) => {
    onAbort = () => resolve("aborted");
    if (abort.aborted) onAbort();
    else abort.addEventListener("abort", onAbort, { once: true });
  });
  return { promise, dispose: () => abort.removeEventListener("abort", onAbort) };
}
