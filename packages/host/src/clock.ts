import type { Abort, Clock, Milliseconds } from "@flocker/core";

/** Node's timers count in 32 bits: a longer delay would fire at once. */
const longestTimerMs = 2 ** 31 - 1;

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep,
};

function sleep(ms: Milliseconds, abort?: Abort): Promise<void> {
  return new Promise((resolve) => {
    if (abort?.aborted === true) {
      resolve();
      return;
    }
    const end = performance.now() + ms;
    let timer: NodeJS.Timeout | undefined;
    const finish = (): void => {
      clearTimeout(timer);
      abort?.removeEventListener("abort", finish);
      resolve();
    };
    const wait = (): void => {
      const leftMs = end - performance.now();
      if (leftMs > 0) timer = setTimeout(wait, Math.min(leftMs, longestTimerMs));
      else finish();
    };
    abort?.addEventListener("abort", finish, { once: true });
    // Even a sleep of nothing lets timers and sockets have their turn, so that no loop over it can starve
    // them.
    timer = setTimeout(wait, Math.min(Math.max(ms, 0), longestTimerMs));
  });
}
