import assert from "node:assert/strict";
import { firstEpoch, parseDatasetId } from "@flocker/core";
import type {
  Backend,
  ByteStream,
  CopyRecord,
  DatasetId,
  ObservedCopy,
  Result,
  Role,
  Snapshot,
} from "@flocker/core";
import type { ModelDiskOptions } from "../model-disk.ts";
import { World } from "../world.ts";
import type { WorldNode } from "../world.ts";

/** An abort that never comes. */
export const never: AbortSignal = new AbortController().signal;
/** The dataset that is worked on. */
export const dataset: DatasetId = parseDatasetId("6c9f3a1e-0d5b-4c7e-9a42-1f2e3d4c5b6a") as DatasetId;

/** A record of the first epoch. */
export function recordOf(role: Role): CopyRecord {
  return { dataset, epoch: firstEpoch, role };
}

/** The value of a result that must be a success. */
export function okValue<Value>(result: Result<Value>): Value {
  assert.ok(result.ok, JSON.stringify(result));
  return result.value;
}

/** The code of a result's problem, or `ok`. */
export function codeOf(result: Result<unknown>): string {
  return result.ok ? "ok" : result.problem.code;
}

/** A world with two nodes, and calls of their backends that are run to their end. */
export class Bench {
  readonly world: World;
  readonly a: WorldNode;
  readonly b: WorldNode;

  constructor(disk: Partial<ModelDiskOptions> = {}, seed = 1) {
    this.world = new World({ seed, disk });
    this.a = this.world.node("a");
    this.b = this.world.node("b");
  }

  async call<Value>(
    node: WorldNode,
    call: (backend: Backend) => Promise<Result<Value>>,
  ): Promise<Result<Value>> {
    return await this.world.settle(call(node.ports.backend));
  }

  async look(node: WorldNode): Promise<ObservedCopy | undefined> {
    return okValue(await this.call(node, (backend) => backend.discover(dataset))).copies[0];
  }

  async mounted(node: WorldNode): Promise<void> {
    okValue(await this.call(node, (backend) => backend.create(recordOf("primary"), null)));
    okValue(await this.call(node, (backend) => backend.mount(dataset)));
  }

  path(key: string): string {
    return `/flocker/${dataset}/${key}`;
  }

  async snapshot(node: WorldNode, name: string): Promise<Snapshot> {
    return okValue(await this.call(node, (backend) => backend.snapshot(dataset, name)));
  }

  /** Sends from a and receives at b, to the end. */
  async transfer(base: string | null, snapshot: Snapshot, change?: Tamper): Promise<Result<void>> {
    const stream = await this.open(base, snapshot);
    return await this.world.settle(
      this.receive(base, snapshot, change === undefined ? stream : change(stream)),
    );
  }

  async open(base: string | null, snapshot: Snapshot): Promise<ByteStream> {
    const request = { dataset, base, snapshot: snapshot.guid };
    return okValue(await this.call(this.a, (backend) => backend.send(request, never))).stream;
  }

  /** Begins to receive at b; nothing happens until the world runs. */
  receive(base: string | null, snapshot: Snapshot, stream: ByteStream): Promise<Result<void>> {
    const request = { dataset, base, snapshot, record: recordOf("replica"), maximumSizeBytes: null };
    return this.b.ports.backend.receive(request, stream, never);
  }
}

/** Makes another stream of one. */
export type Tamper = (stream: ByteStream) => ByteStream;
