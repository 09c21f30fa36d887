import { join } from "node:path";
import { createClient, v2Endpoints, type Client } from "@flocker/api";
import {
  failure,
  ProblemError,
  success,
  type Clock,
  type Milliseconds,
  type Problem,
  type Result,
} from "@flocker/core";
import { createHttpsClient, loadCredentials } from "@flocker/host";
import type { LocalCluster } from "./local-cluster.ts";

export type V2Client = Client<typeof v2Endpoints>;

/** A client of a local cluster's API, with the user's certificate that came with the cluster. */
export interface LocalClient {
  readonly api: V2Client;
  close(): void;
}

/** Opens a client; the control service need not run yet. */
export function openLocalClient(cluster: LocalCluster): Result<LocalClient> {
  const { folder, apiPort } = cluster.files;
  const credentials = loadCredentials({
    clusterCertificateFile: join(folder, "cluster.crt"),
    certificateFile: join(folder, "user.crt"),
    keyFile: join(folder, "user.key"),
  });
  if (!credentials.ok) return credentials;
  const https = createHttpsClient({
    host: "127.0.0.1",
    port: apiPort,
    credentials: credentials.value,
    timeoutMs: 10_000,
  });
  const api = createClient(v2Endpoints, (request) => https.send(request));
  return success({ api, close: () => https.close() });
}

const pollMs = 50;

/**
 * Asks again and again until it is told yes (any value but undefined), a problem that is not worth waiting
 * for, or the time is over (`wait-timeout`). While the control service cannot be reached it goes on asking.
 */
export async function pollUntil<Value>(
  clock: Clock,
  what: {
    readonly waitingFor: string;
    readonly timeoutMs: Milliseconds;
    readonly ask: () => Promise<Value | undefined>;
  },
): Promise<Result<Value>> {
  const deadline = clock.monotonic() + what.timeoutMs;
  for (;;) {
    const answer = await what.ask().catch(unlessUnreachable);
    if (answer !== undefined) return success(answer);
    if (clock.monotonic() >= deadline)
      return failure(
        "wait-timeout",
        `Waiting for ${what.waitingFor} took longer than ${what.timeoutMs / 1000} s.`,
        "Look at the logs of the services.",
      );
    await clock.sleep(pollMs);
  }
}

function unlessUnreachable(error: unknown): undefined {
  if (error instanceof ProblemError && unreachable.has(error.problem.code)) return undefined;
  throw error;
}

const unreachable: ReadonlySet<string> = new Set(["control-unreachable", "deadline-exceeded"]);

/**
 * Waits until the control service answers and every agent that runs has a session. A service that has ended
 * by itself meanwhile is a problem that carries what it said last.
 */
export function waitUntilReady(
  cluster: LocalCluster,
  client: LocalClient,
  options: {
    readonly clock: Clock;
    readonly timeoutMs: Milliseconds;
    readonly onProgress?: (ready: number) => void;
  },
): Promise<Result<number>> {
  return pollUntil(options.clock, {
    waitingFor: "the cluster's services",
    timeoutMs: options.timeoutMs,
    ask: async () => {
      const dead = [cluster.control, ...cluster.nodes.map((node) => node.agent)].find(
        (service) => service.hasFailed,
      );
      if (dead !== undefined) throw new ProblemError(endedByItself(dead.name, dead.tail, dead.logFile));
      const answer = await client.api.listNodes({});
      if (answer.status !== 200) return undefined;
      const connected = new Set(
        answer.body.nodes.filter((node) => node.connected).map((node) => node.node_id),
      );
      const wanted = cluster.nodes.filter((node) => node.agent.running);
      options.onProgress?.(connected.size);
      return wanted.every((node) => connected.has(node.node)) ? wanted.length : undefined;
    },
  });
}

function endedByItself(name: string, tail: string, logFile: string): Problem {
  const lastLines = tail.trim().split("\n").slice(-5).join("\n");
  return failure(
    "internal",
    `${name} has ended by itself. It said:\n${lastLines}`,
    `All that it said is in ${logFile}.`,
  ).problem;
}
