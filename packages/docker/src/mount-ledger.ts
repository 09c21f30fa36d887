import { assert, type AgentStore, type Era, type NodeId } from "@flocker/core";

/** Which program has asked for a mount: of Docker's it can be asked later whether they are still in use. */
export type MountClient = "docker" | "other";

/** One user of a volume: a mount ID that Docker or Podman has given. */
export interface MountUser {
  /** How many answered mounts it has: Docker mounts again for `docker cp`, with the same ID. */
  readonly held: number;
  /** How many are noted and not yet answered. */
  readonly pending: number;
  /** Of how many of those held it is not noted that the answer was sent. */
  readonly unsure: number;
  readonly client: MountClient;
}

/** What is durably known of a volume that is in use on this node. */
export interface MountEntry {
  readonly dataset: string;
  readonly name: string;
  readonly node: NodeId;
  /** The boot in which it was mounted: after another one, nothing of it is in use any more. */
  readonly era: Era;
  /** Somebody else on this node had the lease before us, and keeps it when we go. */
  readonly isShared: boolean;
  /** Where it is mounted, once it is. */
  readonly path: string | null;
  readonly users: Readonly<Record<string, MountUser>>;
}

/** A volume that is being removed: the lease on it is the removal's own. */
export interface Removal {
  readonly dataset: string;
  readonly name: string;
  readonly node: NodeId;
}

const table = "mounts";
const removalTable = "removals";

/**
 * The plugin's durable notes of what is in use on this node. A mount is noted before its lease is asked for,
 * so that after a crash no lease is forgotten; an entry without users is a lease that is still to be given
 * back.
 */
export class MountLedger {
  readonly #store: AgentStore;
  readonly #entries = new Map<string, MountEntry>();
  readonly #removals = new Map<string, Removal>();
  /** Pending mounts of a life of the plugin that has ended: Docker asks for them again, or has given up. */
  readonly #orphans = new Map<string, number>();

  readonly #doubtful = new Set<string>();

  constructor(store: AgentStore) {
    this.#store = store;
    for (const [dataset, value] of store.all(removalTable)) this.#removals.set(dataset, value as Removal);
    for (const [dataset, value] of store.all(table)) {
      const entry = value as MountEntry;
      this.#entries.set(dataset, entry);
      for (const [id, { pending, unsure }] of Object.entries(entry.users)) {
        if (pending > 0) this.#orphans.set(orphanKey(dataset, id), pending);
        if (unsure > 0) this.#doubtful.add(dataset);
      }
    }
  }

