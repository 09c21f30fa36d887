import type { Problem, ProblemCode, Result } from "@flocker/core";
import { problemCodes } from "@flocker/core";
import { Type, type Static } from "typebox";

/** The media type of errors (RFC 9457). */
export const problemMediaType = "application/problem+json";

const faultSchema = Type.Object({
  pointer: Type.String({
    description: "Where the fault is: a JSON pointer into the body, `#` for the whole of it.",
  }),
  detail: Type.String({ description: "What is wrong there." }),
});

/**
 * What every error of /v2 looks like: problem details of RFC 9457, with a code, a remedy and, for bad bodies,
 * each fault.
 */
export const ProblemBody = Type.Object(
  {
    type: Type.String({ description: "`urn:flocker:problem:` and the code." }),
    title: Type.String({ description: "What kind of problem it is, the same for each code." }),
    status: Type.Integer({ description: "The HTTP status, again." }),
    detail: Type.String({ description: "What was being done and what went wrong." }),
    code: Type.Enum([...problemCodes], { description: "For programs: one of a closed list." }),
    remedy: Type.String({ description: "What a person can do about it." }),
    field: Type.Optional(
      Type.String({ description: "The part of the request that is wrong, where it is one." }),
    ),
    errors: Type.Optional(
      Type.Array(faultSchema, { description: "Each fault of a body or query that is not as specified." }),
    ),
    request_id: Type.Optional(
      Type.String({ description: "The id under which the service's log tells of this request." }),
    ),
  },
  { $id: "Problem" },
);
export type ProblemBody = Static<typeof ProblemBody>;

/** One fault of a request that is not as its schema demands. */
export type Fault = Static<typeof faultSchema>;

interface ProblemKind {
  readonly status: number;
  readonly title: string;
}

/** How each problem code appears over HTTP. A code that is missing here does not compile. */
export const problemKinds: Readonly<Record<ProblemCode, ProblemKind>> = {
  "bad-request": { status: 400, title: "The request is not as specified" },
  "unknown-dataset": { status: 404, title: "There is no such dataset" },
  "unknown-node": { status: 404, title: "There is no such node" },
  "duplicate-name": { status: 409, title: "The name is in use" },
  "duplicate-id": { status: 409, title: "The id is in use" },
  "size-out-of-range": { status: 400, title: "The size is out of range" },
  "dataset-deleted": { status: 409, title: "The dataset has been deleted" },
  "dataset-not-deleted": { status: 409, title: "The dataset has not been deleted" },
  "already-purged": { status: 410, title: "The dataset's grace time is over" },
  "revision-mismatch": { status: 412, title: "The configuration has changed meanwhile" },
  "lease-held": { status: 409, title: "Another node holds the lease" },
  "unknown-container": { status: 404, title: "There is no such container" },
  "container-conflict": { status: 409, title: "Another container is in the way" },
  "not-found": { status: 404, title: "There is nothing here" },
  "method-not-allowed": { status: 405, title: "The method is not allowed here" },
  "not-authorised": { status: 403, title: "This is not allowed" },
  "certificate-invalid": { status: 403, title: "The certificate cannot be used" },
  "certificate-expired": { status: 403, title: "The certificate has expired" },
  "certificate-foreign": { status: 403, title: "The certificate is of another cluster" },
  "certificate-role": { status: 403, title: "The certificate is for another purpose" },
  "certificate-revoked": { status: 403, title: "The certificate has been revoked" },
  "duplicate-node-session": { status: 409, title: "The node has a session already" },
  "protocol-version": { status: 400, title: "The versions do not work together" },
  "protocol-violation": { status: 400, title: "The protocol was broken" },
  "configuration-invalid": { status: 400, title: "The configuration is not valid" },
  "port-in-use": { status: 500, title: "The port is in use" },
  "file-exists": { status: 409, title: "The file exists" },
  "file-unreadable": { status: 500, title: "A file cannot be read" },
  "store-newer": { status: 503, title: "The store is of a newer version" },
  "store-unreadable": { status: 503, title: "The store cannot be used" },
  "store-locked": { status: 503, title: "The store is in use by another process" },
  "storage-unreadable": { status: 503, title: "The storage cannot be read" },
  "no-space": { status: 507, title: "There is no space left" },
  "busy-mount": { status: 409, title: "The dataset is in use" },
  "peer-unreachable": { status: 503, title: "A node cannot be reached" },
  "peer-refused": { status: 409, title: "A node refused" },
  "peer-busy": { status: 503, title: "A node is busy" },
  "target-holds-primary": { status: 409, title: "The target holds a primary copy" },
  "owner-connected": { status: 409, title: "The owner is connected" },
  "consent-needed": { status: 409, title: "Data would be lost" },
  "stale-epoch": { status: 409, title: "The ownership has moved on" },
  "snapshot-missing": { status: 409, title: "A snapshot is missing" },
  "transfer-corrupt": { status: 500, title: "A transfer was damaged" },
  "transfer-interrupted": { status: 503, title: "A transfer was interrupted" },
  "resume-token-dead": { status: 503, title: "An interrupted transfer cannot go on" },
  "profile-unknown": { status: 409, title: "The node does not know the profile" },
  "source-unusable": { status: 409, title: "The storage cannot be taken over" },
  "not-supported": { status: 409, title: "This is not supported here" },
  "command-failed": { status: 500, title: "A command failed" },
  "downtime-over-budget": { status: 409, title: "A handoff would take too long" },
  "deadline-exceeded": { status: 504, title: "It took too long" },
  "control-unreachable": { status: 503, title: "The control service cannot be reached" },
  "wait-timeout": { status: 504, title: "What was waited for did not happen in time" },
  internal: { status: 500, title: "The service made a mistake" },
};

