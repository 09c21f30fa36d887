import { link, open, readFile, rename, unlink, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { failure, ProblemError, success, type Problem, type Result } from "@flocker/core";

/**
 * Readable by their owner alone. Certificates are no secret, but the original kept them so and scripts check
 * it.
 */
const fileMode = 0o600;

/** A file to be made. */
export interface NewFile {
  readonly path: string;
  readonly text: string;
}

/** The names of an authority's files in its folder, as the original had them. */
export function authorityPaths(folder: string): { readonly certificate: string; readonly key: string } {
  return { certificate: join(folder, "cluster.crt"), key: join(folder, "cluster.key") };
}

/**
 * Makes files that must not exist yet (`file-exists`), all or none, readable by their owner alone, and
 * durable when it answers. The names are taken before anything is written, so that a file which is there
 * already spoils nothing.
 */
export async function createFiles(files: readonly NewFile[]): Promise<Result<void>> {
  const made: { readonly file: NewFile; readonly handle: FileHandle }[] = [];
  try {
    for (const file of files) {
      made.push({ file, handle: await open(file.path, "wx", fileMode) });
    }
    for (const { file, handle } of made) {
      // The mode given at the opening is cut by the umask.
      await handle.chmod(fileMode);
      await handle.writeFile(file.text);
      await handle.sync();
    }
    await syncFolders(files.map((file) => file.path));
    return success();
  } catch (error) {
    for (const { file } of made) await unlink(file.path).catch(() => undefined);
    return { ok: false, problem: writeProblem(files[made.length]?.path ?? files[0]?.path ?? "", error) };
  } finally {
    for (const { handle } of made) await handle.close().catch(() => undefined);
  }
}

/**
 * Replaces files that exist by new texts, keeping each old one under `keptAs` (which must not exist, unless
 * it is the same file, left by an attempt that was interrupted). Each file is replaced atomically; where a
 * later one fails, the earlier ones get their old content back.
 */
export async function replaceFiles(
  files: readonly (NewFile & { readonly keptAs: string })[],
): Promise<Result<void>> {
  const fresh = files.map((file) => ({ path: `${file.path}.new`, text: file.text }));
  const made = await createFiles(fresh);
  if (!made.ok) return made;
  const replaced: (typeof files)[number][] = [];
  try {
    for (const file of files) {
      const kept = await keep(file.path, file.keptAs);
      if (!kept.ok) throw new ProblemError(kept.problem);
    }
    for (const file of files) {
      await rename(`${file.path}.new`, file.path);
      replaced.push(file);
    }
    await syncFolders(files.map((file) => file.path));
    return success();
  } catch (error) {
    for (const file of fresh) await unlink(file.path).catch(() => undefined);
    for (const file of replaced) await restore(file.keptAs, file.path);
    if (error instanceof ProblemError) return { ok: false, problem: error.problem };
    return { ok: false, problem: writeProblem(files[replaced.length]?.path ?? "", error) };
  }
}

/** Replaces a file, or makes it, at once and durably. */
export async function writeFileWhole({ path, text }: NewFile): Promise<Result<void>> {
  const fresh = `${path}.new`;
  try {
    // One that is left over from an attempt that was interrupted has no worth.
    await unlink(fresh).catch(() => undefined);
    const made = await createFiles([{ path: fresh, text }]);
    if (!made.ok) return made;
    await rename(fresh, path);
    await syncFolders([path]);
    return success();
  } catch (error) {
    return { ok: false, problem: writeProblem(path, error) };
  }
}

/** Gives the file a second name. A second name that is there already with the same content is as good. */
async function keep(path: string, keptAs: string): Promise<Result<void>> {
  try {
    await link(path, keptAs);
    return success();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    const [current, kept] = await Promise.all([readFile(path), readFile(keptAs)]);
    if (current.equals(kept)) return success();
    return { ok: false, problem: existsProblem(keptAs) };
  }
}

async function restore(from: string, to: string): Promise<void> {
  const temporary = `${to}.restored`;
  await link(from, temporary).catch(() => undefined);
  await rename(temporary, to).catch(() => undefined);
}

/** Reads a text file. `file-unreadable` where that is not possible; `description` says what it is. */
export async function readTextFile(path: string, description: string): Promise<Result<string>> {
  try {
    return success(await readFile(path, "utf8"));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return failure(
      "file-unreadable",
      `Reading ${description} ${path} failed: ${plainReason(error)}.`,
      code === "ENOENT"
        ? "Check the path, or name the folder that has the file."
        : "Check that the file belongs to you and that you may read it.",
    );
  }
}

/** Reads a text file, or answers undefined where there is none. */
export async function readOptionalTextFile(
  path: string,
  description: string,
): Promise<Result<string | undefined>> {
  try {
    return success(await readFile(path, "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return success(undefined);
    return readTextFile(path, description);
  }
}

/** Reads an authority's two files from its folder. */
export async function readAuthorityFiles(
  folder: string,
): Promise<Result<{ readonly certificatePem: string; readonly keyPem: string }>> {
  const paths = authorityPaths(folder);
  const certificate = await readTextFile(paths.certificate, "the certificate authority's certificate");
  if (!certificate.ok) return certificate;
  const key = await readTextFile(paths.key, "the certificate authority's private key");
  if (!key.ok) return key;
  return success({ certificatePem: certificate.value, keyPem: key.value });
}

/** Makes the folders' entries durable, not only the files' contents. */
async function syncFolders(paths: readonly string[]): Promise<void> {
  for (const folder of new Set(paths.map((path) => dirname(path)))) {
    const handle = await open(folder, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

function existsProblem(path: string): Problem {
  return {
    code: "file-exists",
    message: `The file ${path} exists already, and files are never overwritten.`,
    remedy: "Move it away, or choose another folder with --output.",
  };
}

function writeProblem(path: string, error: unknown): Problem {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "EEXIST") return existsProblem(path);
  return {
    code: code === "ENOSPC" ? "no-space" : "file-unreadable",
    message: `Writing ${path} failed: ${plainReason(error)}.`,
    remedy:
      code === "ENOENT" ? "Make the folder first." : "Check that you may write there and that there is room.",
  };
}

function plainReason(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOENT":
      return "there is no such file or folder";
    case "EACCES":
    case "EPERM":
      return "permission denied";
    case "EISDIR":
      return "it is a folder";
    case "ENOTDIR":
      return "a part of the path is not a folder";
    case "ENOSPC":
      return "the disk is full";
    case "EROFS":
      return "the file system is read-only";
    case undefined:
    default:
      return (error as Error).message;
  }
}
