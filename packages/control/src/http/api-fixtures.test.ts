import { success, type Abort, type Clock, type DatasetReport, type Ids, type NodeId } from "@flocker/core";
import { ringLog } from "@flocker/host";
import type { NodeView } from "../cluster/cluster.ts";
import { createApplication, type Application } from "./application.ts";
import { memoryCluster, type MemoryCluster } from "./cluster-fixtures.test.ts";
import type { EventLimits } from "./event-streams.ts";

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
  readonly cluster: MemoryCluster;
  readonly clock: TestClock;
  readonly log: ReturnType<typeof ringLog>;
  storeOk: boolean;
}

/** The API over a cluster in memory, without sockets: requests are injected, and come from `user-test`. */
export async function testApi(limits?: EventLimits): Promise<TestApi> {
  const clock = testClock();
  const cluster = memoryCluster(() => clock.now());
  const log = ringLog();
  const state = { storeOk: true };
  const application = await createApplication(
    {
      cluster,
      clock,
      ids: countingIds(),
      log,
      version: "1.2.3",
      certificateNotAfter: () => noon + 10.5 * 86_400_000,
      storeOk: () => state.storeOk,
      admit: () => success({ commonName: "user-test" }),
    },
    limits,
  );
  return Object.assign(state, application, {
    cluster,
    clock,
    log,
    async [Symbol.asyncDispose]() {
      application.events.close();
      await application.app.close();
    },
  });
}

/** A node that was heard of at noon. */
export function nodeView(node: NodeId, more: Partial<NodeView> = {}): NodeView {
  return {
    node,
    name: `machine-${node.slice(-1)}`,
    era: `eeeeeeee-0000-4000-8000-00000000000${node.slice(-1)}`,
    version: "1.2.3",
    host: `10.0.0.${node.slice(-1)}`,
    dataPort: 4525,
    backend: { kind: "directory", capabilities: null },
    capacity: null,
    connected: true,
    lastSeenAt: noon,
    stale: false,
    datasetCount: 0,
    refusedSession: null,
    ...more,
  };
}

/** A report of a mounted primary copy. */
export function copyReport(
  dataset: DatasetReport["dataset"],
  copy: Partial<NonNullable<DatasetReport["copy"]>> & { readonly step?: number } = {},
): DatasetReport {
  const { step = 0, ...more } = copy;
  return {
    dataset,
    copy: {
      record: { dataset, epoch: { term: 1, step }, role: "primary" },
      mountedAt: `/flocker/${dataset}`,
      trashedAt: null,
      maximumSizeBytes: null,
      usedBytes: 1000,
      snapshots: ["s1", "s2"],
      ...more,
    },
    unreadable: null,
    renounced: null,
    activity: null,
    reasons: [],
  };
}
