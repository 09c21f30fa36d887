import assert from "node:assert/strict";
import {
  agentProtocolVersion,
  firstEpoch,
  type AgentToControl,
  type Clock,
  type CopyRecord,
  type DatasetId,
  type DatasetReport,
  type Epoch,
  type Log,
  type NodeId,
  type Result,
} from "@flocker/core";
import { sampleIds, sampleNodeId, sampleUuid } from "../store/sample-values.ts";
import { openDatabase } from "../store/database.ts";
import { migrations } from "../store/schema.ts";
import { storeIn } from "../store/sqlite-store.ts";
import type { ConfigurationStore } from "../store/store.ts";
import type { ClusterCore } from "./cluster-core.ts";
import type { ClusterChange, DatasetView } from "./cluster.ts";
import { createCluster } from "./create-cluster.ts";

export const graceMs = 60_000;
export const alice = { author: "user-alice" };
export const startedAt = 1_800_000_000_000;

/** A clock that stands still until it is moved. */
export class TestClock implements Clock {
  time = startedAt;
  now(): number {
    return this.time;
  }
  monotonic(): number {
    return this.time;
  }
  async sleep(): Promise<void> {
    assert.fail("the cluster never sleeps");
  }
}

const silent: Log = { write: () => undefined, with: () => silent };

/** A cluster on a store in memory, with what it tells. */
export class TestCluster {
  readonly clock = new TestClock();
  readonly store: ConfigurationStore;
  /** Makes the store's disk refuse all writes, or take them again. */
  readonly setWritable: (isWritable: boolean) => void;
  readonly changes: ClusterChange[] = [];
  cluster: ClusterCore;

  constructor() {
    const database = valueOf(openDatabase(":memory:"));
    this.store = valueOf(storeIn(database, { ids: sampleIds() }, migrations));
    this.setWritable = (isWritable) => database.execute(`PRAGMA query_only = ${isWritable ? "OFF" : "ON"}`);
    this.cluster = this.restart();
  }

  /** The control service starts again on the same store: all it knew in memory is gone. */
  restart(): ClusterCore {
    const { store, clock } = this;
    this.cluster = createCluster({ store, clock, ids: sampleIds(1_000), log: silent, graceMs });
    this.cluster.subscribe((change) => this.changes.push(change));
    return this.cluster;
  }

  connect(number: number, parts: Partial<Hello> = {}): NodeId {
    const hello = sampleHello(number, parts);
    this.cluster.nodeConnected(hello.node, hello, `192.0.2.${number % 250}`);
    return hello.node;
  }

  /** A node that connects and says all that it has. */
  join(number: number, ...reports: readonly DatasetReport[]): NodeId {
    const node = this.connect(number);
    this.report(node, { complete: { begins: true, ends: true }, datasets: reports });
    return node;
  }

  report(node: NodeId, parts: Partial<StateMessage>): void {
    this.cluster.applyReport(node, {
      kind: "state",
      sequence: 1,
      complete: null,
      datasets: [],
      gone: [],
      capacity: null,
      ...parts,
    });
  }

  create(primary: NodeId, name?: string): DatasetId {
    const metadata: Record<string, string> = name === undefined ? {} : { name };
    return valueOf(this.cluster.createDataset({ primary, maximumSizeBytes: null, metadata }, alice)).dataset;
  }

  view(dataset: DatasetId): DatasetView {
    const view = this.cluster.dataset(dataset);
    assert.ok(view !== undefined);
    return view;
  }

  /** What was told since the last call. */
  told(): readonly ClusterChange[] {
    return this.changes.splice(0);
  }
}

type StateMessage = Extract<AgentToControl, { kind: "state" }>;
type Hello = Extract<AgentToControl, { kind: "hello" }>;

export function valueOf<Value>(result: Result<Value>): Value {
  assert.ok(result.ok, result.ok ? "" : `${result.problem.code}: ${result.problem.message}`);
  return result.value;
}

export function problemOf(result: Result<unknown>): {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
  readonly field?: string;
} {
  assert.ok(!result.ok, "it must be refused");
  return result.problem;
}

function sampleHello(number: number, parts: Partial<Hello>): Hello {
  return {
    kind: "hello",
    protocol: agentProtocolVersion,
    version: "0.1.0",
    node: sampleNodeId(number),
    era: sampleUuid(number) as Hello["era"],
    incarnation: sampleUuid(number),
    name: `node-${number}`,
    dataAddress: { host: null, port: 4525 },
    backend: {
      kind: "directory",
      capabilities: {
        liveSnapshots: false,
        resume: false,
        quota: false,
        clone: false,
        compression: false,
        encryption: false,
      },
    },
    knownRevision: 0,
    ...parts,
  };
}

export function epochOf(term: number, step: number): Epoch {
  return { term, step };
}

/** A report without a copy. */
export function absence(dataset: DatasetId, parts: Partial<DatasetReport> = {}): DatasetReport {
  return { dataset, copy: null, unreadable: null, renounced: null, activity: null, reasons: [], ...parts };
}

/** A report of a copy; a mounted primary at the first epoch unless told otherwise. */
export function holding(
  dataset: DatasetId,
  record: Partial<CopyRecord> = {},
  copy: Partial<NonNullable<DatasetReport["copy"]>> = {},
): DatasetReport {
  const role = record.role ?? "primary";
  return absence(dataset, {
    copy: {
      record: { dataset, epoch: firstEpoch, role, ...record },
      mountedAt: role === "primary" ? `/flocker/${dataset}` : null,
      trashedAt: null,
      maximumSizeBytes: null,
      usedBytes: 0,
      snapshots: [],
      ...copy,
    },
  });
}
