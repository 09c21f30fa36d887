import { failure, ProblemError } from "@flocker/core";
import type {
  Abort,
  ByteStream,
  PeerAddress,
  PeerHandler,
  PeerReply,
  PeerRequest,
  Peers,
  Problem,
  Result,
} from "@flocker/core";
import type { ChannelEnd, EndReason } from "./channel.ts";
import { Inbox } from "./inbox.ts";
import type { ReadingState } from "./inbox.ts";
import type { SimNetwork } from "./network.ts";
import type { Incarnation, SimNode } from "./node.ts";

/**
 * What becomes of one request to another node's agent: nothing special; refused before it begins; the
 * connection breaks before the handler hears of it, after it has taken that many chunks of the body, or with
 * the answer on its way.
 */
export type PeerFate =
  | { readonly kind: "normal" }
  | { readonly kind: "refused" }
  | { readonly kind: "request-lost" }
  | { readonly kind: "cut-after-chunks"; readonly chunks: number }
  | { readonly kind: "answer-lost" };

/** Decides what becomes of each request, in the order in which they are made. */
export type PeerFates = (from: SimNode, to: SimNode | undefined, request: PeerRequest) => PeerFate;

type ToHandler =
  | { readonly kind: "request"; readonly request: string; readonly hasBody: boolean; readonly fate: PeerFate }
  | { readonly kind: "chunk"; readonly bytes: Uint8Array }
  | { readonly kind: "body-ends" }
  | { readonly kind: "body-failed" };
type ToAsker = { readonly kind: "taken" } | { readonly kind: "reply"; readonly result: string };

type AskingEnd = ChannelEnd<ToHandler, ToAsker>;
type AnsweringEnd = ChannelEnd<ToAsker, ToHandler>;

type AskOptions = Parameters<Peers["ask"]>[2];

/** How many chunks may be under way that the handler has not taken: what sockets would buffer. */
const windowChunks = 4;

/** The data channel, as one incarnation sees it. */
export function simPeers(network: SimNetwork, incarnation: Incarnation, fates: PeerFates): Peers {
  return {
    ask: (peer, request, options) =>
      new Promise<Result<PeerReply>>((resolve, reject) => {
        if (!incarnation.alive) return;
        incarnation.node.counters.countAsk(request);
        const asking = new Asking(incarnation, peer, request, options, { resolve, reject });
        const outcome = incarnation.perform(`asks ${peer.host} to ${request.kind}`, () =>
          fates(incarnation.node, network.nodeAt(peer.host), request),
        );
        if (outcome !== undefined) asking.start(network, outcome.value);
      }),
  };
}

/** One request, from the side that asks. */
class Asking {
  readonly #incarnation: Incarnation;
  readonly #peer: PeerAddress;
  readonly #request: PeerRequest;
  readonly #options: AskOptions;
  readonly #settle: { resolve(result: Result<PeerReply>): void; reject(error: unknown): void };
  #body: AsyncIterator<Uint8Array> | null = null;
  #end: AskingEnd | null = null;
  #over = false;
  #underWay: number[] = [];
  #doneBytes = 0;
  #wakePump: () => void = () => {};

  constructor(
    incarnation: Incarnation,
    peer: PeerAddress,
    request: PeerRequest,
    options: AskOptions,
    settle: { resolve(result: Result<PeerReply>): void; reject(error: unknown): void },
  ) {
    this.#incarnation = incarnation;
    this.#peer = peer;
    this.#request = request;
    this.#options = options;
    this.#settle = settle;
  }

