/** Something that will happen at a simulated time. */
export interface QueuedEvent {
  readonly timeMs: number;
  /** A seeded number that orders the events of one moment, so that no order is taken for granted. */
  readonly tieBreak: number;
  /** Rises by one per event: the last word where even the tie-break is equal. */
  readonly sequence: number;
  readonly label: string;
  readonly happen: () => void;
  cancelled: boolean;
}

/**
 * A binary heap of events, the earliest first. Cancelled events stay in it and are skipped when their turn
 * comes.
 */
export class EventQueue {
  readonly #heap: QueuedEvent[] = [];
  #cancelledCount = 0;

  get size(): number {
    return this.#heap.length - this.#cancelledCount;
  }

  push(event: QueuedEvent): void {
    const heap = this.#heap;
    let index = heap.push(event) - 1;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = heap[above];
      if (parent === undefined || !isBefore(event, parent)) break;
      heap[index] = parent;
      index = above;
    }
    heap[index] = event;
  }

  /** Takes the event out, as far as anyone can see. */
  cancel(event: QueuedEvent): void {
    if (event.cancelled) return;
    event.cancelled = true;
    this.#cancelledCount += 1;
  }

  /** When the next event is due; undefined where there is none. */
  nextTimeMs(): number | undefined {
    this.#dropCancelled();
    return this.#heap[0]?.timeMs;
  }

  pop(): QueuedEvent | undefined {
    this.#dropCancelled();
    const event = this.#popAny();
    // From here on a cancellation comes too late and must not be counted.
    if (event !== undefined) event.cancelled = true;
    return event;
  }

  #dropCancelled(): void {
    while (this.#heap[0]?.cancelled === true) {
      this.#popAny();
      this.#cancelledCount -= 1;
    }
  }

  #popAny(): QueuedEvent | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || first === last) return first;
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      const leftEvent = heap[left];
      if (leftEvent === undefined) break;
      const rightEvent = heap[left + 1];
      const goRight = rightEvent !== undefined && isBefore(rightEvent, leftEvent);
      const child = goRight ? rightEvent : leftEvent;
      if (!isBefore(child, last)) break;
      heap[index] = child;
      index = goRight ? left + 1 : left;
    }
    heap[index] = last;
    return first;
  }
}

function isBefore(a: QueuedEvent, b: QueuedEvent): boolean {
  if (a.timeMs !== b.timeMs) return a.timeMs < b.timeMs;
  if (a.tieBreak !== b.tieBreak) return a.tieBreak < b.tieBreak;
  return a.sequence < b.sequence;
}
