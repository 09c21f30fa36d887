import type { v2 } from "@flocker/api";
import { failure, type Problem } from "@flocker/core";
import { ask, type ClusterClient } from "./cluster-client.ts";
import type { ClusterPicture } from "./cluster-picture.ts";

/** So far back the history is searched for who took a lease. */
const commitsSearched = 1000;

/**
 * Where a dataset is in use and by what, as far as it can be found out; undefined where it is in use nowhere
 * else.
 */
export async function whoHolds(
  dataset: v2.Dataset,
  options: { readonly api: ClusterClient; readonly picture: ClusterPicture; readonly self: string },
): Promise<string | undefined> {
  const { api, picture, self } = options;
  const { lease } = dataset;
  const busy = dataset.reasons.find((reason) => reason.code === "busy-mount");
  if (lease === null || lease.node_id === self) {
    const where = busy?.node_id ?? null;
    return where === null ? undefined : `It is in use on ${picture.nodeLabel(where)}.`;
  }
  const taker = await leaseTaker(dataset.dataset_id, api);
  const by = taker === undefined ? "by a lease" : `by a lease that ${taker.author} took at ${taker.at}`;
  const until = lease.expires_at === null ? "" : ` and that ends at ${lease.expires_at}`;
  return `It is in use on ${picture.nodeLabel(lease.node_id)}, ${by}${until}.`;
}

/**
 * Who took the lease, from the configuration's history; undefined where that is long ago or cannot be read.
 */
async function leaseTaker(
  dataset: string,
  api: ClusterClient,
): Promise<{ readonly author: string; readonly at: string } | undefined> {
  const status = await ask(() => api.status({}));
  if (!status.ok) return undefined;
  const after = Math.max(0, status.value.revision - commitsSearched);
  const history = await ask(() => api.history({ query: { after, limit: commitsSearched } }));
  if (!history.ok || !("commits" in history.value)) return undefined;
  return history.value.commits.findLast(({ changes }) =>
    changes.some(
      (change) => change.kind === "lease" && change.dataset_id === dataset && change.after !== null,
    ),
  );
}

/** The error of a mount that did not come about in time, with all that is known of why. */
export function gaveUp(
  name: string,
  known: {
    readonly holder: string | undefined;
    readonly dataset: v2.Dataset | undefined;
    readonly problem: Problem | undefined;
  },
): { ok: false; problem: Problem } {
  const { holder, dataset, problem } = known;
  const reasons = (dataset?.reasons ?? []).map(({ code, message }) => `${message} [${code}]`);
  const away = problem === undefined || problem.code === "lease-held" ? [] : [problem.message];
  const words = [...(holder === undefined ? [] : [holder]), ...reasons, ...away];
  return failure(
    "wait-timeout",
    [`Mounting volume ${name} here did not come about in time.`, ...words].join(" "),
    holder === undefined
      ? `See flocker explain ${name}. A move that has begun goes on: try again.`
      : `Stop what uses it there and try again; see flocker explain ${name}.`,
  );
}
