import type {
  Backend,
  Capacity,
  CopyOrigin,
  DatasetId,
  Discovery,
  ObservedCopy,
  PartialReceive,
  Problem,
  Result,
  UnreadableCopy,
} from "@flocker/core";
import { assert, success } from "@flocker/core";

import { attempt } from "./problems.ts";

/** One of several places for copies on a node, which may not be there yet. */
export interface Pool {
  readonly name: string;
  readonly open: () => Promise<Result<Backend>>;
}

/**
 * Several pools as one backend. A copy lies in exactly one of them, wherever it was made; `choose` names the
 * pool of a new one. A pool that cannot be seen hides what is in it and nothing else: the copies in the
 * others are served, and what is in none of these is unknown, never absent.
 *
 * Problems: that of the first pool, where none can be opened.
 */
export async function acrossPools(
  pools: readonly Pool[],
  choose: (origin: CopyOrigin) => string,
): Promise<Result<Backend>> {
  const doors = pools.map((pool) => new Door(pool));
  const opened = await Promise.all(doors.map((door) => door.open()));
  const usable = opened.find((each) => each.ok);
  const [first] = opened;
  assert(first !== undefined, "there is a pool");
  if (usable === undefined) return first;
  return success(new Pools(doors, choose).asBackend(usable.value));
}

/** A pool's backend, once it can be opened. */
class Door {
  readonly name: string;
  readonly #pool: Pool;
  #opening: Promise<Result<Backend>> | undefined;
  #backend: Backend | undefined;
  readonly #whenOpened: ((backend: Backend) => void)[] = [];

  constructor(pool: Pool) {
    this.name = pool.name;
    this.#pool = pool;
  }

  async open(): Promise<Result<Backend>> {
    this.#opening ??= this.#open();
    return await this.#opening;
  }

  async #open(): Promise<Result<Backend>> {
    const opened = await this.#pool.open();
    if (opened.ok) {
      this.#backend = opened.value;
      for (const tell of this.#whenOpened.splice(0)) tell(opened.value);
    } else this.#opening = undefined;
    return opened;
  }

  /** Calls back now or when it has been opened. */
  whenOpened(tell: (backend: Backend) => void): void {
    if (this.#backend === undefined) this.#whenOpened.push(tell);
    else tell(this.#backend);
  }

  /** Runs something in the pool, which is opened for it where that is possible. */
  async run<Value>(steps: (backend: Backend) => Promise<Result<Value>>): Promise<Result<Value>> {
    const opened = await this.open();
    return opened.ok ? await steps(opened.value) : opened;
  }

  look(dataset: DatasetId | null): Promise<Result<Discovery>> {
    return this.run((backend) => backend.discover(dataset));
  }
}

class Pools {
  readonly #doors: readonly Door[];
  readonly #choose: (origin: CopyOrigin) => string;
  /** Where copies were last seen. */
  readonly #places = new Map<DatasetId, Door>();
  /** As of the last look at each pool. */
  readonly #capacities = new Map<Door, Capacity>();

  constructor(doors: readonly Door[], choose: (origin: CopyOrigin) => string) {
    this.#doors = doors;
    this.#choose = choose;
  }

  asBackend({ kind, capabilities }: Backend): Backend {
    return {
      kind,
      capabilities,
      discover: (dataset) => this.#discover(dataset),
      create: async (record, maximumSizeBytes, origin = {}) =>
        await this.#inPoolFor(record.dataset, origin, (backend) =>
          backend.create(record, maximumSizeBytes, origin),
        ),
      writeRecord: (record) => this.#inItsPool(record.dataset, (backend) => backend.writeRecord(record)),
      mount: (dataset) => this.#inItsPool(dataset, (backend) => backend.mount(dataset)),
      unmount: (dataset) => this.#inItsPool(dataset, (backend) => backend.unmount(dataset)),
      snapshot: (dataset, name) => this.#inItsPool(dataset, (backend) => backend.snapshot(dataset, name)),
      destroySnapshots: (dataset, guids) =>
        this.#inItsPool(dataset, (backend) => backend.destroySnapshots(dataset, guids)),
      resize: (dataset, maximumSizeBytes) =>
        this.#inItsPool(dataset, (backend) => backend.resize(dataset, maximumSizeBytes)),
      trash: (dataset, at) => this.#inItsPool(dataset, (backend) => backend.trash(dataset, at)),
      restore: (dataset) => this.#inItsPool(dataset, (backend) => backend.restore(dataset)),
      destroy: (dataset) => this.#destroy(dataset),
      send: (request, abort) => this.#inItsPool(request.dataset, (backend) => backend.send(request, abort)),
      receive: (request, stream, abort) =>
        this.#inPoolFor(
          request.dataset,
          request.profile === undefined ? {} : { profile: request.profile },
          (backend) => backend.receive(request, stream, abort),
        ),
      discardPartial: (dataset) =>
        this.#inItsPool(dataset, async (backend) => (await backend.discardPartial?.(dataset)) ?? success()),
      watch: (onChange) => this.#watch(onChange),
    };
  }

