import { failure, success, type Clock, type Result } from "@flocker/core";
import { ask, type ClusterClient } from "./cluster-client.ts";
import type { ClusterFeed } from "./cluster-feed.ts";
import { volumeOf, type ClusterPicture } from "./cluster-picture.ts";
import { whoHolds } from "./mount-words.ts";

export interface RemovalOptions {
  readonly api: ClusterClient;
  readonly feed: ClusterFeed;
  readonly picture: ClusterPicture;
  readonly clock: Clock;
}

/** So often is tried again when the configuration has changed between looking and acting. */
const attempts = 20;
/** After a crash in the middle the guard ends by itself. */
const guardSeconds = 60;

/**
 * Deletes a volume's dataset, with its grace time, unless any node uses it: then it is `busy-mount` with
 * where. In between the plugin holds the lease itself, so that nobody can mount what is being removed.
 */
export async function removeVolume(
  target: { readonly dataset: string; readonly name: string; readonly self: string },
  options: RemovalOptions,
): Promise<Result<void>> {
  const { api, feed, picture } = options;
  const { dataset, name, self } = target;
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const answer = await ask(async () => {
      const found = await api.getDataset({ params: { dataset_id: dataset } });
      return found.status === 200
        ? { ...found, body: { shown: found.body, etag: found.headers["etag"] } }
        : found;
    });
    if (!answer.ok) return answer.problem.code === "unknown-dataset" ? success() : answer;
    const { shown, etag } = answer.value;
    if (volumeOf(shown) === undefined) return success();
    if (shown.lease !== null) {
      const holder = await whoHolds(shown, { api, picture, self });
      return inUse(name, holder ?? `It is in use on this node, ${picture.nodeLabel(self)}.`);
    }
    const body = { dataset_id: dataset, node_id: self, expires_in: guardSeconds };
    const headers = etag === undefined ? {} : { "if-match": etag };
    const guarded = await ask(() => api.acquireLease({ headers, body }));
    if (!guarded.ok && guarded.problem.code === "dataset-deleted") return success();
    if (!guarded.ok && again.has(guarded.problem.code)) continue;
    if (!guarded.ok) return guarded;
    const deleted = await ask(() => api.deleteDataset({ params: { dataset_id: dataset }, headers: {} }));
    // Also where the deletion failed: the volume can be used again at once. If not even this works, time does
    // it.
    await ask(() => api.releaseLease({ params: { dataset_id: dataset }, query: { node: self } }));
    if (!deleted.ok) return deleted;
    await feed.read(dataset);
    return success();
  }
  return failure(
    "revision-mismatch",
    `Removing volume ${name} was given up: the configuration changed at each of ${attempts} attempts.`,
    "Try again.",
  );
}

/** Something changed in between: look again at what there is now. */
const again: ReadonlySet<string> = new Set(["revision-mismatch", "lease-held"]);

function inUse(name: string, where: string): ReturnType<typeof failure> {
  return failure(
    "busy-mount",
    `Volume ${name} is not removed. ${where}`,
    "Stop the containers that use it there; then remove it.",
  );
}
