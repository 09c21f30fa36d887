import { failure, formatSize, type Milliseconds } from "@flocker/core";

// The original's limits, which its clients know. They hold for /v1 and /v2 alike.

const smallestSizeBytes = 64 * 2 ** 20;
const sizeStepBytes = 1024;
const keysMaximum = 16;
const charactersMaximum = 256;

type Refusal = ReturnType<typeof failure> | undefined;

/**
 * A budget below what a handoff takes is allowed: the reason then tells. One of no time at all is a mistake.
 */
export function checkDowntime(maximumDowntimeMs: Milliseconds | null, doing: string): Refusal {
  if (maximumDowntimeMs === null || (Number.isSafeInteger(maximumDowntimeMs) && maximumDowntimeMs >= 1))
    return undefined;
  return failure(
    "bad-request",
    `${doing}: the maximum downtime ${maximumDowntimeMs} is not a whole number of milliseconds from 1 on.`,
    "Give a time such as 2000, or null for no limit.",
    "maximumDowntimeMs",
  );
}

/** `size-out-of-range` unless it is null, or at least 64 MiB and whole kibibytes. */
export function checkSize(maximumSizeBytes: number | null, doing: string): Refusal {
  if (maximumSizeBytes === null) return undefined;
  const refuse = (why: string, remedy: string): Refusal =>
    failure("size-out-of-range", `${doing}: ${why}`, remedy, "maximumSizeBytes");
  if (!Number.isSafeInteger(maximumSizeBytes))
    return refuse(
      `the maximum size ${maximumSizeBytes} is not a whole number of bytes up to ${Number.MAX_SAFE_INTEGER}.`,
      "Give a whole number of bytes, or no size for no limit.",
    );
  if (maximumSizeBytes < smallestSizeBytes)
    return refuse(
      `the maximum size ${maximumSizeBytes} is less than ${formatSize(smallestSizeBytes)}.`,
      `Ask for at least ${smallestSizeBytes} bytes, or for no limit.`,
    );
  if (maximumSizeBytes % sizeStepBytes !== 0) {
    const below = Math.floor(maximumSizeBytes / sizeStepBytes) * sizeStepBytes;
    return refuse(
      `the maximum size ${maximumSizeBytes} is not a multiple of ${sizeStepBytes} bytes.`,
      `Ask for ${below} or ${below + sizeStepBytes} bytes.`,
    );
  }
  return undefined;
}

/** What it means is the backend's matter; that it is a line of text is everybody's. */
export function checkSource(source: string | undefined, doing: string): Refusal {
  if (source === undefined || (/^[^\p{Cc}]+$/u.test(source) && source.length <= charactersMaximum))
    return undefined;
  return failure(
    "bad-request",
    `${doing}: the source is no name of storage: it has ${source.length} characters.`,
    `Give what the node's backend calls it, such as tank/data/pg; at most ${charactersMaximum} characters in a line.`,
    "source",
  );
}

/**
 * `bad-request` for more than 16 keys, and for keys or values that are too long. Lengths are in characters.
 */
export function checkMetadata(metadata: Readonly<Record<string, string>>, doing: string): Refusal {
  const refuse = (why: string, remedy: string, field: string): Refusal =>
    failure("bad-request", `${doing}: ${why}`, remedy, field);
  const entries = Object.entries(metadata);
  if (entries.length > keysMaximum)
    return refuse(
      `the metadata have ${entries.length} keys.`,
      `Use at most ${keysMaximum} keys.`,
      "metadata",
    );
  for (const [key, value] of entries) {
    const length = Array.from(key).length;
    if (length === 0 || length > charactersMaximum)
      return refuse(
        length === 0 ? "a key of the metadata is empty." : `a key of the metadata has ${length} characters.`,
        `Use keys of 1 to ${charactersMaximum} characters.`,
        "metadata",
      );
    const valueLength = Array.from(value).length;
    if (valueLength > charactersMaximum)
      return refuse(
        `the value of the metadata's key "${key}" has ${valueLength} characters.`,
        `Use values of at most ${charactersMaximum} characters.`,
        `metadata.${key}`,
      );
  }
  return undefined;
}
