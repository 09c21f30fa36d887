import { resolve } from "node:path";
import {
  assert,
  failure,
  need,
  type AgentIdentity,
  type Backend,
  type Log,
  type NodeId,
  type PeerHandler,
  type Result,
} from "@flocker/core";
import {
  dataChannelPeers,
  dataChannelServer,
  loadServiceCredentials,
  makeServiceFolder,
  openAgentStore,
  readEra,
  systemClock,
  systemCommands,
  systemIds,
  systemRandom,
  warnOfExpiry,
  wsLinkDialer,
  type Credentials,
} from "@flocker/host";
import { openBtrfsBackend } from "./backends/btrfs/btrfs-backend.ts";
import {
  openDirectoryBackend,
  type DirectoryBackendOptions,
} from "./backends/directory/directory-backend.ts";
import type { AgentConfiguration } from "./configuration.ts";
import { openZfsBackend } from "./backends/zfs/zfs-backend.ts";
import { startNodeAgent } from "./node-agent.ts";

/** A started node agent as a process has it. */
export interface AgentService extends AsyncDisposable {
  readonly node: NodeId;
  readonly dataPort: number;
}

/** What a node agent's process is started with. */
export interface AgentServiceOptions {
  readonly configuration: AgentConfiguration;
  readonly log: Log;
  readonly version: string;
}

/**
 * Starts a node agent as its configuration says. Rejects with a ProblemError of whatever is wrong first: the
 * certificates, the state (`store-…`), the storage, or the port (`port-in-use`).
 */
export async function startAgentService(options: AgentServiceOptions): Promise<AgentService> {
  const { log, version, configuration } = options;
  const credentials = need(loadServiceCredentials(configuration.certificatesFolder, "node", "node", log));
  const { role } = credentials();
  assert(role.role === "node", "credentials of another role are refused");
  const { node } = role;
  const era = need(readEra());
  const stack = new AsyncDisposableStack();
  try {
    const dataPort = await startOver(stack, { ...options, credentials, node, era });
    log.write("info", "agent-started", { node, dataPort, version });
    return { node, dataPort, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

interface Parts extends AgentServiceOptions {
  readonly node: NodeId;
  readonly credentials: () => Credentials;
  readonly era: AgentIdentity["era"];
}

/**
 * Opens what the agent needs, in an order in which each thing closes after what uses it. Answers the data
 * port.
 */
async function startOver(stack: AsyncDisposableStack, parts: Parts): Promise<number> {
  const { configuration, log, node, credentials } = parts;
  const { dataChannel, controlService } = configuration;
  await makeServiceFolder(configuration.stateFolder, "state-directory in agent.yml");
  const store = need(openAgentStore(resolve(configuration.stateFolder, "agent.sqlite")));
  stack.defer(() => store.close());
  const system = { clock: systemClock, ids: systemIds, log };
  const backend = need(await openBackend(configuration.backend, { commands: systemCommands, ...system }));
  stack.defer(() => backend.close?.());
  // The agent's hello names the port, and the port's requests are for the agent.
  let handlePeer: PeerHandler = () => Promise.resolve(starting);
  const server = need(
    await dataChannelServer({
      host: dataChannel.address,
      port: dataChannel.port,
      credentials,
      ...system,
      limits: { silenceMs: dataChannel.silenceMs },
      handler: (...request) => handlePeer(...request),
    }),
  );
  stack.defer(() => server.close());
  const limit = dataChannel.bandwidthLimitBytesPerSecond;
  const agent = startNodeAgent(
    {
      ...system,
      backend,
      store,
      random: systemRandom,
      peers: dataChannelPeers({
        credentials,
        ...system,
        silenceMs: dataChannel.silenceMs,
        ...(limit === null ? {} : { bandwidthLimitBytesPerSecond: limit }),
      }),
      dialer: wsLinkDialer({ ...controlService, credentials, log }),
    },
    {
      node,
      era: parts.era,
      incarnation: systemIds.uuid(),
      name: configuration.name,
      version: parts.version,
      dataAddress: { host: dataChannel.advertise, port: server.port },
      backend: { kind: backend.kind, capabilities: backend.capabilities },
    },
  );
  handlePeer = agent.handlePeer;
  stack.defer(() => agent.stop());
  warnOfExpiry(credentials(), log);
  return server.port;
}

/** Opens the storage of the kind that the configuration names. */
function openBackend(
  { kind, root, mountRoot, quota, ...zfs }: AgentConfiguration["backend"],
  system: Pick<DirectoryBackendOptions, "commands" | "clock" | "ids" | "log">,
): Promise<Result<Backend & { close?(): void }>> {
  switch (kind) {
    case "directory":
      return openDirectoryBackend({ root, mountRoot, ...system });
    case "btrfs":
      return openBtrfsBackend({ root, mountRoot, quota, ...system });
    case "zfs":
      return openZfsBackend({ mountRoot, ...zfs, ...system });
  }
}

const starting = failure(
  "peer-busy",
  "The other node's agent is being started.",
  "It is tried again by itself.",
);
