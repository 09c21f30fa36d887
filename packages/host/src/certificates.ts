import { X509Certificate, createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { TLSSocket } from "node:tls";
import { failure, roleOf, success } from "@flocker/core";
import type { CertificateRole, Milliseconds, Result } from "@flocker/core";
import { loadRevocations } from "./revocations.ts";
import type { Revocations } from "./revocations.ts";
import { tlsProblem } from "./tls-problem.ts";

/** Who a certificate of this cluster speaks for. */
export interface Identity {
  /** `control-service`, `node-<uuid>` or `user-<name>`. */
  readonly commonName: string;
  readonly role: CertificateRole;
  /** The cluster's uuid: the organizational unit of all its certificates. */
  readonly clusterId: string;
  readonly notAfter: Milliseconds;
  /**
   * SHA-256 over the certificate, in lower-case hexadecimal digits: tells two certificates of one name apart.
   */
  readonly fingerprint: string;
}

/** What a process proves its identity with, and whom it trusts: checked, ready for TLS. */
export interface Credentials extends Identity {
  /** The certificates of the trusted authorities, one PEM text each. */
  readonly authorities: readonly string[];
  /** The certificate (with its chain, if the file has one) as PEM. */
  readonly certificate: string;
  /** The private key as PEM. */
  readonly key: string;
  /** Whom not to trust any more. */
  readonly revocations: Revocations;
}

/**
 * Credentials, or where to have the newest ones from: asked for each new connection, so that renewal needs no
 * restart.
 */
export type CredentialsSource = Credentials | (() => Credentials);

/** The credentials to use now. */
export function currentCredentials(source: CredentialsSource): Credentials {
  return typeof source === "function" ? source() : source;
}

/** The TLS options that every connection between parts of a cluster shares, for either end. */
export function tlsOptions(credentials: Credentials): {
  ca: string[];
  cert: string;
  key: string;
  minVersion: "TLSv1.3";
} {
  return {
    ca: [...credentials.authorities],
    cert: credentials.certificate,
    key: credentials.key,
    minVersion: "TLSv1.3",
  };
}

/** The three files that make up a process's credentials. */
export interface CredentialFiles {
  /** The certificates of one or, while authorities change, several trusted authorities. */
  readonly clusterCertificateFile: string;
  readonly certificateFile: string;
  readonly keyFile: string;
}

/**
 * Where the list of revoked certificates is, if there is one: `cluster.crl` beside the cluster certificate.
 */
export function revocationListFile({ clusterCertificateFile }: CredentialFiles): string {
  return join(dirname(clusterCertificateFile), "cluster.crl");
}

/** What else is asked of credentials. */
export interface CredentialChecks {
  /** Whose certificate it has to be; `certificate-role` where it is another's. */
  readonly role?: CertificateRole["role"];
  /** The time at which it has to be valid; now unless told otherwise. */
  readonly now?: Milliseconds;
}

/**
 * Reads and checks credentials: the key fits the certificate, a trusted authority signed it, it is valid now,
 * and its names are of this cluster's kind. X.509 version 1 certificates with extensions, as the original
 * Flocker made them, are accepted. Fails with `file-unreadable`, `certificate-invalid`, `certificate-foreign`
 * or `certificate-expired`.
 */
export function loadCredentials(files: CredentialFiles & CredentialChecks): Result<Credentials> {
  const now = files.now ?? Date.now();
  const authorities = readCertificates(files.clusterCertificateFile, "the cluster certificate");
  if (!authorities.ok) return authorities;
  const chain = readCertificates(files.certificateFile, "the certificate");
  if (!chain.ok) return chain;
  const keyText = readText(files.keyFile, "the private key");
  if (!keyText.ok) return keyText;

  const leaf = chain.value[0];
  if (leaf === undefined) return emptyFile(files.certificateFile);
  const fits = keyFits(leaf, keyText.value, files);
  if (!fits.ok) return fits;
  const signed = signedByAuthority(chain.value, authorities.value, files, now);
  if (!signed.ok) return signed;
  const valid = validNow(leaf, files.certificateFile, now);
  if (!valid.ok) return valid;
  const identity = identityOf(leaf, files.certificateFile);
  if (!identity.ok) return identity;
  const revocations = loadRevocations(revocationListFile(files), authorities.value);
  if (!revocations.ok) return revocations;
  if (revocations.value.has(leaf)) return revoked(identity.value.commonName, files.certificateFile);
  const { commonName, role } = identity.value;
  if (files.role !== undefined && role.role !== files.role) {
    return failure(
      "certificate-role",
      `The certificate in ${files.certificateFile} is named ${commonName}, and a ${files.role} certificate is needed here.`,
      `Configure the certificate and key that \`flocker ca ${files.role}\` made.`,
    );
  }
  return success({
    ...identity.value,
    authorities: authorities.value.map(String),
    certificate: chain.value.map(String).join(""),
    key: keyText.value,
    revocations: revocations.value,
  });
}

function revoked(commonName: string, where: string): ReturnType<typeof failure> {
  return failure(
    "certificate-revoked",
    `The certificate ${commonName} (${where}) has been revoked.`,
    "Use another certificate: whoever keeps the authority makes one with `flocker ca`.",
  );
}

/**
 * Who is at the other end of an established TLS connection. Fails where no certificate was shown, where the
 * connection was let in although its certificate did not check out, and where the name is none of this
 * cluster's kinds.
 */
export function peerIdentity(
  socket: TLSSocket,
  credentials: Pick<Credentials, "revocations">,
): Result<Identity> {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) {
    return failure(
      "certificate-invalid",
      "The other side of the connection showed no certificate.",
      "Connect with a certificate that the cluster's authority issued: see `flocker ca --help`.",
    );
  }
  if (!socket.authorized) {
    const code = String(socket.authorizationError);
    return {
      ok: false,
      problem: tlsProblem(Object.assign(new Error(code), { code }), {
        doing: `checking the certificate of ${socket.remoteAddress ?? "the other side"}`,
        unreachable: "peer-unreachable",
      }),
    };
  }
  const identity = identityOf(certificate, "the certificate of the other side");
  if (!identity.ok || !credentials.revocations.has(certificate)) return identity;
  return revoked(identity.value.commonName, "of the other side");
}

