import { resolve } from "node:path";
import { need, type Clock, type Log } from "@flocker/core";
import {
  acceptLinks,
  loadServiceCredentials,
  makeServiceFolder,
  systemClock,
  systemIds,
  warnOfExpiry,
} from "@flocker/host";
import { AgentHub } from "./agents/hub.ts";
import type { ClusterCore } from "./cluster/cluster-core.ts";
import { createCluster } from "./cluster/create-cluster.ts";
import type { ControlConfiguration } from "./configuration.ts";
import { startHttpServer } from "./http/server.ts";
import { openSqliteStore } from "./store/sqlite-store.ts";

/** A started control service as a process has it. */
export interface ControlService extends AsyncDisposable {
  readonly apiPort: number;
  readonly agentPort: number;
}

/** What a control service's process is started with. */
export interface ControlServiceOptions {
  readonly configuration: ControlConfiguration;
  readonly log: Log;
  readonly version: string;
}

const reloadIntervalMs = 5_000;

/**
 * Starts the control service as its configuration says. Rejects with a ProblemError of whatever is wrong
 * first: the certificates, the store (`store-locked`, `store-newer`, `store-unreadable`), or a port
 * (`port-in-use`).
 */
export async function startControlService(options: ControlServiceOptions): Promise<ControlService> {
  const stack = new AsyncDisposableStack();
  try {
    const ports = await startOver(stack, options);
    options.log.write("info", "control-started", { ...ports, version: options.version });
    return { ...ports, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

async function startOver(
  stack: AsyncDisposableStack,
  options: ControlServiceOptions,
): Promise<{ apiPort: number; agentPort: number }> {
  const { configuration, log, version } = options;
  const credentials = need(
    loadServiceCredentials(configuration.certificatesFolder, "control-service", "control", log),
  );
  await makeServiceFolder(configuration.dataFolder, "data-directory in control.yml");
  const system = { clock: systemClock, ids: systemIds, log };
  const store = need(openSqliteStore(resolve(configuration.dataFolder, "configuration.sqlite"), system));
  stack.defer(() => store.close());
  const cluster = createCluster({ store, ...system, graceMs: configuration.graceMs });
  const hub = new AgentHub({ cluster, clock: systemClock, log, version });
  const stopping = new AbortController();
  const links = need(
    await acceptLinks({
      host: configuration.agents.address,
      port: configuration.agents.port,
      credentials,
      log,
      onLink: (link, identity, remoteAddress) =>
        void hub.accept(link, identity.role.node, plainAddress(remoteAddress)),
      onRefused: (problem, remoteAddress) =>
        log.write("warn", "agent-refused", { remoteAddress, ...problem }),
    }),
  );
  stack.defer(() => links.close());
  const api = need(
    await startHttpServer({
      cluster,
      leases: hub,
      credentials,
      host: configuration.api.address,
      port: configuration.api.port,
      ...system,
      version,
    }),
  );
  stack.use(api);
  const running = [
    hub.run(stopping.signal),
    keepTime(cluster, system, stopping.signal),
    reloadCertificates([links, api], systemClock, stopping.signal),
  ];
  stack.defer(async () => {
    stopping.abort();
    await Promise.all(running);
  });
  warnOfExpiry(credentials(), log);
  return { apiPort: api.port, agentPort: links.port };
}

/** Ends leases and grace times when their time has come, and notices who has fallen silent. */
export async function keepTime(
  cluster: ClusterCore,
  ports: { readonly clock: Clock; readonly log: Log },
  signal: AbortSignal,
): Promise<void> {
  const { clock, log } = ports;
  while (!signal.aborted) {
    const now = clock.now();
    for (const done of [cluster.expireLeases(now), cluster.purgeDue(now)])
      if (!done.ok) log.write("error", "commit-failed", { ...done.problem });
    cluster.noticeSilence(now);
    await clock.sleep(1_000, signal);
  }
}

async function reloadCertificates(
  servers: readonly { reload(): void }[],
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await clock.sleep(reloadIntervalMs, signal);
    for (const server of servers) server.reload();
  }
}

/** An IPv4 address that a socket for both families shows in IPv6 form, as people and /v1 clients know it. */
function plainAddress(address: string): string {
  return address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
}
