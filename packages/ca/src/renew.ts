import { failure, success, type Result } from "@flocker/core";
import {
  certificateKeyDer,
  checkDays,
  issued,
  openAuthority,
  renewAuthority,
  type IssuedCertificate,
  type IssuingContext,
} from "./authority.ts";
import {
  factsOf,
  isSignedBy,
  parseCertificate,
  type CertificateFacts,
  type ParsedCertificate,
} from "./inspect.ts";
import { leafDaysDefault, leafLike, signLeaf } from "./issue.ts";
import { generateKey, publicKeyDerOf, readPrivateKey, successorKeyType } from "./key.ts";

/** What is to be renewed, and how. PEM texts; days as for new certificates. */
export interface RenewRequest {
  readonly certificatePem: string;
  /** The private key that lies beside the certificate, if it does: it is checked, never changed. */
  readonly keyPem?: string | undefined;
  readonly newKey?: boolean | undefined;
  readonly days?: number | undefined;
}

/** What the old certificate said, and the new one. */
export interface Renewal {
  readonly before: CertificateFacts;
  readonly issued: IssuedCertificate;
}

/**
 * A new certificate for the holder of an old one: same subject, same alternative names, same key unless a new
 * one is asked for, with the extensions that are issued today (so that the original tool's certificates come
 * out as version 3). The old one may have expired. Renewing the authority's own certificate keeps its key, so
 * that everything it has signed stays valid.
 */
export async function renewCertificate(
  authorityFiles: { readonly certificatePem: string; readonly keyPem: string },
  request: RenewRequest,
  context: IssuingContext,
): Promise<Result<Renewal>> {
  const old = parseCertificate(request.certificatePem, "the certificate to renew");
  if (!old.ok) return old;
  const before = factsOf(old.value, context.now, null);
  const kept = checkKey(old.value, request.keyPem);
  if (!kept.ok) return kept;
  const renewsAuthority = before.role === "ca";
  const authority = await openAuthority(authorityFiles, context, { evenIfExpired: renewsAuthority });
  if (!authority.ok) return authority;
  if (!isSignedBy(old.value, authority.value.certificate)) {
    return failure(
      "certificate-foreign",
      `The certificate ${before.subject} was not signed by the certificate authority ${authority.value.facts.subject}.`,
      "Name the folder of the authority that has signed it, with --ca.",
    );
  }
  if (renewsAuthority) {
    if (request.newKey === true) {
      return failure(
        "not-supported",
        "A certificate authority cannot be renewed with a new key: nothing that it has signed would be valid any more.",
        "Leave out --new-key, or set up a new authority with flocker ca init and issue all certificates anew.",
        "new-key",
      );
    }
    const renewed = await renewAuthority(authority.value, { days: request.days }, context);
    return renewed.ok ? success({ before, issued: renewed.value }) : renewed;
  }
  const made = await renewLeaf(authority.value, old.value, before, request, context);
  return made.ok ? success({ before, issued: made.value }) : made;
}

async function renewLeaf(
  authority: Parameters<typeof signLeaf>[0],
  old: ParsedCertificate,
  before: CertificateFacts,
  request: RenewRequest,
  context: IssuingContext,
): Promise<Result<IssuedCertificate>> {
  if (before.role === null || before.role === "ca" || before.commonName === null) {
    return failure(
      "certificate-role",
      `The certificate ${before.subject} is neither the control service's nor that of a node or user.`,
      "Only certificates that flocker ca has made can be renewed; make a new one instead.",
    );
  }
  const days = checkDays(request.days ?? leafDaysDefault);
  if (!days.ok) return days;
  const leaf = leafLike({ ...before, role: before.role, commonName: before.commonName });
  const keyType = request.newKey === true ? successorKeyType(before.keyType) : null;
  const key = keyType === null ? null : await generateKey(keyType, context.crypto);
  const signed = await signLeaf(
    authority,
    leaf,
    {
      publicKeyDer: key?.publicKeyDer ?? certificateKeyDer(old),
      rsa: (keyType ?? before.keyType).startsWith("rsa"),
      days: days.value,
    },
    context,
  );
  return issued(signed, key?.privateKeyPem ?? null, context);
}

function checkKey(certificate: ParsedCertificate, keyPem: string | undefined): Result<void> {
  if (keyPem === undefined) return success();
  const key = readPrivateKey(keyPem, "the key file beside the certificate");
  if (!key.ok) return key;
  if (Buffer.from(publicKeyDerOf(key.value)).equals(certificateKeyDer(certificate))) return success();
  return failure(
    "certificate-invalid",
    "The private key beside the certificate does not belong to it.",
    "Put the two files that belong together beside each other; earlier ones are kept as .old-SERIAL.",
  );
}
