import { AssertionError, failure, ProblemError, type Problem } from "@flocker/core";
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from "fastify";
import type { ApiOptions } from "./api-context.ts";
import { createEventStreams, type EventLimits, type EventStreams } from "./event-streams.ts";
import { htmlMediaType, methodNotAllowedPage, notFoundPage } from "./html-pages.ts";
import { allowedMethods } from "./known-paths.ts";
import { described } from "./v1-answers.ts";
import { registerV1, sendV1, v1Mistake } from "./v1-routes.ts";
import { registerV2, sendProblem } from "./v2-routes.ts";

/** The most bytes that a request's body may have. */
export const bodyLimitBytes = 1_048_576;

/** The API without what carries it: requests come through the server's sockets, or are injected by tests. */
export interface Application {
  readonly app: FastifyInstance;
  readonly events: EventStreams;
}

/** Builds the API: both versions' routes, who may come in, and what is answered to whatever else comes. */
export async function createApplication(
  options: ApiOptions,
  eventLimits?: EventLimits,
): Promise<Application> {
  const { cluster, leases, clock, ids, log } = options;
  const app = Fastify({
    bodyLimit: bodyLimitBytes,
    genReqId: () => ids.uuid(),
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 4096 },
    frameworkErrors: (error, request, reply) => answerError(options, error, request, reply),
  });
  const events = createEventStreams({
    cluster,
    leases,
    clock,
    ids,
    ...(eventLimits === undefined ? {} : { limits: eventLimits }),
  });

  app.decorateRequest("author", "");
  app.addHook("onRequest", (request, reply, done) => {
    const admitted = options.admit(request.raw.socket);
    if (!admitted.ok) {
      refuseCertificate(request, reply, admitted.problem);
      return;
    }
    request.author = admitted.value.commonName;
    // Bodies are JSON whatever their content type says, and one that cannot be parsed must not matter either.
    delete request.raw.headers["content-type"];
    done();
  });
  app.addHook("onResponse", (request, reply, done) => {
    if (request.method === "GET") logRead(options, request, reply);
    done();
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  app.setErrorHandler((error: FastifyError, request, reply) => answerError(options, error, request, reply));
  app.setNotFoundHandler(answerUnknown);

  registerV1(app, options, log);
  registerV2(app, options, events, log);
  await app.ready();
  return { app, events };
}

function logRead({ log }: ApiOptions, request: FastifyRequest, reply: FastifyReply): void {
  log.write("debug", "api-read", {
    request: request.id,
    author: request.author,
    from: request.ip,
    url: request.url.slice(0, 200),
    status: reply.statusCode,
    ms: Math.round(reply.elapsedTime),
  });
}

/**
 * A certificate that may not use the API: clients of /v2 are told why; those of /v1 see the connection end,
 * as they did when the original refused the handshake.
 */
function refuseCertificate(request: FastifyRequest, reply: FastifyReply, problem: Problem): void {
  if (!isV2(request.url)) {
    reply.hijack();
    request.raw.socket.destroy();
    return;
  }
  void reply.header("connection", "close");
  sendProblem(reply, problem, { requestId: request.id });
}

function answerUnknown(request: FastifyRequest, reply: FastifyReply): void {
  const path = pathOf(request.url);
  const methods = allowedMethods(path);
  if (methods.length > 0) void reply.header("allow", methods.join(", "));
  if (isV2(path)) {
    const { problem } = methods.length > 0 ? wrongMethod(request.method, path, methods) : nothingHere(path);
    sendProblem(reply, problem, { requestId: request.id });
    return;
  }
  void reply
    .status(methods.length > 0 ? 405 : 404)
    .header("content-type", htmlMediaType)
    .send(Buffer.from(methods.length > 0 ? methodNotAllowedPage : notFoundPage));
}

function wrongMethod(method: string, path: string, methods: readonly string[]): ReturnType<typeof failure> {
  return failure(
    "method-not-allowed",
    `${path.slice(0, 200)} does not answer to ${method}.`,
    `Use ${methods.join(" or ")}; /v2/openapi.json describes every request.`,
  );
}

function nothingHere(path: string): ReturnType<typeof failure> {
  return failure(
    "not-found",
    `There is nothing at ${path.slice(0, 200)}.`,
    "Check the path's spelling; /v2/openapi.json describes every request.",
  );
}

/** What the framework or a mistake of ours has thrown. */
function answerError(
  options: ApiOptions,
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  if (error instanceof ProblemError) {
    answerProblem(options, error.problem, request, reply);
    return;
  }
  const status = error.statusCode ?? 500;
  if (status >= 500) {
    if (error instanceof AssertionError) options.crash(error);
    options.log.write("error", "api-mistake", {
      request: request.id,
      method: request.method,
      url: request.url.slice(0, 200),
      error,
    });
    if (!isV2(request.url)) sendV1(reply, v1Mistake(request.id));
    else sendProblem(reply, ourMistake(request.id).problem, { requestId: request.id });
    return;
  }
  const isBadUrl = error.code === "FST_ERR_BAD_URL";
  if (isV2(request.url)) {
    const { problem } = badRequest(isBadUrl ? "The path is not percent-encoded UTF-8." : error.message);
    sendProblem(reply, problem, { requestId: request.id, status });
  } else if (isBadUrl) {
    void reply
      .status(400)
      .header("content-type", "text/plain")
      .send(Buffer.from("Non-UTF-8 encoding in URL."));
  } else sendV1(reply, described(status, error.message));
}

/** What could not be done now, as when the store fails. */
function answerProblem(
  options: ApiOptions,
  problem: Problem,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  options.log.write("error", "api-failed", { request: request.id, ...problem });
  if (isV2(request.url)) sendProblem(reply, problem, { requestId: request.id });
  else sendV1(reply, v1Mistake(request.id));
}

function badRequest(message: string): ReturnType<typeof failure> {
  return failure(
    "bad-request",
    `The request cannot be read: ${message}`,
    `Bodies have at most ${bodyLimitBytes} bytes; /v2/openapi.json describes every request.`,
  );
}

function ourMistake(requestId: string): ReturnType<typeof failure> {
  return failure(
    "internal",
    "The control service made a mistake while answering. Whether it changed anything is not known.",
    `Look for request ${requestId} in the control service's log, and report what it says.`,
  );
}

function isV2(url: string): boolean {
  return /^\/v2(?:$|[/?])/.test(url);
}

function pathOf(url: string): string {
  const end = url.indexOf("?");
  return end < 0 ? url : url.slice(0, end);
}
