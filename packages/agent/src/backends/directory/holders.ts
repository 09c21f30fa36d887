import { readdir, readFile, readlink } from "node:fs/promises";

import { mapConcurrently, type Context } from "./layout.ts";

/** Somebody who uses a tree. */
export interface Holder {
  readonly pid: number;
  readonly program: string;
  /** How: the file, or the place where the tree is mounted as well. */
  readonly by: string;
}

/** One line of mountinfo; proc_pid_mountinfo(5). */
interface Mount {
  readonly device: string;
  /** The folder of its file system that is mounted. */
  readonly root: string;
  readonly mountPoint: string;
}

const shownHolders = 5;
const concurrency = 32;

/**
 * Who uses a tree: processes with open files, working folder, root, program or mapped files in it, in every mount
 * namespace, and mounts of the tree or inside it (containers). At most five are looked for.
 *
 * Without privileges, only processes of the agent's own user can be looked into: for all others the system shows neither
 * open files nor mounts, and then they are missing here. An agent that serves programs of other users needs root.
 */
export async function findHolders(_context: Context, tree: string): Promise<Holder[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const own = parseMounts(await readFile("/proc/self/mountinfo", "utf8"));
  const place = placeOf(own, tree);
  const namespaces = new Map<string, Promise<NamespaceView>>();
  const ownView = viewOf(own, tree, place, process.pid);
  const ownNamespace = await readlink("/proc/self/ns/mnt");
  namespaces.set(ownNamespace, Promise.resolve(ownView));
  const holders: Holder[] = [...ownView.mounts];
  await mapConcurrently(pids, concurrency, async (pid) => {
    if (holders.length >= shownHolders) return;
    const namespace = (await linkOf(`/proc/${pid}/ns/mnt`)) ?? ownNamespace;
    let view = namespaces.get(namespace);
    if (view === undefined) {
      view = readMounts(pid).then((mounts) => viewOf(mounts, tree, place, pid));
      namespaces.set(namespace, view);
      holders.push(...(await view).mounts);
    }
    const by = await useBy(pid, (await view).paths);
    if (by !== undefined) holders.push({ pid, program: "", by });
  });
  return await mapConcurrently(holders.slice(0, shownHolders), concurrency, async (holder) => ({
    ...holder,
    program: (await readFile(`/proc/${holder.pid}/comm`, "utf8").catch(() => "?")).trim(),
  }));
}

/** Holders in words: "it is in use by postgres (pid 71, …/base/1)". */
export function formatHolders(holders: readonly Holder[]): string {
  return `it is in use by ${holders.map(({ pid, program, by }) => `${program} (pid ${pid}, ${by})`).join(", ")}`;
}

/** Where the tree lies on its file system, whatever the mount points. */
interface Place {
  readonly device: string;
  readonly root: string;
}

/** The tree as the processes of one mount namespace see it. */
interface NamespaceView {
  /** The paths at which the tree can be reached. */
  readonly paths: readonly string[];
  /** Mounts of the tree, or into it. */
  readonly mounts: readonly Holder[];
}

function placeOf(mounts: readonly Mount[], tree: string): Place | undefined {
  let best: Mount | undefined;
  for (const mount of mounts) {
    // Of two mounts at the same place the later one is on top.
    if (isBelow(tree, mount.mountPoint) && mount.mountPoint.length >= (best?.mountPoint.length ?? 0))
      best = mount;
  }
  if (best === undefined) return undefined;
  return { device: best.device, root: joined(best.root, tree.slice(trimmed(best.mountPoint).length)) };
}

function viewOf(
  mounts: readonly Mount[],
  tree: string,
  place: Place | undefined,
  pid: number,
): NamespaceView {
  const paths = new Set([tree]);
  const holders: Holder[] = [];
  for (const mount of mounts) {
    const sameFileSystem = place !== undefined && mount.device === place.device;
    if (sameFileSystem && isBelow(mount.root.replace(/\/\/deleted$/, ""), place.root)) {
      holders.push({ pid, program: "", by: `mounted at ${mount.mountPoint}` });
      paths.add(mount.mountPoint);
    } else if (sameFileSystem && isBelow(place.root, mount.root)) {
      paths.add(joined(mount.mountPoint, place.root.slice(trimmed(mount.root).length)));
    }
  }
  for (const mount of mounts) {
    const inside = [...paths].some((path) => mount.mountPoint !== path && isBelow(mount.mountPoint, path));
    if (inside) holders.push({ pid, program: "", by: `something is mounted at ${mount.mountPoint}` });
  }
  return { paths: [...paths], mounts: holders };
}

async function readMounts(pid: number): Promise<Mount[]> {
  try {
    return parseMounts(await readFile(`/proc/${pid}/mountinfo`, "utf8"));
  } catch {
    // It has ended, or it may not be looked at.
    return [];
  }
}

function parseMounts(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split("\n")) {
    const [, , device, root, mountPoint] = line.split(" ");
    if (device === undefined || root === undefined || mountPoint === undefined) continue;
    mounts.push({ device, root: unescaped(root), mountPoint: unescaped(mountPoint) });
  }
  return mounts;
}

/** Blanks, tabs, line breaks and backslashes are written in octal. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}

/** How a process uses one of these paths, or undefined. A process that ends meanwhile uses nothing. */
async function useBy(pid: number, paths: readonly string[]): Promise<string | undefined> {
  const uses = (link: string | undefined): link is string =>
    link !== undefined && paths.some((path) => isBelow(link.replace(/ \(deleted\)$/, ""), path));
  for (const name of ["cwd", "root", "exe"]) {
    const link = await linkOf(`/proc/${pid}/${name}`);
    if (uses(link)) return link;
  }
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
  for (const descriptor of descriptors) {
    const link = await linkOf(`/proc/${pid}/fd/${descriptor}`);
    if (uses(link)) return link;
  }
  // A file stays mapped after it has been closed.
  const maps = await readFile(`/proc/${pid}/maps`, "utf8").catch(() => "");
  if (!paths.some((path) => maps.includes(path))) return undefined;
  for (const line of maps.split("\n")) {
    const mapped = line.slice(Math.max(line.indexOf("/"), 0));
    if (uses(mapped)) return mapped;
  }
  return undefined;
}

async function linkOf(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch {
    return undefined;
  }
}

/** Whether a path is another one or lies below it. */
function isBelow(path: string, folder: string): boolean {
  const base = trimmed(folder);
  return path === folder || path.startsWith(`${base}/`);
}

function trimmed(folder: string): string {
  return folder === "/" ? "" : folder;
}

function joined(folder: string, rest: string): string {
  return rest === "" ? folder : `${trimmed(folder)}/${rest.replace(/^\//, "")}`;
}
