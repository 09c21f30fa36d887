import { failure, problemCodes, success } from "@flocker/core";
import type { PeerReply, PeerRequest, Problem, Result } from "@flocker/core";
import { Type } from "typebox";
import { Compile } from "typebox/compile";
import { dataChannelVersion, violation } from "./frames.ts";

/** What the asking side sends first. */
export interface RequestHeader {
  readonly version: number;
  /**
   * After this silence the asking side takes the other for dead. Neither side is silent for longer than a
   * third of it.
   */
  readonly silenceMs: number;
  readonly request: PeerRequest;
}

/** The part of a compiled schema that is used here. */
interface Schema {
  Check(value: unknown): boolean;
  Errors(value: unknown): { readonly instancePath: string; readonly message: string }[];
}

const uuid = Type.String({
  pattern: "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
});
const count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const countOrNull = Type.Union([count, Type.Null()]);
const epoch = Type.Object({ term: count, step: count });
const guid = Type.String({ minLength: 1, maxLength: 512 });
const guidOrNull = Type.Union([guid, Type.Null()]);
const snapshot = Type.Object({
  guid,
  name: Type.String({ minLength: 1, maxLength: 512 }),
  createdAt: Type.Number(),
});
/** A backend's own word for where a stream goes on; those of OpenZFS have some hundreds of characters. */
const token = Type.String({ minLength: 1, maxLength: 16_384 });
const silence = Type.Integer({ minimum: 30, maximum: 600_000 });
const record = Type.Object({
  dataset: uuid,
  epoch,
  role: Type.Union([Type.Literal("primary"), Type.Literal("relinquished"), Type.Literal("replica")]),
  successor: Type.Optional(uuid),
  snapshot: Type.Optional(guid),
});

// Keyed by kind, so that a new kind without a schema does not compile, and so that an error names the field
// that is wrong rather than every alternative. Unknown fields are let be: a newer peer of the same version
// may send more.
const requestSchemas: Readonly<Record<PeerRequest["kind"], Schema>> = {
  describe: Compile(Type.Object({ kind: Type.Literal("describe"), dataset: uuid })),
  receive: Compile(
    Type.Object({
      kind: Type.Literal("receive"),
      dataset: uuid,
      epoch,
      base: guidOrNull,
      snapshot,
      maximumSizeBytes: countOrNull,
      estimatedBytes: countOrNull,
      profile: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
      resume: Type.Optional(token),
    }),
  ),
  promote: Compile(Type.Object({ kind: Type.Literal("promote"), dataset: uuid, epoch, snapshot: guid })),
  "take-back": Compile(Type.Object({ kind: Type.Literal("take-back"), dataset: uuid, epoch })),
};

const replySchemas: Readonly<Record<PeerReply["kind"], Schema>> = {
  describe: Compile(
    Type.Object({
      kind: Type.Literal("describe"),
      record: Type.Union([record, Type.Null()]),
      snapshots: Type.Array(guid),
      unchangedSince: guidOrNull,
      partial: Type.Optional(Type.Object({ snapshot: guid, base: guidOrNull, token })),
    }),
  ),
  receive: Compile(Type.Object({ kind: Type.Literal("receive"), receivedBytes: count })),
  promote: Compile(Type.Object({ kind: Type.Literal("promote") })),
  "take-back": Compile(Type.Object({ kind: Type.Literal("take-back"), granted: Type.Boolean() })),
};

const silenceSchema: Schema = Compile(silence);
const versionSchema: Schema = Compile(Type.Object({ version: count }));
const headerSchema: Schema = Compile(
  Type.Object({
    version: count,
    silenceMs: silence,
    request: Type.Object({ kind: Type.String() }),
  }),
);
const problemSchema: Schema = Compile(
  Type.Object({
    code: Type.String(),
    message: Type.String(),
    remedy: Type.String(),
    field: Type.Optional(Type.String()),
  }),
);
const resultSchema: Schema = Compile(
  Type.Union([
    Type.Object({ ok: Type.Literal(true), value: Type.Object({ kind: Type.String() }) }),
    Type.Object({ ok: Type.Literal(false), problem: Type.Unknown() }),
  ]),
);

/**
 * Whether a request may name this silence (in ms): neither shorter than timers can keep nor longer than
 * patience.
 */
export function isAllowedSilence(silenceMs: number): boolean {
  return silenceSchema.Check(silenceMs);
}

/** Checks a request frame. The version comes first: of another version nothing else can be judged. */
export function parseRequestHeader(value: unknown): Result<RequestHeader> {
  const versioned = check(versionSchema, value, "a request");
  if (!versioned.ok) return versioned;
  const { version } = value as { version: number };
  if (version !== dataChannelVersion) {
    return failure(
      "protocol-version",
      `Error while reading a request on the data channel: it is of version ${version}, ` +
        `and this agent speaks version ${dataChannelVersion}.`,
      "Bring the agents of both nodes to the same version of Flocker.",
    );
  }
  const outer = check(headerSchema, value, "a request");
  if (!outer.ok) return outer;
  const header = value as RequestHeader;
  const schema = own(requestSchemas, header.request.kind);
  if (schema === undefined) return unknownKind("a request", header.request.kind);
  const inner = check(schema, header.request, `the request ${header.request.kind}`);
  return inner.ok ? success(header) : inner;
}

/** Checks a reply frame against the request that it answers. The other side's refusal comes out as it is. */
export function parseReply(value: unknown, request: PeerRequest): Result<PeerReply> {
  const outer = check(resultSchema, value, "a reply");
  if (!outer.ok) return outer;
  const result = value as { ok: true; value: PeerReply } | { ok: false; problem: unknown };
  if (!result.ok) return { ok: false, problem: parseProblem(result.problem) };
  if (result.value.kind !== request.kind)
    return unknownKind(`the reply to ${request.kind}`, result.value.kind);
  const inner = check(replySchemas[request.kind], result.value, `the reply to ${request.kind}`);
  return inner.ok ? success(result.value) : inner;
}

/** A problem that the other side sent, made fit for use here. */
export function parseProblem(value: unknown): Problem {
  const checked = check(problemSchema, value, "a problem");
  if (!checked.ok) return checked.problem;
  const { code, message, remedy, field } = value as Problem;
  // A newer peer may know more codes: what it says still holds, as a refusal.
  const known = (problemCodes as readonly string[]).includes(code) ? code : "peer-refused";
  return field === undefined ? { code: known, message, remedy } : { code: known, message, remedy, field };
}

function check(schema: Schema, value: unknown, what: string): Result<void> {
  if (schema.Check(value)) return success();
  const first = schema.Errors(value)[0];
  const where = first === undefined || first.instancePath === "" ? "" : ` at ${first.instancePath}`;
  return {
    ok: false,
    problem: violation(`${what} is malformed${where}: ${first?.message ?? "it is no such thing"}`),
  };
}

function unknownKind(what: string, kind: string): Result<never> {
  return { ok: false, problem: violation(`${what} is of the kind ${JSON.stringify(kind.slice(0, 40))}`) };
}

function own(schemas: Readonly<Record<string, Schema>>, kind: string): Schema | undefined {
  return Object.hasOwn(schemas, kind) ? schemas[kind] : undefined;
}
