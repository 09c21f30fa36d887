import { mkdir, readFile, readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  flockerCommand,
  LocalProcess,
  openLocalClient,
  openLocalCluster,
  type LocalClient,
  type LocalCluster,
  type LocalNode,
} from "@flocker/cli/local";
import { assert } from "@flocker/core";
import { systemClock } from "@flocker/host";
import { makeDisk, unmountAll, type Disk, type DiskKind } from "./disks.ts";
import { hostAddress, inNetworkOf, makeNetworks, nodeAddress, removeNetworks } from "./network.ts";

/** A node of the soak: a process in a network of its own, with a disk of its own. */
export interface SoakNode extends LocalNode {
  readonly index: number;
  readonly agent: LocalProcess;
  readonly disk: Disk;
}

/** The cluster under test. */
export interface SoakCluster {
  readonly control: LocalProcess;
  readonly nodes: readonly SoakNode[];
  readonly client: LocalClient;
  /** The nodes that have the dataset mounted, as one look at the system shows. */
  mountedOn(dataset: string): Promise<readonly SoakNode[]>;
  stop(): Promise<void>;
}

/** How long a deleted dataset is kept in the soak. */
export const graceMs = 20_000;

export async function makeSoakCluster(
  folder: string,
  kind: DiskKind,
  nodeCount: number,
): Promise<SoakCluster> {
  makeNetworks(nodeCount);
  const opened = await openLocalCluster({ folder, nodeCount, clock: systemClock });
  assert(opened.ok, opened.ok ? "" : opened.problem.message);
  const cluster = opened.value;
  await configure(cluster, kind);
  const nodes = cluster.nodes.map(({ agent: _agent, ...node }, index): SoakNode => {
    const disk = makeDisk(join(node.folder, "disk"), kind);
    const argv = inNetworkOf(index, [...flockerCommand(), "agent", "--config", node.configurationFile]);
    const logFile = join(folder, "logs", `${node.name}.log`);
    return { ...node, index, disk, agent: new LocalProcess({ name: node.name, logFile, argv }) };
  });
  for (const { disk } of nodes) await mkdir(join(disk.folder, "datasets"));
  const client = openLocalClient(cluster);
  assert(client.ok, client.ok ? "" : client.problem.message);
  for (const { agent } of nodes) agent.start();
  cluster.control.start();
  return {
    control: cluster.control,
    nodes,
    client: client.value,
    mountedOn:
      kind === "btrfs" ? (dataset) => boundOn(nodes, dataset) : (dataset) => linkedOn(nodes, dataset),
    async stop() {
      client.value.close();
      const all = [cluster.control, ...nodes.map(({ agent }) => agent)];
      for (const process of all) process.signal("SIGCONT");
      await Promise.all(all.map((process) => process.stop("SIGKILL")));
      for (const { disk, mountRoot } of nodes) {
        unmountAll(mountRoot);
        disk.remove();
      }
      removeNetworks(nodeCount);
    },
  };
}

async function configure({ files }: LocalCluster, kind: DiskKind): Promise<void> {
  await writeFile(
    files.controlConfigurationFile,
    `version: 1
api: { address: 127.0.0.1, port: ${files.apiPort} }
agents: { address: ${hostAddress}, port: ${files.agentPort} }
data-directory: data
grace-time: ${graceMs / 1000}s
log-level: debug
`,
  );
  for (const [index, node] of files.nodes.entries())
    await writeFile(
      node.configurationFile,
      `version: 1
name: ${node.name}
control-service: { hostname: ${hostAddress}, port: ${files.agentPort} }
data-channel: { address: ${nodeAddress(index)}, port: ${node.dataPort}, silence: 5s }
dataset: { backend: ${kind}, root: disk/datasets, mount-root: flocker${kind === "btrfs" ? ", quota: true" : ""} }
state-directory: state
log-level: debug
`,
    );
}

/** On btrfs one reading of the kernel's table shows all mounts at one moment. */
async function boundOn(nodes: readonly SoakNode[], dataset: string): Promise<readonly SoakNode[]> {
  const table = await readFile("/proc/self/mountinfo", "utf8");
  const points = new Set(table.split("\n").map((line) => line.split(" ")[4]));
  return nodes.filter(({ mountRoot }) => points.has(join(mountRoot, dataset)));
}

/** Folders are mounted by links, which are read one after the other: two count only if both stay. */
async function linkedOn(nodes: readonly SoakNode[], dataset: string): Promise<readonly SoakNode[]> {
  const look = async (): Promise<readonly SoakNode[]> => {
    const seen = await Promise.all(
      nodes.map(({ mountRoot }) => readlink(join(mountRoot, dataset)).catch(() => undefined)),
    );
    return nodes.filter((_, index) => seen[index] !== undefined);
  };
  const first = await look();
  if (first.length < 2) return first;
  const second = await look();
  return first.filter((node) => second.includes(node));
}
