import { ProblemError } from "@flocker/core";

import type { Context } from "./layout.ts";

/** Calls back on the pool's events, as ZFS tells them; it ends quietly where ZFS cannot. */
export function watchPool(context: Context, onChange: () => void): () => void {
  const ended = new AbortController();
  const [pool = context.pool] = context.pool.split("/");
  const follow = async (): Promise<void> => {
    try {
      const argv = ["zpool", "events", "-f", "-H", pool];
      for await (const _ of context.commands.stream(argv, { abort: ended.signal })) onChange();
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
    }
    // The agent looks again from time to time anyway.
    if (!ended.signal.aborted) context.log?.write("warn", "pool-not-watched", { pool });
  };
  void follow();
  return () => ended.abort();
}
