import { assert } from "@flocker/core";

/** What ends an inbox: everything has come, or an error that its reader meets after what came before it. */
type Ending = { readonly error: unknown } | "complete";

/** How far the reader is: `left` means that it stopped before the end. */
export type ReadingState = "unread" | "reading" | "left" | "complete" | "failed";

/** What has arrived and was not taken yet, as something to iterate over once. */
export class Inbox<Item> {
  readonly #items: Item[] = [];
  readonly #onTaken: () => void;
  #ending: Ending | null = null;
  #waiting: {
    readonly resolve: (result: IteratorResult<Item, undefined>) => void;
    readonly reject: (error: unknown) => void;
  } | null = null;
  #reading: ReadingState = "unread";

  /** `onTaken` is called for each item as it is handed to the reader: what back-pressure is made of. */
  constructor(onTaken: () => void = () => {}) {
    this.#onTaken = onTaken;
  }

  /** How far the reader is. */
  get reading(): ReadingState {
    return this.#reading;
  }

  push(item: Item): void {
    if (this.#ending !== null || this.#reading === "left") return;
    if (this.#waiting === null) {
      this.#items.push(item);
      return;
    }
    const { resolve } = this.#waiting;
    this.#waiting = null;
    this.#onTaken();
    resolve({ done: false, value: item });
  }

  /** No more items; the reader still gets those that have come. */
  end(): void {
    this.#finish("complete");
  }

  /** No more items: the reader still gets those that have come, and then meets the error, unless all have. */
  fail(error: unknown): void {
    this.#finish({ error });
  }

  /** Whether its reader is still to meet an error. */
  get isBreaking(): boolean {
    return this.#reading === "reading" && this.#ending !== null && this.#ending !== "complete";
  }

  /** The items, once. A reader that leaves early drops what is left. */
  iterate(): AsyncIterable<Item> {
    return { [Symbol.asyncIterator]: () => this.#iterator() };
  }

  #iterator(): AsyncIterator<Item, undefined> {
    assert(this.#reading === "unread", "what arrives can be iterated once");
    this.#reading = "reading";
    return {
      next: () => this.#next(),
      return: () => {
        if (this.#reading === "reading") this.#reading = "left";
        this.#items.length = 0;
        this.#waiting?.resolve({ done: true, value: undefined });
        this.#waiting = null;
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #next(): Promise<IteratorResult<Item, undefined>> {
    assert(this.#waiting === null, "one item is asked for at a time");
    if (this.#items.length > 0) {
      const value = this.#items.shift() as Item;
      this.#onTaken();
      return Promise.resolve({ done: false, value });
    }
    if (this.#reading !== "reading") return Promise.resolve({ done: true, value: undefined });
    if (this.#ending !== null) return this.#meetEnding(this.#ending);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  #meetEnding(ending: Ending): Promise<IteratorResult<Item, undefined>> {
    if (ending === "complete") {
      this.#reading = "complete";
      return Promise.resolve({ done: true, value: undefined });
    }
    this.#reading = "failed";
    return Promise.reject(ending.error as Error);
  }

  #finish(ending: Ending): void {
    if (this.#ending !== null) return;
    this.#ending = ending;
    const waiting = this.#waiting;
    if (waiting === null) return;
    this.#waiting = null;
    this.#meetEnding(ending).then(waiting.resolve, waiting.reject);
  }
}
