import { parseDatasetId, ProblemError, type DatasetId } from "@flocker/core";

import { poolNameOf, type Context, type Layout } from "./layout.ts";

/** Calls back on the pool's events, as ZFS tells them; it ends quietly where ZFS cannot. */
export function watchPool(context: Context, onChange: (dataset?: DatasetId) => void): () => void {
  const ended = new AbortController();
  const pool = poolNameOf(context.pool);
  const follow = async (): Promise<void> => {
    const decoder = new TextDecoder();
    let rest = "";
    try {
      const argv = ["zpool", "events", "-f", "-H", "-v", pool];
      for await (const chunk of context.commands.stream(argv, { abort: ended.signal })) {
        const events = (rest + decoder.decode(chunk, { stream: true })).split("\n\n");
        rest = events.pop() ?? "";
        for (const event of events) {
          const concerned = concernedBy(context, event);
          if (concerned === "any") onChange();
          else if (concerned !== "none") onChange(concerned);
        }
      }
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
    }
    // The agent looks again from time to time anyway.
    if (!ended.signal.aborted) context.log?.write("warn", "pool-not-watched", { pool });
  };
  void follow();
  return () => ended.abort();
}

/**
 * Whose copy an event of `zpool events -v` may have changed: mostly ZFS names the file system or snapshot. So
 * a change is looked at by itself, however many copies there are, and what else lives in the pool wakes
 * nobody.
 */
export function concernedBy(
  { live, trash, staging }: Pick<Layout, "live" | "trash" | "staging">,
  event: string,
): DatasetId | "any" | "none" {
  const field = (name: string): string | undefined =>
    new RegExp(`^\\s+${name} = "(.*)"$`, "m").exec(event)?.[1];
  const name = field("history_dsname");
  if (name === undefined) return ofDisks.test(event) ? "none" : "any";
  const parents = [live, trash, staging];
  for (const parent of parents) {
    if (!name.startsWith(`${parent}/`)) continue;
    const dataset = parseDatasetId(name.slice(parent.length + 1).slice(0, uuidLength));
    if (dataset !== undefined) return dataset;
  }
  // What is set on a parent is inherited; a snapshot of it is none of theirs.
  if (parents.some((parent) => `${parent}/`.startsWith(`${name}/`))) return "any";
  // Something may come in from elsewhere by its name, and a clone may take its origin's snapshots along.
  return movesThings.has(field("history_internal_name") ?? "") ? "any" : "none";
}

/**
 * Errors of single reads and writes: they change nothing that is looked at, and a look can be what meets
 * them. That the pool is suspended for them is an event of its own.
 */
const ofDisks = /class = "ereport\.fs\.zfs\.(?!io_failure")/;

const movesThings: ReadonlySet<string> = new Set(["rename", "promote"]);
const uuidLength = 36;
