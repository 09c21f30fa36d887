/** Runs jobs one after the other for each key, and those of different keys side by side. */
export class Lanes {
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Whether a job runs or waits for this key. */
  isBusy(key: string): boolean {
    return this.#tails.has(key);
  }

  /** Runs a job when all that came before it for this key have ended, however they did. */
  async run<Value>(key: string, job: () => Promise<Value>): Promise<Value> {
    const before = this.#tails.get(key);
    const current = (before ?? Promise.resolve()).then(job, job);
    this.#tails.set(key, current);
    try {
      return await current;
    } finally {
      if (this.#tails.get(key) === current) this.#tails.delete(key);
    }
  }
}
