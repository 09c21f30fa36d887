import { Agent, request as httpsRequest } from "node:https";
import type { ClientRequest, IncomingMessage } from "node:http";
import { isIPv6 } from "node:net";
import { TLSSocket } from "node:tls";
import { ProblemError, type Milliseconds, type Problem } from "@flocker/core";
import { currentCredentials, tlsOptions, type CredentialsSource } from "./certificates.ts";
import { tlsProblem } from "./tls-problem.ts";

/** Answers longer than this are not Flocker's: its lists come in pages. */
const answerBytesMax = 64 * 2 ** 20;
/** Between two requests a connection is kept for so long, to save the handshake. */
const keepAliveMs = 30_000;

/** Whom to talk to, as whom, and for how long at most. */
export interface HttpsClientOptions {
  readonly host: string;
  readonly port: number;
  readonly credentials: CredentialsSource;
  /** The name that the service's certificate must have, where it is not the host that is dialled. */
  readonly serverName?: string | undefined;
  /** For one request, from dialling to the end of the answer. */
  readonly timeoutMs: Milliseconds;
  /** Ends every request that is under way. */
  readonly abort?: AbortSignal | undefined;
}

/** One request. The path has its query, percent-encoded; the body is text, or null for none. */
export interface HttpsRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
}

/** One answer, its body as text. */
export interface HttpsResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

/** An answer that is read while it comes. */
export interface HttpsStream {
  readonly status: number;
  /** The body in pieces of text; to be iterated once, to its end or until the abort. */
  readonly text: AsyncIterable<string>;
}

/** Speaks HTTPS to one control service, with a client certificate, TLS 1.2 or newer. */
export interface HttpsClient {
  /**
   * Sends one request and waits for its whole answer. Rejects with a ProblemError: `control-unreachable`
   * where there is no answer, `deadline-exceeded` where none came in time, the certificates' codes where
   * those are the cause.
   */
  send(request: HttpsRequest): Promise<HttpsResponse>;
  /**
   * Sends one request whose answer is read while it comes, over a connection of its own. Rejects as `send`
   * does, and so does reading the answer; also where nothing comes for longer than `silenceMs`.
   */
  open(
    request: HttpsRequest,
    options: { readonly abort: AbortSignal; readonly silenceMs: Milliseconds },
  ): Promise<HttpsStream>;
  /** Closes the connections that are kept for later requests. */
  close(): void;
}

/** Opens nothing yet: connections are made when requests need them, and kept for the next. */
export function createHttpsClient(options: HttpsClientOptions): HttpsClient {
  const agent = new Agent({
    keepAlive: true,
    keepAliveMsecs: keepAliveMs,
    maxSockets: 16,
    maxCachedSessions: 4,
  });
  return {
    async send(request) {
      try {
        return await exchange(request, options, agent);
      } catch (error) {
        // The service may close a kept connection at the moment when we use it again; reading twice does no
        // harm.
        if (!(error instanceof StaleConnection) || request.method !== "GET")
          throw asProblem(error, request, options);
      }
      try {
        return await exchange(request, options, agent);
      } catch (error) {
        throw asProblem(error, request, options);
      }
    },
    async open(request, { abort, silenceMs }) {
      const signal = options.abort === undefined ? abort : AbortSignal.any([abort, options.abort]);
      const stream = { ...options, abort: signal };
      try {
        const incoming = await openStream(request, stream, silenceMs);
        return { status: incoming.statusCode ?? 0, text: textOf(incoming, request, stream) };
      } catch (error) {
        throw asProblem(error, request, stream);
      }
    },
    close: () => agent.destroy(),
  };
}

class StaleConnection extends Error {}
class AnswerTooLong extends Error {}
class SilentStream extends Error {
  override readonly message = "it has been silent for too long";
}
/**
 * What Node's TLS servers do to a client whose certificate they do not accept; they send no alert that says
 * so.
 */
class DroppedAfterHandshake extends Error {}

function exchange(request: HttpsRequest, options: HttpsClientOptions, agent: Agent): Promise<HttpsResponse> {
  const deadline = AbortSignal.timeout(options.timeoutMs);
  const signal = options.abort === undefined ? deadline : AbortSignal.any([deadline, options.abort]);
  const body = request.body === null ? null : Buffer.from(request.body);
  return new Promise((resolve, reject) => {
    const outgoing = httpsRequest({
      ...tlsOptions(currentCredentials(options.credentials)),
      minVersion: "TLSv1.2",
      ...(options.serverName === undefined ? {} : { servername: options.serverName }),
      agent,
      signal,
      host: options.host,
      port: options.port,
      method: request.method,
      path: request.path,
      headers: { ...request.headers, ...(body === null ? {} : { "content-length": body.length }) },
    });
    outgoing.on("error", (error) => reject(causeOf(error, outgoing, signal)));
    outgoing.on("response", (incoming) => void collect(incoming).then(resolve, reject));
    outgoing.end(body ?? undefined);
  });
}

