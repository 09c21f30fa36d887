import "reflect-metadata";
import { X509Certificate as NodeCertificate } from "node:crypto";
import {
  failure,
  roleOf,
  success,
  type CertificateRole,
  type Milliseconds,
  type Result,
} from "@flocker/core";
import { SubjectAlternativeNameExtension, X509Certificate } from "@peculiar/x509";
import { describeKey } from "./key.ts";

const dayMs = 86_400_000;

/** A name that a certificate is for, besides its subject. */
export interface AlternativeName {
  /** `dns` and `ip` are what Flocker's certificates have; others are shown as they are called. */
  readonly type: string;
  readonly value: string;
}

/** What a certificate says. */
export interface CertificateFacts {
  /** As `OU=..., CN=...`. */
  readonly subject: string;
  readonly issuer: string;
  /** Null where there is none or more than one. */
  readonly commonName: string | null;
  /** `ca` for a certificate authority, else by the common name; null where that has no meaning here. */
  readonly role: "ca" | CertificateRole["role"] | null;
  /** The cluster's name, the node's uuid, the user's name, or `control-service`. */
  readonly name: string | null;
  /** The cluster's uuid (the subject's organizational unit). */
  readonly clusterId: string | null;
  readonly alternativeNames: readonly AlternativeName[];
  /** Lower case hexadecimal digits. */
  readonly serial: string;
  /** SHA-256 over the certificate, in the usual form with colons. */
  readonly fingerprint: string;
  readonly notBefore: Milliseconds;
  readonly notAfter: Milliseconds;
  /** Whole days until it ends, rounded down: 0 on the last day, negative afterwards. */
  readonly daysLeft: number;
  /** 3, or 1 for those that the original tool made. */
  readonly version: number;
  readonly keyType: string;
  /** Whether the given authority has signed it; null where none was given. */
  readonly signedByAuthority: boolean | null;
}

/** A certificate in the forms that this package works with. */
export interface ParsedCertificate {
  readonly node: NodeCertificate;
  readonly x509: X509Certificate;
}

/**
 * Reads the first certificate of a PEM text. Certificates of the original tool, X.509 version 1 with
 * extensions, are taken as well. `certificate-invalid` where it is none.
 */
export function parseCertificate(pem: string, description: string): Result<ParsedCertificate> {
  const block = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/.exec(pem)?.[0];
  const remedy = "Give a file that begins with -----BEGIN CERTIFICATE-----, unchanged since it was made.";
  if (block === undefined) {
    return failure("certificate-invalid", `There is no PEM certificate in ${description}.`, remedy);
  }
  try {
    const node = new NodeCertificate(block);
    return success({ node, x509: new X509Certificate(new Uint8Array(node.raw)) });
  } catch (error) {
    return failure(
      "certificate-invalid",
      `Reading the certificate in ${description} failed: ${(error as Error).message}.`,
      remedy,
    );
  }
}

/** What a certificate says, and whether the given authority has signed it. */
export function inspectCertificate(
  pem: string,
  options: {
    readonly description: string;
    readonly now: Milliseconds;
    readonly authorityPem?: string | undefined;
  },
): Result<CertificateFacts> {
  const parsed = parseCertificate(pem, options.description);
  if (!parsed.ok) return parsed;
  if (options.authorityPem === undefined) return success(factsOf(parsed.value, options.now, null));
  const authority = parseCertificate(options.authorityPem, "the certificate authority's file");
  if (!authority.ok) return authority;
  return success(factsOf(parsed.value, options.now, isSignedBy(parsed.value, authority.value)));
}

/**
 * Whether the authority's key has signed the certificate, in the authority's name. Says nothing about dates.
 */
export function isSignedBy(certificate: ParsedCertificate, authority: ParsedCertificate): boolean {
  return (
    certificate.node.issuer === authority.node.subject && certificate.node.verify(authority.node.publicKey)
  );
}

/** The facts of a parsed certificate. */
export function factsOf(
  { node, x509 }: ParsedCertificate,
  now: Milliseconds,
  signedByAuthority: boolean | null,
): CertificateFacts {
  const commonName = onlyOne(x509.subjectName.getField("CN"));
  const role = commonName === null ? null : roleOf(commonName);
  const notAfter = x509.notAfter.getTime();
  return {
    subject: x509.subject,
    issuer: x509.issuer,
    commonName,
    role: node.ca ? "ca" : (role?.role ?? null),
    name: node.ca || role?.role === "control" ? commonName : nameOf(role),
    clusterId: onlyOne(x509.subjectName.getField("OU")),
    alternativeNames: alternativeNames(x509),
    serial: node.serialNumber.toLowerCase(),
    fingerprint: node.fingerprint256,
    notBefore: x509.notBefore.getTime(),
    notAfter,
    daysLeft: Math.floor((notAfter - now) / dayMs),
    version: versionOf(node.raw),
    keyType: describeKey(node.publicKey),
    signedByAuthority,
  };
}

function nameOf(role: CertificateRole | null): string | null {
  if (role?.role === "node") return role.node;
  return role?.role === "user" ? role.name : null;
}

function onlyOne(values: readonly string[]): string | null {
  return values.length === 1 ? (values[0] ?? null) : null;
}

function alternativeNames(certificate: X509Certificate): readonly AlternativeName[] {
  const extension = certificate.getExtension(SubjectAlternativeNameExtension);
  return (extension?.names.items ?? []).map((name) => ({ type: name.type, value: name.value }));
}

/**
 * The version, which Node does not offer. A certificate is SEQUENCE { tbs SEQUENCE { [0] { INTEGER version }
 * … } … }, and the [0] is left out in version 1 (RFC 5280, section 4.1).
 */
function versionOf(der: Uint8Array): number {
  const tbs = contentStart(der, 0);
  const first = contentStart(der, tbs);
  return der[first] === 0xa0 ? (der[first + 4] ?? 0) + 1 : 1;
}

/** Where the content of the DER value at that offset begins: after its tag and its length. */
function contentStart(der: Uint8Array, offset: number): number {
  const length = der[offset + 1] ?? 0;
  return offset + 2 + (length < 0x80 ? 0 : length & 0x7f);
}
