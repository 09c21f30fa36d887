import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { createServer } from "node:tls";
import type { Server, TLSSocket } from "node:tls";
import { assert, failure, success } from "@flocker/core";
import type { Clock, Log, Milliseconds, PeerHandler, Problem, Result } from "@flocker/core";
import type { Credentials, CredentialsSource } from "../certificates.ts";
import { currentCredentials, tlsOptions } from "../certificates.ts";
import { tlsProblem } from "../tls-problem.ts";
import { answerExchange } from "./answering.ts";
import type { RunningExchange } from "./answering.ts";
import { jsonFrame } from "./frames.ts";
import { checkOwnRole, formatAddress, peerNode } from "./identity.ts";

/** Bounds of the answering side; see `defaultDataChannelLimits`. */
export interface DataChannelLimits {
  /**
   * After this silence of an asking side, its request is given up. A peer may ask for more patience, not for
   * less.
   */
  readonly silenceMs: Milliseconds;
  /** The TLS handshake takes at most this long. */
  readonly handshakeMs: Milliseconds;
  /** So many requests run at once; who comes then is told `peer-busy`. */
  readonly maximumRequests: number;
  /** How long to wait for the other side to close after the reply. */
  readonly lingerMs: Milliseconds;
  /** How long `close` waits for handlers that were told to stop. */
  readonly closeMs: Milliseconds;
}

/** The limits that hold unless others are given. */
export const defaultDataChannelLimits: DataChannelLimits = {
  silenceMs: 30_000,
  handshakeMs: 10_000,
  maximumRequests: 64,
  lingerMs: 5_000,
  closeMs: 5_000,
};

/** What the answering side of the data channel is made of. */
export interface DataChannelServerOptions {
  readonly host: string;
  /** 0 for any free port. */
  readonly port: number;
  readonly credentials: CredentialsSource;
  readonly handler: PeerHandler;
  readonly log: Log;
  readonly clock: Clock;
  readonly limits?: Partial<DataChannelLimits>;
}

/** The answering side, while it listens. */
export interface DataChannelServer {
  readonly host: string;
  /** The port that it really listens on. */
  readonly port: number;
  /**
   * Takes no new requests, tells running handlers to stop, and waits for them and their answers, but not for
   * longer than `closeMs`. May be called again; all calls wait for the same end.
   */
  close(): Promise<void>;
}

/**
 * Answers other nodes' requests on the data channel (design, section 10): TLS 1.3, node certificates of this
 * cluster on both ends, one request per connection. The handler may answer before the body is over; the other
 * side then stops sending. A handler that has begun to read the body may answer `ok` only after reading it to
 * its end, which is where it is verified. Fails with `port-in-use`, `configuration-invalid` or
 * `certificate-role`.
 */
export async function dataChannelServer(
  options: DataChannelServerOptions,
): Promise<Result<DataChannelServer>> {
  const own = checkOwnRole(currentCredentials(options.credentials));
  if (!own.ok) return own;
  const service = new Service(options);
  return await service.listen();
}

class Service {
  readonly #options: DataChannelServerOptions;
  readonly #limits: DataChannelLimits;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #running = new Set<RunningExchange>();
  #usedCredentials: Credentials;
  #closing: Promise<void> | null = null;

