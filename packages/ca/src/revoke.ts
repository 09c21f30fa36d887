import "reflect-metadata";
import { failure, success, type Milliseconds, type Result } from "@flocker/core";
import { AuthorityKeyIdentifierExtension, X509Crl, X509CrlGenerator } from "@peculiar/x509";
import {
  authorityKeyIdentifier,
  openAuthority,
  wholeSecond,
  type Authority,
  type IssuingContext,
} from "./authority.ts";
import { factsOf, isSignedBy, parseCertificate, type CertificateFacts } from "./inspect.ts";
import { encodePem } from "./key.ts";

/** A list of revoked certificates with one more. */
export interface Revocation {
  /** The whole list in PEM: X.509 CRLs (RFC 5280, section 5), one for each authority that has had one. */
  readonly listPem: string;
  readonly revoked: CertificateFacts;
  /** Since when it is revoked; earlier than now where it was already. */
  readonly since: Milliseconds;
}

/**
 * Adds a certificate to the authority's list. It has to be one that the authority has signed
 * (`certificate-foreign`) and not its own (`not-supported`). Revoking again changes nothing. The list holds
 * until the authority ends.
 */
export async function revokeCertificate(
  authorityFiles: { readonly certificatePem: string; readonly keyPem: string },
  request: { readonly certificatePem: string; readonly listPem: string | undefined },
  context: IssuingContext,
): Promise<Result<Revocation>> {
  const parsed = parseCertificate(request.certificatePem, "the certificate to revoke");
  if (!parsed.ok) return parsed;
  const authority = await openAuthority(authorityFiles, context, { evenIfExpired: true });
  if (!authority.ok) return authority;
  const revoked = factsOf(parsed.value, context.now, true);
  if (!isSignedBy(parsed.value, authority.value.certificate))
    return failure(
      "certificate-foreign",
      `The certificate ${revoked.subject} was not signed by the certificate authority ${authority.value.facts.subject}.`,
      "Name the folder of the authority that has signed it, with --ca.",
    );
  if (revoked.role === "ca")
    return failure(
      "not-supported",
      "An authority cannot revoke itself.",
      "Replace it with flocker ca rotate, and take its certificate out of every cluster.crt.",
    );
  const lists = readLists(request.listPem ?? "");
  if (!lists.ok) return lists;
  const isOwn = (list: X509Crl): boolean => list.issuer === authority.value.certificate.x509.subject;
  const entries = lists.value.filter(isOwn).flatMap((list) =>
    list.entries.map(({ serialNumber, revocationDate }) => ({
      serial: plainSerial(serialNumber),
      at: revocationDate.getTime(),
    })),
  );
  const known = entries.find((entry) => entry.serial === plainSerial(revoked.serial));
  const since = known?.at ?? context.now;
  const all =
    known === undefined ? [...entries, { serial: plainSerial(revoked.serial), at: since }] : entries;
  const list = await signList(authority.value, all, context);
  const others = lists.value.filter((one) => !isOwn(one)).map(pemOf);
  return success({ listPem: [list, ...others].join(""), revoked, since });
}

function readLists(pem: string): Result<readonly X509Crl[]> {
  const blocks = pem.match(/-----BEGIN X509 CRL-----[\s\S]+?-----END X509 CRL-----/g) ?? [];
  try {
    if (blocks.length > 0 || pem.trim() === "") return success(blocks.map(listIn));
  } catch {
    // Said below.
  }
  return failure(
    "certificate-invalid",
    "The list of revoked certificates that is there already cannot be read.",
    "Restore cluster.crl from a backup; a new list would let those in that were revoked.",
  );
}

function listIn(pem: string): X509Crl {
  return new X509Crl(new Uint8Array(Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ""), "base64")));
}

async function signList(
  authority: Authority,
  entries: readonly { readonly serial: string; readonly at: Milliseconds }[],
  context: IssuingContext,
): Promise<string> {
  const list = await X509CrlGenerator.create(
    {
      issuer: authority.certificate.x509.subjectName,
      thisUpdate: wholeSecond(context.now),
      nextUpdate: wholeSecond(Math.max(authority.facts.notAfter, context.now + 1000)),
      signingKey: authority.signingKey,
      signingAlgorithm: { ...authority.signingKey.algorithm, hash: "SHA-256" },
      extensions: [new AuthorityKeyIdentifierExtension(await authorityKeyIdentifier(authority, context))],
      entries: entries.map(({ serial, at }) => ({
        // A first bit of 1 would make the number negative.
        serialNumber: /^[89a-f]/.test(serial) && serial.length % 2 === 0 ? `00${serial}` : serial,
        revocationDate: wholeSecond(at),
      })),
    },
    context.crypto,
  );
  return pemOf(list);
}

/** The library itself would call it CRL, which OpenSSL does not know. */
function pemOf(list: X509Crl): string {
  return encodePem("X509 CRL", new Uint8Array(list.rawData));
}

function plainSerial(serial: string): string {
  const digits = serial.toLowerCase().replace(/^0+/, "");
  return digits.length % 2 === 0 ? digits : `0${digits}`;
}
