import type { Milliseconds } from "../model/ids.ts";

const firstDelayMs = 100;
const longestDelayMs = 60_000;
const jitterShare = 0.2;

/** An agent looks for its control service at least so often: who waits for it should not wait long. */
export const longestDialDelayMs = 5_000;

/**
 * How long to wait after that many failures in a row (1 or more): 0.1 s, doubled each time up to 60 s, ±20 %
 * by chance so that many that failed together do not try again together. `chance` is from 0 up to 1.
 */
export function backoffMs(
  failures: number,
  chance: number,
  longestMs: Milliseconds = longestDelayMs,
): Milliseconds {
  const exponent = Math.min(failures - 1, 20);
  const delay = Math.min(firstDelayMs * 2 ** exponent, longestMs);
  return Math.round(delay * (1 + jitterShare * (2 * chance - 1)));
}
