import { existsSync } from "node:fs";
import { failure, ProblemError } from "@flocker/core";
import { unreadable, type Database } from "./database.ts";

/**
 * One step of the schema: from the version before to this one, as statements. Steps are never changed, only
 * added.
 */
export interface Migration {
  readonly version: number;
  readonly statements: string;
}

/** "FLOC": tells our files from other programs' SQLite databases. */
const applicationId = 0x464c4f43;

/**
 * Values are kept as JSON, as in the protocols; what is searched for has its own column. A dataset's position
 * is its place in the order of creation. `history` keeps each change's value before and after, so that the
 * configuration as of any revision follows from either end.
 */
export const migrations: readonly Migration[] = [
  {
    version: 1,
    statements: `
      CREATE TABLE cluster (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        cluster TEXT NOT NULL
      ) STRICT;
      CREATE TABLE revision (
        revision INTEGER PRIMARY KEY,
        tag TEXT NOT NULL,
        author TEXT NOT NULL,
        at REAL NOT NULL
      ) STRICT;
      CREATE TABLE history (
        revision INTEGER NOT NULL REFERENCES revision,
        position INTEGER NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('dataset', 'lease')),
        dataset TEXT NOT NULL,
        before TEXT,
        after TEXT,
        PRIMARY KEY (revision, position)
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE dataset (
        position INTEGER PRIMARY KEY,
        dataset TEXT NOT NULL UNIQUE,
        value TEXT NOT NULL
      ) STRICT;
      CREATE TABLE lease (
        dataset TEXT PRIMARY KEY,
        value TEXT NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE ownership (
        dataset TEXT PRIMARY KEY REFERENCES dataset (dataset),
        term INTEGER NOT NULL,
        step INTEGER NOT NULL,
        owner TEXT NOT NULL,
        born INTEGER NOT NULL CHECK (born IN (0, 1)),
        since REAL NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE node (
        node TEXT PRIMARY KEY,
        value TEXT NOT NULL
      ) STRICT, WITHOUT ROWID;
    `,
  },
  {
    // Containers, with their changes in history; what a change is of (`subject`) is not always a dataset now.
    version: 2,
    statements: `
      CREATE TABLE container (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE history_of_all (
        revision INTEGER NOT NULL REFERENCES revision,
        position INTEGER NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('dataset', 'lease', 'container')),
        subject TEXT NOT NULL,
        before TEXT,
        after TEXT,
        PRIMARY KEY (revision, position)
      ) STRICT, WITHOUT ROWID;
      INSERT INTO history_of_all SELECT revision, position, kind, dataset, before, after FROM history;
      DROP TABLE history;
      ALTER TABLE history_of_all RENAME TO history;
    `,
  },
];

/**
 * Brings the database to the newest version of the steps; a new one gets everything. Before an existing store
 * is changed, a copy of it is made beside it. Throws `store-newer` and `store-unreadable` with the file left
 * as it was.
 */
export function migrate(database: Database, steps: readonly Migration[], clusterId: () => string): void {
  const version = versionOf(database);
  const newest = steps.at(-1)?.version ?? 0;
  if (version > newest) throw new ProblemError(newer(database.path, { version, newest }));
  // The log is switched on only now that the file is known to be ours.
  database.execute("PRAGMA journal_mode = WAL");
  if (version === newest) return;
  if (version > 0) database.copyToAtOnce(copyName(database.path, version));
  database.transaction(() => {
    for (const step of steps) if (step.version > version) database.execute(step.statements);
    if (version === 0) {
      database.execute(`PRAGMA application_id = ${applicationId}`);
      database.prepare("INSERT INTO cluster (only_row, cluster) VALUES (1, ?)").run(clusterId());
    }
    database.execute(`PRAGMA user_version = ${newest}`);
  });
}

/** The version of our schema in the file; 0 for an empty one. */
function versionOf(database: Database): number {
  const application = database.prepare("PRAGMA application_id").first()?.number("application_id");
  if (application === applicationId)
    return database.prepare("PRAGMA user_version").first()?.number("user_version") ?? 0;
  const tables = database.prepare("SELECT count(*) AS count FROM sqlite_schema").first()?.number("count");
  if (tables !== 0)
    throw new ProblemError(
      unreadable(database.path, "It is a SQLite database of another program, so it was left alone."),
    );
  return 0;
}

function newer(path: string, versions: { readonly version: number; readonly newest: number }) {
  return failure(
    "store-newer",
    `Opening the store ${path}: it has version ${versions.version}, written by a newer Flocker; this one knows ` +
      `versions up to ${versions.newest}. The file was left untouched.`,
    "Run the newer version of the control service again, or restore a backup that the older one made.",
  ).problem;
}

function copyName(path: string, version: number): string {
  const name = `${path}.version-${version}`;
  // A migration that was broken off has left its copy; none is ever overwritten.
  for (let number = 1; ; number += 1) {
    const candidate = number === 1 ? name : `${name}-${number}`;
    if (!existsSync(candidate)) return candidate;
  }
}
