import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

import { cacheFolder, prepareImage } from "./image.ts";
import { hasKernel } from "./kernel.ts";

const always = ["qemu-system-x86_64", "apt-get", "dpkg-deb", "tar", "zstd", "nice", "setpriv"];
const forTheKernel = ["debootstrap", "chroot", "unshare"];

/** Why there can be no virtual machine here, or null. */
function whatIsLacking(): string | null {
  if (process.platform !== "linux" || process.arch !== "x64")
    return "the virtual machines are made of Debian's packages for amd64 on such a machine";
  const isKernelThere = hasKernel(cacheFolder);
  if (!isKernelThere && process.argv.includes("--no-build"))
    return "there is no ready-made kernel, and building one takes ten minutes (npm run test:vm does)";
  const wanted = isKernelThere ? always : [...always, ...forTheKernel];
  const missing = wanted.filter((program) => !isProgram(program));
  if (missing.length > 0) return `these programs are not installed: ${missing.join(", ")}`;
  if (!isKernelThere && process.getuid?.() !== 0)
    return "building a kernel with OpenZFS needs root, and there is no ready-made one";
  return null;
}

function isProgram(name: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Makes the image; answers why that is not possible, or null. */
export function makeImage(): string | null {
  const lacking = whatIsLacking();
  if (lacking !== null) return lacking;
  const begunAt = performance.now();
  try {
    prepareImage();
  } catch (error) {
    return `their image cannot be made here: ${String(error)}`;
  }
  process.stdout.write(`The image is there after ${Math.round((performance.now() - begunAt) / 1000)} s.\n`);
  return null;
}