  async #discover(dataset: DatasetId | null): Promise<Result<Discovery>> {
    // A pool that hangs must not delay what is in another.
    const place = dataset === null ? undefined : this.#places.get(dataset);
    if (place !== undefined) {
      const result = await place.look(dataset);
      if (!result.ok || isAnythingIn(result.value)) return this.#withAllCapacity(result);
    }
    const looks = await Promise.all(
      this.#doors.map(async (door) => ({ door, result: await door.look(dataset) })),
    );
    const seen: { readonly door: Door; readonly discovery: Discovery }[] = [];
    let unseen: Problem | undefined;
    for (const { door, result } of looks) {
      if (result.ok) seen.push({ door, discovery: result.value });
      else unseen ??= result.problem;
    }
    const merged = merge(seen);
    for (const { door, discovery } of seen) this.#capacities.set(door, discovery.capacity);
    for (const [each, door] of merged.places)
      if (door === null) this.#places.delete(each);
      else this.#places.set(each, door);
    if (unseen === undefined) return success(merged.discovery);
    const isShown = dataset !== null && merged.places.has(dataset);
    if (seen.length === 0 || (dataset !== null && !isShown)) return { ok: false, problem: unseen };
    return success(isShown ? merged.discovery : { ...merged.discovery, unseen });
  }

  #withAllCapacity(result: Result<Discovery>): Result<Discovery> {
    if (!result.ok) return result;
    return success({ ...result.value, capacity: sumOf(this.#capacities.values()) });
  }

  /** The pool that has something of a dataset, or undefined where it is certain that none has. */
  async #find(dataset: DatasetId): Promise<Result<Door | undefined>> {
    this.#places.delete(dataset);
    const looked = await this.#discover(dataset);
    if (!looked.ok) return looked;
    const place = this.#places.get(dataset);
    const [unclear] = place === undefined ? looked.value.unreadable : [];
    return unclear === undefined ? success(place) : { ok: false, problem: unclear.problem };
  }

  async #inItsPool<Value>(
    dataset: DatasetId,
    run: (backend: Backend) => Promise<Result<Value>>,
  ): Promise<Result<Value>> {
    const known = this.#places.get(dataset);
    if (known !== undefined) {
      const result = await known.run(run);
      if (result.ok || result.problem.code !== "unknown-dataset") return result;
    }
    return await this.#inPoolFor(dataset, {}, run);
  }

  async #inPoolFor<Value>(
    dataset: DatasetId,
    origin: CopyOrigin,
    run: (backend: Backend) => Promise<Result<Value>>,
  ): Promise<Result<Value>> {
    const found = await this.#find(dataset);
    if (!found.ok) return found;
    if (found.value !== undefined) return await found.value.run(run);
    // What it throws becomes the answer.
    const chosen = await attempt("Choosing a pool", () => Promise.resolve(this.#chosen(origin)));
    if (!chosen.ok) return chosen;
    const result = await chosen.value.run(run);
    if (result.ok) this.#places.set(dataset, chosen.value);
    return result;
  }

  #chosen(origin: CopyOrigin): Door {
    const name = this.#choose(origin);
    const door = this.#doors.find((each) => each.name === name);
    assert(door !== undefined, `${name} is one of the pools`);
    return door;
  }

  /** Destroyed is what lies in no pool any more. */
  async #destroy(dataset: DatasetId): Promise<Result<void>> {
    for (const door of this.#doors) {
      const result = await door.run((backend) => backend.destroy(dataset));
      if (!result.ok) return result;
    }
    this.#places.delete(dataset);
    return success();
  }

  #watch(onChange: (dataset?: DatasetId) => void): () => void {
    const stops: (() => void)[] = [];
    let isEnded = false;
    for (const door of this.#doors)
      door.whenOpened((backend) => {
        const stop = isEnded ? undefined : backend.watch?.(onChange);
        if (stop !== undefined) stops.push(stop);
      });
    return () => {
      isEnded = true;
      for (const stop of stops) stop();
    };
  }
}

/** What several pools show, as one. Two copies of a dataset are none that can be trusted. */
function merge(seen: readonly { readonly door: Door; readonly discovery: Discovery }[]): {
  readonly discovery: Discovery;
  /** Null where it is in several. */
  readonly places: ReadonlyMap<DatasetId, Door | null>;
} {
  const places = new Map<DatasetId, Door | null>();
  const copies = new Map<DatasetId, ObservedCopy>();
  const unreadable = new Map<DatasetId, UnreadableCopy>();
  const partials = new Map<DatasetId, PartialReceive>();
  for (const { door, discovery } of seen) {
    for (const partial of discovery.partials ?? []) {
      partials.set(partial.dataset, partial);
      if (!places.has(partial.dataset)) places.set(partial.dataset, door);
    }
    for (const each of [...discovery.copies, ...discovery.unreadable]) {
      const { dataset } = each;
      const isSecond = copies.delete(dataset) || unreadable.has(dataset);
      const other = places.get(dataset) ?? door;
      places.set(dataset, isSecond ? null : door);
      if (isSecond) unreadable.set(dataset, { dataset, problem: twoCopies(dataset, other, door) });
      else if ("problem" in each) unreadable.set(dataset, each);
      else copies.set(dataset, each);
    }
  }
  return {
    discovery: {
      copies: [...copies.values()],
      unreadable: [...unreadable.values()],
      partials: [...partials.values()],
      capacity: sumOf(seen.map(({ discovery }) => discovery.capacity)),
    },
    places,
  };
}

function isAnythingIn({ copies, unreadable, partials = [] }: Discovery): boolean {
  return copies.length + unreadable.length + partials.length > 0;
}

function sumOf(capacities: Iterable<Capacity>): Capacity {
  let [totalBytes, freeBytes] = [0, 0];
  for (const each of capacities) {
    totalBytes += each.totalBytes;
    freeBytes += each.freeBytes;
  }
  return { totalBytes, freeBytes };
}

function twoCopies(dataset: DatasetId, a: Door, b: Door): Problem {
  return {
    code: "storage-unreadable",
    message: `There are two copies of dataset ${dataset} on this node, in ${a.name} and in ${b.name}.`,
    remedy: "Find out which is right and rename the other away; neither is touched until then.",
  };
}
