import type { TLSSocket } from "node:tls";
import { AssertionError, ProblemError, failure } from "@flocker/core";
import type {
  Clock,
  Log,
  Milliseconds,
  NodeId,
  PeerHandler,
  PeerReply,
  PeerRequest,
  Problem,
  Result,
} from "@flocker/core";
import { FrameConnection } from "./connection.ts";
import type { Frame } from "./frames.ts";
import { jsonFrame, violation } from "./frames.ts";
import { IncomingBody } from "./incoming-body.ts";
import { parseProblem, parseRequestHeader } from "./messages.ts";

/** What one connection is answered with. */
export interface AnsweringOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly handler: PeerHandler;
  /** Proven by the certificate. */
  readonly from: NodeId;
  readonly remote: string;
  readonly silenceMs: Milliseconds;
  readonly lingerMs: Milliseconds;
}

/** A connection that is being answered. */
export interface RunningExchange {
  /** Ends once the handler, if it was called, has come back and the answer is on its way. Never rejects. */
  readonly done: Promise<void>;
  /** Tells the handler to stop and the other side why. */
  stop(problem: Problem): void;
}

/** Serves one request on a connection whose other end has been checked. */
export function answerExchange(socket: TLSSocket, options: AnsweringOptions): RunningExchange {
  return new AnsweredExchange(socket, options);
}

class AnsweredExchange implements RunningExchange {
  readonly done: Promise<void>;
  readonly #options: AnsweringOptions;
  readonly #connection: FrameConnection;
  readonly #body: IncomingBody;
  readonly #abort = new AbortController();
  readonly #startedAt: Milliseconds;
  #request: PeerRequest | null = null;
  #stage: "header" | "body" | "ended" | "over" = "header";
  #handling = false;
  #finished: () => void = () => undefined;

