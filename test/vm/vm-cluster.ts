import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { v2 } from "@flocker/api";
import { openLocalClient, openLocalCluster, pollUntil, type LocalClient } from "@flocker/cli/local";
import type { LocalCluster, RunnableNode } from "@flocker/cli/local";
import { assert, need, type DatasetId, type Log } from "@flocker/core";
import { systemClock } from "@flocker/host";

import { openCutProxy, type CutProxy } from "./cut-proxy.ts";
import { prepareImage } from "./image.ts";
import { atEnd } from "./leftovers.ts";
import { describeMachine, makeDisk, type Machine } from "./machine.ts";
import { startVmAgent } from "./vm-agent.ts";
import { makePool, ZfsNode } from "./zfs-nodes.ts";

/** Emulation is slow, and slower on a busy machine. */
const settleTimeoutMs = 600_000;

/** Something that an agent has said in its log. */
export interface Said {
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Starts a node's agent, whose log goes to `tell`; answers what stops it. */
export type AgentStarter = (node: VmNode, tell: (said: Said) => void) => Promise<() => Promise<void>>;

/** In this process, and reached through a link that can be cut. */
const startHere: AgentStarter = async (node, tell) => {
  const log: Log = { write: (_level, event, fields = {}) => tell({ event, fields }), with: () => log };
  const { local, storage, agentPort } = node;
  const publish = (dataPort: number): Promise<number> => node.publish(dataPort);
  return await startVmAgent({ local, storage, agentPort, log, publish });
};

/** One node: a virtual machine with its own pool, and outside of it the agent that runs commands in it. */
export class VmNode {
  readonly local: RunnableNode;
  readonly machine: Machine;
  readonly storage: ZfsNode;
  /** All that its agents have said. */
  readonly said: Said[] = [];
  onSaid: ((said: Said) => void) | null = null;
  proxy: CutProxy | undefined;
  readonly agentPort: number;
  readonly #starter: AgentStarter;
  #dataPort = 0;
  #stop: (() => Promise<void>) | undefined;

  constructor(local: RunnableNode, machine: Machine, agentPort: number, starter: AgentStarter = startHere) {
    this.local = local;
    this.machine = machine;
    this.storage = new ZfsNode(machine, "tank");
    this.agentPort = agentPort;
    this.#starter = starter;
  }

  get link(): CutProxy {
    assert(this.proxy !== undefined, "the node has been started");
    return this.proxy;
  }

  async startAgent(): Promise<void> {
    this.#stop = await this.#starter(this, (said) => {
      this.said.push(said);
      this.onSaid?.(said);
    });
  }

  /** Puts a link that can be cut before an agent's data channel, whose port may be another each time. */
  async publish(dataPort: number): Promise<number> {
    this.#dataPort = dataPort;
    this.proxy ??= await openCutProxy(() => this.#dataPort);
    return this.proxy.port;
  }

  /** Takes the power away: the machine is gone at once, and so is the agent with all that it was doing. */
  async cutPower(): Promise<void> {
    this.storage.stop();
    await this.machine.cutPower();
    await this.stopAgent();
  }

  async stopAgent(): Promise<void> {
    const stop = this.#stop;
    this.#stop = undefined;
    this.storage.stop();
    await stop?.();
  }

  async restartAgent(): Promise<void> {
    await this.stopAgent();
    await this.startAgent();
  }

  async boot(): Promise<void> {
    await this.machine.start();
    await this.storage.sh("zpool import -d /dev -N -a");
    await this.startAgent();
  }
}

export interface VmClusterOptions {
  readonly poolMib?: number;
  readonly memoryMib?: number;
  readonly starter?: AgentStarter;
}

/** Two machines with an agent each, and a control service outside. */
export class VmCluster {
  readonly folder: string = mkdtempSync(join(tmpdir(), "flocker-vm-moves-"));
  readonly #poolMib: number;
  readonly #memoryMib: number;
  readonly #starter: AgentStarter | undefined;
  #cluster: LocalCluster | undefined;
  #client: LocalClient | undefined;
  #nodes: readonly VmNode[] = [];

  constructor({ poolMib = 512, memoryMib = 640, starter }: VmClusterOptions = {}) {
    this.#poolMib = poolMib;
    this.#memoryMib = memoryMib;
    this.#starter = starter;
  }

  get a(): VmNode {
    return this.#node(0);
  }

  get b(): VmNode {
    return this.#node(1);
  }