  entries(): readonly MountEntry[] {
    return [...this.#entries.values()];
  }

  entry(dataset: string): MountEntry | undefined {
    return this.#entries.get(dataset);
  }

  named(name: string): readonly MountEntry[] {
    return this.entries().filter((entry) => entry.name === name);
  }

  /**
   * What an earlier life has held without knowing whether the answer arrived: it may have been asked for
   * again.
   */
  doubtful(): readonly MountEntry[] {
    return this.entries().filter(({ dataset }) => this.#doubtful.has(dataset));
  }

  /** Durably notes that a user asks for a mount. One that an earlier life has noted is taken over. */
  begin(start: Omit<MountEntry, "users">, id: string, client: MountClient): void {
    const before = this.#entries.get(start.dataset);
    const users = before?.users ?? {};
    const user = users[id] ?? { held: 0, pending: 0, unsure: 0, client };
    const key = orphanKey(start.dataset, id);
    const orphans = this.#orphans.get(key) ?? 0;
    if (orphans > 0) this.#orphans.set(key, orphans - 1);
    const pending = orphans > 0 ? user.pending : user.pending + 1;
    const path = before?.era === start.era ? before.path : start.path;
    const kept = { ...start, path, isShared: before?.isShared ?? start.isShared };
    this.#write({ ...kept, users: { ...users, [id]: { ...user, pending } } });
  }

  /** Durably notes that a mount is about to be answered. */
  hold(dataset: string, id: string, path: string): void {
    const entry = this.#required(dataset);
    this.#write({ ...withUser(entry, id, { pending: -1, held: 1, unsure: 1 }), path });
  }

  /** Notes that the answer of a mount was sent. */
  confirm(dataset: string, id: string): void {
    const entry = this.#entries.get(dataset);
    if (entry !== undefined) this.#write(withUser(entry, id, { pending: 0, held: 0, unsure: -1 }));
  }

  /** Durably notes that a mount that was noted has come to nothing. */
  giveUp(dataset: string, id: string): MountEntry {
    return this.#write(withUser(this.#required(dataset), id, { pending: -1, held: 0, unsure: 0 }));
  }

  /** Durably notes that a user has unmounted once. */
  letGo(dataset: string, id: string): MountEntry {
    return this.#write(withUser(this.#required(dataset), id, { pending: 0, held: -1, unsure: 0 }));
  }

  /** Durably forgets users of whom it is known that they are gone. */
  dropUsers(dataset: string, isGone: (user: MountUser) => boolean): void {
    const entry = this.#required(dataset);
    const left = Object.entries(entry.users).filter(([, user]) => !isGone(user));
    this.#write({ ...entry, users: Object.fromEntries(left) });
  }

  /** Durably forgets pending mounts of earlier lives that nobody has asked for again. */
  dropOrphans(): void {
    for (const entry of this.entries()) {
      for (const [id, user] of Object.entries(entry.users)) {
        const orphans = this.#orphans.get(orphanKey(entry.dataset, id)) ?? 0;
        if (orphans === 0) continue;
        const current = this.#required(entry.dataset);
        this.#write(withUser(current, id, { pending: -Math.min(orphans, user.pending), held: 0, unsure: 0 }));
      }
    }
    this.#orphans.clear();
  }

  /** Durably forgets an entry: its lease was given back. */
  forget(dataset: string): void {
    this.#store.write([{ table, key: dataset, value: undefined }]);
    this.#entries.delete(dataset);
    this.#doubtful.delete(dataset);
  }

  removals(): readonly Removal[] {
    return [...this.#removals.values()];
  }

  /** What was noted of a dataset's removal and has not come to its end. */
  removal(dataset: string): Removal | undefined {
    return this.#removals.get(dataset);
  }

  /** Durably notes that a removal takes the lease, before it does. */
  beginRemoval(removal: Removal): void {
    this.#store.write([{ table: removalTable, key: removal.dataset, value: removal }]);
    this.#removals.set(removal.dataset, removal);
  }

  /** Durably forgets a removal: it has come to its end, and its lease was given back. */
  endRemoval(dataset: string): void {
    this.#store.write([{ table: removalTable, key: dataset, value: undefined }]);
    this.#removals.delete(dataset);
  }

  #write(entry: MountEntry): MountEntry {
    this.#store.write([{ table, key: entry.dataset, value: entry }]);
    this.#entries.set(entry.dataset, entry);
    return entry;
  }

  #required(dataset: string): MountEntry {
    const entry = this.#entries.get(dataset);
    assert(entry !== undefined, "what is noted of a mount has been begun");
    return entry;
  }
}

/** Whether nobody uses the volume or asks for it: only its lease is left. */
export function isUnused(entry: MountEntry): boolean {
  return Object.keys(entry.users).length === 0;
}

function withUser(
  entry: MountEntry,
  id: string,
  change: Readonly<Record<"pending" | "held" | "unsure", number>>,
): MountEntry {
  const { [id]: user, ...others } = entry.users;
  if (user === undefined) return entry;
  const held = Math.max(0, user.held + change.held);
  const pending = Math.max(0, user.pending + change.pending);
  const unsure = Math.min(held, Math.max(0, user.unsure + change.unsure));
  const isGone = held === 0 && pending === 0;
  return { ...entry, users: isGone ? others : { ...others, [id]: { ...user, held, pending, unsure } } };
}

function orphanKey(dataset: string, id: string): string {
  return `${dataset} ${id}`;
}