function openStream(
  request: HttpsRequest,
  options: HttpsClientOptions & { readonly abort: AbortSignal },
  silenceMs: Milliseconds,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = httpsRequest({
      ...tlsOptions(currentCredentials(options.credentials)),
      minVersion: "TLSv1.2",
      ...(options.serverName === undefined ? {} : { servername: options.serverName }),
      agent: false,
      signal: options.abort,
      host: options.host,
      port: options.port,
      method: request.method,
      path: request.path,
      headers: request.headers,
    });
    outgoing.setTimeout(silenceMs, () => outgoing.destroy(new SilentStream()));
    outgoing.on("error", (error) => reject(causeOf(error, outgoing, options.abort)));
    outgoing.on("response", resolve);
    outgoing.end(request.body ?? undefined);
  });
}

async function* textOf(
  incoming: IncomingMessage,
  request: HttpsRequest,
  options: HttpsClientOptions,
): AsyncGenerator<string> {
  incoming.setEncoding("utf8");
  try {
    yield* incoming as AsyncIterable<string>;
  } catch (error) {
    throw asProblem(error, request, options);
  }
}

/** An aborted request fails with an AbortError that hides why: the deadline, or the user. */
function causeOf(error: Error, outgoing: ClientRequest, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  const code = (error as NodeJS.ErrnoException).code;
  if (code !== "ECONNRESET" && code !== "EPIPE") return error;
  if (outgoing.reusedSocket) return new StaleConnection(error.message, { cause: error });
  const shookHands = outgoing.socket instanceof TLSSocket && outgoing.socket.getProtocol() !== null;
  return shookHands && outgoing.socket.authorized ? new DroppedAfterHandshake() : error;
}

async function collect(incoming: IncomingMessage): Promise<HttpsResponse> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > answerBytesMax) throw new AnswerTooLong();
    chunks.push(chunk);
  }
  const headers = Object.entries(incoming.headers).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.join(", ") : value,
  ]);
  return {
    status: incoming.statusCode ?? 0,
    headers: Object.fromEntries(headers) as HttpsResponse["headers"],
    body: Buffer.concat(chunks).toString("utf8"),
  };
}

function asProblem(error: unknown, request: HttpsRequest, options: HttpsClientOptions): ProblemError {
  return new ProblemError(problemFor(error, request, options), { cause: error });
}

function problemFor(error: unknown, request: HttpsRequest, options: HttpsClientOptions): Problem {
  const at = `${isIPv6(options.host) ? `[${options.host}]` : options.host}:${options.port}`;
  if (error instanceof DOMException && error.name === "TimeoutError") {
    const unsure = request.method === "GET" ? "" : " Whether it was done is not known.";
    return {
      code: "deadline-exceeded",
      message: `The control service at ${at} did not answer within ${options.timeoutMs / 1000} s.${unsure}`,
      remedy:
        "Check that the control service is well (its log, its machine's load) and the network; then look again.",
    };
  }
  if (options.abort?.aborted === true) {
    return {
      code: "control-unreachable",
      message: `The request to the control service at ${at} was abandoned.`,
      remedy: "Ask again.",
    };
  }
  if (error instanceof DroppedAfterHandshake) {
    return {
      code: "control-unreachable",
      message: `The control service at ${at} broke the connection after the handshake, without an answer.`,
      remedy:
        "If it was not just restarted, it does not accept this certificate: check that it is of the same cluster, not " +
        "expired by the service's clock, and one for users (flocker ca show FILE).",
    };
  }
  if (error instanceof AnswerTooLong) {
    return {
      code: "protocol-violation",
      message: `What answers at ${at} sent more than ${answerBytesMax / 2 ** 20} MiB.`,
      remedy: "Check that host and port are those of a Flocker control service.",
    };
  }
  const cause = error instanceof StaleConnection ? error.cause : error;
  const problem = tlsProblem(cause, {
    doing: `connecting to the control service at ${at}`,
    unreachable: "control-unreachable",
  });
  if ((cause as NodeJS.ErrnoException).code !== "ERR_TLS_CERT_ALTNAME_INVALID") return problem;
  return {
    ...problem,
    remedy:
      "Dial a name that is in the certificate, make one for this host with `flocker ca control HOST`, or set the server " +
      "name to check: control-service is in every control service's certificate.",
  };
}