  constructor(socket: TLSSocket, options: AnsweringOptions) {
    this.#options = options;
    this.#startedAt = options.clock.monotonic();
    this.done = new Promise((resolve) => (this.#finished = resolve));
    this.#connection = new FrameConnection(socket, {
      clock: options.clock,
      silenceMs: options.silenceMs,
      peerName: `node ${options.from} at ${options.remote}`,
      onFrame: (frame) => this.#take(frame),
      onLost: (problem) => this.#giveUp(problem),
    });
    this.#body = new IncomingBody({
      pause: () => this.#connection.pause(),
      resume: () => this.#connection.resume(),
    });
  }

  stop(problem: Problem): void {
    this.#giveUp(problem);
    this.#abort.abort();
  }

  #take(frame: Frame): void {
    switch (frame.type) {
      case "keep-alive":
        return;
      case "request":
        return this.#begin(frame.value);
      case "body":
        if (this.#stage !== "body" || this.#request?.kind !== "receive") return this.#unexpected(frame);
        return this.#body.push(frame.bytes);
      case "end":
        if (this.#stage !== "body") return this.#unexpected(frame);
        return this.#end(frame.bodyBytes, frame.checksum);
      case "failed":
        if (this.#stage !== "body") return this.#unexpected(frame);
        return this.#senderFailed(parseProblem(frame.value));
      case "reply":
        return this.#unexpected(frame);
    }
  }

  #begin(value: unknown): void {
    if (this.#stage !== "header") return this.#giveUp(violation("a second request came on one connection"));
    const header = parseRequestHeader(value);
    if (!header.ok) return this.#giveUp(header.problem);
    this.#stage = "body";
    this.#request = header.value.request;
    this.#connection.allowSilence(header.value.silenceMs);
    this.#connection.keepAlive(header.value.silenceMs / 3);
    // Only a stream to receive has a body; everything else is answered once it is clear that none comes.
    if (header.value.request.kind === "receive") void this.#handle(header.value.request);
  }

  #end(bodyBytes: number, checksum: number): void {
    this.#stage = "ended";
    const problem = this.#body.end(bodyBytes, checksum);
    if (this.#request === null || this.#request.kind === "receive") {
      // The handler learns of a problem from its iteration, and its answer carries it back.
      return;
    }
    if (problem === null) void this.#handle(this.#request);
    else this.#giveUp(problem);
  }

  #senderFailed(problem: Problem): void {
    const { from } = this.#options;
    this.#giveUp(
      failure(
        "transfer-interrupted",
        `Error while receiving data from node ${from}: it could not go on sending. ${problem.message}`,
        problem.remedy,
      ).problem,
    );
  }

  #unexpected(frame: Frame): void {
    const when = { header: "before a request", body: "in a body", ended: "after the end", over: "after all" };
    this.#giveUp(violation(`a frame of type ${frame.type} came ${when[this.#stage]}`));
  }

  async #handle(request: PeerRequest): Promise<void> {
    this.#handling = true;
    const { from, handler } = this.#options;
    let result: Result<PeerReply>;
    try {
      result = await handler(from, request, this.#body, this.#abort.signal);
    } catch (error) {
      result = this.#thrown(error);
    }
    this.#handling = false;
    if (this.#stage !== "over") {
      this.#stage = "over";
      this.#answer(request, this.#checked(result));
    }
    this.#finished();
  }

  #thrown(error: unknown): Result<PeerReply> {
    if (error instanceof ProblemError) return { ok: false, problem: error.problem };
    // A broken promise of our own code is not survived; it is thrown where nobody catches it.
    if (error instanceof AssertionError) {
      queueMicrotask(() => {
        throw error;
      });
    }
    this.#options.log.write("error", "data-channel-handler-threw", { error: String(error) });
    return internal("the agent made a mistake while answering; its log says more");
  }

  /** Bytes that were used without having been verified must not end in a success. */
  #checked(result: Result<PeerReply>): Result<PeerReply> {
    const { reading } = this.#body;
    if (!result.ok || reading === "unread" || reading === "verified") return result;
    return internal("the agent took the data for complete before it was verified");
  }

  #answer(request: PeerRequest, result: Result<PeerReply>): void {
    const { clock, lingerMs, log } = this.#options;
    const frame =
      jsonFrame("reply", result) ?? jsonFrame("reply", internal("the answer is too long to be sent"));
    if (frame !== undefined) this.#connection.finish(frame, lingerMs);
    log.write(result.ok ? "debug" : "info", "data-channel-answered", {
      kind: request.kind,
      dataset: request.dataset,
      bodyBytes: this.#body.receivedBytes,
      tookMs: Math.round(clock.monotonic() - this.#startedAt),
      ...(result.ok ? {} : { code: result.problem.code, message: result.problem.message }),
    });
  }

  /**
   * Ends the exchange from this side: the reader and the handler learn it, and the other side if it still
   * listens. A reader has some time for what has arrived before, which a backend that can resume keeps.
   */
  #giveUp(problem: Problem): void {
    if (this.#stage === "over") return;
    const { lingerMs, log } = this.#options;
    log.write("info", "data-channel-given-up", {
      kind: this.#request?.kind,
      dataset: this.#request?.dataset,
      code: problem.code,
      message: problem.message,
    });
    this.#stage = "over";
    this.#body.fail(problem);
    if (this.#body.reading === "reading") void this.#abortAfter(lingerMs);
    else this.#abort.abort();
    const frame = jsonFrame("reply", { ok: false, problem });
    if (frame === undefined) this.#connection.close();
    else this.#connection.finish(frame, lingerMs);
    if (!this.#handling) this.#finished();
  }

  async #abortAfter(delayMs: Milliseconds): Promise<void> {
    const over = new AbortController();
    void this.done.then(() => over.abort());
    await this.#options.clock.sleep(delayMs, over.signal);
    this.#abort.abort();
  }
}

function internal(what: string): { ok: false; problem: Problem } {
  return failure(
    "internal",
    `Error while answering a request on the data channel: ${what}.`,
    "Report this as a bug, with the logs of both agents. It is tried again by itself.",
  );
}
