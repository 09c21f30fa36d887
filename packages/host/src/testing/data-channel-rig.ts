import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { ProblemError, parseDatasetId, parseNodeId } from "@flocker/core";
import type {
  ByteStream,
  DatasetId,
  NodeId,
  PeerAddress,
  PeerHandler,
  PeerRequest,
  Peers,
} from "@flocker/core";
import type { CredentialFiles } from "../certificates.ts";
import { systemClock } from "../clock.ts";
import { dataChannelPeers } from "../data-channel/peers.ts";
import { dataChannelServer } from "../data-channel/server.ts";
import type { DataChannelLimits } from "../data-channel/server.ts";
import { ringLog } from "../log.ts";
import { makeTestCertificates, testCredentials } from "./test-certificates.ts";

/** The node that asks in tests. */
export const askingNode: NodeId = testId(parseNodeId("aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"));
/** The node that answers in tests. */
export const answeringNode: NodeId = testId(parseNodeId("bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"));
/** The dataset that they talk about. */
export const testDataset: DatasetId = testId(parseDatasetId("dddddddd-dddd-4ddd-8ddd-dddddddddddd"));

/** A request whose body is a stream of data. */
export const receiveRequest: PeerRequest = {
  kind: "receive",
  dataset: testDataset,
  epoch: { term: 1, step: 2 },
  base: null,
  snapshot: { guid: "guid-1", name: "snapshot-1", createdAt: 1_764_000_000_000 },
  maximumSizeBytes: null,
  estimatedBytes: 1024,
};

export interface DataChannelRigOptions {
  readonly handler: PeerHandler;
  readonly limits?: Partial<DataChannelLimits>;
  readonly silenceMs?: number;
  readonly bandwidthLimitBytesPerSecond?: number;
  /** Instead of the good certificate of the asking node. */
  readonly asking?: CredentialFiles;
  /** Instead of the good certificate of the answering node. */
  readonly answering?: CredentialFiles;
  /** Instead of the direct way: a function that starts something in between and returns its port. */
  readonly through?: (port: number) => Promise<number>;
}

/** Two ends of a data channel over real sockets. */
export interface DataChannelRig extends AsyncDisposable {
  readonly peers: Peers;
  readonly peer: PeerAddress;
  readonly log: ReturnType<typeof ringLog>;
  close(): Promise<void>;
}

/** Starts a server for the answering node on a free port, and a client for the asking one. */
export async function dataChannelRig(options: DataChannelRigOptions): Promise<DataChannelRig> {
  const certificates = makeTestCertificates();
  const log = ringLog();
  const server = await dataChannelServer({
    host: "127.0.0.1",
    port: 0,
    credentials: testCredentials(options.answering ?? certificates.node(answeringNode)),
    handler: options.handler,
    log,
    clock: systemClock,
    limits: { closeMs: 1000, lingerMs: 1000, ...options.limits },
  });
  if (!server.ok) throw new ProblemError(server.problem);
  const port = (await options.through?.(server.value.port)) ?? server.value.port;
  const peers = dataChannelPeers({
    credentials: testCredentials(options.asking ?? certificates.node(askingNode)),
    log,
    clock: systemClock,
    silenceMs: options.silenceMs ?? 5000,
    ...(options.bandwidthLimitBytesPerSecond === undefined
      ? {}
      : { bandwidthLimitBytesPerSecond: options.bandwidthLimitBytesPerSecond }),
  });
  const close = (): Promise<void> => server.value.close();
  const peer = { node: answeringNode, host: "127.0.0.1", port };
  return { peers, peer, log, close, [Symbol.asyncDispose]: close };
}

/** A body that says how far it was read and whether its iteration was closed. */
export interface ObservedBody extends ByteStream {
  readonly yieldedBytes: number;
  readonly closed: boolean;
}

/** Observes the iteration of chunks, which may throw to break off. */
export function observedBody(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): ObservedBody {
  const seen = { yieldedBytes: 0, closed: false };
  const body = Object.assign(seen, {
    async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, undefined> {
      try {
        for await (const chunk of chunks) {
          seen.yieldedBytes += chunk.length;
          yield chunk;
        }
        return undefined;
      } finally {
        seen.closed = true;
      }
    },
  });
  return body;
}

/** A way between two ends that can break. */
export interface BreakableProxy extends AsyncDisposable {
  readonly port: number;
  /** From now on nothing passes, and nobody is told. */
  freeze(): void;
}

/** Passes bytes to a port, and cuts both ends off once so many bytes have gone one way. */
export async function breakableProxy(
  port: number,
  cut?: { readonly direction: "asking" | "answering"; readonly afterBytes: number },
): Promise<BreakableProxy> {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect({ host: "127.0.0.1", port });
    const pass = (from: Socket, to: Socket, direction: "asking" | "answering"): void => {
      let left = cut?.direction === direction ? cut.afterBytes : Number.POSITIVE_INFINITY;
      sockets.add(from);
      from.on("data", (chunk: Buffer) => {
        if (!to.write(chunk.subarray(0, left))) from.pause();
        left -= chunk.length;
        if (left <= 0) to.end(() => [near, far].forEach((socket) => socket.destroy()));
      });
      to.on("drain", () => from.resume());
      from.on("end", () => to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    };
    pass(near, far, "asking");
    pass(far, near, "answering");
  });
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    freeze: () => {
      for (const socket of sockets) socket.pause().removeAllListeners("data");
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function testId<Id>(id: Id | undefined): Id {
  if (id === undefined) throw new TypeError("the test's id is no uuid");
  return id;
}
