import { createHash } from "node:crypto";
import {
  assert,
  compareEpochs,
  failure,
  ProblemError,
  success,
  type Clock,
  type ContainerConfiguration,
  type DatasetConfiguration,
  type DatasetId,
  type Ids,
  type Lease,
  type Ownership,
  type Result,
} from "@flocker/core";
import { createListeners } from "../listeners.ts";
import { openDatabase, unreadable, type Database } from "./database.ts";
import { migrate, migrations, type Migration } from "./schema.ts";
import { prepareStatements, type Statements } from "./statements.ts";
import type {
  Change,
  Commit,
  CommitRequest,
  ConfigurationStore,
  KnownNode,
  StoredConfiguration,
} from "./store.ts";
import {
  decodeContainer,
  decodeDataset,
  decodeLease,
  decodeNode,
  decodeOwnership,
  encodeContainer,
  encodeDataset,
  encodeLease,
  encodeNode,
} from "./values.ts";

/**
 * Opens the configuration store in that file, or makes it; `:memory:` is one that ends with the process.
 *
 * Problems: `store-locked` (another process has it), `store-newer` (left untouched), `store-unreadable`
 * (damaged, or another program's), `file-unreadable`, `no-space`.
 */
export function openSqliteStore(
  path: string,
  ports: { readonly clock: Clock; readonly ids: Ids },
): Result<ConfigurationStore> {
  const opened = openDatabase(path);
  if (!opened.ok) return opened;
  return storeIn(opened.value, ports, migrations);
}

/** Makes a store of an open database, which it closes where that fails. */
export function storeIn(
  database: Database,
  ports: { readonly ids: Ids },
  steps: readonly Migration[],
): Result<ConfigurationStore> {
  try {
    migrate(database, steps, () => ports.ids.uuid());
    return success(new SqliteStore(database));
  } catch (error) {
    database.close();
    if (error instanceof ProblemError) return { ok: false, problem: error.problem };
    throw error;
  }
}

/** In memory it keeps no more than the revision, its tag, and the prepared statements. */
class SqliteStore implements ConfigurationStore {
  readonly clusterId: string;
  readonly #database: Database;
  readonly #statements: Statements;
  readonly #listeners = createListeners<Commit>();
  #revision: number;
  #tag: string;

  constructor(database: Database) {
    this.#database = database;
    checkTables(database);
    this.#statements = prepareStatements(database);
    const cluster = this.#statements.cluster.first();
    if (cluster === undefined) throw new ProblemError(unreadable(database.path, "It names no cluster."));
    this.clusterId = cluster.text("cluster");
    const last = this.#statements.lastRevision.first();
    this.#revision = last?.number("revision") ?? 0;
    this.#tag = last?.text("tag") ?? firstTag(this.clusterId);
  }

