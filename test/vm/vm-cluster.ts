import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startNodeAgent } from "@flocker/agent";
import type { v2 } from "@flocker/api";
import { openLocalClient, openLocalCluster, pollUntil, type LocalClient } from "@flocker/cli/local";
import type { LocalCluster, RunnableNode } from "@flocker/cli/local";
import { assert, failure, need, type DatasetId, type Era, type Log, type PeerHandler } from "@flocker/core";
import {
  dataChannelPeers,
  dataChannelServer,
  loadCredentials,
  openAgentStore,
  systemClock,
  systemIds,
  systemRandom,
  wsLinkDialer,
} from "@flocker/host";

import { openCutProxy, type CutProxy } from "./cut-proxy.ts";
import { prepareImage } from "./image.ts";
import { atEnd } from "./leftovers.ts";
import { describeMachine, makeDisk, type Machine } from "./machine.ts";
import { makePool, ZfsNode } from "./zfs-nodes.ts";

/** Emulation is slow, and slower on a busy machine. */
const settleTimeoutMs = 600_000;
const starting = failure("peer-busy", "The agent is being started.", "It is tried again by itself.");

/** Something that an agent has said in its log. */
export interface Said {
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** One node: a virtual machine with its own pool, and outside of it the agent that runs commands in it. */
export class VmNode {
  readonly local: RunnableNode;
  readonly machine: Machine;
  readonly storage: ZfsNode;
  /** All that its agents have said. */
  readonly said: Said[] = [];
  onSaid: ((said: Said) => void) | null = null;
  proxy: CutProxy | undefined;
  readonly #agentPort: number;
  #dataPort = 0;
  #stop: (() => Promise<void>) | undefined;

  constructor(local: RunnableNode, machine: Machine, agentPort: number) {
    this.local = local;
    this.machine = machine;
    this.storage = new ZfsNode(machine, "tank");
    this.#agentPort = agentPort;
  }

  get link(): CutProxy {
    assert(this.proxy !== undefined, "the node has been started");
    return this.proxy;
  }

  /** Starts the agent, as on a machine that has booted: the pool is imported, and nothing is mounted. */
  async startAgent(): Promise<void> {
    const stack = new AsyncDisposableStack();
    const log: Log = { write: (_level, event, fields = {}) => this.#tell(event, fields), with: () => log };
    const { folder } = this.local;
    const credentials = need(
      loadCredentials({
        clusterCertificateFile: join(folder, "cluster.crt"),
        certificateFile: join(folder, "node.crt"),
        keyFile: join(folder, "node.key"),
      }),
    );
    await this.storage.start();
    const { backend } = this.storage;
    const store = need(openAgentStore(join(folder, "agent.sqlite")));
    stack.defer(() => store.close());
    const system = { clock: systemClock, ids: systemIds, log };
    let handlePeer: PeerHandler = () => Promise.resolve(starting);
    const server = need(
      await dataChannelServer({
        host: "127.0.0.1",
        port: 0,
        credentials,
        ...system,
        handler: (...request) => handlePeer(...request),
      }),
    );
    stack.defer(() => server.close());
    this.#dataPort = server.port;
    this.proxy ??= await openCutProxy(() => this.#dataPort);
    const era = (await this.storage.sh("cat /proc/sys/kernel/random/boot_id")).trim() as Era;
    const agent = startNodeAgent(
      {
        ...system,
        backend,
        store,
        random: systemRandom,
        peers: dataChannelPeers({ credentials, ...system }),
        dialer: wsLinkDialer({ host: "127.0.0.1", port: this.#agentPort, credentials, log }),
      },
      {
        node: this.local.node,
        era,
        incarnation: systemIds.uuid(),
        name: this.local.name,
        version: "0.1.0",
        dataAddress: { host: "127.0.0.1", port: this.proxy.port },
        backend: { kind: backend.kind, capabilities: backend.capabilities },
      },
    );
    handlePeer = agent.handlePeer;
    stack.defer(() => agent.stop());
    this.#stop = () => stack.disposeAsync();
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

  #tell(event: string, fields: Readonly<Record<string, unknown>>): void {
    const said = { event, fields };
    this.said.push(said);
    this.onSaid?.(said);
  }
}

/** Two machines with an agent each, and a control service outside. */
export class VmCluster {
  readonly folder: string = mkdtempSync(join(tmpdir(), "flocker-vm-moves-"));
  #cluster: LocalCluster | undefined;
  #client: LocalClient | undefined;
  #nodes: readonly VmNode[] = [];

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
      makeDisk(disk, 2, 512);
      return new VmNode(local, describeMachine({ image, disk, memoryMib: 640 }), cluster.files.agentPort);
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
    const { api } = this.#api();
    const params = { dataset_id: dataset };
    const answer = await api.updateDataset({ params, headers: {}, body: { primary: node.local.node } });
    assert(answer.status === 200, `the move is ordered: ${JSON.stringify(answer.body)}`);
  }

  async move(dataset: DatasetId, node: VmNode): Promise<void> {
    await this.order(dataset, node);
    await this.settled(dataset, node);
  }

  /** Waits until a dataset is as configured and served by that node, and by no other. */
  async settled(dataset: DatasetId, node: VmNode): Promise<void> {
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
    for (const each of this.#nodes) {
      const mounted = await each.storage.sh('grep -c "/$1 zfs" /proc/mounts || true', dataset);
      assert(mounted.trim() === (each === node ? "1" : "0"), `exactly ${node.local.name} serves ${dataset}`);
    }
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
async function waitFor(
  waitingFor: string,
  ask: () => Promise<true | undefined>,
  context: () => string = () => "",
): Promise<void> {
  const result = await pollUntil(systemClock, { waitingFor, timeoutMs: settleTimeoutMs, ask });
  if (!result.ok) throw new Error(`${result.problem.message}\n${context()}`);
}
