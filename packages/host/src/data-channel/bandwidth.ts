import type { Abort, Clock } from "@flocker/core";
import { assert } from "@flocker/core";
import { maximumBodyFrameBytes } from "./frames.ts";

/** A limit that all transfers of a process share. */
export interface BandwidthLimit {
  /**
   * The most that is worth asking for at once: small enough that transfers take turns and nothing comes in
   * gusts.
   */
  readonly pieceBytes: number;
  /** Waits until these bytes may go out; undefined where they may at once. Ends early when aborted. */
  take(bytes: number, abort: Abort): Promise<void> | undefined;
}

/** How much may go out ahead of the steady rate: enough to bridge the coarseness of timers. */
const burstMs = 100;

/** A token bucket, kept as the time at which all that was promised so far has gone out at the steady rate. */
export function bandwidthLimit(clock: Clock, bytesPerSecond: number): BandwidthLimit {
  assert(bytesPerSecond >= 1, "a bandwidth limit is at least one byte per second");
  const bytesPerMs = bytesPerSecond / 1000;
  let promisedUntil = clock.monotonic();
  return {
    pieceBytes: Math.min(maximumBodyFrameBytes, Math.max(1024, Math.floor((bytesPerMs * burstMs) / 2))),
    take(bytes, abort) {
      const now = clock.monotonic();
      promisedUntil = Math.max(promisedUntil, now) + bytes / bytesPerMs;
      const waitMs = promisedUntil - now - burstMs;
      return waitMs > 0 ? clock.sleep(waitMs, abort) : undefined;
    },
  };
}