  current(): StoredConfiguration {
    const { path } = this.#database;
    const datasets = decoded(this.#statements.datasets.each(), (row) =>
      decodeDataset(row.text("value"), path),
    );
    const leases = decoded(this.#statements.leases.each(), (row) => decodeLease(row.text("value"), path));
    const containers = decoded(this.#statements.containers.each(), (row) =>
      decodeContainer(row.text("value"), path),
    );
    return { revision: this.#revision, tag: this.#tag, datasets, leases, containers };
  }

  ownerships() {
    return decoded(this.#statements.ownerships.each(), decodeOwnership);
  }

  nodes(): readonly KnownNode[] {
    return decoded(this.#statements.nodes.each(), (row) =>
      decodeNode(row.text("value"), this.#database.path),
    );
  }

  commit(request: CommitRequest): Result<{ readonly revision: number; readonly tag: string }> {
    const { expectedRevision, changes, author, at } = request;
    assert(changes.length > 0, "a commit changes something");
    if (expectedRevision !== null && expectedRevision !== this.#revision)
      return revisionMismatch({ expected: expectedRevision, current: this.#revision });
    const revision = this.#revision + 1;
    const written = this.#write({ revision, changes, author, at });
    if (!written.ok) return written;
    const { tag, commit } = written.value;
    this.#revision = revision;
    this.#tag = tag;
    this.#listeners.tell(commit);
    return success({ revision, tag });
  }

  #write(request: {
    readonly revision: number;
    readonly changes: readonly Change[];
    readonly author: string;
    readonly at: number;
  }): Result<{ readonly tag: string; readonly commit: Commit }> {
    const { revision, changes, author, at } = request;
    const { path } = this.#database;
    try {
      return this.#database.transaction(() => {
        const written = changes.map((change) => this.#apply(change, revision));
        const chain = createHash("sha256").update(JSON.stringify([this.#tag, revision, author, at, written]));
        const tag = chain.digest("hex").slice(0, tagLength);
        this.#statements.addRevision.run(revision, tag, author, at);
        written.forEach(({ kind, subject, before, after }, position) =>
          this.#statements.addHistory.run(revision, position, kind, subject, before, after),
        );
        const values = written.map((change) => decodeChange(change, path));
        return success({ tag, commit: { revision, author, at, changes: values } });
      });
    } catch (error) {
      if (error instanceof ProblemError) return { ok: false, problem: error.problem };
      throw error;
    }
  }

  #apply(change: Change, revision: number): WrittenChange {
    switch (change.kind) {
      case "put-dataset":
        return this.#applyDataset(change, revision);
      case "put-lease":
        return this.#applyLease(change.value.dataset, encodeLease(change.value));
      case "remove-lease":
        return this.#applyLease(change.dataset, null);
      case "put-container":
        return this.#applyContainer(change.value.name, encodeContainer(change.value));
      case "remove-container":
        return this.#applyContainer(change.name, null);
    }
  }

  #applyDataset(change: Extract<Change, { kind: "put-dataset" }>, revision: number): WrittenChange {
    const statements = this.#statements;
    const { dataset } = change.value;
    const after = encodeDataset({ ...change.value, revision });
    const before = statements.dataset.first(dataset)?.text("value") ?? null;
    assert((before === null) === (change.birth !== undefined), "a dataset is born with its first commit");
    if (before === null) statements.addDataset.run(dataset, after);
    else statements.setDataset.run(after, dataset);
    if (change.birth !== undefined) {
      const { epoch, owner, born, since } = change.birth;
      assert(change.birth.dataset === dataset, "an ownership record is of the dataset it comes with");
      statements.addOwnership.run(dataset, epoch.term, epoch.step, owner, born ? 1 : 0, since);
    }
    if (change.failover !== undefined) this.#raiseOwnership(change.failover);
    return { kind: "dataset", subject: dataset, before, after };
  }

  #applyLease(dataset: DatasetId, after: string | null): WrittenChange {
    const statements = this.#statements;
    const before = statements.lease.first(dataset)?.text("value") ?? null;
    if (after === null) statements.removeLease.run(dataset);
    else statements.putLease.run(dataset, after);
    return { kind: "lease", subject: dataset, before, after };
  }

  #applyContainer(name: string, after: string | null): WrittenChange {
    const statements = this.#statements;
    const before = statements.container.first(name)?.text("value") ?? null;
    if (after === null) statements.removeContainer.run(name);
    else statements.putContainer.run(name, after);
    return { kind: "container", subject: name, before, after };
  }

  saveOwnerships(ownerships: Parameters<ConfigurationStore["saveOwnerships"]>[0]): void {
    if (ownerships.length === 0) return;
    this.#database.transaction(() => {
      for (const ownership of ownerships) this.#raiseOwnership(ownership);
    });
  }

  #raiseOwnership({ dataset, epoch, owner, born, since }: Ownership): void {
    const row = this.#statements.ownership.first(dataset);
    assert(row !== undefined, "an ownership record is made with its dataset");
    const stored = decodeOwnership(row);
    assert(compareEpochs(epoch, stored.epoch) >= 0, "an ownership record never gets older");
    assert(born || !stored.born || compareEpochs(epoch, stored.epoch) > 0, "a birth is never undone");
    this.#statements.setOwnership.run(epoch.term, epoch.step, owner, born ? 1 : 0, since, dataset);
  }

  saveNode(node: KnownNode): void {
    this.#database.transaction(() => this.#statements.putNode.run(node.node, encodeNode(node)));
  }

  readAt(revision: number): Result<StoredConfiguration> {
    const tag = this.#tagAt(revision);
    if (tag === undefined)
      return failure(
        "not-found",
        `Reading the configuration as of revision ${revision}: the store has the revisions 0 to ${this.#revision}.`,
        "Ask for one of those; `flocker history` lists them.",
        "revision",
      );
    // Whichever end of history is nearer. Both give datasets in the order of their creation.
    const isNearEnd = this.#revision - revision <= revision;
    const maps = isNearEnd ? this.#readBackwards(revision) : this.#readForwards(revision);
    return success({
      revision,
      tag,
      datasets: [...maps.datasets.values()],
      leases: [...maps.leases.values()].toSorted((a, b) => (a.dataset < b.dataset ? -1 : 1)),
      containers: [...maps.containers.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    });
  }

  #tagAt(revision: number): string | undefined {
    if (!Number.isSafeInteger(revision) || revision < 0) return undefined;
    if (revision === 0) return firstTag(this.clusterId);
    return this.#statements.revision.first(revision)?.text("tag");
  }