function readText(path: string, what: string): Result<string> {
  try {
    return success(readFileSync(path, "utf8"));
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    return failure(
      "file-unreadable",
      `Reading ${what} from ${path} failed: ${reason}.`,
      "Check the path in the configuration and that this user may read the file; `flocker ca --help` shows how to make one.",
    );
  }
}

function readCertificates(path: string, what: string): Result<X509Certificate[]> {
  const text = readText(path, what);
  if (!text.ok) return text;
  const blocks = text.value.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) return emptyFile(path);
  try {
    return success(blocks.map((block) => new X509Certificate(block)));
  } catch (error) {
    return failure(
      "certificate-invalid",
      `Reading ${what} from ${path} failed: ${messageOf(error)}.`,
      "Copy the file again from where it was made, or make a new one with `flocker ca`.",
    );
  }
}

function emptyFile(path: string): Result<never> {
  return failure(
    "certificate-invalid",
    `There is no certificate in ${path}.`,
    "Put the certificate there in PEM form: a text that starts with -----BEGIN CERTIFICATE-----.",
  );
}

function keyFits(leaf: X509Certificate, keyText: string, files: CredentialFiles): Result<void> {
  try {
    if (leaf.checkPrivateKey(createPrivateKey(keyText))) return success();
  } catch (error) {
    return failure(
      "certificate-invalid",
      `There is no usable private key in ${files.keyFile}: ${messageOf(error)}.`,
      "Put the unencrypted private key there in PEM form, as `flocker ca` wrote it.",
    );
  }
  return failure(
    "certificate-invalid",
    `The private key in ${files.keyFile} does not belong to the certificate in ${files.certificateFile}.`,
    "Copy the certificate and the key that were made together, or make a new pair with `flocker ca`.",
  );
}

function signedByAuthority(
  chain: readonly X509Certificate[],
  authorities: readonly X509Certificate[],
  files: CredentialFiles,
  now: Milliseconds,
): Result<void> {
  const last = chain.at(-1);
  const linked = chain.every((link, index) => {
    const next = chain[index + 1];
    return next === undefined || signs(next, link);
  });
  const signers = authorities.filter((authority) => last !== undefined && signs(authority, last));
  if (!linked || signers.length === 0) {
    return failure(
      "certificate-foreign",
      `No authority in ${files.clusterCertificateFile} has signed the certificate in ${files.certificateFile}: ` +
        "it belongs to another cluster or to an authority that has been replaced.",
      "Use the cluster certificate and the certificate of the same cluster, or have a new one made with `flocker ca`.",
    );
  }
  // While authorities change, an older one may have run out: one valid signer is enough.
  const checks = signers.map((signer) => validNow(signer, files.clusterCertificateFile, now));
  return checks.find((check) => check.ok) ?? checks[0] ?? success();
}

function signs(authority: X509Certificate, certificate: X509Certificate): boolean {
  return certificate.issuer === authority.subject && certificate.verify(authority.publicKey);
}

function validNow(certificate: X509Certificate, path: string, now: Milliseconds): Result<void> {
  if (now > Date.parse(certificate.validTo)) {
    return failure(
      "certificate-expired",
      `The certificate in ${path} expired on ${isoDate(certificate.validTo)}.`,
      "Renew it with `flocker ca renew` where the authority's key is kept, copy it here, then start again.",
    );
  }
  if (now < Date.parse(certificate.validFrom)) {
    return failure(
      "certificate-invalid",
      `The certificate in ${path} is not valid before ${isoDate(certificate.validFrom)}, ` +
        `and this machine's clock says ${new Date(now).toISOString()}.`,
      "Set the clocks of the machines (this one, and the one that made the certificate) right.",
    );
  }
  return success();
}

function identityOf(certificate: X509Certificate, where: string): Result<Identity> {
  const subject = certificate.toLegacyObject().subject;
  const commonName = onlyValue(subject.CN);
  const role = commonName === undefined ? null : roleOf(commonName);
  if (commonName === undefined || role === null) {
    return failure(
      "certificate-invalid",
      `The name in ${where} is ${commonName === undefined ? "missing" : JSON.stringify(commonName)}: ` +
        "a certificate of the cluster is named control-service, node-<uuid> or user-<name>.",
      "Make a certificate with `flocker ca control`, `flocker ca node` or `flocker ca user`.",
    );
  }
  const clusterId = onlyValue(subject.OU);
  if (clusterId === undefined) {
    return failure(
      "certificate-invalid",
      `The subject in ${where} has no organizational unit, so it does not say which cluster ${commonName} is of.`,
      "Make the certificate with `flocker ca`, which writes the cluster's id there.",
    );
  }
  return success({
    commonName,
    role,
    clusterId,
    notAfter: Date.parse(certificate.validTo),
    fingerprint: certificate.fingerprint256.replaceAll(":", "").toLowerCase(),
  });
}

/** The value of a subject's field that is there exactly once. */
function onlyValue(field: string | string[] | undefined): string | undefined {
  return typeof field === "string" ? field : undefined;
}

function isoDate(opensslDate: string): string {
  return new Date(Date.parse(opensslDate)).toISOString();
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
