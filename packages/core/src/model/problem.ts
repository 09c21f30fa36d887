/**
 * Everything that can go wrong while operating, as one closed list. docs/reference/errors.md explains each.
 */
export const problemCodes = [
  "bad-request",
  "unknown-dataset",
  "unknown-node",
  "duplicate-name",
  "duplicate-id",
  "size-out-of-range",
  "dataset-deleted",
  "dataset-not-deleted",
  "already-purged",
  "revision-mismatch",
  "lease-held",
  "unknown-container",
  "container-conflict",
  "not-found",
  "method-not-allowed",
  "not-authorised",
  "certificate-invalid",
  "certificate-expired",
  "certificate-foreign",
  "certificate-role",
  "certificate-revoked",
  "duplicate-node-session",
  "protocol-version",
  "protocol-violation",
  "configuration-invalid",
  "port-in-use",
  "file-exists",
  "file-unreadable",
  "store-newer",
  "store-unreadable",
  "store-locked",
  "storage-unreadable",
  "no-space",
  "busy-mount",
  "peer-unreachable",
  "peer-refused",
  "peer-busy",
  "target-holds-primary",
  "owner-connected",
  "consent-needed",
  "stale-epoch",
  "snapshot-missing",
  "transfer-corrupt",
  "transfer-interrupted",
  "resume-token-dead",
  "profile-unknown",
  "source-unusable",
  "not-supported",
  "command-failed",
  "downtime-over-budget",
  "deadline-exceeded",
  "control-unreachable",
  "wait-timeout",
  "internal",
] as const;

export type ProblemCode = (typeof problemCodes)[number];

/** An operating error as a value: what we were doing, why it failed, and what a person can do about it. */
export interface Problem {
  readonly code: ProblemCode;
  /** One or two sentences: what we were doing and what went wrong. */
  readonly message: string;
  /** What to do about it, as an instruction. */
  readonly remedy: string;
  /** The field of the request or of the file that is wrong, where there is one. */
  readonly field?: string;
}

/** The answer of anything that may fail while operating. */
export type Result<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly problem: Problem };

/** A successful result, with its value where there is one. */
export function success(): Result<void>;
export function success<Value>(value: Value): Result<Value>;
export function success<Value>(value?: Value): Result<Value | undefined> {
  return { ok: true, value };
}

/** A failed result; see {@link Problem} for what belongs in the message and the remedy. */
export function failure(
  code: ProblemCode,
  message: string,
  remedy: string,
  field?: string,
): { ok: false; problem: Problem } {
  return {
    ok: false,
    problem: field === undefined ? { code, message, remedy } : { code, message, remedy, field },
  };
}

/** Carries a problem across a library boundary that can only throw. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly problem: Problem;
  constructor(problem: Problem, options?: { cause?: unknown }) {
    super(problem.message, options);
    this.problem = problem;
  }
}

/** The value of a result; throws a ProblemError where there is none, for callers that can only throw. */
export function need<Value>(result: Result<Value>): Value {
  if (!result.ok) throw new ProblemError(result.problem);
  return result.value;
}