  #readBackwards(revision: number): Maps {
    const { datasets, leases, containers } = this.current();
    const maps: Maps = {
      datasets: new Map(datasets.map((value) => [value.dataset, value])),
      leases: new Map(leases.map((value) => [value.dataset, value])),
      containers: new Map(containers.map((value) => [value.name, value])),
    };
    for (const row of this.#statements.historyBackwards.each(revision))
      put(maps, writtenChange(row), "before", this.#database.path);
    return maps;
  }

  #readForwards(revision: number): Maps {
    const maps: Maps = { datasets: new Map(), leases: new Map(), containers: new Map() };
    for (const row of this.#statements.historyBetween.each(0, revision))
      put(maps, writtenChange(row), "after", this.#database.path);
    return maps;
  }

  history(afterRevision: number, limit: number): readonly Commit[] {
    assert(Number.isSafeInteger(limit) && limit > 0, "a limit is a positive whole number");
    const commits: (Omit<Commit, "changes"> & { readonly changes: Commit["changes"][number][] })[] = [];
    for (const row of this.#statements.revisionsAfter.each(afterRevision, limit))
      commits.push({
        revision: row.number("revision"),
        author: row.text("author"),
        at: row.number("at"),
        changes: [],
      });
    const last = commits.at(-1);
    const first = commits[0];
    if (first === undefined || last === undefined) return [];
    for (const row of this.#statements.historyBetween.each(first.revision - 1, last.revision)) {
      const commit = commits[row.number("revision") - first.revision];
      assert(commit !== undefined, "revisions have no gaps");
      commit.changes.push(decodeChange(writtenChange(row), this.#database.path));
    }
    return commits;
  }

  watch(onCommit: (commit: Commit) => void): () => void {
    return this.#listeners.add(onCommit);
  }

  backup(path: string): Promise<Result<void>> {
    return this.#database.copyTo(path);
  }

  close(): void {
    this.#database.close();
  }
}

const tagLength = 32;

/** The tag before the first commit. */
function firstTag(clusterId: string): string {
  return createHash("sha256").update(clusterId).digest("hex").slice(0, tagLength);
}

interface WrittenChange {
  readonly kind: Commit["changes"][number]["kind"];
  /** The dataset, or the container's name. */
  readonly subject: string;
  readonly before: string | null;
  readonly after: string | null;
}

interface Maps {
  readonly datasets: Map<DatasetId, DatasetConfiguration>;
  readonly leases: Map<DatasetId, Lease>;
  readonly containers: Map<string, ContainerConfiguration>;
}

function put(maps: Maps, change: WrittenChange, side: "before" | "after", path: string): void {
  const text = change[side];
  const dataset = change.subject as DatasetId;
  switch (change.kind) {
    case "dataset":
      return set(maps.datasets, dataset, text === null ? null : decodeDataset(text, path));
    case "lease":
      return set(maps.leases, dataset, text === null ? null : decodeLease(text, path));
    case "container":
      return set(maps.containers, change.subject, text === null ? null : decodeContainer(text, path));
  }
}

function set<Key, Value>(map: Map<Key, Value>, key: Key, value: Value | null): void {
  if (value === null) map.delete(key);
  else map.set(key, value);
}

function writtenChange(row: {
  text(column: string): string;
  textOrNull(column: string): string | null;
}): WrittenChange {
  return {
    // The table takes no other kinds.
    kind: row.text("kind") as WrittenChange["kind"],
    subject: row.text("subject"),
    before: row.textOrNull("before"),
    after: row.textOrNull("after"),
  };
}

function decodeChange(change: WrittenChange, path: string): Commit["changes"][number] {
  const { kind, subject } = change;
  const sides = <Value>(decode: (text: string, path: string) => Value) => ({
    before: change.before === null ? null : decode(change.before, path),
    after: change.after === null ? null : decode(change.after, path),
  });
  if (kind === "lease") return { kind, dataset: subject as DatasetId, ...sides(decodeLease) };
  if (kind === "container") return { kind, name: subject, ...sides(decodeContainer) };
  const { before, after } = sides(decodeDataset);
  if (after === null) throw new ProblemError(unreadable(path, "Its history removes a dataset."));
  return { kind, before, after };
}

function decoded<From, To>(rows: Iterable<From>, decode: (row: From) => To): readonly To[] {
  const values: To[] = [];
  for (const row of rows) values.push(decode(row));
  return values;
}

/** Damage shows at the start and not in the middle of the work. History is left out: it may be large. */
function checkTables(database: Database): void {
  for (const table of ["cluster", "dataset", "lease", "container", "ownership", "node"]) {
    const found = database.prepare(`PRAGMA quick_check('${table}')`).first()?.text("quick_check");
    if (found !== "ok")
      throw new ProblemError(unreadable(database.path, `Its table ${table} is damaged: ${found ?? "?"}.`));
  }
}

function revisionMismatch(revisions: { readonly expected: number; readonly current: number }) {
  return failure(
    "revision-mismatch",
    `The change was decided on revision ${revisions.expected} of the configuration, ` +
      `which is at revision ${revisions.current} now.`,
    "Read the configuration again and decide anew.",
    "expectedRevision",
  );
}
