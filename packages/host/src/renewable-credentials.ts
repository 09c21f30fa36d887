import { statSync } from "node:fs";
import { failure } from "@flocker/core";
import type { Log, Result } from "@flocker/core";
import { loadCredentials } from "./certificates.ts";
import type { CredentialFiles, Credentials } from "./certificates.ts";

/**
 * Credentials that follow their files: each call looks whether a file has changed and, if so, reads them again. Files
 * that do not check out (half copied, expired, of somebody else) are logged once, and what was good before stays.
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
    const renewed = sameIdentity(loadCredentials(files), first, files);
    if (renewed.ok) {
      current = renewed.value;
      log.write("info", "credentials-renewed", {
        commonName: current.commonName,
        notAfter: current.notAfter,
      });
    } else {
      log.write("warn", "credentials-not-renewed", { problem: renewed.problem });
    }
    return current;
  };
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
  return [files.clusterCertificateFile, files.certificateFile, files.keyFile].map(fileState).join(" ");
}

function fileState(path: string): string {
  try {
    const stat = statSync(path, { bigint: true });
    return `${stat.ino}.${stat.size}.${stat.mtimeNs}.${stat.ctimeNs}`;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
