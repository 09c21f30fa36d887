import { constants } from "node:fs";
import * as fs from "node:fs/promises";
import type { BigIntStats, StatsFs } from "node:fs";
import { constants as system } from "node:os";

/** A path as text, or as bytes where names of files in a dataset are meant: those need not be UTF-8. */
export type FilePath = string | Buffer;

/** A new file that is being written. */
export interface FileWriter {
  write(chunk: Uint8Array): Promise<void>;
  /** The file system's own clock, in nanoseconds since 1970, as of the last write or the file's creation. */
  modifiedAtNs(): Promise<bigint>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/**
 * The file operations that the backends use. There is one real body, {@link nodeFiles}; tests wrap it to die
 * at the n-th operation. Every function throws the system's error (with `code`).
 */
export interface Files {
  readText(path: string): Promise<string>;
  read(path: string): AsyncIterable<Buffer>;
  list(path: FilePath): Promise<Buffer[]>;
  exists(path: FilePath): Promise<boolean>;
  lstat(path: FilePath): Promise<BigIntStats>;
  readlink(path: string): Promise<string>;
  space(path: string): Promise<StatsFs>;
  realPath(path: string): Promise<string>;
  makeFolder(path: FilePath, mode: number): Promise<void>;
  makeFolders(path: string): Promise<void>;
  chmod(path: FilePath, mode: number): Promise<void>;
  /** Fails where the file exists already. */
  createFile(path: string): Promise<FileWriter>;
  rename(from: FilePath, to: FilePath): Promise<void>;
  symlink(target: string, path: string): Promise<void>;
  unlink(path: FilePath): Promise<void>;
  removeFolder(path: FilePath): Promise<void>;
  /** Makes the names in a folder durable. */
  syncFolder(path: string): Promise<void>;
}

/** {@link Files} on this machine. */
export const nodeFiles: Files = {
  readText: (path) => fs.readFile(path, "utf8"),
  read: readChunks,
  list: (path) => fs.readdir(path, { encoding: "buffer" }),
  async exists(path) {
    try {
      await fs.lstat(path);
      return true;
    } catch (error) {
      if (errorCode(error) === "ENOENT") return false;
      throw error;
    }
  },
  lstat: (path) => fs.lstat(path, { bigint: true }),
  readlink: (path) => fs.readlink(path),
  space: (path) => fs.statfs(path),
  realPath: (path) => fs.realpath(path),
  makeFolder: (path, mode) => fs.mkdir(path, { mode }).then(() => undefined),
  makeFolders: (path) => fs.mkdir(path, { recursive: true }).then(() => undefined),
  chmod: (path, mode) => fs.chmod(path, mode),
  createFile,
  rename: (from, to) => fs.rename(from, to),
  symlink: (target, path) => fs.symlink(target, path),
  unlink: (path) => fs.unlink(path),
  removeFolder: (path) => fs.rmdir(path),
  async syncFolder(path) {
    const handle = await fs.open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

async function* readChunks(path: string): AsyncGenerator<Buffer> {
  const handle = await fs.open(path, "r");
  try {
    for (;;) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

const chunkBytes = 64 * 1024;

async function createFile(path: string): Promise<FileWriter> {
  const handle = await fs.open(path, "wx", 0o600);
  return {
    async write(chunk) {
      for (let done = 0; done < chunk.length;) {
        const { bytesWritten } = await handle.write(chunk, done, chunk.length - done);
        done += bytesWritten;
      }
    },
    modifiedAtNs: () => handle.stat({ bigint: true }).then((stats) => stats.mtimeNs),
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
}

/** The system's code of an error (`ENOENT`), or undefined where it has none. */
export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error && "code" in error && typeof error.code === "string")) return undefined;
  // Node has no name for the one that says that a quota is used up.
  return "errno" in error && error.errno === -system.errno.EDQUOT ? "EDQUOT" : error.code;
}

/**
 * Replaces a small file so that after a crash there is either the old one or the new one: a new file beside
 * it, made durable, takes the name, and then the name is made durable.
 */
export async function replaceFile(files: Files, folder: string, name: string, text: string): Promise<void> {
  const temporary = `${folder}/${name}${temporarySuffix}`;
  // A leftover of a crash; nobody else writes in this folder.
  if (await files.exists(temporary)) await files.unlink(temporary);
  const writer = await files.createFile(temporary);
  try {
    await writer.write(Buffer.from(text));
    await writer.sync();
  } finally {
    await writer.close();
  }
  await files.rename(temporary, `${folder}/${name}`);
  await files.syncFolder(folder);
}

/** What the name of a file ends with that has not been finished. */
export const temporarySuffix = ".new";
