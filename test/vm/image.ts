import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

import { cpioArchive } from "./archive.ts";
import { prepareKernel } from "./kernel.ts";
import { downloadPackages, unpackPackage } from "./packages.ts";

/** What a virtual machine boots: a kernel, and an archive with everything else, which it keeps in memory. */
export interface Image {
  readonly kernel: string;
  readonly initialFileSystem: string;
}

/** Where everything that is made or downloaded is kept. */
export const cacheFolder: string = resolve(import.meta.dirname, "../../.cache/vm");

const wantedModules = ["virtio_pci", "virtio_blk", "virtio_net", "zfs"];
const guestFolder = join(import.meta.dirname, "guest");

/** Makes the image, or answers the one that was made before in the same way. */
export function prepareImage(): Image {
  mkdirSync(cacheFolder, { recursive: true });
  const kernel = prepareKernel(cacheFolder);
  const print = createHash("sha256").update(kernel.modules);
  for (const name of ["init", "serve"]) print.update(readFileSync(join(guestFolder, name)));
  for (const name of ["image.ts", "archive.ts", "packages.ts"])
    print.update(readFileSync(join(import.meta.dirname, name)));
  const initialFileSystem = join(cacheFolder, `initial-${print.digest("hex").slice(0, 16)}.cpio`);
  if (!existsSync(initialFileSystem)) {
    for (const name of readdirSync(cacheFolder).filter((each) => each.startsWith("initial-")))
      rmSync(join(cacheFolder, name));
    const root = join(cacheFolder, "root");
    rmSync(root, { recursive: true, force: true });
    mkdirSync(root);
    for (const file of downloadPackages(join(cacheFolder, "packages"))) unpackPackage(file, root);
    addModules(kernel.modules, join(root, "lib/modules"));
    prepareRoot(root);
    writeFileSync(`${initialFileSystem}-begun`, cpioArchive(root));
    renameSync(`${initialFileSystem}-begun`, initialFileSystem);
    rmSync(root, { recursive: true });
  }
  return { kernel: kernel.image, initialFileSystem };
}

/**
 * Copies the modules that are wanted, and those that they need, with a file that tells in which order to load
 * them.
 */
function addModules(from: string, into: string): void {
  const needs = new Map<string, readonly string[]>();
  for (const line of readFileSync(join(from, "modules.dep"), "utf8").split("\n")) {
    const [path, dependencies = ""] = line.split(":");
    if (path !== undefined)
      needs.set(
        path,
        dependencies.split(" ").filter((each) => each !== ""),
      );
  }
  const order: string[] = [];
  const add = (path: string): void => {
    if (order.includes(path)) return;
    for (const each of needs.get(path) ?? []) add(each);
    order.push(path);
  };
  for (const name of wantedModules) {
    const path = [...needs.keys()].find((each) => basename(each).startsWith(`${name}.ko`));
    if (path === undefined) throw new Error(`the kernel has no module ${name}`);
    add(path);
  }
  mkdirSync(into, { recursive: true });
  for (const path of order) copyFileSync(join(from, path), join(into, basename(path)));
  writeFileSync(join(into, "order"), order.map((path) => `${basename(path)}\n`).join(""));
}

function prepareRoot(root: string): void {
  for (const each of [
    "usr/share",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "etc",
  ])
    rmSync(join(root, each), { recursive: true, force: true });
  for (const each of ["etc", "proc", "sys", "dev", "run", "tmp", "flocker"])
    mkdirSync(join(root, each), { recursive: true });
  symlinkSync("/proc/self/mounts", join(root, "etc/mtab"));
  // The same for every start: a pool that a cut of the power has left is then still this machine's own.
  writeFileSync(join(root, "etc/hostid"), Buffer.from([1, 0, 0x0c, 0xf1]));
  for (const name of ["init", "serve"]) {
    const path = join(root, name);
    mkdirSync(dirname(path), { recursive: true });
    copyFileSync(join(guestFolder, name), path);
    chmodSync(path, 0o755);
  }
}
