import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

/**
 * A folder as a cpio archive of the "newc" format, which Linux unpacks into its first file system. Everything
 * in it belongs to root. Written by hand because no program does that for a user without privileges.
 */
export function cpioArchive(folder: string): Buffer {
  const parts: Buffer[] = [];
  let inode = 0;
  const add = (name: string, mode: number, content: Buffer): void => {
    inode += 1;
    const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, Buffer.byteLength(name) + 1, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}${name}\0`;
    parts.push(padded(Buffer.from(header)), padded(content));
  };
  const addBelow = (path: string): void => {
    for (const name of readdirSync(join(folder, path)).sort()) {
      const inside = path === "" ? name : `${path}/${name}`;
      const file = join(folder, inside);
      const stats = lstatSync(file);
      if (stats.isSymbolicLink()) add(inside, 0o120777, Buffer.from(readlinkSync(file)));
      else if (stats.isFile()) add(inside, 0o100000 | (stats.mode & 0o777), readFileSync(file));
      else if (stats.isDirectory()) {
        add(inside, 0o040755, Buffer.alloc(0));
        addBelow(inside);
      }
    }
  };
  addBelow("");
  add("TRAILER!!!", 0, Buffer.alloc(0));
  return Buffer.concat(parts);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
