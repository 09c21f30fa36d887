import type { Socket } from "node:net";
import type { Clock, DatasetId, Ids, Log, Milliseconds, NodeId, Result } from "@flocker/core";
import type { Identity } from "@flocker/host";
import type { Cluster } from "../cluster/cluster.ts";

/** What the agents have durably taken in of leases: only then a lease counts. */
export interface LeaseAcknowledgements {
  hasAcknowledged(node: NodeId, dataset: DatasetId): boolean;
  /** Calls back with leased datasets of which the holder's agent has taken everything in by now. */
  onAcknowledged(listener: (datasets: readonly DatasetId[]) => void): () => void;
}

/** What the API needs to know of the world, whatever carries its requests. */
export interface ApiOptions {
  readonly cluster: Cluster;
  readonly leases: LeaseAcknowledgements;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  /** The version that clients are told. */
  readonly version: string;
  /** When the service's own certificate expires. */
  readonly certificateNotAfter: () => Milliseconds;
  /** Whether the store can be relied upon; asked for /v2/health. */
  readonly storeOk: () => boolean;
  /** Ends the process, once a request has shown that what must hold does not. */
  readonly crash: (error: Error) => void;
  /** Who is at the other end, or why they may not use the API. */
  readonly admit: (socket: Socket) => Result<Pick<Identity, "commonName">>;
}

declare module "fastify" {
  interface FastifyRequest {
    /** The certificate's common name; set before any handler runs. */
    author: string;
  }
}
