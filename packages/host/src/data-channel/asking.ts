import type { TLSSocket } from "node:tls";
import { crc32 } from "node:zlib";
import { ProblemError, assert } from "@flocker/core";
import type {
  Abort,
  Clock,
  Milliseconds,
  PeerAddress,
  PeerReply,
  PeerRequest,
  Problem,
  Result,
} from "@flocker/core";
import type { BandwidthLimit } from "./bandwidth.ts";
import { FrameConnection } from "./connection.ts";
import { abandoned } from "./dialing.ts";
import type { Frame } from "./frames.ts";
import {
  bodyFrameHead,
  dataChannelVersion,
  endFrame,
  jsonFrame,
  maximumBodyFrameBytes,
  violation,
} from "./frames.ts";
import { formatAddress } from "./identity.ts";
import { parseReply } from "./messages.ts";
import type { RequestHeader } from "./messages.ts";
import type { OutgoingBody } from "./outgoing-body.ts";

/** Progress is told at most this often, and at the end. */
const progressMs = 200;
/** How long the other side has to take in why a body broke off. */
const lingerMs = 5_000;

/** The request's body, and how it is to be sent. */
export interface AskBody {
  readonly body: OutgoingBody;
  readonly limit: BandwidthLimit | undefined;
  readonly onProgress: ((doneBytes: number) => void) | undefined;
}

/** One request to be asked. */
export interface AskingOptions {
  readonly clock: Clock;
  readonly peer: PeerAddress;
  readonly request: PeerRequest;
  readonly silenceMs: Milliseconds;
  readonly abort: Abort;
  readonly body: AskBody;
}

/** Asks one request on a connection whose other end has been checked, and closes it. */
export async function askExchange(socket: TLSSocket, options: AskingOptions): Promise<Result<PeerReply>> {
  const exchange = new AskedExchange(socket, options);
  const abandon = (): void => exchange.abandon();
  options.abort.addEventListener("abort", abandon, { once: true });
  try {
    if (options.abort.aborted) return abandoned(options.peer);
    await exchange.send();
    return await exchange.outcome;
  } finally {
    options.abort.removeEventListener("abort", abandon);
    exchange.close();
  }
}

class AskedExchange {
  readonly outcome: Promise<Result<PeerReply>>;
  readonly #options: AskingOptions;
  readonly #connection: FrameConnection;
  /** Aborted as soon as the outcome is known. */
  readonly #over = new AbortController();
  #resolve: (result: Result<PeerReply>) => void = () => undefined;
  #wake: (() => void) | null = null;
  #explained = false;
  #sentBytes = 0;
  #toldAt: Milliseconds;

  constructor(socket: TLSSocket, options: AskingOptions) {
    this.#options = options;
    this.#toldAt = options.clock.monotonic();
    this.outcome = new Promise((resolve) => (this.#resolve = resolve));
    const { clock, peer, silenceMs } = options;
    this.#connection = new FrameConnection(socket, {
      clock,
      silenceMs,
      peerName: `node ${peer.node} at ${formatAddress(peer.host, peer.port)}`,
      onFrame: (frame) => this.#take(frame),
      onLost: (problem) => this.#settle({ ok: false, problem }),
    });
  }

  abandon(): void {
    this.#settle(abandoned(this.#options.peer));
  }

  close(): void {
    this.#over.abort();
    // Whoever was told why its body breaks off closes after reading that; a hard close could overtake it.
    if (!this.#explained) this.#connection.close();
  }

  /**
   * Sends the request and the body, or as much of it as the other side wants. Throws what is no operating
   * error.
   */
  async send(): Promise<void> {
    const { request, silenceMs } = this.#options;
    const header: RequestHeader = { version: dataChannelVersion, silenceMs, request };
    const frame = jsonFrame("request", header);
    assert(frame !== undefined, "a request fits into its frame");
    this.#connection.keepAlive(silenceMs / 3);
    void this.#connection.send(frame);
    try {
      await this.#sendBody();
    } catch (error) {
      if (this.#over.signal.aborted) return;
      if (!(error instanceof ProblemError)) throw error;
      this.#explain(error.problem);
      this.#settle({ ok: false, problem: error.problem });
    }
  }

  async #sendBody(): Promise<void> {
    const { body, limit, onProgress } = this.#options.body;
    let checksum = 0;
    const pieceBytes = limit?.pieceBytes ?? maximumBodyFrameBytes;
    while (!this.#over.signal.aborted) {
      const chunk = await this.#orOver(body.next());
      if (chunk === over) return;
      if (chunk === undefined) {
        void this.#connection.send(endFrame(this.#sentBytes, checksum));
        if (this.#sentBytes > 0) onProgress?.(this.#sentBytes);
        return;
      }
      for (let offset = 0; offset < chunk.length; offset += pieceBytes) {
        const piece = chunk.subarray(offset, offset + pieceBytes);
        const promised = limit?.take(piece.length, this.#over.signal);
        if (promised !== undefined) await promised;
        if (this.#over.signal.aborted) return;
        checksum = crc32(piece, checksum);
        const room = this.#connection.send(bodyFrameHead(piece.length), piece);
        if (room !== undefined) await room;
        this.#progress(piece.length);
      }
    }
  }

  #take(frame: Frame): void {
    if (frame.type === "keep-alive") return;
    if (frame.type === "reply") this.#settle(parseReply(frame.value, this.#options.request));
    else
      this.#settle({
        ok: false,
        problem: violation(`a frame of type ${frame.type} came instead of a reply`),
      });
  }

  /** The first outcome counts. */
  #settle(result: Result<PeerReply>): void {
    if (this.#over.signal.aborted) return;
    this.#over.abort();
    this.#resolve(result);
    this.#wake?.();
    if (!this.#explained) this.#connection.close();
  }

  #explain(problem: Problem): void {
    const frame = jsonFrame("failed", problem);
    if (frame === undefined) return;
    this.#explained = true;
    this.#connection.finish(frame, lingerMs);
  }

  /**
   * Waits for a chunk, or for the end of the exchange if that comes first. One slot instead of a race with a
   * promise that lives as long as the exchange, which would remember every chunk.
   */
  async #orOver<Value>(value: Promise<Value>): Promise<Value | typeof over> {
    try {
      return await new Promise<Value | typeof over>((resolve, reject) => {
        this.#wake = () => resolve(over);
        value.then(resolve, reject);
      });
    } finally {
      this.#wake = null;
    }
  }

  #progress(bytes: number): void {
    this.#sentBytes += bytes;
    const now = this.#options.clock.monotonic();
    if (now - this.#toldAt < progressMs) return;
    this.#toldAt = now;
    this.#options.body.onProgress?.(this.#sentBytes);
  }
}

const over: unique symbol = Symbol("over");
