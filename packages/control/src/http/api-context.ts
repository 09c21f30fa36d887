import type { Socket } from "node:net";
import type { Clock, Ids, Log, Milliseconds, Result } from "@flocker/core";
import type { Identity } from "@flocker/host";
import type { Cluster } from "../cluster/cluster.ts";

/** What the API needs to know of the world, whatever carries its requests. */
export interface ApiOptions {
  readonly cluster: Cluster;
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
