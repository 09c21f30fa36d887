/** Runs steps that belong to a key. */
export type Exclusively<Key> = <Value>(key: Key, steps: () => Promise<Value>) => Promise<Value>;

/** Runs steps under the same key one after the other, and those under different keys side by side. */
export function serializer<Key>(): Exclusively<Key> {
  const tails = new Map<Key, Promise<unknown>>();
  return async (key, steps) => {
    const before = tails.get(key);
    const mine = (async () => {
      // An error of the step before was answered to whoever asked for it.
      await before?.catch(() => undefined);
      return await steps();
    })();
    tails.set(key, mine);
    try {
      return await mine;
    } finally {
      if (tails.get(key) === mine) tails.delete(key);
    }
  };
}

/** Applies a function to all items, at most so many at a time, and keeps their order. */
export async function mapConcurrently<Item, Value>(
  items: readonly Item[],
  concurrency: number,
  apply: (item: Item) => Promise<Value>,
): Promise<Value[]> {
  const values: Value[] = [];
  const work = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of work) values[index] = await apply(item);
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker));
  return values;
}
