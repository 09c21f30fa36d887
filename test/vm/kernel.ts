import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";

import { debianMirror, debianSuite } from "./packages.ts";

/** A kernel's image and a folder with its modules, those of OpenZFS among them. */
export interface Kernel {
  readonly image: string;
  /** `lib/modules/<release>`, with modules.dep. */
  readonly modules: string;
}

/**
 * A folder beside the repository in which a ready-made kernel may lie, to save the ten minutes of making one.
 */
const readyMadeFolder = resolve(
  import.meta.dirname,
  "../../..",
  process.env["FLOCKER_VM_CACHE"] ?? "shared/vm",
);

/**
 * The kernel: the one made before, else a ready-made one, else one built from Debian's packages (needs root).
 */
export function prepareKernel(folder: string): Kernel {
  const kernel = join(folder, "kernel");
  if (!existsSync(kernel)) {
    const begun = `${kernel}-begun`;
    rmSync(begun, { recursive: true, force: true });
    mkdirSync(begun, { recursive: true });
    if (!unpackReadyMade(begun)) buildKernel(folder, begun);
    renameSync(begun, kernel);
  }
  const image = readdirSync(kernel).find((name) => name.startsWith("vmlinuz-"));
  if (image === undefined)
    throw new Error(`there is no kernel in ${kernel}; remove that folder and try again`);
  return { image: join(kernel, image), modules: join(kernel, "lib/modules", image.slice("vmlinuz-".length)) };
}

/** Whether a kernel is there that need not be built. */
export function hasKernel(folder: string): boolean {
  return existsSync(join(folder, "kernel")) || readyMade() !== null;
}

function readyMade(): { readonly image: string; readonly modules: string } | null {
  const names = existsSync(readyMadeFolder) ? readdirSync(readyMadeFolder) : [];
  const image = names.find((name) => name.startsWith("vmlinuz-"));
  const modules = names.find((name) => name.startsWith("modules-") && name.endsWith(".tar.zst"));
  if (image === undefined || modules === undefined) return null;
  return { image: join(readyMadeFolder, image), modules: join(readyMadeFolder, modules) };
}

function unpackReadyMade(into: string): boolean {
  const ready = readyMade();
  if (ready === null) return false;
  run("cp", ready.image, into);
  run("tar", "--zstd", "-x", "-f", ready.modules, "--no-same-owner", "-C", into);
  return true;
}

/** Lets Debian's zfs-dkms build the modules in a small Debian of its own. */
function buildKernel(folder: string, into: string): void {
  if (process.getuid?.() !== 0)
    throw new Error(
      "Building a kernel with OpenZFS needs root (debootstrap and chroot), or a ready-made kernel.",
    );
  process.stderr.write(
    "Building OpenZFS's kernel modules from Debian's packages: this takes about ten minutes, once.\n",
  );
  const root = join(folder, "build-root");
  rmSync(root, { recursive: true, force: true });
  run("debootstrap", "--variant=minbase", "--components=main,contrib", debianSuite, root, debianMirror());
  // Without /proc dkms builds nothing, and the packages are installed all the same. The mount ends with the
  // command.
  const enter = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"';
  const environment = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"];
  const inside = (...argv: readonly string[]): void =>
    run("unshare", "--mount", "sh", "-c", enter, root, ...environment, ...argv);
  const install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"];
  const kernel = [
    "linux-image-cloud-amd64",
    "linux-headers-cloud-amd64",
    "dkms",
    "dpkg-dev",
    "zfsutils-linux",
  ];
  inside(...install, ...kernel);
  // The headers must be there before the modules are built.
  inside(...install, "zfs-dkms");
  const image = readdirSync(join(root, "boot")).find((name) => name.startsWith("vmlinuz-"));
  if (image === undefined) throw new Error("Debian's kernel package has brought no kernel");
  const release = image.slice("vmlinuz-".length);
  if (!existsSync(join(root, "lib/modules", release, "updates/dkms/zfs.ko")))
    throw new Error(`zfs-dkms has built no module for ${release}; see ${join(root, "var/lib/dkms/zfs")}`);
  inside("depmod", release);
  run("cp", join(root, "boot", image), into);
  mkdirSync(join(into, "lib"));
  run("cp", "-a", join(root, "lib/modules"), join(into, "lib/modules"));
  rmSync(root, { recursive: true, force: true });
}

function run(program: string, ...args: readonly string[]): void {
  execFileSync(program, args, { stdio: ["ignore", "ignore", "inherit"] });
}
