import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { TestContext } from "node:test";

import type {
  Abort,
  ByteStream,
  CopyRecord,
  DatasetId,
  NodeId,
  ObservedCopy,
  ProblemCode,
  ReceiveRequest,
  Result,
  Role,
  Snapshot,
} from "@flocker/core";
import { firstEpoch } from "@flocker/core";

import type { BackendHarness, BackendNode, IfPossible } from "../conformance.ts";

/** An abort that never comes. */
export const never: Abort = new AbortController().signal;

/** What one rule is tried on: three nodes, and the words in which rules are told. */
export class World {
  readonly a: BackendNode;
  readonly b: BackendNode;
  readonly c: BackendNode;

  constructor(harness: BackendHarness) {
    [this.a, this.b, this.c] = harness.nodes;
  }

  /** A new primary copy on a node, not mounted. */
  async born(node: BackendNode, maximumSizeBytes: number | null = null): Promise<DatasetId> {
    const dataset = freshDataset();
    value(await node.backend.create(recordOf(dataset), maximumSizeBytes));
    return dataset;
  }

  /** A new primary copy with these files, not mounted. */
  async bornWith(node: BackendNode, files: Readonly<Record<string, string>>): Promise<DatasetId> {
    const dataset = await this.born(node);
    await this.use(node, dataset, files);
    return dataset;
  }

  /** Mounts, writes (null removes), unmounts. */
  async use(
    node: BackendNode,
    dataset: DatasetId,
    files: Readonly<Record<string, string | null>>,
  ): Promise<void> {
    value(await node.backend.mount(dataset));
    for (const [path, content] of Object.entries(files)) {
      if (content === null) await node.remove(dataset, path);
      else await node.write(dataset, path, Buffer.from(content));
    }
    value(await node.backend.unmount(dataset));
  }

  /** The files of a copy as text, seen by mounting it as the primary. It is unmounted afterwards. */
  async contents(node: BackendNode, dataset: DatasetId): Promise<Record<string, string>> {
    const { record } = await this.seen(node, dataset);
    if (record.role !== "primary") value(await node.backend.writeRecord({ ...record, role: "primary" }));
    value(await node.backend.mount(dataset));
    const files = await node.files(dataset);
    value(await node.backend.unmount(dataset));
    const texts = [...files].map(([path, bytes]) => [path, Buffer.from(bytes).toString()] as const);
    return Object.fromEntries(texts.sort(([one], [other]) => (one < other ? -1 : 1)));
  }

  /** The copy as the backend shows it, whether it is asked for one or for all. */
  async seen(node: BackendNode, dataset: DatasetId): Promise<ObservedCopy> {
    const one = value(await node.backend.discover(dataset));
    assert.deepEqual(one.unreadable, []);
    const [copy, ...others] = one.copies;
    assert.ok(copy !== undefined && others.length === 0, `exactly one copy of ${dataset} is shown`);
    assert.equal(copy.dataset, dataset);
    assert.equal(copy.record.dataset, dataset);
    const all = value(await node.backend.discover(null));
    const among = all.copies.find((candidate) => candidate.dataset === dataset);
    assert.deepEqual(stable(among), stable(copy));
    return copy;
  }

  /** That a node shows nothing of a dataset. */
  async isAbsent(node: BackendNode, dataset: DatasetId): Promise<void> {
    const one = value(await node.backend.discover(dataset));
    assert.deepEqual([one.copies, one.unreadable], [[], []]);
    const all = value(await node.backend.discover(null));
    const shown = [...all.copies, ...all.unreadable].map((copy) => copy.dataset);
    assert.ok(!shown.includes(dataset), `${dataset} is absent`);
  }

  /** Gives up the primary role, as the last step of a move does on the source. */
  async demote(node: BackendNode, dataset: DatasetId): Promise<void> {
    const { record } = await this.seen(node, dataset);
    value(await node.backend.writeRecord({ ...record, role: "replica" }));
  }

  /** A snapshot, under a fresh name. */
  async snapshot(node: BackendNode, dataset: DatasetId): Promise<Snapshot> {
    return value(await node.backend.snapshot(dataset, `test-${randomUUID()}`));
  }

