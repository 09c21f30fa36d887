import { failure, success, type Log, type NodeId, type Result } from "@flocker/core";
import { ask, isPassing, type ClusterClient } from "./cluster-client.ts";
import type { ClusterFeed } from "./cluster-feed.ts";
import { volumeOf, type ClusterPicture } from "./cluster-picture.ts";
import type { MountLedger } from "./mount-ledger.ts";
import { whoHolds } from "./mount-words.ts";

export interface RemovalOptions {
  readonly api: ClusterClient;
  readonly feed: ClusterFeed;
  readonly picture: ClusterPicture;
  readonly ledger: MountLedger;
  readonly log: Log;
}

/** A volume to remove, and the node that does it. */
export interface RemovalTarget {
  readonly dataset: string;
  readonly name: string;
  readonly self: NodeId;
}

/** So often is tried again when the configuration has changed between looking and acting. */
const attempts = 20;
/** After a crash in the middle the guard ends by itself, if nobody gives it back before. */
const guardSeconds = 60;

/**
 * Deletes a volume's dataset, with its grace time, unless any node uses it: then it is `busy-mount` with
 * where. In between the plugin holds the lease itself, so that nobody can mount what is being removed.
 */
export async function removeVolume(target: RemovalTarget, options: RemovalOptions): Promise<Result<void>> {
  const { dataset, name } = target;
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const guarded = await takeGuard(target, options);
    if (!guarded.ok && again.has(guarded.problem.code)) continue;
    if (!guarded.ok) return guarded;
    if (guarded.value === "gone") return success();
    return removeGuarded(target, options);
  }
  await endGuard(dataset, options);
  return failure(
    "revision-mismatch",
    `Removing volume ${name} was given up: the configuration changed at each of ${attempts} attempts.`,
    "Try again.",
  );
}

/** Takes the lease if nobody has it, as of one revision of the configuration. */
async function takeGuard(
  { dataset, name, self }: RemovalTarget,
  options: RemovalOptions,
): Promise<Result<"guarded" | "gone">> {
  const { api, picture, ledger } = options;
  let etag: string | undefined;
  const shown = await ask(async () => {
    const answer = await api.getDataset({ params: { dataset_id: dataset } });
    etag = answer.headers["etag"];
    return answer;
  });
  if (!shown.ok && shown.problem.code !== "unknown-dataset") return shown;
  if (!shown.ok || volumeOf(shown.value) === undefined) {
    await endGuard(dataset, options);
    return success("gone");
  }
  const { lease } = shown.value;
  // From a removal that was cut short.
  if (lease?.node_id === self && ledger.removal(dataset) !== undefined) return success("guarded");
  if (lease !== null) {
    const holder = await whoHolds(shown.value, { api, picture, self });
    return inUse(name, holder ?? `It is in use on this node, ${picture.nodeLabel(self)}.`);
  }
  ledger.beginRemoval({ dataset, name, node: self });
  const body = { dataset_id: dataset, node_id: self, expires_in: guardSeconds };
  const headers = etag === undefined ? {} : { "if-match": etag };
  const taken = await ask(() => api.acquireLease({ headers, body }));
  if (taken.ok) return success("guarded");
  // It was refused, so nothing is to be given back; without an answer it may have been taken.
  if (!isPassing(taken.problem.code)) ledger.endRemoval(dataset);
  return taken;
}

async function removeGuarded(
  { dataset, name }: RemovalTarget,
  options: RemovalOptions,
): Promise<Result<void>> {
  const { api, feed, log } = options;
  log.write("debug", "removal-guarded", { dataset, volume: name });
  const deleted = await ask(() => api.deleteDataset({ params: { dataset_id: dataset }, headers: {} }));
  if (deleted.ok) log.write("debug", "removal-deleted", { dataset, volume: name });
  // Also where the deletion failed: the volume can be used again at once.
  await endGuard(dataset, options);
  if (!deleted.ok) return deleted;
  await feed.read(dataset);
  return success();
}

/** Gives the lease of a removal back, at its end or after a crash in its middle. */
export async function endGuard(
  dataset: string,
  { api, ledger }: Pick<RemovalOptions, "api" | "ledger">,
): Promise<void> {
  const removal = ledger.removal(dataset);
  if (removal === undefined) return;
  const released = await ask(() =>
    api.releaseLease({ params: { dataset_id: dataset }, query: { node: removal.node } }),
  );
  if (released.ok || released.problem.code === "not-found" || released.problem.code === "unknown-dataset")
    ledger.endRemoval(dataset);
}

/** Something changed in between: look again at what there is now. */
const again: ReadonlySet<string> = new Set(["revision-mismatch", "lease-held", "dataset-deleted"]);

function inUse(name: string, where: string): ReturnType<typeof failure> {
  return failure(
    "busy-mount",
    `Volume ${name} is not removed. ${where}`,
    "Stop the containers that use it there; then remove it.",
  );
}
