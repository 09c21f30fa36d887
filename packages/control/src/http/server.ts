import { createServer, type Server } from "node:https";
import { randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { success, type Clock, type Ids, type Log, type Milliseconds, type Result } from "@flocker/core";
import { currentCredentials, tlsOptions, tlsProblem, type CredentialsSource } from "@flocker/host";
import type { Cluster } from "../cluster/cluster.ts";
import { admission, logFailedHandshake } from "./admission.ts";
import type { LeaseAcknowledgements } from "./api-context.ts";
import { trackConnections, type Connections } from "./connections.ts";
import { createApplication, type Application } from "./application.ts";

/** What the API is served with, and where. */
export interface HttpServerOptions {
  readonly cluster: Cluster;
  readonly leases: LeaseAcknowledgements;
  /** The control service's own certificate; asked again by `reload`. */
  readonly credentials: CredentialsSource;
  /** The address to listen on; `::` for all. */
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  /** The version that clients are told. */
  readonly version: string;
}

/** The API while it is served; disposing of it stops that. */
export interface HttpServer extends AsyncDisposable {
  /** Where it listens. */
  readonly port: number;
  /**
   * Takes the credentials anew, if they are others now; connections go on unless their certificate was
   * revoked.
   */
  reload(): void;
}

/** How long requests under way may take to end when the server stops. */
const drainMs = 5000;
/** How long clients may take to end their side of a connection then. */
const goodbyeMs = 500;
/** How long a connection may be silent whose certificate may not use the API. */
const strangerTimeoutMs = 5000;

/**
 * Starts the API over HTTPS with client certificates. Fails with `port-in-use` or another problem where it
 * cannot listen. Leaving its scope ends event streams, lets requests under way end, and closes everything.
 */
export async function startHttpServer(options: HttpServerOptions): Promise<Result<HttpServer>> {
  const { cluster, leases, clock, ids, log, version } = options;
  const credentials = (): ReturnType<typeof currentCredentials> => currentCredentials(options.credentials);
  let current = credentials();
  const admit = admission(log, () => current);
  const application = await createApplication({
    cluster,
    leases,
    clock,
    ids,
    log,
    version,
    certificateNotAfter: () => current.notAfter,
    storeOk: () => answers(cluster, log),
    admit,
    // Thrown where nobody catches it: a broken promise of our own code is not survived.
    crash: (error) => queueMicrotask(() => raise(error)),
  });
  const server = createTlsServer(current, application);
  // Who may not come in is told to the log at once, and does not stay without asking for anything.
  server.on("secureConnection", (socket: TLSSocket) => {
    if (!admit(socket).ok) socket.setTimeout(strangerTimeoutMs, () => socket.destroy());
  });
  server.on("tlsClientError", (error: Error, socket: TLSSocket) => logFailedHandshake(log, error, socket));
  const connections = trackConnections(server);
  const reload = (): void => {
    const newest = credentials();
    if (newest === current) return;
    const isOtherList = newest.revocations !== current.revocations;
    current = newest;
    server.setSecureContext(contextOf(current));
    // Sessions from before must not outlive an authority that is no longer trusted.
    server.setTicketKeys(randomBytes(48));
    log.write("info", "api-certificate-reloaded", { notAfter: new Date(current.notAfter).toISOString() });
    if (!isOtherList) return;
    for (const socket of connections.secured()) if (!admit(socket).ok) socket.destroy();
  };
  // Before the listener of Node's own that starts the handshake.
  server.prependListener("connection", reload);
  const listening = await listen(server, options);
  if (!listening.ok) {
    application.events.close();
    await application.app.close();
    return listening;
  }
  // Such as too many open files: those who connect now are not served, all others are.
  server.on("error", (error) => log.write("error", "api-server-failed", { error }));
  log.write("info", "api-listening", { host: options.host, port: listening.value });
  return success({
    port: listening.value,
    reload,
    [Symbol.asyncDispose]: () => close(server, connections, application, clock),
  });
}

function raise(error: Error): never {
  throw error;
}

/** Whether the store can be read: the history is asked for what cannot be there yet. */
function answers(cluster: Cluster, log: Log): boolean {
  try {
    return cluster.history(cluster.revision(), 1).length === 0;
  } catch (error) {
    log.write("error", "store-failing", { error });
    return false;
  }
}

function createTlsServer(credentials: ReturnType<typeof currentCredentials>, { app }: Application): Server {
  return createServer(
    {
      ...contextOf(credentials),
      requestCert: true,
      // Whoever does not check out is let in far enough to be told why: every request goes through
      // `admission` first.
      rejectUnauthorized: false,
      handshakeTimeout: 15_000,
      headersTimeout: 15_000,
      requestTimeout: 60_000,
      keepAliveTimeout: 75_000,
      maxHeaderSize: 16_384,
    },
    (request, response) => app.routing(request, response),
  );
}

/** Existing clients speak TLS 1.2; agents and data channels do not. */
function contextOf(credentials: ReturnType<typeof currentCredentials>): {
  ca: string[];
  cert: string;
  key: string;
  minVersion: "TLSv1.2";
} {
  return { ...tlsOptions(credentials), minVersion: "TLSv1.2" };
}

function listen(server: Server, { host, port }: HttpServerOptions): Promise<Result<number>> {
  return new Promise((resolve) => {
    const fail = (error: Error): void => {
      const doing = `starting to listen for API requests on ${host} port ${port}`;
      resolve({ ok: false, problem: tlsProblem(error, { doing, unreachable: "peer-unreachable" }) });
    };
    server.once("error", fail);
    server.listen({ host, port }, () => {
      server.off("error", fail);
      resolve(success((server.address() as AddressInfo).port));
    });
  });
}

async function close(
  server: Server,
  connections: Connections,
  { app, events }: Application,
  clock: Clock,
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  events.close();
  await within(drainMs, connections.quiet(), clock);
  connections.end();
  await within(goodbyeMs, closed, clock);
  connections.cut();
  await closed;
  await app.close();
}

/** Waits for something, but not for longer than that. */
async function within(ms: Milliseconds, promise: Promise<void>, clock: Clock): Promise<void> {
  const done = new AbortController();
  await Promise.race([promise, clock.sleep(ms, done.signal)]);
  done.abort();
}
