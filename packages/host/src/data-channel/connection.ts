import type { TLSSocket } from "node:tls";
import { failure } from "@flocker/core";
import type { Clock, Milliseconds, Problem } from "@flocker/core";
import { tlsProblem } from "../tls-problem.ts";
import type { Frame } from "./frames.ts";
import { FrameParser, keepAliveFrame } from "./frames.ts";

/** This much may be on its way into the socket before the sender has to wait. */
const windowBytes = 2 * 1024 * 1024;

/**
 * What is sent is copied into batches of this size, which are used again: the source may use its own memory
 * again as well, a head costs no write of its own, and the garbage collector has nothing to do.
 */
const batchBytes = 128 * 1024;

/** What a connection reports to, and how patient it is. */
export interface ConnectionOptions {
  readonly clock: Clock;
  /** After this silence of the other side, while it is listened to, the connection is lost. */
  readonly silenceMs: Milliseconds;
  /** The other side, as it stands in messages: `node 1f0e… at 10.0.0.2:4525`. */
  readonly peerName: string;
  readonly onFrame: (frame: Frame) => void;
  /**
   * Called once, when the connection breaks, falls silent or carries nonsense; not after `close` or `finish`.
   */
  readonly onLost: (problem: Problem) => void;
}

/** A socket that carries frames both ways, with keep-alives, a deadline on silence, and back-pressure. */
export class FrameConnection {
  readonly #socket: TLSSocket;
  readonly #options: ConnectionOptions;
  readonly #parser = new FrameParser();
  readonly #closing = new AbortController();
  #silenceMs: Milliseconds;
  #heardAt: Milliseconds;
  #sentAt: Milliseconds;
  #paused = false;
  /** Taken over, and not yet in the hands of the system. */
  #inFlightBytes = 0;
  #batch: Buffer | null = null;
  #batchFilled = 0;
  readonly #spareBatches: Buffer[] = [];
  #room: (() => void) | null = null;

  constructor(socket: TLSSocket, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#silenceMs = options.silenceMs;
    this.#heardAt = options.clock.monotonic();
    this.#sentAt = this.#heardAt;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("end", () => this.#lose(this.#interrupted("the other side closed the connection")));
    socket.on("error", (error) => this.#lose(this.#broken(error)));
    socket.on("close", () => {
      this.#lose(this.#interrupted("the connection was closed"));
      this.#stop();
    });
    void this.#watchSilence();
  }

  /** Whether nothing can be sent any more. */
  get closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Stops listening, until `resume`. Silence does not count meanwhile: it would be our own. */
  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#heardAt = this.#options.clock.monotonic();
    this.#socket.resume();
  }

  /** Bears silences of that length from now on. */
  allowSilence(silenceMs: Milliseconds): void {
    this.#silenceMs = Math.max(this.#silenceMs, silenceMs);
  }

  /** From now on lets the other side hear of us at least that often. */
  keepAlive(intervalMs: Milliseconds): void {
    void this.#keepAlive(intervalMs);
  }

