import { mkdir } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, resolve } from "node:path";
import {
  failure,
  parseSizeBytes,
  success,
  type AgentIdentity,
  type Log,
  type NodeId,
  type PeerHandler,
  type Result,
} from "@flocker/core";
import {
  createLog,
  dataChannelPeers,
  dataChannelServer,
  loadConfigurationFile,
  loadCredentials,
  openAgentStore,
  parseDurationMs,
  readEra,
  systemClock,
  systemCommands,
  systemIds,
  systemRandom,
  wsLinkDialer,
  type Credentials,
} from "@flocker/host";
import { openDirectoryBackend } from "./backends/directory/directory-backend.ts";
import { AgentConfiguration } from "./configuration.ts";
import { startNodeAgent } from "./node-agent.ts";

export const defaultAgentPort = 4524;
export const defaultDataPort = 4525;

/** A started node agent as a process has it. */
export interface AgentService extends AsyncDisposable {
  readonly node: NodeId;
  readonly dataPort: number;
}

export interface AgentServiceOptions {
  readonly configurationFile: string;
  readonly version: string;
}

/**
 * Starts a node agent as its configuration file says. Fails with the problem of whatever is wrong first: the file
 * (`configuration-invalid`), the certificates, the storage, the state (`store-…`) or the port (`port-in-use`).
 */
export async function startAgentService(options: AgentServiceOptions): Promise<Result<AgentService>> {
  const loaded = loadConfigurationFile(options.configurationFile, AgentConfiguration);
  if (!loaded.ok) return loaded;
  const configuration = loaded.value;
  const folder = dirname(resolve(options.configurationFile));
  const log = createLog({ level: configuration["log-level"] ?? "info" });
  const credentials = loadNodeCredentials(resolve(folder, configuration["certificates-directory"] ?? "."));
  if (!credentials.ok) return credentials;
  const { node } = credentials.value;
  const era = readEra();
  if (!era.ok) return era;
  const stack = new AsyncDisposableStack();
  const started = await startOver(stack, { ...options, configuration, folder, log, node, credentials: credentials.value.credentials, era: era.value });
  if (!started.ok) {
    await stack.disposeAsync();
    return started;
  }
  const dataPort = started.value;
  log.write("info", "agent-started", { node, dataPort, version: options.version });
  return success({ node, dataPort, [Symbol.asyncDispose]: () => stack.disposeAsync() });
}

function loadNodeCredentials(folder: string): Result<{ credentials: Credentials; node: NodeId }> {
  const credentials = loadCredentials({
    clusterCertificateFile: resolve(folder, "cluster.crt"),
    certificateFile: resolve(folder, "node.crt"),
    keyFile: resolve(folder, "node.key"),
  });
  if (!credentials.ok) return credentials;
  const { role, commonName } = credentials.value;
  if (role.role === "node") return success({ credentials: credentials.value, node: role.node });
  return failure(
    "certificate-role",
    `The certificate in ${folder} is of ${commonName}, not of a node.`,
    "Put a certificate made by `flocker ca node` there as node.crt and node.key.",
  );
}

interface Parts extends AgentServiceOptions {
  readonly configuration: AgentConfiguration;
  readonly folder: string;
  readonly log: Log;
  readonly node: NodeId;
  readonly credentials: Credentials;
  readonly era: AgentIdentity["era"];
}

/** Opens what the agent needs, in an order in which each thing closes after what uses it. Answers the data port. */
async function startOver(stack: AsyncDisposableStack, parts: Parts): Promise<Result<number>> {
  const { configuration, folder, log, node, credentials } = parts;
  const stateFolder = resolve(folder, configuration["state-directory"] ?? "/var/lib/flocker/agent");
  const made = await makeFolder(stateFolder);
  if (!made.ok) return made;
  const store = openAgentStore(resolve(stateFolder, "agent.sqlite"));
  if (!store.ok) return store;
  stack.defer(() => store.value.close());
  const { dataset } = configuration;
  const backend = await openDirectoryBackend({
    root: resolve(folder, dataset.root ?? "/var/lib/flocker/datasets"),
    mountRoot: resolve(folder, dataset["mount-root"] ?? "/flocker"),
    commands: systemCommands,
    clock: systemClock,
    ids: systemIds,
    log,
  });
  if (!backend.ok) return backend;
  stack.defer(() => backend.value.close());
  const channel = configuration["data-channel"] ?? {};
  // The agent's port has to be known for its hello, and the agent to answer the port's requests.
  let handlePeer: PeerHandler = () => Promise.resolve(starting);
  const server = await dataChannelServer({
    host: channel.address ?? "::",
    port: channel.port ?? defaultDataPort,
    credentials,
    clock: systemClock,
    log,
    handler: (...request) => handlePeer(...request),
  });
  if (!server.ok) return server;
  stack.defer(() => server.value.close());
  const agent = startNodeAgent(
    {
      backend: backend.value,
      store: store.value,
      peers: dataChannelPeers({ credentials, log, clock: systemClock, ...channelLimits(channel) }),
      clock: systemClock,
      ids: systemIds,
      random: systemRandom,
      dialer: wsLinkDialer({
        host: configuration["control-service"].hostname,
        port: configuration["control-service"].port ?? defaultAgentPort,
        credentials,
        log,
      }),
      log,
    },
    {
      node,
      era: parts.era,
      incarnation: systemIds.uuid(),
      name: configuration.name ?? hostname(),
      version: parts.version,
      dataAddress: { host: channel.advertise ?? null, port: server.value.port },
      backend: { kind: backend.value.kind, capabilities: backend.value.capabilities },
    },
  );
  handlePeer = agent.handlePeer;
  stack.defer(() => agent.stop());
  return success(server.value.port);
}

const starting = failure("peer-busy", "The other node's agent is being started.", "It is tried again by itself.");

function channelLimits(channel: NonNullable<AgentConfiguration["data-channel"]>): {
  bandwidthLimitBytesPerSecond?: number;
  silenceMs?: number;
} {
  const limit = channel["bandwidth-limit"] === undefined ? undefined : parseSizeBytes(channel["bandwidth-limit"]);
  const silenceMs = channel.silence === undefined ? undefined : parseDurationMs(channel.silence);
  return {
    ...(limit === undefined ? {} : { bandwidthLimitBytesPerSecond: limit }),
    ...(silenceMs === undefined ? {} : { silenceMs }),
  };
}

async function makeFolder(path: string): Promise<Result<void>> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    return success();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return failure(
      "file-unreadable",
      `Making the state folder ${path} failed: ${reason}.`,
      "Name a folder that this process may write in agent.yml as state-directory.",
    );
  }
}
