import { mkdir } from "node:fs/promises";
import { resolve } from "node:path";
import { failure, ProblemError, success } from "@flocker/core";
import type { CertificateRole, Log, Result } from "@flocker/core";
import { loadCredentials } from "./certificates.ts";
import type { Credentials } from "./certificates.ts";
import { systemClock } from "./clock.ts";
import { renewableCredentials } from "./renewable-credentials.ts";

const dayMs = 86_400_000;

/**
 * Loads a service's own credentials from its folder, to be read again whenever their files change.
 * `fileName` is the name of the certificate and the key without their endings. A certificate of another role
 * is `certificate-role`.
 */
export function loadServiceCredentials(
  folder: string,
  fileName: string,
  role: CertificateRole["role"],
  log: Log,
): Result<() => Credentials> {
  const files = {
    clusterCertificateFile: resolve(folder, "cluster.crt"),
    certificateFile: resolve(folder, `${fileName}.crt`),
    keyFile: resolve(folder, `${fileName}.key`),
    role,
  };
  const loaded = loadCredentials(files);
  return loaded.ok ? success(renewableCredentials(loaded.value, files, log)) : loaded;
}

/** Logs a warning where the certificate in use ends within a month. */
export function warnOfExpiry({ notAfter }: Credentials, log: Log): void {
  const daysLeft = Math.floor((notAfter - systemClock.now()) / dayMs);
  const remedy = "Renew it with flocker ca renew and put the new files in its place; no restart is needed.";
  if (daysLeft < 30) log.write("warn", "certificate-expires-soon", { daysLeft, remedy });
}

/**
 * Makes the folder that a service keeps its own files in, for its own user alone. `setting` says where its
 * path is written ("state-directory in agent.yml"). Rejects with a ProblemError (`file-unreadable`).
 */
export async function makeServiceFolder(path: string, setting: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const message = `Making the folder ${path} failed: ${reason}.`;
    const remedy = `Name a folder that this process may write as ${setting}.`;
    throw new ProblemError(failure("file-unreadable", message, remedy).problem, { cause: error });
  }
}
