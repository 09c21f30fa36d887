import { resolve } from "node:path";
import { createClient, v2Endpoints } from "@flocker/api";
import { need, type Clock, type Era, type Log, type Result } from "@flocker/core";
import {
  createHttpsClient,
  loadServiceCredentials,
  openAgentStore,
  readEra,
  systemClock,
  systemRandom,
  type HttpsClient,
  type OpenAgentStore,
} from "@flocker/host";
import { ClusterFeed } from "./cluster-feed.ts";
import { ClusterPicture } from "./cluster-picture.ts";
import type { PluginConfiguration } from "./configuration.ts";
import { containersUsing } from "./docker-engine.ts";
import { MountLedger } from "./mount-ledger.ts";
import { OwnNode } from "./own-node.ts";
import { pluginHandler } from "./plugin-handler.ts";
import { servePlugin } from "./plugin-server.ts";
import { VolumeDriver } from "./volume-driver.ts";
import { VolumeMounts } from "./volume-mounts.ts";

/** What a plugin is started with. */
export interface DockerPluginOptions {
  readonly configuration: PluginConfiguration;
  readonly log: Log;
  readonly version: string;
}

const requestTimeoutMs = 10_000;
const dockerTimeoutMs = 2_000;
/** The cluster is waited for so long before calls are answered without it. */
const firstViewMs = 5_000;
/** So often the leases are compared with the notes. */
const tidyMs = 10_000;
/**
 * Docker asks again for at most half a minute; then a mount that an earlier life noted has come to nothing.
 */
const orphanMs = 180_000;

/**
 * Starts the volume plugin as its configuration says. Rejects with a ProblemError of whatever is wrong first.
 * It needs no control service to start: what it held is known from its notes, all else when the cluster comes
 * into view.
 */
export async function startDockerPlugin(options: DockerPluginOptions): Promise<AsyncDisposable> {
  const { configuration, log } = options;
  const stack = new AsyncDisposableStack();
  try {
    const credentials = need(loadServiceCredentials(configuration.certificatesFolder, "plugin", "user", log));
    const era = need(readEra());
    const store = need(openAgentStore(resolve(configuration.stateFolder, "plugin.sqlite"), "Docker plugin"));
    stack.defer(() => store.close());
    const { host, port, serverName } = configuration.controlService;
    const https = createHttpsClient({ host, port, serverName, credentials, timeoutMs: requestTimeoutMs });
    stack.defer(() => https.close());
    await startOver(stack, { ...options, store, era, https, clock: systemClock });
    log.write("info", "docker-plugin-started", { version: options.version });
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
  return { [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

interface Parts extends DockerPluginOptions {
  readonly store: OpenAgentStore;
  readonly era: Era;
  readonly https: HttpsClient;
  readonly clock: Clock;
}

async function startOver(stack: AsyncDisposableStack, parts: Parts): Promise<void> {
  const { configuration, log, store, era, https, clock } = parts;
  const api = createClient(v2Endpoints, (request) => https.send(request));
  const picture = new ClusterPicture(clock);
  const ledger = new MountLedger(store);
  forgetEarlierBoots(ledger, parts);
  const own = new OwnNode({ store, era, configured: configuration.node });
  const tidying = new Tidying();
  const inView = new AbortController();
  const feed = new ClusterFeed({
    api,
    https,
    picture,
    clock,
    random: systemRandom,
    log,
    onLive() {
      inView.abort();
      tidying.ring();
    },
    onChanged(dataset) {
      const entry = ledger.entry(dataset);
      if (entry !== undefined && picture.volume(dataset)?.lease?.node_id !== entry.node) tidying.ring();
    },
    onNodes: (nodes) => own.learn(nodes),
  });
  const mounts = new VolumeMounts({ api, feed, picture, ledger, clock, log, era });
  const driver = new VolumeDriver({
    api,
    feed,
    picture,
    ledger,
    mounts,
    clock,
    log,
    self: () => own.get(),
    containersUsing: (volume) => askDocker(volume, configuration),
    defaultSizeBytes: configuration.defaultSizeBytes,
    keepOnRemove: configuration.keepOnRemove,
  });
  const stop = new AbortController();
  const running = [feed.run(stop.signal), tidying.run(driver, ledger, picture, clock, stop.signal)];
  stack.defer(async () => {
    stop.abort();
    await Promise.all(running);
  });
  // Docker asks again while nobody listens, but takes a volume that is not known yet for one that is not
  // there.
  await clock.sleep(firstViewMs, inView.signal);
  stack.use(
    await servePlugin({
      sockets: configuration.sockets,
      handler: pluginHandler(driver),
      clock,
      log,
      callTimeoutMs: configuration.mountTimeoutMs,
    }),
  );
}

/** Compares leases and notes: when the cluster comes into view, and now and then. */
class Tidying {
  #wake = new AbortController();

  ring(): void {
    this.#wake.abort();
  }

  async run(
    driver: VolumeDriver,
    ledger: MountLedger,
    picture: ClusterPicture,
    clock: Clock,
    stop: AbortSignal,
  ): Promise<void> {
    const orphansUntil = clock.monotonic() + orphanMs;
    let hasOrphans = true;
    while (!stop.aborted) {
      await clock.sleep(tidyMs, AbortSignal.any([this.#wake.signal, stop]));
      if (stop.aborted) return;
      this.#wake = new AbortController();
      if (hasOrphans && clock.monotonic() >= orphansUntil) {
        hasOrphans = false;
        ledger.dropOrphans();
      }
      if (picture.freshness.kind === "live") await driver.tidy();
    }
  }
}

/** Before anything is served: forgets what was mounted before the machine was started again. */
function forgetEarlierBoots(ledger: MountLedger, { log, era }: Parts): void {
  for (const { dataset, name, era: mountedIn } of ledger.entries()) {
    if (mountedIn === era) continue;
    ledger.dropUsers(dataset);
    log.write("info", "mounts-ended-by-reboot", { dataset, volume: name });
  }
}

function askDocker(volume: string, { dockerSocket }: PluginConfiguration): Promise<Result<number>> {
  return containersUsing(volume, { socketPath: dockerSocket, timeoutMs: dockerTimeoutMs });
}
