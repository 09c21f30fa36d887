import type { ServerResponse } from "node:http";
import { writeEvent } from "@flocker/api";
import type { Clock, Ids, Milliseconds } from "@flocker/core";
import type { Cluster, ClusterChange } from "../cluster/cluster.ts";
import type { LeaseAcknowledgements } from "./api-context.ts";
import { createBacklog, createJournal, type ChangeJournal, type EventBacklog } from "./event-backlog.ts";

/** Bounds of the event streams. */
export interface EventLimits {
  /** How often a comment keeps a quiet connection alive. */
  readonly keepAliveMs: Milliseconds;
  /** At most so many streams at once. */
  readonly clients: number;
  /** So many ids may wait for a client that reads slowly; beyond them it gets a `reset`. */
  readonly waitingIds: number;
  /** So many changes are kept for clients that come back. */
  readonly keptChanges: number;
}

export const defaultEventLimits: EventLimits = {
  keepAliveMs: 15_000,
  clients: 500,
  waitingIds: 5000,
  keptChanges: 2000,
};

/** The streams of /v2/events. */
export interface EventStreams {
  /** Starts a stream as the answer to a request; false where there are too many. */
  open(response: ServerResponse, lastEventId: string | undefined): boolean;
  /** Ends all streams. */
  close(): void;
}

interface Client {
  readonly response: ServerResponse;
  readonly backlog: EventBacklog;
  /** Its connection takes nothing now. */
  blocked: boolean;
  /** For so many keep-alive intervals nothing could be sent. */
  blockedIntervals: number;
}

/** After so many intervals without taking anything a client is taken for dead. */
const blockedIntervalsMaximum = 4;

/** Fans the cluster's changes out to all who listen. */
export function createEventStreams(options: {
  readonly cluster: Pick<Cluster, "revision" | "subscribe">;
  readonly leases: Pick<LeaseAcknowledgements, "onAcknowledged">;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly limits?: EventLimits;
}): EventStreams {
  const { cluster, clock, limits = defaultEventLimits } = options;
  const journal = createJournal(options.ids.uuid(), limits.keptChanges);
  const clients = new Set<Client>();
  const closing = new AbortController();

  const flush = (client: Client): void => {
    if (client.blocked) return;
    const event = client.backlog.take(journal.currentId(), cluster.revision());
    if (event !== undefined) send(client, writeEvent(event));
  };
  const tell = (change: ClusterChange): void => {
    journal.add(change);
    for (const client of clients) {
      client.backlog.add(change);
      flush(client);
    }
  };
  const unsubscribes = [
    cluster.subscribe(tell),
    options.leases.onAcknowledged((datasets) => tell({ datasets, nodes: [] })),
  ];
  void keepAlive(clients, { clock, intervalMs: limits.keepAliveMs, abort: closing.signal });

  return {
    open(response, lastEventId) {
      if (clients.size >= limits.clients || closing.signal.aborted) return false;
      const backlog = createBacklog(limits.waitingIds);
      catchUp(backlog, journal, lastEventId);
      const client: Client = { response, backlog, blocked: false, blockedIntervals: 0 };
      response.on("drain", () => {
        client.blocked = false;
        client.blockedIntervals = 0;
        flush(client);
      });
      response.on("close", () => clients.delete(client));
      // The connection's end is told by `close`; without a listener an error would end the process.
      response.on("error", () => undefined);
      clients.add(client);
      response.writeHead(200, {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        // Asks proxies not to keep events back.
        "x-accel-buffering": "no",
      });
      send(client, ": flocker events\n\n");
      flush(client);
      return true;
    },
    close() {
      for (const unsubscribe of unsubscribes) unsubscribe();
      closing.abort();
      for (const client of clients) client.response.end();
    },
  };
}

function send(client: Client, text: string): void {
  client.blocked = !client.response.write(text);
}

/** Puts what a client has missed into its backlog: the changes since its last event, or else everything. */
function catchUp(backlog: EventBacklog, journal: ChangeJournal, lastEventId: string | undefined): void {
  const missed = lastEventId === undefined ? undefined : journal.after(lastEventId);
  if (missed === undefined) backlog.reset();
  else for (const change of missed) backlog.add(change);
}

async function keepAlive(
  clients: ReadonlySet<Client>,
  options: { readonly clock: Clock; readonly intervalMs: Milliseconds; readonly abort: AbortSignal },
): Promise<void> {
  while (!options.abort.aborted) {
    await options.clock.sleep(options.intervalMs, options.abort);
    for (const client of clients) {
      if (!client.blocked) send(client, ": keep-alive\n\n");
      else if ((client.blockedIntervals += 1) >= blockedIntervalsMaximum) client.response.destroy();
    }
  }
}
