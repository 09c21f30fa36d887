import type { DatasetId, Milliseconds } from "@flocker/core";

interface Deadline {
  readonly at: Milliseconds;
  readonly dataset: DatasetId;
}

/** Times at which something is due, at most one a dataset, in a heap: what is next costs nothing to know. */
export class Deadlines {
  readonly #current = new Map<DatasetId, Milliseconds>();
  /**
   * With what was replaced or removed still in it; that is left out when it comes to the top, or at a
   * clean-up.
   */
  #heap: Deadline[] = [];

  /** How many entries are kept, replaced ones included. */
  get size(): number {
    return this.#heap.length;
  }

  /** Sets (or with null removes) a dataset's time. */
  set(dataset: DatasetId, at: Milliseconds | null): void {
    if (at === (this.#current.get(dataset) ?? null)) return;
    if (at === null) {
      this.#current.delete(dataset);
    } else {
      this.#current.set(dataset, at);
      this.#push({ at, dataset });
    }
    // A lease that is renewed every second must not fill the memory with its past.
    if (this.#heap.length > 2 * this.#current.size + 64) this.#rebuild();
  }

  /** The earliest time, or null where there is none. */
  next(): Milliseconds | null {
    this.#dropReplaced();
    return this.#heap[0]?.at ?? null;
  }

  /** Those due at that time, earliest first, at most so many. They stay until their time is set anew. */
  due(now: Milliseconds, limit: number): readonly DatasetId[] {
    const found: Deadline[] = [];
    while (found.length < limit) {
      this.#dropReplaced();
      const first = this.#heap[0];
      if (first === undefined || first.at > now) break;
      this.#pop();
      found.push(first);
      // Marked as gone for now, so that an equal entry further down is not found again.
      this.#current.delete(first.dataset);
    }
    for (const one of found) {
      this.#current.set(one.dataset, one.at);
      this.#push(one);
    }
    return found.map((one) => one.dataset);
  }

  #dropReplaced(): void {
    for (let first = this.#heap[0]; first !== undefined; first = this.#heap[0]) {
      if (this.#current.get(first.dataset) === first.at) return;
      this.#pop();
    }
  }

  #rebuild(): void {
    this.#heap = [...this.#current].map(([dataset, at]) => ({ at, dataset })).toSorted((a, b) => a.at - b.at);
  }

  #push(deadline: Deadline): void {
    let index = this.#heap.length;
    this.#heap.push(deadline);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = this.#heap[parent];
      if (above === undefined || above.at <= deadline.at) break;
      this.#heap[index] = above;
      index = parent;
    }
    this.#heap[index] = deadline;
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    let index = 0;
    for (;;) {
      const left = this.#heap[2 * index + 1];
      const right = this.#heap[2 * index + 2];
      const child =
        right !== undefined && left !== undefined && right.at < left.at ? 2 * index + 2 : 2 * index + 1;
      const below = this.#heap[child];
      if (below === undefined || below.at >= last.at) break;
      this.#heap[index] = below;
      index = child;
    }
    this.#heap[index] = last;
  }
}
