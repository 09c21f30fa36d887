import { failure, success, type Result } from "@flocker/core";

/**
 * What a write depends on: where the configuration is, and when what is to be changed has been changed last.
 */
export interface Target {
  readonly revision: number;
  readonly changedAt: number;
}

/**
 * Checks an If-Match header (RFC 9110, section 13.1.1). Its ETags are revisions of the configuration: one
 * holds if what is to be changed has not changed after that revision.
 */
export function checkIfMatch(header: string | undefined, target: Target): Result<void> {
  if (header === undefined || header.trim() === "*") return success();
  const revisions = parseEtags(header);
  if (revisions === undefined) {
    return failure(
      "bad-request",
      `The header If-Match is ${JSON.stringify(header.slice(0, 100))}, which is no ETag of this API.`,
      'Give the ETag of an earlier answer as it came, quotation marks included: If-Match: "42".',
      "if-match",
    );
  }
  if (revisions.some((revision) => revision >= target.changedAt && revision <= target.revision))
    return success();
  return failure(
    "revision-mismatch",
    `The request depends on revision ${revisions.join(" or ")}, but ` +
      (revisions.some((revision) => revision > target.revision)
        ? `the configuration is at revision ${target.revision}.`
        : `there was a change at revision ${target.changedAt}.`),
    "Read again what is there now, decide whether the change still makes sense, and send it with the new ETag.",
    "if-match",
  );
}

/** The ETag of the configuration at a revision. */
export function etagOf(revision: number): string {
  return `"${revision}"`;
}

function parseEtags(header: string): number[] | undefined {
  const tags = header.split(",").map((tag) => /^\s*"(\d{1,15})"\s*$/.exec(tag)?.[1]);
  return tags.every((tag) => tag !== undefined) ? tags.map(Number) : undefined;
}