  /** The bytes of a stream from base to snapshot. */
  async stream(
    node: BackendNode,
    dataset: DatasetId,
    base: string | null,
    snapshot: string,
  ): Promise<Buffer> {
    const { stream } = value(await node.backend.send({ dataset, base, snapshot }, never));
    const chunks: Uint8Array[] = [];
    // A chunk may be reused by its producer once the next one is asked for.
    for await (const chunk of stream) chunks.push(Uint8Array.from(chunk));
    return Buffer.concat(chunks);
  }

  /** Sends from one node to another, straight through. */
  async transfer(
    from: BackendNode,
    to: BackendNode,
    dataset: DatasetId,
    base: string | null,
    snapshot: Snapshot,
  ): Promise<Result<void>> {
    const { stream } = value(await from.backend.send({ dataset, base, snapshot: snapshot.guid }, never));
    return await to.backend.receive(requestOf(dataset, base, snapshot), stream, never);
  }

  /** A whole planned move: snapshot, transfer, relinquish here, promote there. Both copies end unmounted. */
  async move(from: BackendNode, to: BackendNode, dataset: DatasetId, base: string | null): Promise<Snapshot> {
    const snapshot = await this.snapshot(from, dataset);
    value(await this.transfer(from, to, dataset, base, snapshot));
    await this.demote(from, dataset);
    const { record } = await this.seen(to, dataset);
    value(await to.backend.writeRecord({ ...record, role: "primary" }));
    return snapshot;
  }
}

/** What a receive of that snapshot asks for: a replica in the first epoch, without a maximum size. */
export function requestOf(dataset: DatasetId, base: string | null, snapshot: Snapshot): ReceiveRequest {
  return { dataset, base, snapshot, record: recordOf(dataset, "replica"), maximumSizeBytes: null };
}

/** A record in the first epoch. */
export function recordOf(dataset: DatasetId, role: Role = "primary"): CopyRecord {
  return { dataset, epoch: firstEpoch, role };
}

/** A dataset that nobody has heard of. */
export function freshDataset(): DatasetId {
  return randomUUID() as DatasetId;
}

/** A node that is only a name. */
export function freshNode(): NodeId {
  return randomUUID() as NodeId;
}

/** The value of a result that must be a success. */
export function value<Value>(result: Result<Value>): Value {
  assert.ok(result.ok, result.ok ? "" : `${result.problem.code}: ${result.problem.message}`);
  return result.value;
}

/**
 * That a result is a problem of one of these codes, and one that a person can do something with. Gives its
 * message.
 */
export function refused(result: Result<unknown>, ...codes: readonly ProblemCode[]): string {
  assert.ok(!result.ok, `it is refused with ${codes.join(" or ")}`);
  const { code, message, remedy } = result.problem;
  assert.ok(codes.includes(code), `${code} is ${codes.join(" or ")}; it said: ${message}`);
  assert.ok(message.length > 0 && remedy.length > 0, "the problem has a message and a remedy");
  return message;
}

/** Bytes as a stream, in chunks of uneven sizes. */
export async function* streamOf(bytes: Uint8Array, chunkBytes = 7919): ByteStreamGenerator {
  for (let start = 0; start < bytes.length; start += chunkBytes) {
    yield await Promise.resolve(bytes.subarray(start, start + chunkBytes));
  }
}
type ByteStreamGenerator = AsyncGenerator<Uint8Array> & ByteStream;

/** The ability, or undefined after the test has been skipped with the reason. */
export function possible<Ability extends (...args: never[]) => unknown>(
  ability: IfPossible<Ability>,
  context: TestContext,
): Ability | undefined {
  if (typeof ability === "function") return ability;
  context.skip(ability.notPossible);
  return undefined;
}

/** A copy without what may move by itself. */
export function stable(copy: ObservedCopy | undefined): unknown {
  if (copy === undefined) return undefined;
  const { usedBytes: _used, writtenBytes: _written, ...rest } = copy;
  return rest;
}
