import { constants } from "node:crypto";
import { createServer } from "node:https";
import type { Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { assert, controlCommonName, failure, problemCodes, success } from "@flocker/core";
import type { Abort, Link, LinkDialer, Log, Milliseconds, NodeId, Problem, Result } from "@flocker/core";
import { WebSocket, WebSocketServer } from "ws";
import { currentCredentials, peerIdentity, tlsOptions } from "./certificates.ts";
import type { Credentials, CredentialsSource, Identity } from "./certificates.ts";
import { silentLog } from "./log.ts";
import { tlsProblem } from "./tls-problem.ts";
import type { TlsAttempt } from "./tls-problem.ts";
import { linkOver, tuneSocket, webSocketOptions } from "./websocket-link.ts";

const linkPath = "/agent";
const defaultHandshakeTimeoutMs = 10_000;
/** The most of a refusal that is read. */
const maxRefusalBytes = 64 * 1024;

/** Where and how to reach the control service. */
export interface WsLinkDialerOptions {
  readonly host: string;
  readonly port: number;
  readonly credentials: CredentialsSource;
  /** The name that the control service's certificate must have; `control-service` unless told otherwise. */
  readonly serverName?: string;
  readonly handshakeTimeoutMs?: Milliseconds;
  readonly log?: Log;
}

/**
 * Opens links to the control service: web sockets over TLS 1.3 with certificates on both ends. Fails with the
 * problem that the control service gives for a refusal, else with `control-unreachable` or a problem of the
 * certificates.
 */
export function wsLinkDialer(options: WsLinkDialerOptions): LinkDialer {
  return { dial: (abort) => dial(options, abort) };
}

async function dial(options: WsLinkDialerOptions, abort: Abort): Promise<Result<Link>> {
  const { host, port } = options;
  const place = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  const attempt = {
    doing: `connecting to the control service at ${place}`,
    unreachable: "control-unreachable",
  } as const;
  if (abort.aborted) return givenUp(attempt.doing);
  const credentials = currentCredentials(options.credentials);
  const tls: ConnectionOptions = {
    ...tlsOptions(credentials),
    servername: options.serverName ?? controlCommonName,
    rejectUnauthorized: true,
  };
  let socket: WebSocket;
  try {
    socket = new WebSocket(`wss://${place}${linkPath}`, { ...webSocketOptions, ...tls });
  } catch (error) {
    return { ok: false, problem: tlsProblem(error, attempt) };
  }
  const timeoutMs = options.handshakeTimeoutMs ?? defaultHandshakeTimeoutMs;
  return shakeHands(socket, { attempt, abort, timeoutMs, credentials, log: options.log ?? silentLog });
}

function shakeHands(
  socket: WebSocket,
  options: {
    readonly attempt: TlsAttempt;
    readonly abort: Abort;
    readonly timeoutMs: Milliseconds;
    readonly credentials: Credentials;
    readonly log: Log;
  },
): Promise<Result<Link>> {
  const { attempt, abort } = options;
  return new Promise((resolve) => {
    let link: Link | undefined;
    const settle = (result: Result<Link>): void => {
      clearTimeout(timer);
      abort.removeEventListener("abort", onAbort);
      if (!result.ok) socket.terminate();
      resolve(result);
    };
    const onAbort = (): void => settle(givenUp(attempt.doing));
    const onError = (error: Error): void => settle({ ok: false, problem: tlsProblem(error, attempt) });
    const timer = setTimeout(() => {
      onError(Object.assign(new Error("handshake timeout"), { code: "ERR_TLS_HANDSHAKE_TIMEOUT" }));
    }, options.timeoutMs);
    abort.addEventListener("abort", onAbort, { once: true });
    socket.on("error", onError);
    socket.once("unexpected-response", (_request, response) => {
      readRefusal(response, attempt.doing)
        .then((problem) => settle({ ok: false, problem }))
        .catch(onError);
    });
    // The link is made now, so that it gets the messages which come in one packet with the handshake's
    // answer.
    socket.once("upgrade", (response) => {
      const peer = peerIdentity(response.socket as TLSSocket, options.credentials);
      if (!peer.ok && peer.problem.code === "certificate-revoked") {
        settle(peer);
        return;
      }
      tuneSocket(response.socket);
      link = linkOver(socket, options.log);
    });
    socket.once("open", () => {
      socket.off("error", onError);
      assert(link !== undefined, "a web socket is open after its upgrade");
      settle(success(link));
    });
  });
}

function givenUp(doing: string): { ok: false; problem: Problem } {
  return failure(
    "control-unreachable",
    `Stopped ${doing}, since it is no longer wanted.`,
    "Nothing needs to be done.",
  );
}

/** The problem that the control service gave as its reason to refuse us. */
async function readRefusal(response: IncomingMessage, doing: string): Promise<Problem> {
  let text = "";
  response.setEncoding("utf8");
  for await (const chunk of response) {
    text += String(chunk);
    if (text.length > maxRefusalBytes) break;
  }
  const problem = parseProblem(text);
  if (problem !== undefined) return problem;
  return failure(
    "control-unreachable",
    `Error while ${doing}: what answers there is no control service's port for agents ` +
      `(HTTP status ${response.statusCode ?? "unknown"}).`,
    "Check host and port in the configuration; agents connect to port 4524 unless configured otherwise.",
  ).problem;
}

function parseProblem(text: string): Problem | undefined {
  try {
    const { code, message, remedy } = JSON.parse(text) as Record<string, unknown>;
    const known = problemCodes.find((each) => each === code);
    if (known === undefined || typeof message !== "string" || typeof remedy !== "string") return undefined;
    return { code: known, message, remedy };
  } catch {
    return undefined;
  }
}

/** Who a node's certificate speaks for. */
export interface NodeIdentity extends Identity {
  readonly role: { readonly role: "node"; readonly node: NodeId };
}

/** How the control service takes links. */
export interface AcceptLinksOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly credentials: CredentialsSource;
  /** Gets each link of a node that has proven who it is. */
  readonly onLink: (link: Link, identity: NodeIdentity, remoteAddress: string) => void;
  /** Hears of each connection that was turned away, and why. */
  readonly onRefused: (problem: Problem, remoteAddress: string) => void;
  readonly log?: Log;
}

