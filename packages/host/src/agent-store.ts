import { closeSync, fsyncSync, mkdirSync, openSync, readSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ProblemError, assert, failure, success } from "@flocker/core";
import type { AgentStore, Problem, Result } from "@flocker/core";

/** The version of the tables below, kept in SQLite's `user_version`. */
const schemaVersion = 1;
/** "FlkA" in SQLite's `application_id`: the file is an agent's store and no other database. */
const applicationId = 0x466c_6b41;

const schema = `
  CREATE TABLE entries (
    table_name TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (table_name, key)
  ) STRICT, WITHOUT ROWID;
`;

/** An agent's store that has to be closed at the end. */
export interface OpenAgentStore extends AgentStore {
  /** Closes the file and gives up its lock. Nothing else may be called afterwards but `close`. */
  close(): void;
}

/**
 * The stores that this process has open. SQLite's locks are POSIX locks, which a process loses when it closes
 * any descriptor of the file, so that we must not even look into a file that is open already.
 */
const openPaths = new Set<string>();

/** Which store it is, for the problems' words. */
interface StorePlace {
  readonly path: string;
  /** Whose it is: `agent`. */
  readonly owner: string;
}

/**
 * Opens (or makes) an agent's store: one SQLite file, for one process at a time. Fails with `store-locked`
 * where another process has it, `store-newer` where a newer version wrote it (it is left as it is),
 * `store-unreadable` where it is damaged or something else, and `file-unreadable` where the file cannot be
 * opened or made.
 *
 * Its `write` throws a ProblemError (`no-space`, `store-unreadable`) where the disk refuses; then nothing is
 * written.
 */
export function openAgentStore(path: string, owner: string = "agent"): Result<OpenAgentStore> {
  const place = { path, owner };
  const file = prepareFile(place);
  if (!file.ok) return file;
  if (openPaths.has(file.value)) return locked(place);
  let database: DatabaseSync | undefined;
  try {
    const header = checkHeader(place);
    if (!header.ok) return header;
    database = new DatabaseSync(path, { timeout: 0 });
    const ready = prepareDatabase(database, place);
    if (!ready.ok) {
      database.close();
      return ready;
    }
  } catch (error) {
    if (database?.isOpen === true) database.close();
    return { ok: false, problem: storeProblem(error, place, "Opening") };
  }
  openPaths.add(file.value);
  return success(storeOver(database, place, () => openPaths.delete(file.value)));
}

/**
 * Makes folder and file where they are missing, durably and for this user only. Answers the file's real path.
 */
function prepareFile(place: StorePlace): Result<string> {
  const { path } = place;
  try {
    const folder = dirname(path);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const real = realPathOf(path);
    if (real !== undefined) return success(real);
    closeSync(openSync(path, "a", 0o600));
    const handle = openSync(folder, "r");
    fsyncSync(handle);
    closeSync(handle);
    return success(realpathSync(path));
  } catch (error) {
    return inaccessible(place, "Opening", codeOf(error));
  }
}

