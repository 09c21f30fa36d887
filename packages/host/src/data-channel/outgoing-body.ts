import type { ByteStream, Clock, Log } from "@flocker/core";

/** How long to wait for a body that was left early to free what it holds. */
const closeMs = 5_000;

/**
 * A body on its way out: reads it chunk by chunk, and sees to it that its iterator is closed, whatever
 * happens.
 */
export class OutgoingBody {
  readonly #iterator: AsyncIterator<Uint8Array> | undefined;
  readonly #ports: { readonly clock: Clock; readonly log: Log };
  #ended = false;

  constructor(body: ByteStream | undefined, ports: { readonly clock: Clock; readonly log: Log }) {
    this.#iterator = body?.[Symbol.asyncIterator]();
    this.#ended = body === undefined;
    this.#ports = ports;
  }

  /** The next chunk, or undefined at the end. Throws what the body throws. */
  async next(): Promise<Uint8Array | undefined> {
    if (this.#iterator === undefined || this.#ended) return undefined;
    try {
      const step = await this.#iterator.next();
      if (step.done !== true) return step.value;
      this.#ended = true;
      return undefined;
    } catch (error) {
      this.#ended = true;
      throw error;
    }
  }

  /**
   * Ends the iteration if it has not ended by itself. A body that is in the middle of making a chunk can only
   * end after it, so the wait is bounded.
   */
  async close(): Promise<void> {
    if (this.#ended || this.#iterator?.return === undefined) return;
    this.#ended = true;
    const { clock, log } = this.#ports;
    const over = new AbortController();
    const returned = this.#iterator.return().then(
      () => over.abort(),
      (error: unknown) => {
        log.write("warn", "data-channel-body-close-failed", { error: String(error) });
        over.abort();
      },
    );
    await Promise.race([returned, clock.sleep(closeMs, over.signal)]);
    if (!over.signal.aborted) log.write("warn", "data-channel-body-still-open", { afterMs: closeMs });
  }
}
