/** How often a node's programs have done what costs something, by kind. */
export interface Counts {
  /** Calls of the backend, by method; `discover` is one of them. */
  readonly backend: Readonly<Record<string, number>>;
  readonly storeWrites: number;
  /** Messages sent over links, by their `kind`. */
  readonly messages: Readonly<Record<string, number>>;
  /** Requests to other nodes' agents, by their `kind`. */
  readonly asks: Readonly<Record<string, number>>;
  readonly dials: number;
}

/** Counts what a node does, so that a test can say that an idle one does nothing. */
export class Counters {
  readonly #backend = new Map<string, number>();
  readonly #messages = new Map<string, number>();
  readonly #asks = new Map<string, number>();
  #storeWrites = 0;
  #dials = 0;

  countBackendCall(method: string): void {
    increment(this.#backend, method);
  }

  countMessage(message: unknown): void {
    increment(this.#messages, kindOf(message));
  }

  countAsk(request: { readonly kind: string }): void {
    increment(this.#asks, request.kind);
  }

  countStoreWrite(): void {
    this.#storeWrites += 1;
  }

  countDial(): void {
    this.#dials += 1;
  }

  /** The counts since the beginning; they survive crashes. */
  counts(): Counts {
    return {
      backend: Object.fromEntries(this.#backend),
      storeWrites: this.#storeWrites,
      messages: Object.fromEntries(this.#messages),
      asks: Object.fromEntries(this.#asks),
      dials: this.#dials,
    };
  }
}

/** What has been done between two counts; what has not been done is left out. */
export function countsBetween(before: Counts, after: Counts): Counts {
  return {
    backend: difference(before.backend, after.backend),
    storeWrites: after.storeWrites - before.storeWrites,
    messages: difference(before.messages, after.messages),
    asks: difference(before.asks, after.asks),
    dials: after.dials - before.dials,
  };
}

/** A message's `kind`, or what stands for it where it has none. */
export function kindOf(message: unknown): string {
  const kind: unknown =
    typeof message === "object" && message !== null && "kind" in message ? message.kind : undefined;
  return typeof kind === "string" ? kind : "(no kind)";
}

function increment(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function difference(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  const differing = Object.entries(after)
    .map(([key, count]) => [key, count - (before[key] ?? 0)] as const)
    .filter(([, count]) => count !== 0);
  return Object.fromEntries(differing);
}
