import type { ProblemCode } from "@flocker/core";

/** What the `flocker` command's exit codes mean. They are part of its interface: scripts rely on them. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  refused: 4,
  timedOut: 5,
  unreachable: 6,
  notAllowed: 7,
  differences: 8,
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** The table as `flocker --help` and the manual show it. */
export const exitCodeMeanings: readonly (readonly [code: ExitCode, meaning: string])[] = [
  [exitCodes.done, "done"],
  [exitCodes.failed, "it went wrong; the message says what, and what to do about it"],
  [exitCodes.usage, "the command line, the request or a file given to it is not as it must be"],
  [exitCodes.notFound, "there is no such dataset, node or revision"],
  [exitCodes.refused, "refused as things are: name in use, changed meanwhile, file exists, needs --yes"],
  [exitCodes.timedOut, "what was waited for did not happen in time"],
  [exitCodes.unreachable, "the control service cannot be reached"],
  [exitCodes.notAllowed, "the certificate is expired, foreign or not allowed to do that"],
  [exitCodes.differences, "apply --dry-run --exit-code: there is something to change"],
  [exitCodes.interrupted, "interrupted (Ctrl-C)"],
];

/** Each problem's exit code. A problem code that is missing here does not compile. */
const exitCodeOf: Readonly<Record<ProblemCode, ExitCode>> = {
  "bad-request": exitCodes.usage,
  "unknown-dataset": exitCodes.notFound,
  "unknown-node": exitCodes.notFound,
  "duplicate-name": exitCodes.refused,
  "duplicate-id": exitCodes.refused,
  "size-out-of-range": exitCodes.usage,
  "dataset-deleted": exitCodes.refused,
  "dataset-not-deleted": exitCodes.refused,
  "already-purged": exitCodes.refused,
  "revision-mismatch": exitCodes.refused,
  "lease-held": exitCodes.refused,
  "unknown-container": exitCodes.notFound,
  "container-conflict": exitCodes.refused,
  "not-found": exitCodes.notFound,
  "method-not-allowed": exitCodes.failed,
  "not-authorised": exitCodes.notAllowed,
  "certificate-invalid": exitCodes.notAllowed,
  "certificate-expired": exitCodes.notAllowed,
  "certificate-foreign": exitCodes.notAllowed,
  "certificate-role": exitCodes.notAllowed,
  "certificate-revoked": exitCodes.notAllowed,
  "duplicate-node-session": exitCodes.refused,
  "protocol-version": exitCodes.failed,
  "protocol-violation": exitCodes.failed,
  "configuration-invalid": exitCodes.usage,
  "port-in-use": exitCodes.failed,
  "file-exists": exitCodes.refused,
  "file-unreadable": exitCodes.failed,
  "store-newer": exitCodes.failed,
  "store-unreadable": exitCodes.failed,
  "store-locked": exitCodes.failed,
  "storage-unreadable": exitCodes.failed,
  "no-space": exitCodes.failed,
  "busy-mount": exitCodes.refused,
  "peer-unreachable": exitCodes.failed,
  "peer-refused": exitCodes.failed,
  "peer-busy": exitCodes.failed,
  "target-holds-primary": exitCodes.refused,
  "owner-connected": exitCodes.refused,
  "consent-needed": exitCodes.refused,
  "stale-epoch": exitCodes.refused,
  "snapshot-missing": exitCodes.failed,
  "transfer-corrupt": exitCodes.failed,
  "transfer-interrupted": exitCodes.failed,
  "resume-token-dead": exitCodes.failed,
  "profile-unknown": exitCodes.refused,
  "source-unusable": exitCodes.refused,
  "not-supported": exitCodes.refused,
  "command-failed": exitCodes.failed,
  "downtime-over-budget": exitCodes.refused,
  "deadline-exceeded": exitCodes.timedOut,
  "control-unreachable": exitCodes.unreachable,
  "wait-timeout": exitCodes.timedOut,
  internal: exitCodes.failed,
};

/** The exit code for a problem. A code that a newer service made up counts as an ordinary failure. */
export function exitCodeForProblem(code: ProblemCode): ExitCode {
  return (exitCodeOf as Readonly<Record<string, ExitCode>>)[code] ?? exitCodes.failed;
}
