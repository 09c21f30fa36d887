import { spawnSync } from "node:child_process";

/**
 * Everything about a tree that a copy must keep, listed by programs that the backend's own manifest does not
 * depend on (other fields, other order, contents by their checksums). Path → a description; hard links are
 * named by the group's first path.
 */
export function listTree(tree: string): Map<string, string> {
  const listing = new Map<string, string>();
  const firstNames = new Map<string, string>();
  const found = output(
    "find",
    [".", "-printf", "%p\\0%i\\0%y %#m %U:%G %TY-%Tm-%Td %TH:%TM:%TS\\0%l\\0%s\\0"],
    tree,
  );
  const fields = found.split("\0");
  for (let index = 0; index + 4 < fields.length; index += 5) {
    const [path = "", inode = "", description = "", target = "", size = ""] = fields.slice(index, index + 5);
    const isFolder = description.startsWith("d");
    const first = isFolder ? path : (firstNames.get(inode) ?? path);
    // The order in which find meets the names differs, so the smallest one names the group.
    firstNames.set(inode, first < path ? first : path);
    listing.set(path, `${description} ${target}${isFolder ? "" : ` ${size} inode:${inode}`}`);
  }
  for (const [path, description] of listing) {
    const named = description.replace(/ inode:(\d+)$/, (_, inode: string) => ` as ${firstNames.get(inode)}`);
    listing.set(path, named);
  }
  const sums = output("find", [".", "-type", "f", "-exec", "sha256sum", "-z", "{}", "+"], tree).split("\0");
  for (const line of sums.filter((each) => each !== "")) {
    const path = line.slice(66);
    listing.set(path, `${listing.get(path)} ${line.slice(0, 64)}`);
  }
  return new Map([...listing].sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** The standard output as latin1 text, since names may be any bytes. */
function output(program: string, args: string[], cwd: string): string {
  const result = spawnSync(program, args, { cwd, env: { ...process.env, LC_ALL: "C" }, maxBuffer: 2 ** 28 });
  if (result.status !== 0) throw new Error(`${program} failed: ${result.stderr.toString()}`);
  return result.stdout.toString("latin1");
}

/**
 * Runs a Python program: Node cannot reach extended attributes, and their own tools are often not installed.
 * Undefined where there is no Python.
 */
export function python(script: string, ...args: string[]): string | undefined {
  const result = spawnSync("python3", ["-c", script, ...args], { encoding: "utf8" });
  if (result.error !== undefined) return undefined;
  if (result.status !== 0) throw new Error(`python3 failed: ${result.stderr}`);
  return result.stdout;
}

/** All extended attributes (access control lists are among them) in a tree, or undefined without Python. */
export function listAttributes(tree: string): string | undefined {
  return python(
    `
import os, sys
for folder, folders, files in os.walk(sys.argv[1]):
    for path in [folder] + [os.path.join(folder, name) for name in files]:
        for name in sorted(os.listxattr(path, follow_symlinks=False)):
            value = os.getxattr(path, name, follow_symlinks=False)
            print(os.path.relpath(path, sys.argv[1]), name, value.hex())
`,
    tree,
  )
    ?.split("\n")
    .sort()
    .join("\n");
}
