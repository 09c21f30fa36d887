import { assert } from "@flocker/core";
import type { Milliseconds } from "@flocker/core";
import type { Incarnation } from "./node.ts";
import type { Scheduler } from "./scheduler.ts";

/**
 * How a connection ended at one end: the other side closed it, it broke, or nothing was heard for too long.
 */
export type EndReason = "closed" | "cut" | "silent";

export interface ChannelListener<Received> {
  onItem(item: Received): void;
  /** Called once, and never after an own `close`. */
  onEnd(reason: EndReason): void;
}

/** What a channel needs to know of the network that it runs through. */
export interface ChannelConditions {
  latencyMs(): Milliseconds;
  /** Nothing gets through from the one to the other now. */
  isPartitioned(from: Incarnation, to: Incarnation): boolean;
  /** After this silence an end takes the other side for dead. */
  readonly silenceMs: Milliseconds;
}

interface Parcel<Item> {
  readonly content: { readonly item: Item } | { readonly end: EndReason };
  readonly label: string;
  readonly dueMs: Milliseconds;
}

/**
 * One side of a connection that carries items in order, as TCP does: what is sent over a partition is held
 * and arrives after its end, unless one of the sides has given up in the meantime.
 */
export class ChannelEnd<Sent, Received> {
  readonly owner: Incarnation;
  readonly #scheduler: Scheduler;
  readonly #conditions: ChannelConditions;
  readonly #label: string;
  #other: ChannelEnd<Received, Sent> | null = null;
  #listener: ChannelListener<Received> | null = null;
  #open = true;
  #closedByOwner = false;
  /**
   * Broken, though this end has not seen it yet: nothing comes any more, so that nothing is missing in
   * between.
   */
  #breaking = false;
  /** How it ended before there was a listener to tell. */
  #untoldEnd: EndReason | null = null;
  /** On their way to this end, the oldest first. */
  #coming: Parcel<Received>[] = [];
  #arrivalPlanned = false;
  /** An object per stretch of time in which nothing can come from the other side. */
  #mute: object | null = null;

  constructor(owner: Incarnation, scheduler: Scheduler, conditions: ChannelConditions, label: string) {
    this.owner = owner;
    this.#scheduler = scheduler;
    this.#conditions = conditions;
    this.#label = label;
  }

  /** Makes two ends one connection. */
  static join<A, B>(a: ChannelEnd<A, B>, b: ChannelEnd<B, A>): void {
    a.#other = b;
    b.#other = a;
  }

  get isOpen(): boolean {
    return this.#open && this.owner.alive;
  }

  listen(listener: ChannelListener<Received>): void {
    assert(this.#listener === null, "an end of a channel has one listener");
    this.#listener = listener;
    const reason = this.#untoldEnd;
    if (reason !== null) this.owner.deliver(() => listener.onEnd(reason));
    this.#planArrival();
  }

  /** Sends an item; dropped where this end has ended. */
  send(item: Sent, label: string): void {
    if (!this.isOpen) return;
    const other = this.#peer();
    if (!other.owner.alive && other.owner.node.alive) {
      // The machine at the other side has started anew and knows nothing of this connection.
      this.#scheduler.after(this.#conditions.latencyMs(), `${this.#label} reset`, () => this.end("cut"));
      return;
    }
    other.#take({ item }, `${this.#label} ${label}`);
  }

  /** Ends this end at once, and the other one after everything sent before. */
  close(): void {
    if (!this.isOpen) return;
    this.#open = false;
    this.#closedByOwner = true;
    this.#coming = [];
    this.#peer().#take({ end: "closed" }, `${this.#label} closed`);
  }

  /** Only for the network: ends this end, as its owner sees it. */
  end(reason: EndReason): void {
    if (!this.#open) return;
    this.#open = false;
    this.#coming = [];
    const listener = this.#listener;
    if (listener === null) this.#untoldEnd = reason;
    else this.owner.deliver(() => listener.onEnd(reason));
  }

  /** Only for the network: both ends break; what is on its way is lost. */
  cut(): void {
    for (const end of [this, this.#peer()]) {
      if (!end.#open) continue;
      end.#breaking = true;
      end.#coming = [];
      this.#scheduler.after(this.#conditions.latencyMs(), `${end.#label} cut`, () => end.end("cut"));
    }
  }

  /** Only for the network: the owner's kernel ends the connection of a program that is gone. */
  abandon(): void {
    this.#open = false;
    this.#coming = [];
    this.#peer().#take({ end: "closed" }, `${this.#label} closed by the kernel`);
  }

  /**
   * Only for the network: connections or pauses have changed. `mute` says that the other side cannot be
   * heard.
   */
  review(mute: boolean): void {
    if (!this.#open) return;
    if (!mute) {
      this.#mute = null;
      this.#planArrival();
      return;
    }
    if (this.#mute !== null) return;
    const stretch = {};
    this.#mute = stretch;
    this.#scheduler.after(this.#conditions.silenceMs, `${this.#label} silence is over`, () => {
      if (this.#mute !== stretch || !this.isOpen) return;
      this.#peer().#take({ end: "cut" }, `${this.#label} given up`);
      this.end("silent");
    });
  }

  #peer(): ChannelEnd<Received, Sent> {
    assert(this.#other !== null, "an end in use has another end");
    return this.#other;
  }

  #take(content: Parcel<Received>["content"], label: string): void {
    if (!this.#open || this.#breaking) return;
    this.#coming.push({
      content,
      label,
      dueMs: this.#scheduler.elapsedMs + this.#conditions.latencyMs(),
    });
    this.#planArrival();
  }

  /** At most one arrival is in the queue of events, that of the oldest: so the order cannot be lost. */
  #planArrival(): void {
    const next = this.#coming[0];
    if (next === undefined || this.#arrivalPlanned || this.#listener === null) return;
    this.#arrivalPlanned = true;
    const delayMs = Math.max(0, next.dueMs - this.#scheduler.elapsedMs);
    this.#scheduler.after(delayMs, next.label, () => {
      this.#arrivalPlanned = false;
      if (!this.#open) return;
      if (this.#conditions.isPartitioned(this.#peer().owner, this.owner)) return;
      // The queue may have been emptied by a cut since.
      if (this.#coming[0] === next) {
        this.#coming.shift();
        this.#arrive(next.content);
      }
      this.#planArrival();
    });
  }

  #arrive(content: Parcel<Received>["content"]): void {
    if ("end" in content) {
      this.end(content.end);
      return;
    }
    // What a pause held back is still read, even if the end has come meanwhile.
    this.owner.deliver(() => {
      if (!this.#closedByOwner) this.#listener?.onItem(content.item);
    });
  }
}
