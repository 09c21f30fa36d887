import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import type { DatasetId } from "@flocker/core";
import { ProblemError } from "@flocker/core";
import { systemClock, systemIds } from "@flocker/host";

import type { BackendHarness, BackendNode, Release } from "../../conformance.ts";
import { newLife, type Life } from "../../testing/life.ts";
import { openDirectoryBackend, type DirectoryBackend } from "../directory-backend.ts";

/** A node with a directory backend of its own, in a folder of its own. */
export class DirectoryNode implements BackendNode {
  readonly folder: string;
  readonly root: string;
  readonly mountRoot: string;
  #backend: DirectoryBackend | undefined;
  #life: Life;

  constructor(folder: string) {
    this.folder = folder;
    this.root = join(folder, "storage");
    this.mountRoot = join(folder, "mounts");
    this.#life = newLife();
  }

  get life(): Life {
    return this.#life;
  }

  get backend(): DirectoryBackend {
    if (this.#backend === undefined) throw new Error("the node has not been started");
    return this.#backend;
  }

  /** Starts the agent, after the death of the one before if there is one. */
  async start(life: Life = newLife()): Promise<void> {
    this.stop();
    this.#life = life;
    const { root, mountRoot } = this;
    const ports = { commands: life.commands, files: life.files, clock: systemClock, ids: systemIds };
    const opened = await openDirectoryBackend({ root, mountRoot, ...ports });
    if (!opened.ok) throw new ProblemError(opened.problem);
    this.#backend = opened.value;
  }

  stop(): void {
    this.#life.die();
    this.#backend?.close();
    this.#backend = undefined;
  }

  async reopen(): Promise<void> {
    await this.start();
  }

  async write(dataset: DatasetId, path: string, content: Uint8Array): Promise<void> {
    const file = join(this.mountRoot, dataset, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
  }

  async remove(dataset: DatasetId, path: string): Promise<void> {
    await unlink(join(this.mountRoot, dataset, path));
  }

  async files(dataset: DatasetId): Promise<ReadonlyMap<string, Uint8Array>> {
    const files = new Map<string, Uint8Array>();
    const mounted = join(this.mountRoot, dataset);
    for (const entry of await readdir(`${mounted}/`, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      files.set(path.slice(mounted.length + 1), await readFile(path));
    }
    return files;
  }

  /** A program whose working folder is in the copy. */
  readonly hold = async (dataset: DatasetId): Promise<{ who: string; release: Release }> => {
    const child = spawn("sleep", ["1000"], { cwd: join(this.mountRoot, dataset) });
    await once(child, "spawn");
    const release = async (): Promise<void> => {
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    };
    return { who: `pid ${child.pid}`, release };
  };

  readonly breakRecord = async (dataset: DatasetId): Promise<Release> => {
    const path = join(this.root, "copies", dataset, "copy.json");
    const good = await readFile(path);
    await writeFile(path, "");
    return async () => await writeFile(path, good);
  };

  /** As when its disk is not mounted: the folder is there, and what belongs into it is not. */
  readonly breakStorage = async (): Promise<Release> => {
    const aside = `${this.root}-aside`;
    await rename(this.root, aside);
    await mkdir(this.root);
    return async () => {
      await rm(this.root, { recursive: true });
      await rename(aside, this.root);
    };
  };

  readonly fillDisk: BackendNode["fillDisk"] = {
    notPossible: "this harness has no disk of its own; see full-disk.test.ts",
  };
}

/**
 * A folder in memory where there is one, for tests that start an agent hundreds of times: on a disk they
 * would mostly wait for it.
 */
export const fastFolder: string = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** Three nodes in a temporary folder. */
export async function directoryHarness(
  parent: string = tmpdir(),
): Promise<BackendHarness & { readonly nodes: DirectoryNodes }> {
  const folder = await mkdtemp(join(parent, "flocker-directory-"));
  const nodes = ["a", "b", "c"].map(
    (name) => new DirectoryNode(join(folder, name)),
  ) as unknown as DirectoryNodes;
  for (const node of nodes) await node.start();
  return {
    nodes,
    async dispose() {
      for (const node of nodes) node.stop();
      await chmod(folder, 0o700);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export type DirectoryNodes = readonly [DirectoryNode, DirectoryNode, DirectoryNode];
