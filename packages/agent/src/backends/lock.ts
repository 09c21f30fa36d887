import { DatabaseSync } from "node:sqlite";
import { readFile, writeFile } from "node:fs/promises";

import { refuse } from "./problems.ts";

/** Keeps other processes away from a storage root until it is released or the process dies. */
export interface StorageLock {
  release(): void;
}

/**
 * Takes the lock of a root or throws `store-locked`. Node has no file locks of its own; SQLite's exclusive
 * transaction on an otherwise empty database holds one of the kernel, which ends with the process however it
 * ends, and which also keeps a second backend of the same process out.
 */
export async function lockStorage(root: string): Promise<StorageLock> {
  const path = `${root}/lock`;
  const holderPath = `${root}/lock-holder`;
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path);
    database.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
  } catch (error) {
    database?.close();
    if (!(error instanceof Error && "errcode" in error)) throw error;
    if (error.errcode !== sqliteBusy) {
      throw refuse(
        "storage-unreadable",
        `The lock ${path} cannot be taken: ${error.message}.`,
        "Give the agent's user access to that folder; the file itself may be removed while no agent runs.",
      );
    }
    const holder = await readFile(holderPath, "utf8").catch(() => "");
    throw refuse(
      "store-locked",
      `The storage at ${root} is in use by another agent${/^\d+$/.test(holder) ? ` (process ${holder})` : ""}.`,
      "Stop that agent, or give each agent a storage folder of its own.",
    );
  }
  // Only for the message above.
  await writeFile(holderPath, String(process.pid));
  const held = database;
  return {
    release() {
      held.close();
    },
  };
}

const sqliteBusy = 5;
