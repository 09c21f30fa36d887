import { errorCode, type FilePath } from "../files.ts";
import { corrupt } from "./frames.ts";
import { recordSplitter } from "./manifest.ts";
import type { Context } from "./layout.ts";
import { below, isInside } from "./tar-guard.ts";

/** Changes a tree in the staging area as a stream says, without ever leaving it through a symlink or `..`. */
export class TreeChanges {
  readonly #context: Context;
  readonly #tree: string;
  readonly #folders: string[] = [];
  readonly #checked = new Set<string>();
  readonly #removals = recordSplitter();
  readonly #remakes = recordSplitter();

  constructor(context: Context, tree: string) {
    this.#context = context;
    this.#tree = tree;
  }

  /**
   * Removes the paths in the content of a D frame. Folders wait until {@link finish}, when they are empty.
   */
  async remove(content: Uint8Array): Promise<void> {
    for (const record of this.#removals.push(content)) {
      const path = await this.#check(record);
      const stats = await this.#lstat(path);
      if (stats === undefined) throw corrupt("it removes something that the base does not have");
      if (stats.isDirectory()) this.#folders.push(path);
      else await this.#context.files.unlink(below(this.#tree, path));
    }
  }

  /** After the last D frame: removes the folders, the innermost first. */
  async finish(): Promise<void> {
    this.#removals.end();
    this.#folders.sort((a, b) => b.length - a.length);
    for (const path of this.#folders) {
      try {
        await this.#context.files.removeFolder(below(this.#tree, path));
      } catch (error) {
        if (errorCode(error) === "ENOTEMPTY") throw corrupt("it removes a folder but not what is in it");
        throw error;
      }
    }
    this.#checked.clear();
  }

  /**
   * Makes the folders in the content of an F frame anew and moves their entries over. Only so are all
   * extended attributes gone that the base had: the archive can add attributes but not take them away.
   */
  async remake(content: Uint8Array): Promise<void> {
    const { files } = this.#context;
    for (const record of this.#remakes.push(content)) {
      // The tree's own folder is named by the empty path.
      const path = record.length === 0 ? "" : await this.#check(record);
      const stats = await this.#lstat(path);
      if (stats === undefined || !stats.isDirectory())
        throw corrupt("it renews a folder that the base lacks");
      const old = path === "" ? Buffer.from(this.#tree) : below(this.#tree, path);
      const fresh = `${this.#tree}.folder`;
      await files.makeFolder(fresh, 0o700);
      for (const name of await files.list(old)) {
        await files.rename(join(old, name), join(fresh, name));
      }
      await files.removeFolder(old);
      await files.rename(fresh, old);
    }
  }

  /** Whether a path of the tree is a symlink. */
  async isSymlink(path: string): Promise<boolean> {
    return (await this.#lstat(path))?.isSymbolicLink() ?? false;
  }

  async #check(record: Buffer): Promise<string> {
    const path = record.toString("latin1");
    if (!isInside(path)) throw corrupt("it names a path outside of the dataset");
    for (let end = path.indexOf("/"); end !== -1; end = path.indexOf("/", end + 1)) {
      const folder = path.slice(0, end);
      if (this.#checked.has(folder)) continue;
      if (await this.isSymlink(folder)) throw corrupt("it names a path through a symlink");
      this.#checked.add(folder);
    }
    return path;
  }

  async #lstat(path: string): ReturnType<typeof lstatOrNothing> {
    return await lstatOrNothing(this.#context, below(this.#tree, path));
  }
}

async function lstatOrNothing(
  context: Context,
  path: FilePath,
): Promise<Awaited<ReturnType<Context["files"]["lstat"]>> | undefined> {
  try {
    return await context.files.lstat(path);
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

function join(folder: FilePath, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(folder), Buffer.from("/"), name]);
}
