import type { Problem } from "@flocker/core";
import type { Static, TObject, TSchema } from "typebox";

/**
 * What an endpoint takes and answers, as schemas: handlers, the client and the OpenAPI document all come from
 * it.
 */
export interface Endpoint {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  /** Parameters stand in braces: `/v2/datasets/{dataset_id}`. */
  readonly path: `/${string}`;
  /** A few words, as the heading of the operation. */
  readonly summary: string;
  readonly description: string;
  readonly params?: TObject;
  readonly query?: TObject;
  /** Request headers that mean something to this endpoint, in lower case. */
  readonly headers?: TObject;
  readonly body?: TSchema;
  /** Every answer that a client has to expect, by status. */
  readonly responses: Readonly<Record<number, TSchema>>;
  /** Response headers that this endpoint's successes carry, with what they mean. */
  readonly responseHeaders?: Readonly<Record<string, string>>;
  /** The media type of successes, where it is not JSON. */
  readonly mediaType?: "text/event-stream";
}

/** Endpoints by name; the names are those of handlers, client methods and OpenAPI operations. */
export type EndpointTable = Readonly<Record<string, Endpoint>>;

type ParamsOf<E> = E extends { readonly params: infer S extends TSchema }
  ? { readonly params: Static<S> }
  : object;
type QueryOf<E> = E extends { readonly query: infer S extends TSchema }
  ? { readonly query?: Static<S> }
  : object;
type HeadersOf<E> = E extends { readonly headers: infer S extends TSchema }
  ? { readonly headers?: Static<S> }
  : object;
type BodyOf<E> = E extends { readonly body: infer S extends TSchema } ? { readonly body: Static<S> } : object;

/** What goes into an endpoint: those of `params`, `query`, `headers` and `body` that it has. */
export type Input<E extends Endpoint> = ParamsOf<E> & QueryOf<E> & HeadersOf<E> & BodyOf<E>;

/** Headers of an answer, in lower case. */
export type ResponseHeaders = Readonly<Record<string, string | undefined>>;

/**
 * What comes out of an endpoint: one member for each status, so that a switch on `status` narrows the body.
 */
export type Answer<E extends Endpoint> = {
  readonly [S in keyof E["responses"] & number]: {
    readonly status: S;
    readonly headers: ResponseHeaders;
    readonly body: Static<E["responses"][S]>;
  };
}[keyof E["responses"] & number];

/** What a handler gives back; it names only the headers that are its own. */
export type Reply<E extends Endpoint> = {
  readonly [S in keyof E["responses"] & number]: {
    readonly status: S;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body: Static<E["responses"][S]>;
  };
}[keyof E["responses"] & number];

/**
 * What a handler gives back instead of a reply: a failed result, which becomes a problem body with its code's
 * status.
 */
export interface Refusal {
  readonly ok: false;
  readonly problem: Problem;
}

/** One handler for each endpoint: a missing or mistyped one does not compile. */
export type Handlers<Table extends EndpointTable, Context> = {
  readonly [Name in keyof Table]: (
    input: Input<Table[Name]>,
    context: Context,
  ) => Reply<Table[Name]> | Refusal;
};

/** One method for each endpoint. Expected answers, refusals too, are values; see {@link Answer}. */
export type Client<Table extends EndpointTable> = {
  readonly [Name in keyof Table]: (input: Input<Table[Name]>) => Promise<Answer<Table[Name]>>;
};

/** A success's body: that of the statuses from 200 to 299. */
export type SuccessBody<A extends { readonly status: number; readonly body: unknown }> = Extract<
  A,
  { readonly status: 200 | 201 | 202 | 204 }
>["body"];
