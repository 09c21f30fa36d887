/** One line of mountinfo; proc_pid_mountinfo(5). */
export interface Mount {
  readonly device: string;
  /** The folder of its file system that is mounted. */
  readonly root: string;
  readonly mountPoint: string;
  /** `btrfs`, `nfs4`, `fuse.sshfs` … */
  readonly fileSystemType: string;
}

/** Where a tree lies on its file system, whatever the mount points. */
export interface Place {
  readonly device: string;
  readonly root: string;
}

/** Reads the text of a mountinfo file. Later mounts lie on top of earlier ones at the same place. */
export function parseMounts(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split("\n")) {
    // Between the two halves stands a lone hyphen, since the first has fields that may be missing.
    const [first = "", second = ""] = line.split(" - ");
    const [, , device, root, mountPoint] = first.split(" ");
    if (device === undefined || root === undefined || mountPoint === undefined) continue;
    mounts.push({
      device,
      root: unescaped(root),
      mountPoint: unescaped(mountPoint),
      fileSystemType: second.split(" ")[0] ?? "",
    });
  }
  return mounts;
}

/** The place of a path on its file system, or undefined where no mount has it. */
export function placeOf(mounts: readonly Mount[], path: string): Place | undefined {
  let best: Mount | undefined;
  for (const mount of mounts) {
    // Of two mounts at the same place the later one is on top.
    if (isAtOrBelow(path, mount.mountPoint) && mount.mountPoint.length >= (best?.mountPoint.length ?? 0))
      best = mount;
  }
  if (best === undefined) return undefined;
  return { device: best.device, root: joined(best.root, path.slice(trimmed(best.mountPoint).length)) };
}

/** Whether a path is another one or lies below it. */
export function isAtOrBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${trimmed(folder)}/`);
}

/** A folder's path to which something that begins with a slash can be joined. */
export function trimmed(folder: string): string {
  return folder === "/" ? "" : folder;
}

/** A path below a folder. */
export function joined(folder: string, rest: string): string {
  return rest === "" ? folder : `${trimmed(folder)}/${rest.replace(/^\//, "")}`;
}

/** Blanks, tabs, line breaks and backslashes are written in octal. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
