import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { v2 } from "@flocker/api";
import { openLocalClient, pollUntil, waitUntilReady, type LocalClient } from "@flocker/cli/local";
import { openLocalCluster, type LocalCluster, type RunnableNode } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";

const readyTimeoutMs = 60_000;
export const settleTimeoutMs = 60_000;

/** A cluster of real processes in a temporary folder, which is kept with its logs if the test fails. */
export interface Rig {
  readonly cluster: LocalCluster;
  readonly client: LocalClient;
  node(index: number): RunnableNode;
  /** What has to be undone once all processes have ended, before the folder is removed. */
  readonly cleanUps: (() => Promise<unknown>)[];
}

/** Starts a cluster for a test and ends it after the test. */
export async function startRig(
  t: TestContext,
  options: {
    readonly nodeCount?: number;
    readonly graceTime?: string;
    /** Called before anything is started: to change the configuration files, say. */
    readonly prepare?: (rig: Rig) => Promise<void>;
  } = {},
): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), "flocker-system-"));
  const opened = await openLocalCluster({
    folder,
    nodeCount: options.nodeCount ?? 3,
    clock: systemClock,
    ...(options.graceTime === undefined ? {} : { graceTime: options.graceTime }),
  });
  assert.ok(opened.ok, opened.ok ? "" : opened.problem.message);
  const cluster = opened.value;
  const client = openLocalClient(cluster);
  assert.ok(client.ok, client.ok ? "" : client.problem.message);
  const rig: Rig = {
    cleanUps: [],
    cluster,
    client: client.value,
    node: (index) => {
      const node = cluster.nodes[index];
      assert.ok(node !== undefined, `the rig has a node ${index}`);
      return node;
    },
  };
  t.after(async () => {
    client.value.close();
    await cluster.stop();
    for (const cleanUp of rig.cleanUps) await cleanUp();
    if ((t as TestContext & { readonly passed: boolean }).passed)
      await rm(folder, { recursive: true, force: true });
    else t.diagnostic(`logs and data are kept in ${folder}`);
  });
  await options.prepare?.(rig);
  cluster.start();
  await ready(rig);
  return rig;
}

/** Waits until all agents that run have a session. */
export async function ready(rig: Rig): Promise<void> {
  const result = await waitUntilReady(rig.cluster, rig.client, {
    clock: systemClock,
    timeoutMs: readyTimeoutMs,
  });
  assert.ok(result.ok, result.ok ? "" : `${result.problem.message} ${result.problem.remedy}`);
}

/** Creates a dataset and waits until it is mounted. */
export async function createDataset(rig: Rig, name: string, node: RunnableNode): Promise<string> {
  const answer = await rig.client.api.createDataset({ headers: {}, body: { name, primary: node.node } });
  assert.equal(answer.status, 201, JSON.stringify(answer.body));
  const { dataset_id: dataset } = answer.body as v2.Dataset;
  await settled(rig, dataset, node);
  return dataset;
}

/** What can ask the control service. */
type Asking = Pick<Rig, "client">;

export async function move(rig: Asking, dataset: string, node: Pick<RunnableNode, "node">): Promise<void> {
  const answer = await rig.client.api.updateDataset({
    params: { dataset_id: dataset },
    headers: {},
    body: { primary: node.node },
  });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
}

export async function show(rig: Asking, dataset: string): Promise<v2.Dataset> {
  const answer = await rig.client.api.getDataset({ params: { dataset_id: dataset } });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body as v2.Dataset;
}

/**
 * Waits until the dataset is as configured and served by that node; then checks that nobody else serves it.
 */
export async function settled(rig: Rig, dataset: string, node: RunnableNode): Promise<v2.Dataset> {
  const result = await pollUntil(systemClock, {
    waitingFor: `dataset ${dataset} to be served by ${node.name}`,
    timeoutMs: settleTimeoutMs,
    ask: async () => {
      failIfCrashed(rig);
      const seen = await show(rig, dataset);
      const primary = seen.actual.find((copy) => copy.node_id === node.node);
      return seen.converged && primary?.role === "primary" && primary.path !== null ? seen : undefined;
    },
  });
  if (!result.ok)
    assert.fail(`${result.problem.message}\n${JSON.stringify(await show(rig, dataset), null, 2)}`);
  assert.deepEqual(await servedBy(rig, dataset), [node.name], "exactly one node serves the dataset");
  return result.value;
}

/** No service ends by itself: one that does has met a programming mistake. */
function failIfCrashed(rig: Rig): void {
  for (const service of [rig.cluster.control, ...rig.cluster.nodes.map((node) => node.agent)])
    if (service.hasFailed) assert.fail(`${service.name} has ended by itself:\n${service.tail}`);
}

/** The nodes at whose mount points the dataset is now, read from the disk and from nobody's word. */
export async function servedBy(rig: Rig, dataset: string): Promise<string[]> {
  const names: string[] = [];
  for (const node of rig.cluster.nodes) {
    const target = await readlink(join(node.mountRoot, dataset)).catch(() => undefined);
    if (target !== undefined) names.push(node.name);
  }
  return names;
}

export function fileOn(node: RunnableNode, dataset: string, name: string): string {
  return join(node.mountRoot, dataset, name);
}

export async function readRecords(path: string): Promise<number[]> {
  const text = await readFile(path, "utf8");
  return text.split("\n").slice(0, -1).map(Number);
}

export async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).sort();
}

/** Does something as soon as an agent's log says that a step has been done for the n-th time. */
export function whenDone(
  node: RunnableNode,
  step: string,
  occurrence: number,
  then: () => Promise<void>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let left = occurrence;
    const end = node.agent.onLine((line) => {
      if (!line.includes('"action-done"') || !line.includes(`"action":"${step}"`)) return;
      left -= 1;
      if (left > 0) return;
      end();
      then().then(resolve, reject);
    });
  });
}

/** Lets the first node send 4 MiB in a second at most: slow enough to get in between. */
export async function slowFirstNode(rig: Rig): Promise<void> {
  const { configurationFile } = rig.node(0);
  const text = await readFile(configurationFile, "utf8");
  const limited = text.replace("data-channel: {", "data-channel: { bandwidth-limit: 4 MiB,");
  assert.notEqual(limited, text);
  await writeFile(configurationFile, limited);
}

export async function untilTrue(
  what: string,
  ask: () => Promise<boolean>,
  timeoutMs: number = settleTimeoutMs,
): Promise<void> {
  const result = await pollUntil(systemClock, {
    waitingFor: what,
    timeoutMs,
    ask: async () => ((await ask()) ? true : undefined),
  });
  assert.ok(result.ok, result.ok ? "" : result.problem.message);
}

/** The codes of the reasons that are shown for a dataset. */
export async function reasonsOf(rig: Asking, dataset: string): Promise<readonly string[]> {
  return (await show(rig, dataset)).reasons.map(({ code }) => code);
}

/** Waits until a reason with that code is shown for a dataset. */
export async function untilReason(rig: Asking, dataset: string, code: string): Promise<void> {
  await untilTrue(`the reason ${code}`, async () => (await reasonsOf(rig, dataset)).includes(code));
}

/** The programs that an agent runs now. */
export function childrenOf({ agent }: RunnableNode, name: string): readonly number[] {
  const { stdout } = spawnSync("pgrep", ["-P", String(agent.pid), name], { encoding: "utf8" });
  return stdout.split("\n").filter(Boolean).map(Number);
}
