// A real control service's store, rules and HTTP server in this process, reached with certificates that
// `flocker ca` has made. Tests speak for the agents: they connect nodes and report copies.
import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { createCluster, openSqliteStore, startHttpServer, type ClusterCore } from "@flocker/control";
import {
  firstEpoch,
  type AgentToControl,
  type DatasetId,
  type DatasetReport,
  type Epoch,
  type Era,
  type NodeId,
  type Reason,
} from "@flocker/core";
import { loadCredentials, silentLog, systemClock, systemIds } from "@flocker/host";
import { flocker, temporaryFolder, type Outcome, type RunOptions } from "./cli-fixtures.test.ts";

export const nodeA = "aaaaaaaa-0000-4000-8000-000000000001" as NodeId;
export const nodeB = "bbbbbbbb-0000-4000-8000-000000000002" as NodeId;

export interface TestCluster {
  readonly cluster: ClusterCore;
  readonly folder: string;
  readonly port: number;
  /** The settings as environment variables. */
  readonly env: Readonly<Record<string, string>>;
  run(words: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Runs with --json and answers what it printed; fails where the command does. */
  json<Value>(words: readonly string[]): Promise<Value>;
  connect(node: NodeId, name: string): void;
  /** A node reports its copy of a dataset, mounted unless told otherwise. */
  report(node: NodeId, dataset: string, parts?: Partial<CopyParts>): void;
  close(): Promise<void>;
}

interface CopyParts {
  readonly role: "primary" | "replica" | null;
  readonly epoch: Epoch;
  readonly mounted: boolean;
  readonly reasons: readonly Reason[];
  /** As configured unless told otherwise. */
  readonly maximumSizeBytes: number | null;
}

async function makeCertificates(folder: string): Promise<void> {
  for (const words of [
    ["init", "test"],
    ["control", "127.0.0.1"],
    ["user", "alice"],
    ["node", "--uuid", nodeA],
  ]) {
    const made = await flocker(["ca", ...words], { folder });
    assert.equal(made.exitCode, 0, made.error);
  }
}

export async function testCluster(t: TestContext): Promise<TestCluster> {
  const folder = await temporaryFolder(t);
  await makeCertificates(folder);
  const at = (name: string): string => join(folder, name);
  const credentials = loadCredentials({
    clusterCertificateFile: at("cluster.crt"),
    certificateFile: at("control-127.0.0.1.crt"),
    keyFile: at("control-127.0.0.1.key"),
  });
  assert.ok(credentials.ok);
  const system = { clock: systemClock, ids: systemIds, log: silentLog };
  const store = openSqliteStore(at("store.sqlite"), system);
  assert.ok(store.ok);
  const cluster = createCluster({ store: store.value, ...system, graceMs: 3_600_000 });
  const server = await startHttpServer({
    cluster,
    leases: { hasAcknowledged: () => false, onAcknowledged: () => () => undefined },
    credentials: credentials.value,
    host: "127.0.0.1",
    port: 0,
    ...system,
    version: "1.2.3",
  });
  assert.ok(server.ok);
  let open = true;
  const close = async (): Promise<void> => {
    if (!open) return;
    open = false;
    await server.value[Symbol.asyncDispose]();
    store.value.close();
  };
  t.after(close);
  const { port } = server.value;
  const env = {
    FLOCKER_SERVER: `https://127.0.0.1:${port}`,
    FLOCKER_CLUSTER_CERTIFICATE: at("cluster.crt"),
    FLOCKER_CERTIFICATE: at("alice.crt"),
    FLOCKER_KEY: at("alice.key"),
  };
  const run = (words: readonly string[], options: RunOptions = {}): Promise<Outcome> =>
    flocker(words, { folder, ...options, env: { ...env, ...options.env } });
  let sequence = 0;
  return {
    cluster,
    folder,
    port,
    env,
    run,
    async json<Value>(words: readonly string[]) {
      const { exitCode, out, error } = await run([...words, "--json"]);
      assert.equal(exitCode, 0, error);
      return JSON.parse(out) as Value;
    },
    connect: (node, name) => cluster.nodeConnected(node, helloOf(node, name), "192.0.2.1"),
    report(node, dataset, parts = {}) {
      sequence += 1;
      const maximumSizeBytes = cluster.dataset(dataset as DatasetId)?.configuration?.maximumSizeBytes ?? null;
      cluster.applyReport(node, stateOf(dataset as DatasetId, sequence, { maximumSizeBytes, ...parts }));
    },
    close,
  };
}

function helloOf(node: NodeId, name: string): Extract<AgentToControl, { kind: "hello" }> {
  return {
    kind: "hello",
    protocol: 1,
    version: "1.2.3",
    node,
    era: "e0000000-0000-4000-8000-000000000000" as Era,
    incarnation: "f0000000-0000-4000-8000-000000000000",
    name,
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
  };
}

function stateOf(
  dataset: DatasetId,
  sequence: number,
  parts: Partial<CopyParts>,
): Extract<AgentToControl, { kind: "state" }> {
  const {
    role = "primary",
    epoch = firstEpoch,
    mounted = true,
    reasons = [],
    maximumSizeBytes = null,
  } = parts;
  const report: DatasetReport = {
    dataset,
    copy:
      role === null
        ? null
        : {
            record: { dataset, epoch, role },
            mountedAt: mounted ? `/flocker/${dataset}` : null,
            trashedAt: null,
            maximumSizeBytes,
            usedBytes: 4096,
            snapshots: [],
          },
    unreadable: null,
    renounced: null,
    activity: null,
    reasons,
  };
  return { kind: "state", sequence, complete: null, datasets: [report], gone: [], capacity: null };
}
