import type { DatasetId, Milliseconds, NodeId } from "./model/ids.ts";
import type { Result } from "./model/problem.ts";
import type { PeerReply, PeerRequest } from "./protocol/peer.ts";

/** What an AbortSignal offers, named here because `core` has no DOM and no Node types. */
export interface Abort {
  readonly aborted: boolean;
  addEventListener(type: "abort", listener: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/**
 * Bytes with back-pressure: the producer makes the next chunk when the consumer asks for it. The producer may
 * use the memory of a chunk again once the next one is asked for: whoever keeps it longer keeps a copy.
 */
export type ByteStream = AsyncIterable<Uint8Array>;

/** The time, and the only way to let it pass. */
export interface Clock {
  /** Milliseconds since 1970. It may jump. */
  now(): Milliseconds;
  /** Milliseconds since some start; it never goes back. For lengths of time and deadlines. */
  monotonic(): Milliseconds;
  /** Ends after that time, or early when aborted. It never rejects. */
  sleep(ms: Milliseconds, abort?: Abort): Promise<void>;
}

/** Chance, for back-off and jitter; never for secrets. */
export interface Random {
  /** From 0 up to, not including, 1. */
  next(): number;
}

/** Fresh identities. */
export interface Ids {
  /** A fresh version 4 uuid. */
  uuid(): string;
}

/** How a program ended, and what it said. */
export interface CommandResult {
  readonly exitCode: number;
  /** At most 1 MiB; the rest is dropped. */
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs programs of the system, without a shell. */
export interface Commands {
  /**
   * Runs to the end and collects the output. `command-failed` where it cannot be started or its time is over.
   */
  run(
    argv: readonly string[],
    options: {
      readonly timeoutMs: Milliseconds;
      readonly stdin?: ByteStream;
      readonly abort?: Abort;
      readonly cwd?: string;
    },
  ): Promise<Result<CommandResult>>;
  /**
   * Starts it and hands out its standard output; the stream fails with a ProblemError if it ends with an
   * error.
   */
  stream(
    argv: readonly string[],
    options: { readonly stdin?: ByteStream; readonly abort?: Abort; readonly cwd?: string },
  ): ByteStream;
}

/** How much an operator should care: `warn` needs a look, `error` needs a person. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/**
 * Structured logging: an event's name and its fields. Ids and units go into the fields, never into the name.
 */
export interface Log {
  write(level: LogLevel, event: string, fields?: Readonly<Record<string, unknown>>): void;
  /** A log whose every line also carries these fields. */
  with(fields: Readonly<Record<string, unknown>>): Log;
}

/** One connection that carries JSON messages in order, both ways. */
export interface Link {
  /** Queues a message; on a closed link it is dropped. */
  send(message: unknown): void;
  /** The messages that arrive, until the link ends for whatever reason. May be iterated once. */
  messages(): AsyncIterable<unknown>;
  /** Ends the link; the other side sees the end of its messages. */
  close(): void;
}

/** Opens links to the control service. */
export interface LinkDialer {
  dial(abort: Abort): Promise<Result<Link>>;
}

/** What an agent keeps on its own disk, apart from the copies. Small values under a key, in named tables. */
export interface AgentStore {
  /** Everything in a table. */
  all(table: string): ReadonlyMap<string, unknown>;
  /** Writes (or with undefined removes) values, durably and all or nothing, before it returns. */
  write(changes: readonly { readonly table: string; readonly key: string; readonly value: unknown }[]): void;
}

/** Where another node's agent can be reached for data. */
export interface PeerAddress {
  readonly node: NodeId;
  readonly host: string;
  readonly port: number;
}

/** How far a transfer is. */
export interface Progress {
  readonly dataset: DatasetId;
  readonly doneBytes: number;
  readonly totalBytes: number | null;
}

/** The data channel, as seen from the side that asks. */
export interface Peers {
  /**
   * Asks another node's agent, optionally sending bytes along, and waits for its answer. `peer-unreachable`
   * where it cannot be reached or falls silent, `transfer-interrupted` where the connection breaks on the
   * way.
   */
  ask(
    peer: PeerAddress,
    request: PeerRequest,
    options: {
      readonly body?: ByteStream;
      readonly abort: Abort;
      readonly onProgress?: (doneBytes: number) => void;
    },
  ): Promise<Result<PeerReply>>;
}

/** The data channel, as seen from the side that answers. `from` is proven by the other side's certificate. */
export type PeerHandler = (
  from: NodeId,
  request: PeerRequest,
  body: ByteStream,
  abort: Abort,
) => Promise<Result<PeerReply>>;
