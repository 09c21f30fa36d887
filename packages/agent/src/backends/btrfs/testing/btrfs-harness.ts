import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, rename, rm, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { execFileSync } from "node:child_process";

import { ProblemError, type DatasetId } from "@flocker/core";
import { systemClock, systemIds } from "@flocker/host";

import type { BackendHarness, BackendNode, Release } from "../../conformance.ts";
import { newLife, type Life } from "../../testing/life.ts";
import { openBtrfsBackend, type BtrfsBackend } from "../btrfs-backend.ts";
import { makeBtrfsDisk, type BtrfsDisk } from "./btrfs-disks.ts";

/** A node with a btrfs backend of its own, in a folder of its own on a disk that may be shared. */
export class BtrfsNode implements BackendNode {
  readonly root: string;
  readonly mountRoot: string;
  readonly quota: boolean;
  #backend: BtrfsBackend | undefined;
  #life: Life;

  constructor(folder: string, options: { readonly quota?: boolean } = {}) {
    this.root = join(folder, "storage");
    this.mountRoot = join(folder, "mounts");
    this.quota = options.quota ?? false;
    this.#life = newLife();
  }

  get life(): Life {
    return this.#life;
  }

  get backend(): BtrfsBackend {
    if (this.#backend === undefined) throw new Error("the node has not been started");
    return this.#backend;
  }

  /** Starts the agent, after the death of the one before if there is one. */
  async start(life: Life = newLife()): Promise<void> {
    this.stop();
    this.#life = life;
    await mkdir(this.root, { recursive: true });
    const { root, mountRoot, quota } = this;
    const ports = { commands: life.commands, files: life.files, clock: systemClock, ids: systemIds };
    const opened = await openBtrfsBackend({ root, mountRoot, quota, ...ports });
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

  /** Where the backend keeps a copy. */
  copyFolder(dataset: DatasetId): string {
    return join(this.root, "flocker", "copies", dataset);
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
    for (const entry of await readdir(mounted, { recursive: true, withFileTypes: true })) {
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
    return { who: `sleep (pid ${child.pid}`, release };
  };

  readonly breakRecord = async (dataset: DatasetId): Promise<Release> => {
    const path = join(this.copyFolder(dataset), "copy.json");
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

  readonly fillDisk = async (): Promise<Release> => {
    const folder = join(dirname(this.root), "filling");
    await mkdir(folder);
    let count = 0;
    for (let sizeBytes = 2 ** 30; sizeBytes >= 2 ** 16;) {
      try {
        execFileSync("fallocate", ["-l", String(sizeBytes), join(folder, String(count))], {
          stdio: "ignore",
        });
        count += 1;
      } catch {
        sizeBytes /= 2;
      }
    }
    return async () => {
      await rm(folder, { recursive: true });
      execFileSync("btrfs", ["filesystem", "sync", dirname(this.root)]);
    };
  };
}

export type BtrfsNodes = readonly [BtrfsNode, BtrfsNode, BtrfsNode];

/** Three disks, one for each node, which the harnesses of one test file share. */
export class BtrfsDisks {
  readonly #disks: readonly BtrfsDisk[];
  #count = 0;

  constructor(sizeBytes: number = 512 * 2 ** 20) {
    this.#disks = [1, 2, 3].map(() => makeBtrfsDisk({ sizeBytes }));
  }

  /** Three nodes in fresh folders. */
  async harness(
    options: { readonly quota?: boolean } = {},
  ): Promise<BackendHarness & { readonly nodes: BtrfsNodes }> {
    this.#count += 1;
    const folders = this.#disks.map(({ folder }) => join(folder, `test-${this.#count}`));
    const nodes = folders.map((folder) => new BtrfsNode(folder, options)) as unknown as BtrfsNodes;
    for (const node of nodes) await node.start();
    return {
      nodes,
      async dispose() {
        for (const node of nodes) {
          node.stop();
          await unmountAll(node.mountRoot);
        }
        // The subvolumes go with the disks.
      },
    };
  }

  dispose(): void {
    for (const disk of this.#disks) disk.dispose();
  }
}

async function unmountAll(mountRoot: string): Promise<void> {
  const mounts = await readFile("/proc/self/mountinfo", "utf8");
  const points = mounts.split("\n").map((line) => line.split(" ")[4] ?? "");
  for (const point of points.toReversed()) {
    if (point.startsWith(`${mountRoot}/`)) execFileSync("umount", ["--lazy", point]);
  }
}
