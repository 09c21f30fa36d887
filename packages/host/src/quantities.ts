import { assert, parseSizeBytes } from "@flocker/core";
import type { Milliseconds } from "@flocker/core";
import { Type } from "typebox";
import type { TRefine, TString } from "typebox";

const unitsMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
};

/**
 * Milliseconds in a text such as `30s`, `1.5h` or `1h30m`, with the units ms, s, m, h, d and w, each at most
 * once and the largest first; undefined where the text is no such length of time or not a whole number of
 * milliseconds.
 */
export function parseDurationMs(text: string): Milliseconds | undefined {
  const parts = text.trim().match(/^(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+$/)
    ? [...text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdw])/g)]
    : [];
  let totalMs = 0;
  let previousMs = Number.POSITIVE_INFINITY;
  for (const [, amount, unit] of parts) {
    const unitMs = unitsMs[unit ?? ""] ?? Number.NaN;
    if (unitMs >= previousMs) return undefined;
    previousMs = unitMs;
    totalMs += Number(amount) * unitMs;
  }
  return parts.length > 0 && Number.isSafeInteger(totalMs) ? totalMs : undefined;
}

/** A length of time in a configuration file, as {@link parseDurationMs} reads it. */
export const Duration: TRefine<TString> = Type.Refine(
  Type.String({ examples: ["30s", "15m", "7d"] }),
  (text: string) => parseDurationMs(text) !== undefined,
  () => "is no length of time",
);

/** A size in a configuration file, as core's `parseSizeBytes` reads it. */
export const Size: TRefine<TString> = Type.Refine(
  Type.String({ examples: ["10MiB", "1.5GB"] }),
  (text: string) => parseSizeBytes(text) !== undefined,
  () => "is no size",
);

/** The milliseconds in a text that {@link Duration} has accepted. */
export function durationMs(text: string): Milliseconds {
  const ms = parseDurationMs(text);
  assert(ms !== undefined, "a duration is parsed after the configuration was checked");
  return ms;
}

/** The bytes in a text that {@link Size} has accepted. */
export function sizeBytes(text: string): number {
  const bytes = parseSizeBytes(text);
  assert(bytes !== undefined, "a size is parsed after the configuration was checked");
  return bytes;
}