  constructor(options: DataChannelServerOptions) {
    this.#options = options;
    this.#limits = { ...defaultDataChannelLimits, ...options.limits };
    const credentials = currentCredentials(options.credentials);
    this.#usedCredentials = credentials;
    this.#server = createServer({
      ...tlsOptions(credentials),
      requestCert: true,
      // Who is not accepted is let in as far as being told why; see #serve, which checks before anything is
      // read.
      rejectUnauthorized: false,
      handshakeTimeout: this.#limits.handshakeMs,
    });
    // Also who has not proven anything yet takes up room. Beyond this, connections are dropped without a
    // word.
    this.#server.maxConnections = this.#limits.maximumRequests * 4;
  }

  async listen(): Promise<Result<DataChannelServer>> {
    const { host, port, log } = this.#options;
    const server = this.#server;
    server.prependListener("connection", (socket: Socket) => this.#arrived(socket));
    server.on("secureConnection", (socket) => this.#serve(socket));
    server.on("drop", (from) =>
      log.write("warn", "data-channel-connection-dropped", { from: from?.remoteAddress }),
    );
    server.on("tlsClientError", (error, socket) => {
      log.write("debug", "data-channel-handshake-failed", {
        remote: socket.remoteAddress,
        error: error.message,
      });
    });
    try {
      server.listen({ host, port });
      await once(server, "listening");
    } catch (error) {
      const doing = `listening for data on ${formatAddress(host, port)}`;
      return { ok: false, problem: tlsProblem(error, { doing, unreachable: "peer-unreachable" }) };
    }
    server.on("error", (error) => {
      log.write("error", "data-channel-server-error", { error: error.message });
    });
    const address = server.address() as AddressInfo;
    log.write("info", "data-channel-listening", { host: address.address, port: address.port });
    return success({
      host: address.address,
      port: address.port,
      close: () => (this.#closing ??= this.#close()),
    });
  }

  #arrived(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    const credentials = currentCredentials(this.#options.credentials);
    if (credentials === this.#usedCredentials) return;
    this.#usedCredentials = credentials;
    this.#server.setSecureContext(tlsOptions(credentials));
  }

  #serve(socket: TLSSocket): void {
    const { clock, credentials, handler, log } = this.#options;
    const remote = formatAddress(socket.remoteAddress ?? "an unknown address", socket.remotePort ?? 0);
    const node = peerNode(socket, currentCredentials(credentials), remote);
    if (!node.ok) return this.#refuse(socket, remote, node.problem);
    if (this.#closing !== null) return this.#refuse(socket, remote, stopping());
    if (this.#running.size >= this.#limits.maximumRequests) {
      return this.#refuse(socket, remote, busy(this.#limits.maximumRequests));
    }
    const exchange = answerExchange(socket, {
      clock,
      handler,
      from: node.value,
      remote,
      log: log.with({ from: node.value, remote }),
      silenceMs: this.#limits.silenceMs,
      lingerMs: this.#limits.lingerMs,
    });
    this.#running.add(exchange);
    void exchange.done.then(() => this.#running.delete(exchange));
  }

  /** Says why on the connection itself: a TLS alert could not tell the other side what is wrong. */
  #refuse(socket: TLSSocket, remote: string, problem: Problem): void {
    const { clock, credentials, log } = this.#options;
    log.write("warn", "data-channel-refused", { remote, code: problem.code, message: problem.message });
    const { commonName } = currentCredentials(credentials);
    const message = `${commonName} refuses the connection. As it sees it: ${problem.message}`;
    const gone = new AbortController();
    socket.on("error", () => undefined);
    socket.once("close", () => gone.abort());
    socket.resume();
    const frame = jsonFrame("reply", { ok: false, problem: { ...problem, message } });
    assert(frame !== undefined, "a refusal fits into its frame");
    socket.end(frame);
    void clock.sleep(this.#limits.lingerMs, gone.signal).then(() => socket.destroy());
  }

  async #close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const exchange of this.#running) exchange.stop(stopping());
    // The connections too, so that the other sides get their answers: to destroy them now could overtake
    // these.
    const finished = new AbortController();
    const handlers = Promise.all([...this.#running].map((exchange) => exchange.done));
    void Promise.all([handlers, closed]).then(() => finished.abort());
    await this.#options.clock.sleep(this.#limits.closeMs, finished.signal);
    if (this.#running.size > 0) {
      this.#options.log.write("warn", "data-channel-handlers-left", { count: this.#running.size });
    }
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

function stopping(): Problem {
  return failure(
    "transfer-interrupted",
    "Error while answering a request on the data channel: the agent of this node is stopping.",
    "It is tried again by itself once the agent runs again.",
  ).problem;
}

function busy(maximum: number): Problem {
  return failure(
    "peer-busy",
    `Error while taking a request on the data channel: this node is already working on ${maximum} of them.`,
    "It is tried again by itself; nothing needs to be done.",
  ).problem;
}
