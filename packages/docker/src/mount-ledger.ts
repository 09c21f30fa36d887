import { assert, type AgentStore, type Era, type NodeId } from "@flocker/core";

/** Which program has asked for a mount: of Docker's it can be asked later whether they are still in use. */
export type MountClient = "docker" | "other";

/** One user of a volume: a mount ID that Docker or Podman has given. */
export interface MountUser {
  /** How many answered mounts it has: Docker mounts again for `docker cp`, with the same ID. */
  readonly held: number;
  /** How many are noted and not yet answered. */
  readonly pending: number;
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
  /** How many mounts were asked for again without saying which. */
  #unnamed = 0;
  /** How many of a user's mounts Docker may no longer count. */
  readonly #doubts = new Map<string, number>();

  constructor(store: AgentStore) {
    this.#store = store;
    for (const [dataset, value] of store.all(removalTable)) this.#removals.set(dataset, value as Removal);
    for (const [dataset, value] of store.all(table)) {
      const entry = value as MountEntry;
      this.#entries.set(dataset, entry);
      for (const [id, { pending }] of Object.entries(entry.users))
        if (pending > 0) this.#orphans.set(userKey(dataset, id), pending);
    }
    this.doubt();
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

  /** What Docker may have stopped using without having said so, or has asked for again. */
  doubtful(): readonly MountEntry[] {
    return this.entries().filter(({ dataset, users }) =>
      Object.keys(users).some((id) => (this.#doubts.get(userKey(dataset, id)) ?? 0) > 0),
    );
  }

  /**
   * Notes that Docker may no longer count what it has mounted: it, or the plugin, has been started again, and
   * neither learns then what it has missed.
   */
  doubt(): void {
    for (const { dataset, users } of this.entries())
      for (const [id, { client, held }] of Object.entries(users))
        if (client === "docker") this.#doubts.set(userKey(dataset, id), held);
  }

  /** Durably notes that a user asks for a mount. One that an earlier life has noted is taken over. */
  begin(start: Omit<MountEntry, "users">, id: string, client: MountClient): void {
    const before = this.#entries.get(start.dataset);
    const users = before?.users ?? {};
    const user = users[id] ?? { held: 0, pending: 0, client };
    const key = userKey(start.dataset, id);
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
    this.#write({ ...withUser(entry, id, { pending: -1, held: 1 }), path });
  }

  /** Durably notes that a mount that was noted has come to nothing. */
  giveUp(dataset: string, id: string): MountEntry {
    return this.#write(withUser(this.#required(dataset), id, { pending: -1, held: 0 }));
  }

  /** Durably notes that a user has unmounted once. */
  letGo(dataset: string, id: string): MountEntry {
    const left = this.#write(withUser(this.#required(dataset), id, { pending: 0, held: -1 }));
    const key = userKey(dataset, id);
    this.#doubts.set(key, Math.min(this.#doubts.get(key) ?? 0, left.users[id]?.held ?? 0));
    return left;
  }

  /** Durably forgets all users: they are known to be gone. */
  dropUsers(dataset: string): void {
    this.#write({ ...this.#required(dataset), users: {} });
  }

  /** Durably forgets the mounts that Docker may no longer count: it uses the volume no more. */
  dropDoubtful(dataset: string): void {
    for (const [id, { pending }] of Object.entries(this.#required(dataset).users)) {
      const key = userKey(dataset, id);
      const doubted = this.#doubts.get(key) ?? 0;
      if (doubted === 0 || pending > 0) continue;
      this.#write(withUser(this.#required(dataset), id, { pending: 0, held: -doubted }));
      this.#doubts.delete(key);
    }
  }

  /**
   * Docker has asked for a mount again without saying which: once that has happened as often as earlier lives
   * have left mounts unanswered, it has given up all of them.
   */
  giveUpUnnamed(): void {
    this.#unnamed += 1;
    const left = [...this.#orphans.values()].reduce((sum, count) => sum + count, 0);
    if (this.#unnamed >= left) this.dropOrphans();
  }

  /** Durably forgets pending mounts of earlier lives that nobody has asked for again. */
  dropOrphans(): void {
    for (const entry of this.entries()) {
      for (const [id, user] of Object.entries(entry.users)) {
        const orphans = this.#orphans.get(userKey(entry.dataset, id)) ?? 0;
        if (orphans === 0) continue;
        const current = this.#required(entry.dataset);
        this.#write(withUser(current, id, { pending: -Math.min(orphans, user.pending), held: 0 }));
      }
    }
    this.#orphans.clear();
  }

  /** Durably forgets an entry: its lease was given back. */
  forget(dataset: string): void {
    this.#store.write([{ table, key: dataset, value: undefined }]);
    this.#entries.delete(dataset);
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
  change: Readonly<Record<"pending" | "held", number>>,
): MountEntry {
  const { [id]: user, ...others } = entry.users;
  if (user === undefined) return entry;
  const held = Math.max(0, user.held + change.held);
  const pending = Math.max(0, user.pending + change.pending);
  const isGone = held === 0 && pending === 0;
  return { ...entry, users: isGone ? others : { ...others, [id]: { ...user, held, pending } } };
}

function userKey(dataset: string, id: string): string {
  return `${dataset} ${id}`;
}