  start(network: SimNetwork, fate: PeerFate): void {
    const { abort } = this.#options;
    if (abort.aborted) {
      this.#onAbort();
      return;
    }
    abort.addEventListener("abort", this.#onAbort, { once: true });
    const target = fate.kind === "refused" ? undefined : network.nodeAt(this.#peer.host);
    if (fate.kind === "refused") {
      this.#incarnation.after(network.latencyMs(), `${this.#what()} refused`, () =>
        this.#fail("peer-unreachable", "the connection was refused"),
      );
      return;
    }
    network.connect<ToHandler, ToAsker>(this.#incarnation, target, "peer", {
      connected: (end) => this.#connected(end, target, fate),
      failed: (why) =>
        this.#fail(
          "peer-unreachable",
          why === "refused" ? "the connection was refused" : "there was no answer in time",
        ),
    });
  }

  #connected(end: AskingEnd, target: SimNode | undefined, fate: PeerFate): void {
    if (this.#over) {
      end.close();
      return;
    }
    this.#end = end;
    end.listen({ onItem: (item) => this.#take(item), onEnd: (reason) => this.#ended(reason) });
    if (target?.id !== this.#peer.node) {
      this.#fail("peer-refused", `the node that answers there is ${target?.id}`);
      return;
    }
    if (fate.kind === "request-lost") {
      end.cut();
      return;
    }
    const { body } = this.#options;
    const request = JSON.stringify(this.#request);
    end.send({ kind: "request", request, hasBody: body !== undefined, fate }, request);
    if (body !== undefined) this.#pump(body, end).catch((error: unknown) => this.#bodyFailed(error));
  }

  /** Asks for the next chunk only when there is room for it: this is the back-pressure. */
  async #pump(body: ByteStream, end: AskingEnd): Promise<void> {
    const iterator = body[Symbol.asyncIterator]();
    this.#body = iterator;
    for (;;) {
      while (this.#underWay.length >= windowChunks && !this.#over) {
        await new Promise<void>((resolve) => {
          this.#wakePump = resolve;
        });
      }
      if (this.#over) return;
      const next = await iterator.next();
      if (this.#over) return;
      if (next.done === true) break;
      this.#underWay.push(next.value.byteLength);
      // A copy, because the producer may use its buffer again.
      end.send({ kind: "chunk", bytes: next.value.slice() }, `chunk of ${next.value.byteLength} bytes`);
    }
    this.#body = null;
    end.send({ kind: "body-ends" }, "body ends");
  }

  #take(item: ToAsker): void {
    if (this.#over) return;
    if (item.kind === "taken") {
      this.#doneBytes += this.#underWay.shift() ?? 0;
      this.#options.onProgress?.(this.#doneBytes);
      this.#wakePump();
      return;
    }
    this.#finish(() => this.#settle.resolve(JSON.parse(item.result) as Result<PeerReply>));
  }

  #ended(reason: EndReason): void {
    if (reason === "silent") this.#fail("peer-unreachable", "nothing was heard from it any more");
    else this.#fail("transfer-interrupted", "the connection broke before the answer");
  }

  #bodyFailed(error: unknown): void {
    if (this.#over) return;
    this.#end?.send({ kind: "body-failed" }, "body failed");
    this.#finish(() => {
      if (error instanceof ProblemError) this.#settle.resolve({ ok: false, problem: error.problem });
      else this.#settle.reject(error);
    });
  }

  readonly #onAbort = (): void => {
    if (this.#incarnation.alive) this.#fail("transfer-interrupted", "it was called off");
  };

  #fail(code: "peer-unreachable" | "peer-refused" | "transfer-interrupted", why: string): void {
    this.#finish(() =>
      this.#settle.resolve(
        failure(
          code,
          `${this.#what()}: ${why}.`,
          "Check that node's agent and the network between the nodes.",
        ),
      ),
    );
  }

  #finish(settle: () => void): void {
    if (this.#over) return;
    this.#over = true;
    this.#options.abort.removeEventListener("abort", this.#onAbort);
    this.#end?.close();
    this.#wakePump();
    // Not awaited: a body that is being asked for a chunk hears of this only once it has made it.
    this.#body?.return?.().catch(() => {});
    settle();
  }

  #what(): string {
    return `Asking the agent of ${this.#peer.host} to ${this.#request.kind} ${this.#request.dataset}`;
  }
}

/**
 * Lets this incarnation's node answer other agents. `onCrash` hears of a handler that threw what is no
 * problem.
 */
export function listenForPeers(
  network: SimNetwork,
  incarnation: Incarnation,
  handler: PeerHandler,
  onCrash: (error: unknown) => void,
): () => void {
  return network.listen(incarnation, "peer", (end, from) => {
    answer(end as unknown as AnsweringEnd, incarnation, from, handler, onCrash);
  });
}

function answer(
  end: AnsweringEnd,
  incarnation: Incarnation,
  from: SimNode,
  handler: PeerHandler,
  onCrash: (error: unknown) => void,
): void {
  const controller = new AbortController();
  let fate: PeerFate = { kind: "normal" };
  let takenChunks = 0;
  let answered = false;
  const takeChunk = (): void => {
    takenChunks += 1;
    end.send({ kind: "taken" }, "chunk taken");
    if (fate.kind === "cut-after-chunks" && takenChunks === fate.chunks) end.cut();
  };
  const body = new Inbox<Uint8Array>(takeChunk);
  const interrupt = (why: string): void => {
    body.fail(new ProblemError(interrupted(from, why)));
    // A reader meets the break by itself, after what came before it.
    if (!answered && !body.isBreaking) controller.abort();
  };
  const reply = (result: Result<PeerReply>): void => {
    answered = true;
    const text = JSON.stringify(checked(result, body.reading));
    incarnation.perform(`answers ${from.name}`, () => {
      if (fate.kind === "answer-lost") end.cut();
      else end.send({ kind: "reply", result: text }, text);
    });
  };
  end.listen({
    onEnd: () => interrupt("the connection broke"),
    onItem: (item) => {
      if (item.kind === "chunk") body.push(item.bytes);
      else if (item.kind === "body-ends") body.end();
      else if (item.kind === "body-failed") interrupt("the other side could not read on");
      else {
        ({ fate } = item);
        if (!item.hasBody) body.end();
        if (fate.kind === "cut-after-chunks" && fate.chunks === 0) end.cut();
        const request = JSON.parse(item.request) as PeerRequest;
        handle(handler, from, request, body.iterate(), controller.signal).then(reply, onCrash);
      }
    },
  });
}

/** As on the real data channel: what was used without having been verified must not end in a success. */
function checked(result: Result<PeerReply>, reading: ReadingState): Result<PeerReply> {
  if (!result.ok || reading === "unread" || reading === "complete") return result;
  return failure(
    "internal",
    "Answering a request on the data channel: the data was taken for complete before it was verified.",
    "Report this as a bug, with the logs of both agents.",
  );
}

async function handle(
  handler: PeerHandler,
  from: SimNode,
  request: PeerRequest,
  body: ByteStream,
  abort: Abort,
): Promise<Result<PeerReply>> {
  try {
    return await handler(from.id, request, body, abort);
  } catch (error) {
    if (error instanceof ProblemError) return { ok: false, problem: error.problem };
    throw error;
  }
}

function interrupted(from: SimNode, why: string): Problem {
  return {
    code: "transfer-interrupted",
    message: `Receiving from the agent of ${from.name}: ${why}.`,
    remedy: "Nothing needs to be done; the transfer is tried again.",
  };
}
