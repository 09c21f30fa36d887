import { readEvents, v2Streams, type v2 } from "@flocker/api";
import {
  failure,
  need,
  ProblemError,
  success,
  type Clock,
  type Log,
  type Milliseconds,
  type Problem,
  type Random,
  type Result,
} from "@flocker/core";
import type { HttpsClient } from "@flocker/host";
import { ask, type ClusterClient } from "./cluster-client.ts";
import type { ClusterPicture } from "./cluster-picture.ts";

/** The service says something every 15 s. */
const silenceMs = 45_000;
const backoffMinimumMs = 100;
const backoffMaximumMs = 5_000;
/** Changes are gathered for so long, since a dataset that changes once mostly does so several times. */
const gatherMs = 200;
/** If more datasets than this have changed, one list costs less than asking for each. */
const oneByOneMaximum = 200;
const readsAtOnce = 8;
const rereadMs = 1_000;
const pageLimit = 1000;

export interface ClusterFeedOptions {
  readonly api: ClusterClient;
  readonly https: Pick<HttpsClient, "open">;
  readonly picture: ClusterPicture;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Called whenever the picture has become current (again). */
  readonly onLive: () => void;
  /** Called with a dataset whenever it was read because something of it had changed. */
  readonly onChanged: (dataset: string) => void;
  /** Called with the nodes whenever they were read. */
  readonly onNodes: (nodes: readonly v2.Node[]) => void;
}

/** Tells of one dataset's changes. */
export interface DatasetWatch extends Disposable {
  /** Ends when a change was heard of since the last call (or the beginning), or else after that time. */
  change(options: { readonly timeoutMs: Milliseconds; readonly abort: AbortSignal }): Promise<void>;
}

/**
 * Keeps the picture of the cluster current: listens to the control service's events, goes on where it stopped
 * after a break, and reads everything again when it is told so.
 */
export class ClusterFeed {
  readonly #options: ClusterFeedOptions;
  readonly #watches = new Set<{ readonly dataset: string; readonly ring: () => void }>();
  readonly #changed = new Set<string>();
  #lastEventId: string | undefined;
  #gathering: Promise<void> | undefined;
  #abort: AbortSignal = new AbortController().signal;

  constructor(options: ClusterFeedOptions) {
    this.#options = options;
  }

  /** Runs until it is aborted. */
  async run(abort: AbortSignal): Promise<void> {
    const { clock, picture, random, log } = this.#options;
    this.#abort = abort;
    let failures = 0;
    while (!abort.aborted) {
      const problem = await this.#listen(abort, () => (failures = 0));
      if (abort.aborted) break;
      if (picture.freshness.kind !== "old") log.write("warn", "cluster-unreachable", { problem });
      picture.markOld(problem);
      this.#ringAll();
      failures += 1;
      const backoffMs = Math.min(backoffMaximumMs, backoffMinimumMs * 2 ** (failures - 1));
      await clock.sleep(backoffMs * (0.8 + 0.4 * random.next()), abort);
    }
    await this.#gathering;
  }

  /** Reads one dataset, and takes what it shows into the picture. Undefined: there is no such dataset. */
  async read(id: string): Promise<Result<v2.Dataset | undefined>> {
    const { api, picture } = this.#options;
    const reading = picture.beginReading();
    const found = await ask(() => api.getDataset({ params: { dataset_id: id } }));
    if (!found.ok && found.problem.code !== "unknown-dataset") return found;
    const dataset = found.ok ? found.value : undefined;
    picture.put(id, dataset, reading);
    return success(dataset);
  }

  /** Reads all datasets of a name that are not deleted. */
  async readNamed(name: string): Promise<Result<readonly v2.Dataset[]>> {
    const { api, picture } = this.#options;
    const reading = picture.beginReading();
    const found = await ask(() => api.listDatasets({ query: { name } }));
    if (!found.ok) return found;
    const { datasets } = found.value;
    for (const dataset of datasets) picture.put(dataset.dataset_id, dataset, reading);
    const ids = new Set(datasets.map((dataset) => dataset.dataset_id));
    for (const known of picture.named(name))
      if (!ids.has(known.dataset)) picture.put(known.dataset, undefined, reading);
    return success(datasets);
  }

  /** Watches a dataset until it is disposed of: no change that is heard of in the meantime is missed. */
  watch(dataset: string): DatasetWatch {
    let isRung = false;
    let wake = new AbortController();
    const watch = {
      dataset,
      ring(): void {
        isRung = true;
        wake.abort();
      },
    };
    this.#watches.add(watch);
    return {
      change: async ({ timeoutMs, abort }) => {
        if (!isRung) await this.#options.clock.sleep(timeoutMs, AbortSignal.any([wake.signal, abort]));
        isRung = false;
        wake = new AbortController();
      },
      [Symbol.dispose]: () => void this.#watches.delete(watch),
    };
  }