/** A listening server for links. */
export interface LinkServer {
  readonly port: number;
  /**
   * Takes renewed credentials for new connections at once; a credentials function is asked anyway, at each of
   * them.
   */
  reload(): void;
  /** Stops listening and closes all links; ends when they have ended. */
  close(): Promise<void>;
}

/**
 * Listens for agents' links. Who has no certificate of a node, signed by the cluster's authority and valid
 * now, gets HTTP status 403 with the problem as JSON. Fails with `port-in-use` or `configuration-invalid`.
 */
export async function acceptLinks(options: AcceptLinksOptions): Promise<Result<LinkServer>> {
  const log = options.log ?? silentLog;
  const { server, reload, sockets } = secureServer(options, () => endRevoked());
  const upgrader = new WebSocketServer({ ...webSocketOptions, noServer: true });
  const links = new Map<WebSocket, { readonly link: Link; readonly socket: TLSSocket }>();
  const endRevoked = (): void => {
    for (const { link, socket } of links.values()) {
      const identity = peerIdentity(socket, currentCredentials(options.credentials));
      if (identity.ok || identity.problem.code !== "certificate-revoked") continue;
      options.onRefused(identity.problem, addressOf(socket));
      link.close();
    }
  };
  let closing = false;
  server.on("request", (request, response) => answer(request, response, options));
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (closing) {
      socket.destroy();
      return;
    }
    const tlsSocket = request.socket as TLSSocket;
    const remoteAddress = addressOf(tlsSocket);
    const identity = admitted(request, tlsSocket, currentCredentials(options.credentials));
    if (!identity.ok) {
      options.onRefused(identity.problem, remoteAddress);
      refuse(socket, identity.problem);
      return;
    }
    tuneSocket(tlsSocket);
    upgrader.handleUpgrade(request, socket, head, (webSocket) => {
      const link = linkOver(webSocket, log.with({ node: identity.value.role.node, remoteAddress }));
      links.set(webSocket, { link, socket: tlsSocket });
      webSocket.once("close", () => links.delete(webSocket));
      options.onLink(link, identity.value, remoteAddress);
    });
  });
  const port = await listen(server, options);
  if (!port.ok) return port;
  server.on("error", (error) => log.write("error", "link-server-failed", { error }));
  const close = async (): Promise<void> => {
    closing = true;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    const ends = [...links.keys()].map((each) => new Promise((resolve) => each.once("close", resolve)));
    for (const { link } of links.values()) link.close();
    await Promise.all(ends);
    // What is left never became a link.
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return success({ port: port.value, reload, close });
}

