import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A btrfs file system in an image file, mounted. */
export interface BtrfsDisk {
  readonly folder: string;
  /** Unmounts and removes it, with whatever is mounted of it elsewhere. */
  dispose(): void;
}

const prefix = "flocker-btrfs-disk-";
/** In memory where that is possible: tests would mostly wait for a real disk. */
const imageFolder = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** Makes an image file with a fresh btrfs file system and mounts it. Throws where this machine cannot. */
export function makeBtrfsDisk(options: {
  readonly sizeBytes: number;
  readonly inMemory?: boolean;
}): BtrfsDisk {
  const parent = options.inMemory === false ? tmpdir() : imageFolder;
  const home = mkdtempSync(join(parent, `${prefix}${process.pid}-`));
  const [image, folder] = [join(home, "image"), join(home, "disk")];
  try {
    writeFileSync(image, "");
    truncateSync(image, options.sizeBytes);
    mkdirSync(folder);
    run("mkfs.btrfs", "--quiet", image);
    run("mount", "-o", "loop", image, folder);
  } catch (error) {
    rmSync(home, { recursive: true });
    throw error;
  }
  return { folder, dispose: () => disposeOf(home) };
}

/**
 * Why this machine cannot make such a disk, or undefined. Disks of test runs that were killed are removed on
 * the way.
 */
export function btrfsImpossible(): string | undefined {
  if (process.getuid?.() !== 0) return "btrfs needs root";
  for (const program of ["mkfs.btrfs", "btrfs", "mount"]) {
    try {
      run("sh", "-c", `command -v ${program}`);
    } catch {
      return `the program ${program} is missing (package btrfs-progs)`;
    }
  }
  removeLeftOvers();
  try {
    makeBtrfsDisk({ sizeBytes: 128 * 2 ** 20 }).dispose();
    return undefined;
  } catch {
    return "this machine lets us mount no btrfs disk";
  }
}

function removeLeftOvers(): void {
  for (const name of readdirSync(imageFolder)) {
    const [, pid] = new RegExp(`^${prefix}(\\d+)-`).exec(name) ?? [];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) disposeOf(join(imageFolder, name));
  }
}

function disposeOf(home: string): void {
  const folder = join(home, "disk");
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(" "));
  const device = mounts.find((fields) => fields[4] === folder)?.[2];
  const points = mounts.filter((fields) => device !== undefined && fields[2] === device);
  // The newest first: they may lie on top of each other.
  for (const [, , , , point = ""] of points.toReversed()) {
    try {
      run("umount", point);
    } catch {
      // Only for tests: whoever still uses it loses it.
      run("umount", "--lazy", point);
    }
  }
  rmSync(home, { recursive: true, force: true });
}

function run(program: string, ...args: readonly string[]): void {
  execFileSync(program, args, { stdio: ["ignore", "ignore", "pipe"] });
}
