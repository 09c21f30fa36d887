import { ProblemError } from "@flocker/core";
import type { Answer, Client, Endpoint, EndpointTable, Input, ResponseHeaders } from "./contract.ts";
import { problemOf, strangeAnswer } from "./problem.ts";

/** A request as the transport has to send it. */
export interface TransportRequest {
  readonly method: string;
  /** With the query, percent-encoded. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON, or null for none. */
  readonly body: string | null;
}

/** An answer as the transport has received it, the body as text. */
export interface TransportResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ResponseHeaders;
  readonly body: string;
}

/**
 * Sends one request and waits for its whole answer. It rejects with a ProblemError (`control-unreachable` and
 * the certificates' codes) where there is no answer.
 */
export type Transport = (request: TransportRequest) => Promise<TransportResponse>;

/**
 * A client for a table of endpoints. Every answer that the table lists is a value; a status that it does not
 * list, and a body that is not JSON, reject with a ProblemError (with the service's own problem, if it told
 * one).
 */
export function createClient<Table extends EndpointTable>(table: Table, transport: Transport): Client<Table> {
  const methods = Object.entries(table).map(([name, endpoint]) => [
    name,
    async (input: Input<Endpoint>) => readAnswer(endpoint, await transport(writeRequest(endpoint, input))),
  ]);
  return Object.fromEntries(methods) as Client<Table>;
}

interface AnyInput {
  readonly params?: Readonly<Record<string, unknown>>;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
}

/** The request that stands for an endpoint's input. */
export function writeRequest(endpoint: Endpoint, input: AnyInput): TransportRequest {
  const path = endpoint.path.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(textOf(input.params?.[name])),
  );
  const query = Object.entries(input.query ?? {})
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(textOf(value))}`)
    .join("&");
  const headers: Record<string, string> = { accept: "application/json" };
  for (const [name, value] of Object.entries(input.headers ?? {}))
    if (value !== undefined) headers[name.toLowerCase()] = textOf(value);
  const hasBody = endpoint.body !== undefined;
  if (hasBody) headers["content-type"] = "application/json";
  return {
    method: endpoint.method,
    path: query === "" ? path : `${path}?${query}`,
    headers,
    body: hasBody ? JSON.stringify(input.body) : null,
  };
}

function readAnswer<E extends Endpoint>(endpoint: E, response: TransportResponse): Answer<E> {
  const body = parseJson(response.body);
  if (body === undefined) throw new ProblemError(strangeAnswer(response.status));
  if (!(response.status in endpoint.responses))
    throw new ProblemError(problemOf(body.value) ?? strangeAnswer(response.status));
  return { status: response.status, headers: response.headers, body: body.value } as Answer<E>;
}

function parseJson(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
