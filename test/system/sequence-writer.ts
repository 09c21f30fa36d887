import { open } from "node:fs/promises";

/**
 * A client that numbers its records, writes each through the mount point, and counts it as kept only once it
 * is synced. It opens the file anew for each record and stops when the file can no longer be reached: at the
 * unmount, not before.
 */
export class SequenceWriter {
  readonly #path: string;
  #next: number;
  #isStopping = false;
  #ended: Promise<void> = Promise.resolve();
  /** The records that were synced. */
  readonly kept: number[] = [];

  constructor(path: string, first: number) {
    this.#path = path;
    this.#next = first;
  }

  start(): this {
    this.#ended = this.#run();
    return this;
  }

  /** Resolves once the file can no longer be reached, or after `stop`. */
  ended(): Promise<void> {
    return this.#ended;
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#ended;
  }

  get next(): number {
    return this.#next;
  }

  async #run(): Promise<void> {
    while (!this.#isStopping) {
      let file;
      try {
        // Only the data's own folder makes a new file possible: a mount point that is gone is no place to
        // write to.
        file = await open(this.#path, "a");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
        throw error;
      }
      try {
        await file.write(`${this.#next}\n`);
        await file.sync();
        this.kept.push(this.#next);
        this.#next += 1;
      } finally {
        await file.close();
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}
