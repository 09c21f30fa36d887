import assert from "node:assert/strict";
import {
  agentProtocolVersion,
  success,
  type Abort,
  type Clock,
  type DatasetId,
  type DatasetReport,
  type Era,
  type Ids,
  type NodeId,
} from "@flocker/core";
import { ringLog, silentLog } from "@flocker/host";
import type { ClusterCore } from "../cluster/cluster-core.ts";
import { createCluster } from "../cluster/create-cluster.ts";
import { openSqliteStore } from "../store/sqlite-store.ts";
import type { LeaseAcknowledgements } from "./api-context.ts";
import { createApplication, type Application } from "./application.ts";

/** A moment in the tests' time. */
export const noon: number = Date.parse("2026-11-25T12:00:00.000Z");

export const nodeA = "aaaaaaaa-0000-4000-8000-000000000001" as NodeId;
export const nodeB = "aaaaaaaa-0000-4000-8000-000000000002" as NodeId;

/** A clock that stands still until it is told; its sleeps end when the time has come. */
export interface TestClock extends Clock {
  advance(ms: number): void;
}

export function testClock(): TestClock {
  let now = noon;
  const sleepers = new Set<{ readonly until: number; readonly wake: () => void }>();
  return {
    now: () => now,
    monotonic: () => now,
    sleep: (ms: number, abort?: Abort) =>
      new Promise<void>((resolve) => {
        if (abort?.aborted === true) return resolve();
        const sleeper = { until: now + ms, wake: resolve };
        sleepers.add(sleeper);
        abort?.addEventListener("abort", () => {
          sleepers.delete(sleeper);
          resolve();
        });
      }),
    advance(ms) {
      now += ms;
      for (const sleeper of sleepers) {
        if (sleeper.until > now) continue;
        sleepers.delete(sleeper);
        sleeper.wake();
      }
    },
  };
}

export function countingIds(): Ids {
  let count = 0;
  return { uuid: () => `dddddddd-0000-4000-8000-${String((count += 1)).padStart(12, "0")}` };
}

export interface TestApi extends AsyncDisposable, Application {
  readonly cluster: ClusterCore;
  readonly clock: TestClock;
  readonly log: ReturnType<typeof ringLog>;
  storeOk: boolean;
  /** Says that the holders' agents have taken in what the configuration says of these leased datasets. */
  readonly acknowledge: (...datasets: readonly DatasetId[]) => void;
  /** For which the process would have ended. */
  readonly crashes: readonly Error[];
}

/** The API over a cluster in memory, without sockets: requests are injected, and come from `user-test`. */
export async function testApi(): Promise<TestApi> {
  const clock = testClock();
  const log = ringLog();
  const cluster = testCluster(clock);
  const leases = testAcknowledgements();
  const state = { storeOk: true, acknowledge: leases.acknowledge };
  const crashes: Error[] = [];
  const application = await createApplication({
    cluster,
    leases,
    clock,
    ids: countingIds(),
    log,
    version: "1.2.3",
    certificateNotAfter: () => noon + 10.5 * 86_400_000,
    storeOk: () => state.storeOk,
    crash: (error) => void crashes.push(error),
    admit: () => success({ commonName: "user-test" }),
  });
  return Object.assign(state, application, {
    cluster,
    clock,
    log,
    crashes,
    async [Symbol.asyncDispose]() {
      application.events.close();
      await application.app.close();
    },
  });
}

/** Acknowledgements that the test gives, as the agents' hub would. */
export function testAcknowledgements(): LeaseAcknowledgements & {
  readonly acknowledge: (...datasets: readonly DatasetId[]) => void;
} {
  const acknowledged = new Set<DatasetId>();
  const listeners = new Set<(datasets: readonly DatasetId[]) => void>();
  return {
    hasAcknowledged: (_node, dataset) => acknowledged.has(dataset),
    onAcknowledged(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    acknowledge(...datasets) {
      for (const dataset of datasets) acknowledged.add(dataset);
      for (const listener of listeners) listener(datasets);
    },
  };
}

/** A cluster on a store in memory. */
export function testCluster(clock: Clock): ClusterCore {
  const store = openSqliteStore(":memory:", { clock, ids: countingIds() });
  assert.ok(store.ok);
  return createCluster({ store: store.value, clock, ids: countingIds(), log: silentLog, graceMs: 1000 });
}

/** A node's agent connects and reports all that it has. */
export function join(
  { cluster }: { readonly cluster: ClusterCore },
  node: NodeId,
  options: { readonly host?: string; readonly reports?: readonly DatasetReport[] } = {},
): void {
  const last = node.slice(-1);
  const hello = {
    kind: "hello",
    protocol: agentProtocolVersion,
    version: "1.2.3",
    node,
    era: `eeeeeeee-0000-4000-8000-00000000000${last}` as Era,
    incarnation: node,
    name: `machine-${last}`,
    dataAddress: { host: null, port: 4525 },
    backend: { kind: "directory", capabilities },
    knownRevision: 0,
  } as const;
  cluster.nodeConnected(node, hello, options.host ?? `10.0.0.${last}`);
  cluster.applyReport(node, {
    kind: "state",
    sequence: 1,
    complete: { begins: true, ends: true },
    datasets: options.reports ?? [],
    gone: [],
    capacity: { totalBytes: 100, freeBytes: 40 },
  });
}

export const capabilities = {
  liveSnapshots: true,
  resume: false,
  quota: true,
  clone: false,
  compression: true,
  encryption: false,
} as const;