  /** Listens until the stream ends, and answers why it did. */
  async #listen(abort: AbortSignal, onHeard: () => void): Promise<Problem> {
    const { https } = this.#options;
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (this.#lastEventId !== undefined) headers["last-event-id"] = this.#lastEventId;
    const ending = new AbortController();
    try {
      const request = { method: "GET", path: v2Streams.events.path, headers, body: null };
      const signal = AbortSignal.any([abort, ending.signal]);
      const stream = await https.open(request, { abort: signal, silenceMs });
      if (stream.status !== 200) return refused(stream.status);
      await this.#follow(stream.text, this.#lastEventId !== undefined, onHeard);
    } catch (error) {
      if (error instanceof ProblemError) return error.problem;
      throw error;
    } finally {
      ending.abort();
    }
    return streamEnded;
  }

  async #follow(text: AsyncIterable<string>, resumes: boolean, onHeard: () => void): Promise<void> {
    // A resumed stream tells what was missed, or that all is to be read; either way it begins with something.
    for await (const event of readEvents(
      toldOfBeginning(text, resumes ? () => this.#becameLive() : undefined),
    )) {
      onHeard();
      if (event.kind === "reset") await this.#readEverything();
      else await this.#takeChange(event.data);
      this.#lastEventId = event.id;
    }
  }

  async #takeChange({
    datasets,
    nodes,
  }: {
    readonly datasets: readonly string[];
    readonly nodes: readonly string[];
  }): Promise<void> {
    const { picture } = this.#options;
    if (nodes.some((node) => !picture.nodes.has(node))) await this.#readNodes();
    for (const dataset of datasets) this.#changed.add(dataset);
    for (const watch of this.#watches) if (this.#changed.has(watch.dataset)) watch.ring();
    this.#gathering ??= this.#readChanged();
  }

  /** Reads what has changed, a moment later. */
  async #readChanged(): Promise<void> {
    const { clock, picture, log } = this.#options;
    while (this.#changed.size > 0 && !this.#abort.aborted) {
      // What nobody knows yet is wanted at once: somebody has just created it.
      if ([...this.#changed].every((id) => picture.volume(id) !== undefined))
        await clock.sleep(gatherMs, this.#abort);
      const ids = [...this.#changed];
      this.#changed.clear();
      const read = await (ids.length > oneByOneMaximum ? this.#readDatasets() : this.#readEach(ids));
      if (read.ok) continue;
      log.write("debug", "changes-unread", { problem: read.problem });
      for (const id of ids) this.#changed.add(id);
      await clock.sleep(rereadMs, this.#abort);
    }
    this.#gathering = undefined;
  }

  async #readEach(ids: readonly string[]): Promise<Result<void>> {
    const rest = [...ids];
    let failed: Result<void> = success();
    const reader = async (): Promise<void> => {
      for (let id = rest.pop(); id !== undefined && failed.ok; id = rest.pop()) {
        const read = await this.read(id);
        if (!read.ok) failed = read;
        else this.#options.onChanged(id);
      }
    };
    await Promise.all(Array.from({ length: Math.min(readsAtOnce, ids.length) }, reader));
    return failed;
  }

  async #readEverything(): Promise<void> {
    await this.#readNodes();
    need(await this.#readDatasets());
    this.#becameLive();
  }

  async #readNodes(): Promise<void> {
    const { api, picture, onNodes } = this.#options;
    const { nodes } = need(await ask(() => api.listNodes({})));
    picture.putNodes(nodes);
    onNodes(nodes);
  }

  async #readDatasets(): Promise<Result<void>> {
    const { api, picture } = this.#options;
    const reading = picture.beginReading();
    const all: v2.Dataset[] = [];
    let cursor: string | undefined;
    do {
      const query = cursor === undefined ? { limit: pageLimit } : { limit: pageLimit, cursor };
      const page: Result<v2.DatasetPage> = await ask(() => api.listDatasets({ query }));
      if (!page.ok) return page;
      all.push(...page.value.datasets);
      cursor = page.value.next_cursor ?? undefined;
    } while (cursor !== undefined);
    picture.putAll(all, reading);
    return success();
  }

  #becameLive(): void {
    const { picture, log, onLive } = this.#options;
    if (picture.freshness.kind !== "live")
      log.write("info", "cluster-in-view", { nodes: picture.nodes.size });
    picture.markLive();
    this.#ringAll();
    onLive();
  }

  /** Whoever waits looks again: the control service went or came. */
  #ringAll(): void {
    for (const watch of this.#watches) watch.ring();
  }
}

/** Passes text on, and tells of its first piece. */
async function* toldOfBeginning(
  text: AsyncIterable<string>,
  onBeginning: (() => void) | undefined,
): AsyncGenerator<string> {
  let begun = false;
  for await (const piece of text) {
    if (!begun) onBeginning?.();
    begun = true;
    yield piece;
  }
}

function refused(status: number): Problem {
  return failure(
    "control-unreachable",
    `The control service answered ${status} when it was asked for its events.`,
    "Check that the certificate is one for users (flocker ca user plugin); see the control service's log.",
  ).problem;
}

const streamEnded = failure(
  "control-unreachable",
  "The control service ended the stream of its events.",
  "It is asked again by itself.",
).problem;