interface SecureServer {
  readonly server: Server;
  readonly reload: () => void;
  readonly sockets: ReadonlySet<Socket>;
}

function secureServer(options: AcceptLinksOptions, onRenewed: () => void): SecureServer {
  let credentials = currentCredentials(options.credentials);
  const server = createServer({
    ...serverContext(credentials),
    requestCert: true,
    // Whoever does not check out is let in far enough to be told why: see `admitted`, which everything goes
    // through.
    rejectUnauthorized: false,
    handshakeTimeout: defaultHandshakeTimeoutMs,
    headersTimeout: defaultHandshakeTimeoutMs,
    requestTimeout: defaultHandshakeTimeoutMs,
  });
  const reload = (): void => {
    const newest = currentCredentials(options.credentials);
    if (newest === credentials) return;
    credentials = newest;
    server.setSecureContext(serverContext(newest));
    onRenewed();
  };
  const sockets = new Set<Socket>();
  // Before the listener of Node's own that starts the handshake.
  server.prependListener("connection", (socket: Socket) => {
    reload();
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("tlsClientError", (error, socket) => {
    const remoteAddress = addressOf(socket);
    const doing = `taking a connection from ${remoteAddress}`;
    options.onRefused(tlsProblem(error, { doing, unreachable: "peer-unreachable" }), remoteAddress);
  });
  return { server, reload, sockets };
}

function serverContext(credentials: Credentials): ReturnType<typeof tlsOptions> & { secureOptions: number } {
  // Without tickets nobody resumes a session that was checked against certificates of the past.
  return { ...tlsOptions(credentials), secureOptions: constants.SSL_OP_NO_TICKET };
}

function listen(server: Server, options: AcceptLinksOptions): Promise<Result<number>> {
  return new Promise((resolve) => {
    const onError = (error: Error): void => {
      const doing = `listening for agents on ${options.host}, port ${options.port}`;
      resolve({ ok: false, problem: tlsProblem(error, { doing, unreachable: "control-unreachable" }) });
    };
    server.once("error", onError);
    server.listen(options.port, options.host, () => {
      server.off("error", onError);
      resolve(success((server.address() as AddressInfo).port));
    });
  });
}

/** Whether a request may become a link, and of whom. */
function admitted(
  request: IncomingMessage,
  socket: TLSSocket,
  credentials: Credentials,
): Result<NodeIdentity> {
  const identity = peerIdentity(socket, credentials);
  if (!identity.ok) return identity;
  const { role, commonName } = identity.value;
  if (role.role !== "node") {
    return failure(
      "certificate-role",
      `The certificate ${commonName} is not a node's, and only nodes' agents are served on this port.`,
      "Give the agent the certificate that `flocker ca node` made for its node; users connect to the API's port.",
    );
  }
  if (request.url !== linkPath) {
    return failure(
      "not-found",
      `There is nothing at ${request.url ?? "an empty address"} on the port for agents.`,
      "Use an agent of the same version as the control service.",
    );
  }
  return success({ ...identity.value, role });
}

/**
 * The other side's address; one of IPv4 as such, although a server for both kinds shows it as one of IPv6.
 */
function addressOf(socket: Socket): string {
  return socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, "") ?? "unknown address";
}

const upgradeRequired = failure(
  "bad-request",
  "This is the control service's port for agents, which speak over a web socket.",
  "For the API, use its own port (4523 unless configured otherwise).",
).problem;

function answer(request: IncomingMessage, response: ServerResponse, options: AcceptLinksOptions): void {
  const socket = request.socket as TLSSocket;
  const identity = admitted(request, socket, currentCredentials(options.credentials));
  const problem = identity.ok ? upgradeRequired : identity.problem;
  options.onRefused(problem, addressOf(socket));
  response.writeHead(identity.ok ? 426 : 403, {
    "content-type": "application/json",
    connection: "close",
    ...(identity.ok ? { upgrade: "websocket" } : {}),
  });
  response.end(JSON.stringify(problem));
}

function refuse(socket: Duplex, problem: Problem): void {
  const body = JSON.stringify(problem);
  const head = [
    "HTTP/1.1 403 Forbidden",
    "content-type: application/json",
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
  ];
  socket.on("error", () => undefined);
  socket.once("finish", () => socket.destroy());
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}
