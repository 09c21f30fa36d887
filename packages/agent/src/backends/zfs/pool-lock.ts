/** A lock that many hold side by side, or one alone. */
export interface SharedLock {
  shared<Value>(steps: () => Promise<Value>): Promise<Value>;
  alone<Value>(steps: () => Promise<Value>): Promise<Value>;
}

/** A lock that is granted in the order in which it is asked for. */
export function sharedLock(): SharedLock {
  /** Ends when everybody who asked to be alone has been. */
  let lastAlone: Promise<unknown> = Promise.resolve();
  let sharing = new Set<Promise<unknown>>();
  const settled = (promise: Promise<unknown>): Promise<unknown> => promise.catch(() => undefined);
  return {
    async shared(steps) {
      const before = lastAlone;
      const mine = (async () => {
        await before;
        return await steps();
      })();
      const end = settled(mine);
      const among = sharing;
      among.add(end);
      try {
        return await mine;
      } finally {
        among.delete(end);
      }
    },
    async alone(steps) {
      const before = [lastAlone, ...sharing];
      sharing = new Set();
      const mine = (async () => {
        await Promise.all(before);
        return await steps();
      })();
      lastAlone = settled(mine);
      return await mine;
    },
  };
}