function realPathOf(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * Looks at the versions in the file's first 100 bytes (https://www.sqlite.org/fileformat.html, section 1.3),
 * because SQLite itself may tidy up in a file as soon as it opens it, and a newer version's file has to stay
 * as it is.
 */
function checkHeader(place: StorePlace): Result<void> {
  const header = Buffer.alloc(100);
  const handle = openSync(place.path, "r");
  const length = readSync(handle, header, 0, header.length, 0);
  closeSync(handle);
  if (length < header.length) return success();
  return checkVersions(place, header.readUInt32BE(60), header.readUInt32BE(68));
}

function checkVersions(place: StorePlace, version: number, application: number): Result<void> {
  // A new database, or one whose first transaction is still in the log beside it.
  if (version === 0 && application === 0) return success();
  if (application !== applicationId) return unreadable(place, `it is no ${place.owner}'s store`);
  if (version > schemaVersion) {
    return failure(
      "store-newer",
      `The ${place.owner}'s store ${place.path} has been written by a newer version of Flocker (its format is ${version}, ` +
        `this version knows up to ${schemaVersion}). It has been left as it is.`,
      "Start the newer version again, or restore the store from before the update.",
    );
  }
  return success();
}

function prepareDatabase(database: DatabaseSync, place: StorePlace): Result<void> {
  database.exec("PRAGMA locking_mode = EXCLUSIVE");
  const found = checkVersions(place, pragma(database, "user_version"), pragma(database, "application_id"));
  if (!found.ok) return found;
  const isNew = pragma(database, "user_version") === 0;
  if (isNew && database.prepare("SELECT 1 FROM sqlite_schema").get() !== undefined) {
    return unreadable(place, `it is no ${place.owner}'s store`);
  }
  const mode = database.prepare("PRAGMA journal_mode = WAL").get()?.["journal_mode"];
  if (mode !== "wal")
    return unreadable(place, `its file system does not take a write-ahead log (${String(mode)})`);
  database.exec("PRAGMA synchronous = FULL");
  // Takes the lock, which the locking mode then keeps until the end.
  database.exec("BEGIN IMMEDIATE");
  if (isNew) {
    database.exec(schema);
    database.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${schemaVersion}`);
  }
  database.exec("COMMIT");
  // So that the versions stand in the file's header, where `checkHeader` looks.
  if (isNew) database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  const check = database.prepare("PRAGMA quick_check(1)").get()?.["quick_check"];
  if (check !== "ok") return unreadable(place, String(check));
  const damaged = database.prepare("SELECT key FROM entries WHERE NOT json_valid(value) LIMIT 1").get();
  if (damaged !== undefined) return unreadable(place, `the value of ${String(damaged["key"])} is no JSON`);
  return success();
}

function pragma(database: DatabaseSync, name: "user_version" | "application_id"): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}

function storeOver(database: DatabaseSync, place: StorePlace, onClose: () => void): OpenAgentStore {
  const select = database.prepare("SELECT key, value FROM entries WHERE table_name = ? ORDER BY key");
  const upsert = database.prepare("INSERT OR REPLACE INTO entries (table_name, key, value) VALUES (?, ?, ?)");
  const remove = database.prepare("DELETE FROM entries WHERE table_name = ? AND key = ?");
  const apply: AgentStore["write"] = (changes) => {
    for (const { table, key, value } of changes) {
      if (value === undefined) {
        remove.run(table, key);
        continue;
      }
      const json: string | undefined = JSON.stringify(value);
      assert(json !== undefined, "what is stored can be said in JSON");
      upsert.run(table, key, json);
    }
  };
  return {
    all: (table) =>
      new Map(select.all(table).map((row) => [String(row["key"]), JSON.parse(String(row["value"]))])),
    write(changes) {
      try {
        database.exec("BEGIN IMMEDIATE");
        apply(changes);
        database.exec("COMMIT");
      } catch (error) {
        // SQLite has rolled back by itself after some errors.
        if (database.isTransaction) database.exec("ROLLBACK");
        if (!isSqliteError(error)) throw error;
        throw new ProblemError(storeProblem(error, place, "Writing to"), { cause: error });
      }
    },
    close() {
      if (!database.isOpen) return;
      database.close();
      onClose();
    },
  };
}

interface SqliteError extends Error {
  /** SQLite's extended result code: https://www.sqlite.org/rescode.html */
  readonly errcode: number;
}

function isSqliteError(error: unknown): error is SqliteError {
  return error instanceof Error && "errcode" in error && typeof error.errcode === "number";
}

/** Primary result codes of https://www.sqlite.org/rescode.html */
const sqlite = { perm: 3, busy: 5, readOnly: 8, full: 13, cannotOpen: 14 } as const;

function storeProblem(error: unknown, place: StorePlace, doing: "Opening" | "Writing to"): Problem {
  const reason = error instanceof Error ? error.message : String(error);
  const { path, owner } = place;
  switch (isSqliteError(error) ? error.errcode & 0xff : undefined) {
    case sqlite.busy:
      return locked(place).problem;
    case sqlite.full:
      return failure(
        "no-space",
        `${doing} the ${owner}'s store ${path} failed: the disk is full. What was there before is still there.`,
        "Make room on the disk that holds the state folder.",
      ).problem;
    // An error of Node's own file system calls, which come before SQLite's.
    case undefined:
    case sqlite.perm:
    case sqlite.readOnly:
    case sqlite.cannotOpen:
      return inaccessible(place, doing, reason).problem;
    default:
      return unreadable(place, `${doing.toLowerCase()} it failed with: ${reason}`).problem;
  }
}

function inaccessible(
  { path, owner }: StorePlace,
  doing: string,
  reason: string,
): { ok: false; problem: Problem } {
  return failure(
    "file-unreadable",
    `${doing} the ${owner}'s store ${path} failed: ${reason}.`,
    "Check the state folder in the configuration, and that this user may read and write it.",
  );
}

function locked({ path, owner }: StorePlace): { ok: false; problem: Problem } {
  return failure(
    "store-locked",
    `The ${owner}'s store ${path} is in use by another process.`,
    `Stop the other ${owner} (is one running already on this machine?), or give each its own state folder.`,
  );
}

function unreadable({ path, owner }: StorePlace, reason: string): { ok: false; problem: Problem } {
  return failure(
    "store-unreadable",
    `The ${owner}'s store ${path} cannot be used: ${reason}. It has been left as it is.`,
    `Check the disk. With the store moved aside, the ${owner} starts with an empty one` +
      (owner === "agent"
        ? " and asks the control service for its slice again; the copies' own records are not in this file."
        : "."),
  );
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