/** A problem as the body of an answer. `status` replaces the code's usual one, where the place demands it. */
export function problemBody(
  problem: Problem,
  more: { readonly status?: number; readonly errors?: readonly Fault[]; readonly requestId?: string } = {},
): ProblemBody {
  const kind = problemKinds[problem.code];
  return {
    type: `urn:flocker:problem:${problem.code}`,
    title: kind.title,
    status: more.status ?? kind.status,
    detail: problem.message,
    code: problem.code,
    remedy: problem.remedy,
    ...(problem.field === undefined ? {} : { field: problem.field }),
    ...(more.errors === undefined ? {} : { errors: [...more.errors] }),
    ...(more.requestId === undefined ? {} : { request_id: more.requestId }),
  };
}

/**
 * The problem in an answer's body, with the faults worked into its message; undefined where the body is none.
 */
export function problemOf(body: unknown): Problem | undefined {
  if (typeof body !== "object" || body === null) return undefined;
  const { code, detail, remedy, field, errors } = body as Readonly<Record<string, unknown>>;
  if (!isProblemCode(code) || typeof detail !== "string" || typeof remedy !== "string") return undefined;
  const faults = Array.isArray(errors) ? errors.map(faultText).filter((text) => text !== undefined) : [];
  const message = faults.length > 1 ? `${detail} Faults: ${faults.join("; ")}.` : detail;
  return typeof field === "string" ? { code, message, remedy, field } : { code, message, remedy };
}

/** An answer as a result: a success's body, or the problem that the service told. */
export function answerResult<A extends { readonly status: number; readonly body: unknown }>(
  answer: A,
): Result<Extract<A, { readonly status: 200 | 201 }>["body"]> {
  if (answer.status >= 200 && answer.status < 300) return { ok: true, value: answer.body };
  return { ok: false, problem: problemOf(answer.body) ?? strangeAnswer(answer.status) };
}

/** For an answer that no Flocker control service gives. */
export function strangeAnswer(status: number): Problem {
  return {
    code: "protocol-violation",
    message: `The service answered with status ${status} and a body that is not one of a Flocker control service.`,
    remedy:
      "Check that host and port are those of a Flocker control service and that no proxy stands in between.",
  };
}

function faultText(fault: unknown): string | undefined {
  if (typeof fault !== "object" || fault === null) return undefined;
  const { pointer, detail } = fault as Readonly<Record<string, unknown>>;
  return typeof pointer === "string" && typeof detail === "string" ? `${pointer} ${detail}` : undefined;
}

function isProblemCode(code: unknown): code is ProblemCode {
  return typeof code === "string" && (problemCodes as readonly string[]).includes(code);
}
