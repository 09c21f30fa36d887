import Type from "typebox";
import { Compile } from "typebox/compile";
import { reasonCodes, problemCodes, type AgentToControl } from "@flocker/core";

const uuid = Type.String({
  pattern: "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
});
const text = Type.String({ maxLength: 4096 });
const count = Type.Integer({ minimum: 0 });
const time = Type.Number();
const nullable = <Schema extends Type.TSchema>(schema: Schema) => Type.Union([schema, Type.Null()]);
const epoch = Type.Object({ term: count, step: count });
const complete = nullable(Type.Object({ begins: Type.Boolean(), ends: Type.Boolean() }));

const record = Type.Object({
  dataset: uuid,
  epoch,
  role: Type.Union([Type.Literal("primary"), Type.Literal("relinquished"), Type.Literal("replica")]),
  successor: Type.Optional(uuid),
  snapshot: Type.Optional(text),
});

const problem = Type.Object({
  code: Type.Union(problemCodes.map((code) => Type.Literal(code))),
  message: text,
  remedy: text,
  field: Type.Optional(text),
});

const reason = Type.Object({
  code: Type.Union(reasonCodes.map((code) => Type.Literal(code))),
  message: Type.String({ maxLength: 16_384 }),
  since: time,
  nextTryAt: Type.Optional(time),
});

const report = Type.Object({
  dataset: uuid,
  copy: nullable(
    Type.Object({
      record,
      mountedAt: nullable(text),
      trashedAt: nullable(time),
      maximumSizeBytes: nullable(count),
      usedBytes: nullable(count),
      snapshots: Type.Array(text),
      asOf: Type.Optional(count),
    }),
  ),
  unreadable: nullable(problem),
  renounced: nullable(epoch),
  activity: nullable(Type.Object({ action: text, since: time })),
  reasons: Type.Array(reason, { maxItems: 64 }),
});

const capacity = nullable(Type.Object({ totalBytes: count, freeBytes: count }));

const message = Type.Union([
  Type.Object({
    kind: Type.Literal("hello"),
    protocol: count,
    version: text,
    node: uuid,
    era: text,
    incarnation: text,
    name: Type.String({ minLength: 1, maxLength: 255 }),
    dataAddress: Type.Object({ host: nullable(text), port: Type.Integer({ minimum: 1, maximum: 65_535 }) }),
    backend: Type.Object({
      kind: text,
      capabilities: Type.Object({
        liveSnapshots: Type.Boolean(),
        resume: Type.Boolean(),
        quota: Type.Boolean(),
        clone: Type.Boolean(),
        compression: Type.Boolean(),
        encryption: Type.Boolean(),
        adoption: Type.Optional(Type.Boolean()),
        carriesSnapshots: Type.Optional(Type.Boolean()),
      }),
    }),
    knownRevision: count,
  }),
  Type.Object({
    kind: Type.Literal("state"),
    sequence: count,
    complete,
    datasets: Type.Array(report),
    gone: Type.Array(uuid),
    capacity,
  }),
  Type.Object({
    kind: Type.Literal("progress"),
    dataset: uuid,
    doneBytes: count,
    totalBytes: nullable(count),
  }),
  Type.Object({ kind: Type.Literal("slice-acknowledged"), sequence: count }),
  Type.Object({ kind: Type.Literal("heartbeat") }),
]);

const validator = Compile(message);

/**
 * A message of an agent, or undefined where it is none of the protocol's. Unknown extra fields are left
 * alone.
 */
export function parseAgentMessage(value: unknown): AgentToControl | undefined {
  return validator.Check(value) ? (value as AgentToControl) : undefined;
}
