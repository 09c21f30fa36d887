/** Those who want to hear of something, in the order in which they asked. */
export interface Listeners<Event> {
  /** Returns what ends it. */
  add(listener: (event: Event) => void): () => void;
  /**
   * Tells everybody. What a listener causes is told after everybody has heard of the first thing, so that all
   * hear everything in the same order.
   */
  tell(event: Event): void;
}

export function createListeners<Event>(): Listeners<Event> {
  const listeners = new Set<{ readonly call: (event: Event) => void }>();
  const waiting: Event[] = [];
  let telling = false;
  return {
    add: (call) => {
      const listener = { call };
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    tell: (event) => {
      waiting.push(event);
      if (telling) return;
      telling = true;
      try {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift())
          for (const listener of listeners) listener.call(next);
      } finally {
        telling = false;
      }
    },
  };
}
