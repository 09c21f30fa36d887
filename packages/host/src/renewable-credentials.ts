import { existsSync, statSync } from "node:fs";
import { failure } from "@flocker/core";
import type { Log, Result } from "@flocker/core";
import { loadCredentials, revocationListFile } from "./certificates.ts";
import type { CredentialFiles, Credentials } from "./certificates.ts";

/**
 * Credentials that follow their files: each call looks whether a file has changed and, if so, reads them
 * again. Files that do not check out (half copied, expired, of somebody else) are logged once, and what was
 * good before stays.
 */
export function renewableCredentials(
  first: Credentials,
  files: CredentialFiles,
  log: Log,
): () => Credentials {
  let current = first;
  let seen = stateOf(files);
  return () => {
    const state = stateOf(files);
    if (state === seen) return current;
    seen = state;
    const renewed = keepsList(sameIdentity(loadCredentials(files), first, files), current, files);
    if (renewed.ok) {
      current = renewed.value;
      log.write("info", "credentials-renewed", {
        commonName: current.commonName,
        notAfter: current.notAfter,
        revoked: current.revocations.count,
      });
    } else {
      log.write("warn", "credentials-not-renewed", { problem: renewed.problem });
    }
    return current;
  };
}

/** A list of revoked certificates that is gone must not let them in again. */
function keepsList(
  loaded: Result<Credentials>,
  current: Credentials,
  files: CredentialFiles,
): Result<Credentials> {
  if (!loaded.ok || current.revocations.count === 0 || existsSync(revocationListFile(files))) return loaded;
  return failure(
    "file-unreadable",
    `The list of revoked certificates ${revocationListFile(files)} is gone.`,
    "Put it back; or start the service again, if nothing is to be revoked any more.",
  );
}

function sameIdentity(
  loaded: Result<Credentials>,
  first: Credentials,
  files: CredentialFiles,
): Result<Credentials> {
  if (!loaded.ok || loaded.value.commonName === first.commonName) return loaded;
  return failure(
    "certificate-role",
    `The certificate in ${files.certificateFile} is now named ${loaded.value.commonName}, but this process runs as ` +
      `${first.commonName}.`,
    "Put the right certificate back, or start the service again if its name was meant to change.",
  );
}

/** Changes whenever one of the files is replaced or written to. */
function stateOf(files: CredentialFiles): string {
  return [files.clusterCertificateFile, files.certificateFile, files.keyFile, revocationListFile(files)]
    .map(fileState)
    .join(" ");
}

function fileState(path: string): string {
  try {
    const stat = statSync(path, { bigint: true });
    return `${stat.ino}.${stat.size}.${stat.mtimeNs}.${stat.ctimeNs}`;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
