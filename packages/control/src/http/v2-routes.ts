import {
  compileCheck,
  decodeParameters,
  problemMediaType,
  v2Endpoints,
  v2Streams,
  type Check,
  type Endpoint,
  type Fault,
  type RawParameters,
  type Refusal,
} from "@flocker/api";
import { failure, type Log, type Problem } from "@flocker/core";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { TObject } from "typebox";
import { bodyText } from "./body.ts";
import type { EventStreams } from "./event-streams.ts";
import { v2Handlers, type V2Context, type V2Services } from "./v2-handlers.ts";
import { refusalBody } from "./v2-mapping.ts";

type AnyReply = {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
};
type AnyHandler = (input: object, context: V2Context) => AnyReply | Refusal;

/** Puts the routes of /v2 onto the server. */
export function registerV2(app: FastifyInstance, services: V2Services, events: EventStreams, log: Log): void {
  const handlers = v2Handlers(services);
  for (const [name, endpoint] of Object.entries(v2Endpoints) as [keyof typeof v2Endpoints, Endpoint][]) {
    // The table's types have paired each handler with its endpoint; here all are treated alike.
    const handler = handlers[name] as unknown as AnyHandler;
    const read = inputReader(endpoint);
    app.route({
      method: endpoint.method,
      url: routePath(endpoint.path),
      exposeHeadRoute: endpoint.method === "GET",
      handler: (request, reply) => {
        const input = read(request);
        const result = "faults" in input ? input : handler(input.value, { author: request.author });
        const status = answer(endpoint, result, request, reply);
        if (endpoint.method !== "GET") logMutation(log, name, request, status, result);
      },
    });
  }
  app.get(v2Streams.events.path, { exposeHeadRoute: false }, (request, reply) => {
    const lastEventId = request.headers["last-event-id"];
    reply.hijack();
    if (events.open(reply.raw, Array.isArray(lastEventId) ? lastEventId[0] : lastEventId)) return;
    const problem = failure(
      "not-supported",
      "The event stream was not opened: too many clients are listening already.",
      "End event streams that are not needed, or read /v2/datasets now and then instead.",
    );
    const body = JSON.stringify(refusalBody(problem.problem, { bodyFields: [], requestId: request.id }));
    reply.raw.writeHead(503, { "content-type": problemMediaType }).end(body);
  });
}

/** Answers a request of /v2 with a problem. */
export function sendProblem(
  reply: FastifyReply,
  problem: Problem,
  more: {
    readonly requestId: string;
    readonly status?: number;
    readonly bodyFields?: readonly string[];
    readonly errors?: readonly Fault[];
  },
): number {
  const { bodyFields = [], status, ...rest } = more;
  const body = refusalBody(problem, { bodyFields, ...rest });
  const told = status === undefined ? body : { ...body, status };
  void reply
    .status(told.status)
    .header("content-type", problemMediaType)
    .send(Buffer.from(JSON.stringify(told)));
  return told.status;
}

/** A path of the table as the router has it. */
export function routePath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ":$1");
}

interface BadInput extends Refusal {
  readonly faults: readonly Fault[];
}

type InputReader = (request: FastifyRequest) => { readonly value: object } | BadInput;

/** Compiles the endpoint's schemas into what reads and checks requests. */
function inputReader(endpoint: Endpoint): InputReader {
  const params = parameterReader("path", endpoint.params);
  const query = parameterReader("query", endpoint.query ?? emptyQuery);
  const checkBody = endpoint.body === undefined ? undefined : compileCheck(endpoint.body);
  return (request) => {
    const path = params(request.params as RawParameters);
    if ("faults" in path) return path;
    const search = query(request.query as RawParameters);
    if ("faults" in search) return search;
    const value = { params: path.value, query: search.value, headers: request.headers };
    if (checkBody === undefined) return { value };
    const body = readBody(request, checkBody);
    return "faults" in body ? body : { value: { ...value, body: body.value } };
  };
}

const emptyQuery = { type: "object", properties: {}, additionalProperties: false } as unknown as TObject;

function parameterReader(place: "path" | "query", schema: TObject | undefined) {
  const check = schema === undefined ? undefined : compileCheck(schema);
  return (raw: RawParameters): { readonly value: unknown } | BadInput => {
    if (schema === undefined || check === undefined) return { value: raw };
    const value = decodeParameters(schema, raw);
    const faults = check(value);
    return faults.length === 0 ? { value } : badInput(`The ${place} of the request`, faults);
  };
}

function readBody(request: FastifyRequest, check: Check): { readonly value: unknown } | BadInput {
  const text = bodyText(request.body);
  if (text === undefined) return noJson("it is not UTF-8");
  if (text === "") return noJson("there is none");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return noJson(error instanceof Error ? error.message : String(error));
  }
  const faults = check(value);
  return faults.length === 0 ? { value } : badInput("The body of the request", faults);
}

function noJson(why: string): BadInput {
  return {
    ...failure(
      "bad-request",
      `The body of the request cannot be read as JSON: ${why}.`,
      "Send a JSON object as /v2/openapi.json describes it.",
    ),
    faults: [],
  };
}

function badInput(what: string, faults: readonly Fault[]): BadInput {
  const [first] = faults;
  const summary =
    faults.length === 1 && first !== undefined
      ? `${what} is not as specified: ${first.pointer.slice(2) || "it"} ${first.detail}.`
      : `${what} has ${faults.length} faults.`;
  const field = faults.length === 1 && first !== undefined ? first.pointer.slice(2) : "";
  return {
    ...failure(
      "bad-request",
      summary,
      "Correct what `errors` names; /v2/openapi.json describes every request.",
      field === "" ? undefined : field,
    ),
    faults,
  };
}

function answer(
  endpoint: Endpoint,
  result: AnyReply | Refusal | BadInput,
  request: FastifyRequest,
  reply: FastifyReply,
): number {
  if ("problem" in result) {
    const bodyFields = Object.keys((endpoint.body as Partial<TObject> | undefined)?.properties ?? {});
    const errors = "faults" in result && result.faults.length > 0 ? { errors: result.faults } : {};
    return sendProblem(reply, result.problem, { bodyFields, requestId: request.id, ...errors });
  }
  void reply
    .status(result.status)
    .headers(result.headers ?? {})
    .header("content-type", "application/json")
    .send(Buffer.from(JSON.stringify(result.body)));
  return result.status;
}

function logMutation(
  log: Log,
  operation: string,
  request: FastifyRequest,
  status: number,
  result: AnyReply | Refusal,
): void {
  const { dataset_id: dataset } = request.params as { readonly dataset_id?: string };
  const created = "body" in result ? (result.body as { readonly dataset_id?: string }).dataset_id : undefined;
  const fields = {
    request: request.id,
    author: request.author,
    from: request.ip,
    operation,
    dataset: created ?? dataset?.slice(0, 36),
    status,
  };
  if ("problem" in result) {
    const { code, message } = result.problem;
    log.write("info", "api-write-refused", { ...fields, code, problem: message.slice(0, 300) });
  } else log.write("info", "api-write", fields);
}
