import { readdir, readFile, readlink, stat } from "node:fs/promises";

import { mapConcurrently } from "./concurrency.ts";
import { isAtOrBelow, joined, parseMounts, placeOf, trimmed, type Mount, type Place } from "./mount-table.ts";

/** Somebody who uses a tree. */
export interface Holder {
  readonly pid: number;
  readonly program: string;
  /** How: the file, or the place where the tree is mounted as well. */
  readonly by: string;
}

/** What is asked for. */
export interface HolderSearch {
  readonly tree: string;
  /** A mount of the tree in the agent's own namespace that is known and no holder. */
  readonly ownMountPoint?: string;
  /**
   * The device number that files in the tree, and no others, have. With it, users are found although their
   * path no longer leads into the tree, as after a lazy unmount.
   */
  readonly device?: bigint;
}

const shownHolders = 5;
const concurrency = 32;

/**
 * Who uses a tree: processes with open files, working folder, root, program or mapped files in it, in every
 * mount namespace, and mounts of the tree or inside it (containers). At most five are looked for.
 *
 * Without privileges, only processes of the agent's own user can be looked into: for all others the system
 * shows neither open files nor mounts, and then they are missing here. An agent that serves programs of other
 * users needs root.
 */
export async function findHolders(search: HolderSearch): Promise<Holder[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const own = parseMounts(await readFile("/proc/self/mountinfo", "utf8"));
  const place = placeOf(own, search.tree);
  const namespaces = new Map<string, Promise<NamespaceView>>();
  const ownView = viewOf(own, search, place, { pid: process.pid, isOwn: true });
  const ownNamespace = await readlink("/proc/self/ns/mnt");
  namespaces.set(ownNamespace, Promise.resolve(ownView));
  const holders: Holder[] = [...ownView.mounts];
  await mapConcurrently(pids, concurrency, async (pid) => {
    if (holders.length >= shownHolders) return;
    const namespace = (await linkOf(`/proc/${pid}/ns/mnt`)) ?? ownNamespace;
    let view = namespaces.get(namespace);
    if (view === undefined) {
      view = readMounts(pid).then((mounts) => viewOf(mounts, search, place, { pid, isOwn: false }));
      namespaces.set(namespace, view);
      holders.push(...(await view).mounts);
    }
    const by = await useBy(pid, await view, search.device);
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

/** The tree as the processes of one mount namespace see it. */
interface NamespaceView {
  /** The paths at which the tree can be reached. */
  readonly paths: readonly string[];
  /** Mounts of the tree, or into it. */
  readonly mounts: readonly Holder[];
  /** Where file systems are mounted whose files may take for ever to look at. */
  readonly remote: readonly string[];
}

const remoteTypes = /^(nfs|cifs|smb|fuse|ceph|9p|afs|gfs2|glusterfs|lustre|ocfs2|autofs)/;

function viewOf(
  mounts: readonly Mount[],
  search: HolderSearch,
  place: Place | undefined,
  viewer: { readonly pid: number; readonly isOwn: boolean },
): NamespaceView {
  const { pid } = viewer;
  const paths = new Set([search.tree]);
  const holders: Holder[] = [];
  for (const mount of mounts) {
    const sameFileSystem = place !== undefined && mount.device === place.device;
    if (sameFileSystem && isAtOrBelow(mount.root.replace(/\/\/deleted$/, ""), place.root)) {
      const isKnown = viewer.isOwn && mount.mountPoint === search.ownMountPoint;
      if (!isKnown) holders.push({ pid, program: "", by: `mounted at ${mount.mountPoint}` });
      paths.add(mount.mountPoint);
    } else if (sameFileSystem && isAtOrBelow(place.root, mount.root)) {
      paths.add(joined(mount.mountPoint, place.root.slice(trimmed(mount.root).length)));
    }
  }
  for (const mount of mounts) {
    const inside = [...paths].some(
      (path) => mount.mountPoint !== path && isAtOrBelow(mount.mountPoint, path),
    );
    if (inside) holders.push({ pid, program: "", by: `something is mounted at ${mount.mountPoint}` });
  }
  const remote = mounts.filter(({ fileSystemType }) => remoteTypes.test(fileSystemType));
  return { paths: [...paths], mounts: holders, remote: remote.map(({ mountPoint }) => mountPoint) };
}

async function readMounts(pid: number): Promise<Mount[]> {
  try {
    return parseMounts(await readFile(`/proc/${pid}/mountinfo`, "utf8"));
  } catch {
    // It has ended, or it may not be looked at.
    return [];
  }
}

/** How a process uses the tree, or undefined. A process that ends meanwhile uses nothing. */
async function useBy(
  pid: number,
  { paths, remote }: NamespaceView,
  device: bigint | undefined,
): Promise<string | undefined> {
  const leadsIn = (link: string): boolean =>
    paths.some((path) => isAtOrBelow(link.replace(/ \(deleted\)$/, ""), path));
  const useOf = async (link: string): Promise<string | undefined> => {
    const target = await linkOf(link);
    // Pipes and sockets have no path.
    if (target === undefined || !target.startsWith("/")) return undefined;
    if (leadsIn(target)) return target;
    if (device === undefined || remote.some((folder) => isAtOrBelow(target, folder))) return undefined;
    return (await deviceOf(link)) === device ? target : undefined;
  };
  for (const name of ["cwd", "root", "exe"]) {
    const use = await useOf(`/proc/${pid}/${name}`);
    if (use !== undefined) return use;
  }
  for (const descriptor of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
    const use = await useOf(`/proc/${pid}/fd/${descriptor}`);
    if (use !== undefined) return use;
  }
  // A file stays mapped after it has been closed.
  const maps = await readFile(`/proc/${pid}/maps`, "utf8").catch(() => "");
  if (!paths.some((path) => maps.includes(path))) return undefined;
  for (const line of maps.split("\n")) {
    const mapped = line.slice(Math.max(line.indexOf("/"), 0));
    if (leadsIn(mapped)) return mapped;
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

async function deviceOf(path: string): Promise<bigint | undefined> {
  try {
    return (await stat(path, { bigint: true })).dev;
  } catch {
    return undefined;
  }
}