  /**
   * Sends a frame: its head (or all of it), and the payload that belongs to it. Returns what to wait for
   * before sending more, or undefined where there is room.
   */
  send(head: Uint8Array, payload?: Uint8Array): Promise<void> | undefined {
    if (this.closed) return undefined;
    this.#sentAt = this.#options.clock.monotonic();
    this.#inFlightBytes += head.length + (payload?.length ?? 0);
    this.#gather(head);
    if (payload === undefined) this.#flush();
    else this.#gather(payload);
    if (this.#inFlightBytes < windowBytes) return undefined;
    return new Promise((resolve) => (this.#room = resolve));
  }

  /**
   * Sends the last frame and ends the connection. What still comes in is read and thrown away until the other
   * side closes too, because closing with unread bytes would break the connection before the frame is read
   * there.
   */
  finish(frame: Uint8Array, lingerMs: Milliseconds): void {
    if (this.closed) return;
    this.#flush();
    this.#stop();
    const socket = this.#socket;
    if (socket.destroyed) return;
    const gone = new AbortController();
    socket.once("close", () => gone.abort());
    socket.end(frame);
    socket.resume();
    void this.#options.clock.sleep(lingerMs, gone.signal).then(() => socket.destroy());
  }

  /** Ends the connection at once. */
  close(): void {
    this.#stop();
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    if (this.closed) return;
    this.#heardAt = this.#options.clock.monotonic();
    const { frames, problem } = this.#parser.push(chunk);
    for (const frame of frames) {
      if (this.closed) return;
      this.#options.onFrame(frame);
    }
    if (problem !== null) this.#lose(problem);
  }

  /** Puts things together; they are written when they are enough, or after this turn of the loop. */
  #gather(bytes: Uint8Array): void {
    for (let offset = 0; offset < bytes.length;) {
      if (this.#batch === null) {
        this.#batch = this.#spareBatches.pop() ?? Buffer.allocUnsafe(batchBytes);
        setImmediate(() => this.#flush());
      }
      const piece = bytes.subarray(offset, offset + batchBytes - this.#batchFilled);
      this.#batch.set(piece, this.#batchFilled);
      this.#batchFilled += piece.length;
      offset += piece.length;
      if (this.#batchFilled === batchBytes) this.#flush();
    }
  }

  #flush(): void {
    const batch = this.#batch;
    if (batch === null) return;
    this.#batch = null;
    const filled = batch.subarray(0, this.#batchFilled);
    this.#batchFilled = 0;
    this.#write(filled, () => this.#spareBatches.push(batch));
  }

  #write(bytes: Uint8Array, onWritten?: () => void): void {
    this.#socket.write(bytes, (error) => {
      this.#inFlightBytes -= bytes.length;
      if (error === null || error === undefined) onWritten?.();
      if (this.#inFlightBytes < windowBytes) this.#makeRoom();
    });
  }

  #makeRoom(): void {
    const room = this.#room;
    this.#room = null;
    room?.();
  }

  /** Loses the connection to the outside; the owner decides what to say last, and closes. */
  #lose(problem: Problem): void {
    if (this.closed) return;
    this.#options.onLost(problem);
  }

  #stop(): void {
    this.#closing.abort();
    this.#makeRoom();
  }

  async #watchSilence(): Promise<void> {
    const { clock } = this.#options;
    const quietMs = () => (this.#paused ? 0 : clock.monotonic() - this.#heardAt);
    while (!this.closed) {
      const left = this.#silenceMs - quietMs();
      if (left > 0) {
        await clock.sleep(left, this.#closing.signal);
        continue;
      }
      // If this process itself was held up, what the other side sent meanwhile is still to be read: look once
      // more.
      await clock.sleep(Math.min(1000, this.#silenceMs / 10), this.#closing.signal);
      if (!this.closed && quietMs() >= this.#silenceMs) return this.#lose(this.#silent());
    }
  }

  async #keepAlive(intervalMs: Milliseconds): Promise<void> {
    const { clock } = this.#options;
    while (!this.closed) {
      const left = intervalMs - (clock.monotonic() - this.#sentAt);
      // While bytes wait to go out the other side is not listening, and will hear of us when it does.
      if (left <= 0 && this.#inFlightBytes === 0) void this.send(keepAliveFrame);
      await clock.sleep(left > 0 ? left : intervalMs, this.#closing.signal);
    }
  }

  #silent(): Problem {
    const { peerName } = this.#options;
    return failure(
      "peer-unreachable",
      `Error while talking to ${peerName}: nothing was heard of it for ${this.#silenceMs / 1000} s.`,
      "Check that its machine runs and the network between the two; it is tried again by itself.",
    ).problem;
  }

  #interrupted(what: string): Problem {
    const { peerName } = this.#options;
    return failure(
      "transfer-interrupted",
      `Error while talking to ${peerName}: ${what} before the end.`,
      "It is tried again by itself; if this repeats, see the other agent's log.",
    ).problem;
  }

  #broken(error: Error): Problem {
    const code = (error as NodeJS.ErrnoException).code ?? error.message;
    // Under TLS 1.3 the other side judges our certificate only after our handshake is done.
    if (code.startsWith("ERR_SSL_")) {
      const doing = `talking to ${this.#options.peerName}`;
      return tlsProblem(error, { doing, unreachable: "peer-unreachable" });
    }
    return this.#interrupted(`the connection broke (${code})`);
  }
}