  async start(): Promise<void> {
    const { folder } = this;
    const cluster = need(await openLocalCluster({ folder, nodeCount: 2, clock: systemClock }));
    this.#cluster = cluster;
    atEnd(() => {
      const { pid } = cluster.control;
      if (pid !== undefined) process.kill(pid, "SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    });
    this.#client = need(openLocalClient(cluster));
    cluster.control.start();
    const image = prepareImage();
    this.#nodes = cluster.nodes.map((local) => {
      const disk = join(folder, `${local.name}.disk`);
      makeDisk(disk, 2, this.#poolMib);
      const machine = describeMachine({ image, disk, memoryMib: this.#memoryMib });
      return new VmNode(local, machine, cluster.files.agentPort, this.#starter);
    });
    await Promise.all(
      this.#nodes.map(async (node) => {
        await node.machine.start();
        await makePool(node.machine, "tank", 1);
        await makePool(node.machine, "fast", 2);
        await node.startAgent();
      }),
    );
    const { api } = this.#api();
    await waitFor("both agents to connect", async () => {
      const answer = await api.listNodes({});
      if (answer.status !== 200) return undefined;
      return answer.body.nodes.length === 2 ? true : undefined;
    });
  }

  async stop(): Promise<void> {
    for (const node of this.#nodes) {
      await node.cutPower();
      await node.proxy?.[Symbol.asyncDispose]();
    }
    this.#client?.close();
    await this.#cluster?.control.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** A new dataset on a node, mounted. */
  async create(node: VmNode, name: string): Promise<DatasetId> {
    const dataset = await this.declare(node, { name });
    await this.settled(dataset, node);
    return dataset;
  }

  /** A new dataset in the configuration. */
  async declare(node: VmNode, what: Omit<v2.NewDataset, "primary">): Promise<DatasetId> {
    const { api } = this.#api();
    const answer = await api.createDataset({ headers: {}, body: { ...what, primary: node.local.node } });
    assert(answer.status === 201, `the dataset is created: ${JSON.stringify(answer.body)}`);
    return (answer.body as v2.Dataset).dataset_id as DatasetId;
  }

  async order(dataset: DatasetId, node: VmNode): Promise<void> {
    await this.#update(dataset, { primary: node.local.node });
  }

  async resize(dataset: DatasetId, maximumSizeBytes: number): Promise<void> {
    await this.#update(dataset, { maximum_size: maximumSizeBytes });
  }

  async #update(dataset: DatasetId, body: v2.DatasetPatch): Promise<void> {
    const { api } = this.#api();
    const answer = await api.updateDataset({ params: { dataset_id: dataset }, headers: {}, body });
    assert(answer.status === 200, `the wish is taken: ${JSON.stringify(answer.body)}`);
  }

  async show(dataset: DatasetId): Promise<v2.Dataset> {
    const answer = await this.#api().api.getDataset({ params: { dataset_id: dataset } });
    assert(answer.status === 200, `the dataset is shown: ${JSON.stringify(answer.body)}`);
    return answer.body as v2.Dataset;
  }

  async move(dataset: DatasetId, node: VmNode): Promise<void> {
    await this.order(dataset, node);
    await this.settled(dataset, node);
  }

  /** Waits until a dataset is as configured and served by that node, and by no other. */
  async settled(dataset: DatasetId, node: VmNode): Promise<void> {
    await this.converged(dataset, node);
    for (const each of this.#nodes) {
      const mounted = await each.storage.sh('grep -c "/$1 zfs" /proc/mounts || true', dataset);
      assert(mounted.trim() === (each === node ? "1" : "0"), `exactly ${node.local.name} serves ${dataset}`);
    }
  }

  /** Waits until the control service says that a dataset is as configured and served by that node. */
  async converged(dataset: DatasetId, node: VmNode): Promise<void> {
    const { api } = this.#api();
    let last: unknown;
    await waitFor(
      `dataset ${dataset} to be served by ${node.local.name}`,
      async () => {
        const answer = await api.getDataset({ params: { dataset_id: dataset } });
        last = answer.body;
        const seen = answer.body as v2.Dataset;
        const primary = seen.actual.find((copy) => copy.node_id === node.local.node);
        return seen.converged && primary?.role === "primary" && primary.path !== null ? true : undefined;
      },
      () => `${JSON.stringify(last)}\n${this.#nodes.map((each) => this.#lastWords(each)).join("\n")}`,
    );
  }

  /** Waits until one of the reasons that are shown for a dataset says that. */
  async explained(dataset: DatasetId, pattern: RegExp): Promise<void> {
    const { api } = this.#api();
    let last: unknown;
    await waitFor(
      `dataset ${dataset} to be explained`,
      async () => {
        const answer = await api.getDataset({ params: { dataset_id: dataset } });
        last = answer.body;
        const { reasons } = answer.body as v2.Dataset;
        return reasons.some(({ message }) => pattern.test(message)) ? true : undefined;
      },
      () => JSON.stringify(last),
    );
  }

  #lastWords(node: VmNode): string {
    const words = node.said.slice(-12).map(({ event, fields }) => `  ${event} ${JSON.stringify(fields)}`);
    return [node.local.name, ...words].join("\n");
  }

  #node(index: number): VmNode {
    const node = this.#nodes[index];
    assert(node !== undefined, "the cluster has been started");
    return node;
  }

  #api(): LocalClient {
    assert(this.#client !== undefined, "the cluster has been started");
    return this.#client;
  }
}

/** Asks until the answer is another than undefined. */
export async function waitFor(
  waitingFor: string,
  ask: () => Promise<true | undefined>,
  context: () => string = () => "",
): Promise<void> {
  const result = await pollUntil(systemClock, { waitingFor, timeoutMs: settleTimeoutMs, ask });
  if (!result.ok) throw new Error(`${result.problem.message}\n${context()}`);
}
