import { join } from "node:path";

import { startNodeAgent } from "@flocker/agent";
import type { LocalNode } from "@flocker/cli/local";
import { failure, need, type Era, type Log, type PeerHandler } from "@flocker/core";
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

import type { ZfsNode } from "./zfs-nodes.ts";

const starting = failure("peer-busy", "The agent is being started.", "It is tried again by itself.");

export interface VmAgentOptions {
  readonly local: Pick<LocalNode, "node" | "name" | "folder">;
  readonly storage: ZfsNode;
  /** Where the control service expects agents. */
  readonly agentPort: number;
  readonly log: Log;
  /** Answers the port at which others reach this one; without it they do so directly. */
  readonly publish?: (dataPort: number) => Promise<number>;
}

/**
 * Starts an agent outside of the virtual machine with its storage, as on a machine that has booted: the pool
 * is imported, and nothing is mounted. Answers what stops it.
 */
export async function startVmAgent(options: VmAgentOptions): Promise<() => Promise<void>> {
  const { local, storage, agentPort, log, publish = (port) => Promise.resolve(port) } = options;
  const stack = new AsyncDisposableStack();
  const { folder } = local;
  const credentials = need(
    loadCredentials({
      clusterCertificateFile: join(folder, "cluster.crt"),
      certificateFile: join(folder, "node.crt"),
      keyFile: join(folder, "node.key"),
    }),
  );
  await storage.start();
  const { backend } = storage;
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
  const era = (await storage.sh("cat /proc/sys/kernel/random/boot_id")).trim() as Era;
  const agent = startNodeAgent(
    {
      ...system,
      backend,
      store,
      random: systemRandom,
      peers: dataChannelPeers({ credentials, ...system }),
      dialer: wsLinkDialer({ host: "127.0.0.1", port: agentPort, credentials, log }),
    },
    {
      node: local.node,
      era,
      incarnation: systemIds.uuid(),
      name: local.name,
      version: "0.1.0",
      dataAddress: { host: "127.0.0.1", port: await publish(server.port) },
      backend: { kind: backend.kind, capabilities: backend.capabilities },
    },
  );
  handlePeer = agent.handlePeer;
  stack.defer(() => agent.stop());
  return () => stack.disposeAsync();
}
