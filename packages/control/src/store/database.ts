import { closeSync, existsSync, fsyncSync, linkSync, mkdirSync, openSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { backup, DatabaseSync, type SQLInputValue } from "node:sqlite";
import { failure, ProblemError, success, type Problem, type ProblemCode, type Result } from "@flocker/core";

// The only file that knows node:sqlite. It is a release candidate there, so what we use of it is kept small.

/** A value in a column. Whole numbers up to 2^53 come back exactly. */
export type Value = string | number | null;

export interface Statement {
  /** Runs it and answers how many rows it changed. */
  run(...values: readonly Value[]): number;
  first(...values: readonly Value[]): Row | undefined;
  each(...values: readonly Value[]): Iterable<Row>;
}

/** One row, read column by column. A column of another type than asked for is a damaged store. */
export interface Row {
  text(column: string): string;
  number(column: string): number;
  textOrNull(column: string): string | null;
}

/**
 * One open SQLite database that nobody else can open. Its methods throw ProblemError where the file fails us.
 */
export interface Database {
  readonly path: string;
  prepare(sql: string): Statement;
  /** Runs statements that answer nothing. */
  execute(sql: string): void;
  /**
   * Runs the work as one transaction that is durable when this returns, and not at all where the work throws.
   */
  transaction<Answer>(work: () => Answer): Answer;
  /** Writes a consistent copy to a file that does not exist (`file-exists`), while work goes on. */
  copyTo(path: string): Promise<Result<void>>;
  /** The same at once, from between two transactions. */
  copyToAtOnce(path: string): void;
  close(): void;
}

/** How long the start waits for a predecessor that is just ending. */
const lockTimeoutMs = 1_000;
const memoryPath = ":memory:";

/**
 * Opens (or creates) a database: write-ahead log, flushed to the disk at every commit, and locked for as long
 * as it is open, so that no second control service can write to it.
 */
export function openDatabase(path: string): Result<Database> {
  let sqlite: DatabaseSync | undefined;
  try {
    if (path !== memoryPath) makeFolder(dirname(path));
    sqlite = new DatabaseSync(path, { timeout: lockTimeoutMs });
    // Exclusive before the log is first touched: then SQLite needs no shared memory file and keeps the lock.
    sqlite.exec("PRAGMA locking_mode = EXCLUSIVE");
    sqlite.exec("PRAGMA synchronous = FULL");
    sqlite.exec("PRAGMA temp_store = MEMORY");
    // The first read finds out whether this is a database at all, before anything is written.
    sqlite.exec("SELECT count(*) FROM sqlite_schema");
    return success(wrap(sqlite, path));
  } catch (error) {
    sqlite?.close();
    return { ok: false, problem: problemOf(error, path, "Opening") };
  }
}

function makeFolder(folder: string): void {
  const first = mkdirSync(folder, { recursive: true, mode: 0o700 });
  // Without this a power cut could take the folder away with everything that was flushed in it.
  if (first !== undefined) flush(dirname(first));
}

function wrap(sqlite: DatabaseSync, path: string): Database {
  const guarded = <Answer>(doing: string, work: () => Answer): Answer => {
    try {
      return work();
    } catch (error) {
      throw asProblemError(error, path, doing);
    }
  };
  const begin = sqlite.prepare("BEGIN IMMEDIATE");
  const commit = sqlite.prepare("COMMIT");
  return {
    path,
    prepare: (sql) => guarded("Reading", () => wrapStatement(sqlite, path, sql)),
    execute: (sql) => guarded("Changing", () => sqlite.exec(sql)),
    transaction: (work) => {
      guarded("Writing to", () => begin.run());
      try {
        const answer = work();
        guarded("Writing to", () => commit.run());
        return answer;
      } catch (error) {
        // SQLite has rolled back by itself where the disk was full or failed.
        if (sqlite.isTransaction) sqlite.exec("ROLLBACK");
        throw error;
      }
    },
    copyTo: (target) => copyOnline(sqlite, path, target),
    copyToAtOnce: (target) =>
      guarded("Copying", () => {
        sqlite.prepare("VACUUM INTO ?").run(target);
        flush(target);
        flush(dirname(target));
      }),
    close: () => sqlite.close(),
  };
}

function wrapStatement(sqlite: DatabaseSync, path: string, sql: string): Statement {
  const statement = sqlite.prepare(sql);
  const given = (values: readonly Value[]): SQLInputValue[] => [...values];
  const guarded = <Answer>(doing: string, work: () => Answer): Answer => {
    try {
      return work();
    } catch (error) {
      throw asProblemError(error, path, doing);
    }
  };
  return {
    run: (...values) => guarded("Writing to", () => Number(statement.run(...given(values)).changes)),
    first: (...values) =>
      guarded("Reading", () => {
        const row = statement.get(...given(values));
        return row === undefined ? undefined : wrapRow(row, path);
      }),
    *each(...values) {
      const rows = guarded("Reading", () => statement.iterate(...given(values)));
      for (;;) {
        const next = guarded("Reading", () => rows.next());
        if (next.done === true) return;
        yield wrapRow(next.value, path);
      }
    },
  };
}

function wrapRow(row: Readonly<Record<string, unknown>>, path: string): Row {
  const damaged = (column: string): ProblemError =>
    new ProblemError(unreadable(path, `The column ${column} has a value of an unexpected type.`));
  return {
    text: (column) => {
      const value = row[column];
      if (typeof value !== "string") throw damaged(column);
      return value;
    },
    number: (column) => {
      const value = row[column];
      if (typeof value !== "number") throw damaged(column);
      return value;
    },
    textOrNull: (column) => {
      const value = row[column];
      if (value !== null && typeof value !== "string") throw damaged(column);
      return value;
    },
  };
}

/**
 * SQLite refuses a step that meets a commit of ours at the wrong moment. Node goes on by itself, except after
 * the first step, where it fails with result code 0 ("not an error"): then the copy begins again.
 */
const copyAttempts = 20;

async function copyOnline(sqlite: DatabaseSync, path: string, target: string): Promise<Result<void>> {
  if (existsSync(target)) return fileExists(target);
  const partial = `${target}.partial`;
  for (let attempt = 1; ; attempt += 1) {
    try {
      rmSync(partial, { force: true });
      await backup(sqlite, partial);
      flush(partial);
      // A link, unlike a renaming, fails where the name is taken meanwhile.
      linkSync(partial, target);
      flush(dirname(target));
      return success();
    } catch (error) {
      if (codeOf(error) === "EEXIST") return fileExists(target);
      if (attempt === copyAttempts || !(isBusy(error) || resultCodeOf(error) === 0))
        return { ok: false, problem: problemOf(error, path, `Copying to ${target} from`) };
    } finally {
      rmSync(partial, { force: true });
    }
  }
}

function fileExists(path: string): Result<void> {
  return failure(
    "file-exists",
    `Writing a backup to ${path}: the file exists already, and backups never overwrite.`,
    "Choose another name, or remove the file if you no longer need it.",
  );
}

function flush(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Result codes of SQLite: https://sqlite.org/rescode.html. The low byte is the kind of the error. */
const resultCodes = { busy: 5, locked: 6, readOnly: 8, io: 10, full: 13, cannotOpen: 14 } as const;
/** Constraint, mismatch, misuse and range: mistakes in this program, never the fault of the file. */
const mistakeCodes: ReadonlySet<number> = new Set([19, 20, 21, 25]);

function resultCodeOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errcode" in error) || typeof error.errcode !== "number")
    return undefined;
  return error.errcode & 0xff;
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

function isBusy(error: unknown): boolean {
  const code = resultCodeOf(error);
  return code === resultCodes.busy || code === resultCodes.locked;
}

function asProblemError(error: unknown, path: string, doing: string): unknown {
  // What is neither the file's nor the system's fault is a mistake of ours and must not be explained away.
  const resultCode = resultCodeOf(error);
  if (error instanceof ProblemError || resultCode === undefined || mistakeCodes.has(resultCode)) return error;
  return new ProblemError(problemOf(error, path, doing), { cause: error });
}

function problemOf(error: unknown, path: string, doing: string): Problem {
  if (error instanceof ProblemError) return error.problem;
  const why = error instanceof Error ? error.message : String(error);
  if (isBusy(error)) {
    return failure(
      "store-locked",
      `${doing} the store ${path}: another process has it open, most likely a control service that still runs.`,
      "Run one control service per store: stop the other one, or give this one its own data folder.",
    ).problem;
  }
  const [code, remedy] = remedyOf(error, why);
  return failure(code, `${doing} the store ${path} failed: ${why}.`, remedy).problem;
}

function remedyOf(error: unknown, why: string): readonly [ProblemCode, string] {
  const code = codeOf(error);
  switch (resultCodeOf(error)) {
    case resultCodes.full:
      return ["no-space", "Free space on that file system; nothing that was acknowledged is lost."];
    case resultCodes.cannotOpen:
    case resultCodes.readOnly:
      return ["file-unreadable", "Check that the folder exists and that this user may write to it."];
    case resultCodes.io:
      if (/disk.*full|no space/i.test(why)) return ["no-space", "Free space on that file system."];
      return ["store-unreadable", "Look at the system's log for errors of the disk, then restore a backup."];
    default:
      if (code === "ENOSPC") return ["no-space", "Free space on that file system."];
      if (code !== undefined && wrongPathCodes.has(code))
        return ["file-unreadable", "Check that the folder exists and that this user may write to it."];
      return ["store-unreadable", restoreRemedy];
  }
}

const wrongPathCodes: ReadonlySet<string> = new Set([
  "EACCES",
  "EEXIST",
  "EISDIR",
  "ENOENT",
  "ENOTDIR",
  "EPERM",
  "EROFS",
]);

const restoreRemedy =
  "Point to the right file, or restore a backup of the store; the nodes' own records correct an old one.";

/** The problem of a store that is not what it should be. */
export function unreadable(path: string, why: string): Problem {
  return failure("store-unreadable", `Reading the store ${path}: ${why}`, restoreRemedy).problem;
}
