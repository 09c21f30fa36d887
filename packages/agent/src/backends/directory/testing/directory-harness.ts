import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import type { Abort, Commands, DatasetId } from "@flocker/core";
import { failure, ProblemError } from "@flocker/core";
import { systemClock, systemCommands, systemIds } from "@flocker/host";

import type { BackendHarness, BackendNode, Release } from "../../conformance.ts";
import { openDirectoryBackend, type DirectoryBackend } from "../directory-backend.ts";
import { nodeFiles, type Files } from "../files.ts";

/** The agent's process, as far as the backend can tell: once it is dead, nothing that it asks for happens. */
export interface Life {
  readonly files: Files;
  readonly commands: Commands;
  /** How many operations it has asked for. */
  operations(): number;
  /** Lets it do so many more operations; the next one is not done, and none after it. */
  dieAfter(operations: number): void;
  isDead(): boolean;
  die(): void;
}

/** A life that ends only when it is told to. */
export function newLife(): Life {
  let count = 0;
  let lastOperation = Number.POSITIVE_INFINITY;
  const death = new AbortController();
  const step = (): void => {
    if (count >= lastOperation) death.abort();
    if (death.signal.aborted) throw Object.assign(new Error("the agent is dead"), { code: "EIO" });
    count += 1;
  };
  const files: Files = {
    ...stepping(nodeFiles, step),
    read: (path) => nodeFiles.read(path),
    async createFile(path) {
      step();
      return stepping(await nodeFiles.createFile(path), step);
    },
  };
  const untilDeath = (abort: Abort | undefined): AbortSignal =>
    AbortSignal.any(abort instanceof AbortSignal ? [abort, death.signal] : [death.signal]);
  const commands: Commands = {
    async run(argv, options) {
      try {
        step();
      } catch {
        return failure("command-failed", "the agent is dead", "none");
      }
      return await systemCommands.run(argv, { ...options, abort: untilDeath(options.abort) });
    },
    async *stream(argv, options) {
      try {
        step();
      } catch {
        throw new ProblemError({ code: "command-failed", message: "the agent is dead", remedy: "none" });
      }
      yield* systemCommands.stream(argv, { ...options, abort: untilDeath(options.abort) });
    },
  };
  return {
    files,
    commands,
    operations: () => count,
    dieAfter: (operations) => {
      lastOperation = count + operations;
    },
    isDead: () => death.signal.aborted,
    die: () => death.abort(),
  };
}

/** The same object, whose every method first takes a step, which may throw. */
function stepping<Methods extends object>(methods: Methods, step: () => void): Methods {
  const wrapped = Object.entries(methods).map(([name, method]: [string, (...args: never[]) => unknown]) => [
    name,
    // The kernel closes the files of a dead process.
    name === "close"
      ? method
      : async (...args: never[]) => {
          step();
          return await method(...args);
        },
  ]);
  return Object.fromEntries(wrapped) as Methods;
}

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
 * A folder in memory where there is one, for tests that start an agent hundreds of times: on a disk they would mostly
 * wait for it.
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
