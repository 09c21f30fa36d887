import { readFileSync } from "node:fs";
import type { Failure, Skip } from "./outcome.ts";

/** A reason for which a test may be skipped where skips are errors, and why that is all right. */
export interface AllowedSkip {
  /** How the skip's reason begins. */
  readonly reason: string;
  readonly because: string;
}

/** Reads the list of allowed skips; each entry must say why it is all right. */
export function readAllowedSkips(path: string): readonly AllowedSkip[] {
  const value: unknown = JSON.parse(readFileSync(path, "utf8"));
  if (!Array.isArray(value) || !value.every(isAllowedSkip)) {
    throw new Error(`Reading ${path}: expected a list of { "reason": text, "because": text }`);
  }
  return value;
}

/**
 * The skips that are errors: always those without a reason, and with `strict` all that the list does not
 * allow.
 */
export function skipFailures(
  skips: readonly Skip[],
  allowed: readonly AllowedSkip[],
  strict: boolean,
): readonly Failure[] {
  return skips.flatMap(({ file, name, reason }): Failure[] => {
    if (reason === null) {
      return [{ file, name, error: "It was skipped without a reason: give skip (or todo) a text." }];
    }
    if (!strict || allowed.some((entry) => reason.startsWith(entry.reason))) return [];
    const error =
      `It was skipped: ${reason}\nIn CI that is an error. Install what it needs in .ci/run, ` +
      `or allow the reason in tools/allowed-skips.json and say why.`;
    return [{ file, name, error }];
  });
}

function isAllowedSkip(value: unknown): value is AllowedSkip {
  const { reason, because } = (value ?? {}) as Record<string, unknown>;
  return typeof reason === "string" && reason !== "" && typeof because === "string" && because !== "";
}
