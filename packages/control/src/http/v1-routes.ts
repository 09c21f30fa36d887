import { v1Endpoints, writePythonJson } from "@flocker/api";
import type { Log } from "@flocker/core";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { headReply, type V1Reply, type V1Services } from "./v1-answers.ts";
import { v1Handlers } from "./v1-handlers.ts";
import { routePath } from "./v2-routes.ts";

/** Puts the routes of /v1 onto the server. */
export function registerV1(app: FastifyInstance, services: V1Services, log: Log): void {
  const handlers = v1Handlers(services);
  for (const [name, endpoint] of Object.entries(v1Endpoints)) {
    const handler = handlers[name as keyof typeof v1Endpoints];
    const url = routePath(endpoint.path);
    app.route({
      method: endpoint.method,
      url,
      exposeHeadRoute: false,
      handler: (request, reply) => {
        const result = handler({
          params: request.params as Readonly<Record<string, string>>,
          headers: request.headers,
          body: request.body,
          author: request.author,
        });
        sendV1(reply, result);
        if (endpoint.method !== "GET") logMutation(log, name, request, result);
      },
    });
    if (endpoint.method === "GET")
      app.route({ method: "HEAD", url, handler: (_request, reply) => sendV1(reply, headReply) });
  }
}

/** Answers in the style of /v1. */
export function sendV1(reply: FastifyReply, result: V1Reply): void {
  void reply
    .status(result.status)
    .headers(result.headers ?? {})
    // As a buffer, because the content type of a text would get a charset, which the original did not have.
    .header("content-type", "application/json")
    .send(typeof result.text === "string" ? Buffer.from(result.text) : result.text);
}

/** What the original said of its own mistakes: where to find them in the log, as a bare JSON string. */
export function v1Mistake(requestId: string): V1Reply {
  return { status: 500, text: writePythonJson(`${requestId}@/1`) };
}

function logMutation(log: Log, operation: string, request: FastifyRequest, result: V1Reply): void {
  const { dataset_id: asked, name } = request.params as {
    readonly dataset_id?: string;
    readonly name?: string;
  };
  const container = result.container ?? name;
  const fields = {
    request: request.id,
    author: request.author,
    from: request.ip,
    operation: `v1.${operation}`,
    dataset: result.dataset ?? asked?.slice(0, 36),
    ...(container === undefined ? {} : { container: container.slice(0, 100) }),
    status: result.status,
  };
  if (result.status < 300) log.write("info", "api-write", fields);
  else log.write("info", "api-write-refused", { ...fields, problem: String(result.text).slice(0, 300) });
}
