import { verify } from "node:crypto";
import type { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { failure, success } from "@flocker/core";
import type { Result } from "@flocker/core";

/** Which certificates are not to be trusted any more, although they are signed and in time. */
export interface Revocations {
  has(certificate: X509Certificate): boolean;
  /** How many certificates are revoked. */
  readonly count: number;
}

/** Nothing is revoked. */
export const noRevocations: Revocations = { has: () => false, count: 0 };

/**
 * Reads a list of revoked certificates: one or more CRLs of X.509 in PEM (RFC 5280, section 5), each signed
 * by the authority that it is of. Lists of authorities that are not trusted (any more) say nothing. A list
 * counts after its `nextUpdate`, too: an old one is better than none. No file means that nothing is revoked.
 * `file-unreadable`, `certificate-invalid`.
 */
export function loadRevocations(path: string, authorities: readonly X509Certificate[]): Result<Revocations> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    if (reason === "ENOENT") return success(noRevocations);
    return failure(
      "file-unreadable",
      `Reading the list of revoked certificates from ${path} failed: ${reason}.`,
      "Make the file readable for this user, or remove it if nothing is revoked.",
    );
  }
  const blocks = text.match(/-----BEGIN X509 CRL-----[\s\S]+?-----END X509 CRL-----/g) ?? [];
  if (blocks.length === 0) return unusable(path, "there is no list in PEM form in it");
  const revoked = new Set<string>();
  for (const block of blocks) {
    const base64 = block.replaceAll(/-----[^-]+-----|\s/g, "");
    const list = parseList(Buffer.from(base64, "base64"));
    if (list === undefined) return unusable(path, "a list in it is damaged");
    const named = authorities.filter((one) => subjectDer(one)?.equals(list.issuer) === true);
    const signer = named.find((one) => isSigned(list, one));
    if (signer === undefined && named.length > 0)
      return unusable(path, "a list in it was not signed by the authority that it names");
    for (const serial of list.serials) if (signer !== undefined) revoked.add(keyOf(signer.subject, serial));
  }
  return success({
    count: revoked.size,
    has: (certificate) => revoked.has(keyOf(certificate.issuer, certificate.serialNumber)),
  });
}

function unusable(path: string, why: string): Result<never> {
  return failure(
    "certificate-invalid",
    `The list of revoked certificates in ${path} cannot be used: ${why}.`,
    "Copy the cluster.crl again that `flocker ca revoke` has written where the authority is kept.",
  );
}

function keyOf(issuer: string, serial: string): string {
  return `${serial.toLowerCase().replace(/^0+/, "")} ${issuer}`;
}

interface List {
  readonly signed: Buffer;
  readonly issuer: Buffer;
  readonly algorithm: string;
  readonly signature: Buffer;
  readonly serials: readonly string[];
}

/**
 * The digests of the signature algorithms that an authority may use, by their object identifiers in
 * hexadecimal.
 */
const digests: Readonly<Record<string, string>> = {
  "2a8648ce3d040302": "sha256",
  "2a8648ce3d040303": "sha384",
  "2a8648ce3d040304": "sha512",
  "2a864886f70d01010b": "sha256",
  "2a864886f70d01010c": "sha384",
  "2a864886f70d01010d": "sha512",
};

function isSigned(list: List, authority: X509Certificate): boolean {
  const digest = digests[list.algorithm];
  return digest !== undefined && verify(digest, list.signed, authority.publicKey, list.signature);
}

/** CertificateList ::= SEQUENCE { tbsCertList, signatureAlgorithm, signatureValue } */
function parseList(der: Buffer): List | undefined {
  const [whole] = values(der);
  const [tbs, algorithm, signature] = whole === undefined ? [] : values(whole.content);
  const identifier = algorithm === undefined ? undefined : values(algorithm.content)[0];
  if (tbs === undefined || identifier === undefined || signature?.tag !== 0x03) return undefined;
  // TBSCertList ::= SEQUENCE { version?, signature, issuer, thisUpdate, nextUpdate?, revokedCertificates?, …
  // }
  const parts = values(tbs.content);
  if (parts[0]?.tag === 0x02) parts.shift();
  const [, issuer, thisUpdate, ...rest] = parts;
  if (issuer === undefined || thisUpdate === undefined) return undefined;
  const entries = rest.find((part) => part.tag === 0x30);
  const serials = (entries === undefined ? [] : values(entries.content)).map((entry) =>
    values(entry.content)[0]?.content.toString("hex"),
  );
  if (serials.includes(undefined)) return undefined;
  return {
    signed: tbs.whole,
    issuer: issuer.whole,
    algorithm: identifier.content.toString("hex"),
    signature: signature.content.subarray(1),
    serials: serials.filter((serial) => serial !== undefined),
  };
}

/**
 * A certificate's subject as it was signed. TBSCertificate: version?, serial, signature, issuer, validity,
 * subject.
 */
function subjectDer(certificate: X509Certificate): Buffer | undefined {
  const [whole] = values(certificate.raw);
  const [tbs] = whole === undefined ? [] : values(whole.content);
  const parts = tbs === undefined ? [] : values(tbs.content);
  if (parts[0]?.tag === 0xa0) parts.shift();
  return parts[4]?.whole;
}

interface DerValue {
  readonly tag: number;
  readonly content: Buffer;
  readonly whole: Buffer;
}

/** The values that follow each other in DER; what is cut off or longer than it can be ends them. */
function values(der: Buffer): DerValue[] {
  const found: DerValue[] = [];
  let offset = 0;
  while (offset + 2 <= der.length) {
    const tag = der[offset] ?? 0;
    const first = der[offset + 1] ?? 0;
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
    const begin = offset + 2 + lengthBytes;
    if (lengthBytes > 4 || begin > der.length) break;
    const length = lengthBytes === 0 ? first : der.readUIntBE(offset + 2, lengthBytes);
    if (begin + length > der.length) break;
    found.push({
      tag,
      content: der.subarray(begin, begin + length),
      whole: der.subarray(offset, begin + length),
    });
    offset = begin + length;
  }
  return found;
}
