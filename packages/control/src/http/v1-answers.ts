import {
  PythonFloat,
  pythonFaults,
  problemKinds,
  readPythonJson,
  writePythonJson,
  type PythonValue,
} from "@flocker/api";
import {
  assert,
  parseDatasetId,
  parseNodeId,
  type Clock,
  type DatasetId,
  type NodeId,
  type Problem,
} from "@flocker/core";
import type { TSchema } from "typebox";
import type { Cluster } from "../cluster/cluster.ts";
import { bodyText } from "./body.ts";

/** What the handlers of /v1 work with. */
export interface V1Services {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly version: string;
}

/** A request of /v1, its body as it came. */
export interface V1Request {
  readonly params: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: unknown;
  readonly author: string;
}

/** An answer of /v1: JSON in the original's style, as text or as bytes that are kept. */
export interface V1Reply {
  readonly status: number;
  readonly text: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  /** For the log: what was written, and why it was refused. */
  readonly dataset?: string;
  readonly container?: string;
  readonly problem?: Problem;
}

/** A list as the original writes it, of those items that are shown. */
export function listText<Item>(items: Iterable<Item>, render: (item: Item) => string | undefined): string {
  const texts: string[] = [];
  for (const item of items) {
    const text = render(item);
    if (text !== undefined) texts.push(text);
  }
  return `[${texts.join(", ")}]`;
}

/** An answer that only says what is wrong. */
export function described(status: number, description: string): V1Reply {
  return { status, text: writePythonJson({ description }) };
}

/** The original's words for what the cluster refuses, where it had any. */
export function refused(problem: Problem): V1Reply {
  const [status, description] = originalRefusals[problem.code] ?? [
    problemKinds[problem.code].status,
    `${problem.message} ${problem.remedy}`,
  ];
  return { ...described(status, description), problem };
}

const originalRefusals: Readonly<Partial<Record<Problem["code"], readonly [number, string]>>> = {
  "duplicate-id": [409, "The provided dataset_id is already in use."],
  "unknown-dataset": [404, "Dataset not found."],
  "dataset-deleted": [405, "The dataset has been deleted."],
  "lease-held": [409, "Lease already held."],
  "not-found": [404, "Lease not found."],
  "unknown-container": [404, "Container not found."],
  // The original failed here, with status 500.
  "container-conflict": [400, "The dataset is used by a container. Move or delete the container instead."],
};

const undecodable =
  "The request body could not be decoded according to the value of the\nContent-Type header.";

/** Reads a body, whatever its content type says, and checks it in the original's words. */
export function readBody<Body>(
  schema: TSchema,
  request: V1Request,
): { readonly value: Body; readonly raw: PythonValue } | V1Reply {
  const text = bodyText(request.body);
  const read = text === undefined ? undefined : readPythonJson(text);
  if (read === undefined) return described(400, undecodable);
  const faults = pythonFaults(schema, read.value);
  if (faults.length === 0) return { value: plainValue(read.value) as Body, raw: read.value };
  const description = "The provided JSON doesn't match the required schema.";
  return { status: 400, text: writePythonJson({ description, errors: faults }) };
}

/** After the check, floats are numbers like others. */
function plainValue(value: PythonValue): unknown {
  if (value instanceof PythonFloat) return value.value;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(plainValue);
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [key, plainValue(member as PythonValue)]),
  );
}

/** What HEAD was answered: it wants a body, a quirk that is kept. */
export const headReply: V1Reply = described(400, undecodable);

/** The id in a text that a schema has let through. */
export function datasetId(text: string): DatasetId {
  const id = parseDatasetId(text);
  assert(id !== undefined, "the schema lets only uuids through");
  return id;
}

/** The id in a text that a schema has let through. */
export function nodeId(text: string): NodeId {
  const id = parseNodeId(text);
  assert(id !== undefined, "the schema lets only uuids through");
  return id;
}
