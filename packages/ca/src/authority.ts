import "reflect-metadata";
import type { webcrypto } from "node:crypto";
import { failure, success, type Milliseconds, type Result } from "@flocker/core";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import {
  factsOf,
  isSignedBy,
  parseCertificate,
  type CertificateFacts,
  type ParsedCertificate,
} from "./inspect.ts";
import {
  generateKey,
  importSigningKey,
  publicKeyDerOf,
  readPrivateKey,
  type CryptoProvider,
  type KeyType,
} from "./key.ts";
import { checkClusterName, commonNameCharactersMax } from "./subject-names.ts";

const dayMs = 86_400_000;
/** The original's 20 years. */
export const authorityDaysDefault = 7305;
/** No certificate is asked for longer than the original's 20 years. */
export const daysMax = 7305;
/**
 * Certificates begin this much in the past, so that machines whose clocks are a little behind take them at
 * once.
 */
export const clockSkewMs = 300_000;

/** Where keys, times and numbers come from. */
export interface IssuingContext {
  readonly crypto: CryptoProvider;
  readonly now: Milliseconds;
  readonly ids: CertificateIds;
}

/** Where uuids and serial numbers come from. */
export interface CertificateIds {
  /** A fresh version 4 uuid. */
  uuid(): string;
  /** 128 random bits as 32 hexadecimal digits. */
  serial(): string;
}

/** Numbers from the operating system's chance. */
export function certificateIds(crypto: CryptoProvider): CertificateIds {
  return {
    uuid: () => crypto.randomUUID(),
    serial: () => Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("hex"),
  };
}

/** A certificate that was made, with its key where that was made too. */
export interface IssuedCertificate {
  readonly certificatePem: string;
  /** Null where the certificate is for a key that exists already. */
  readonly keyPem: string | null;
  readonly facts: CertificateFacts;
}

/** A certificate authority that can sign. */
export interface Authority {
  readonly certificate: ParsedCertificate;
  readonly facts: CertificateFacts;
  readonly signingKey: webcrypto.CryptoKey;
  readonly clusterId: string;
}

/** Makes the certificate authority of a new cluster: `OU=<new cluster uuid>, CN=<name>`, signed by itself. */
export async function initialiseAuthority(
  request: {
    readonly name: string;
    readonly keyType?: KeyType;
    readonly days?: number;
    /** The cluster's uuid, where it is not a new one. */
    readonly clusterId?: string;
  },
  context: IssuingContext,
): Promise<Result<IssuedCertificate>> {
  const name = checkClusterName(request.name);
  if (!name.ok) return name;
  const days = checkDays(request.days ?? authorityDaysDefault);
  if (!days.ok) return days;
  const key = await generateKey(request.keyType ?? "ec-p256", context.crypto);
  const keyObject = readPrivateKey(key.privateKeyPem, "memory");
  if (!keyObject.ok) return keyObject;
  const signingKey = await importSigningKey(keyObject.value, context.crypto);
  if (!signingKey.ok) return signingKey;
  const identifier = await SubjectKeyIdentifierExtension.create(key.publicKeyDer, false, context.crypto);
  const certificatePem = await signAuthority(
    {
      subject: subjectName(request.clusterId ?? context.ids.uuid(), name.value),
      publicKeyDer: key.publicKeyDer,
      signingKey: signingKey.value,
      keyIdentifier: identifier.keyId,
      days: days.value,
    },
    context,
  );
  return issued(certificatePem, key.privateKeyPem, context);
}

/**
 * A new authority for the same cluster, with a key of its own. Its name ends in a number, since certificates
 * name the authority that has signed them.
 */
export function succeedAuthority(
  authority: Authority,
  request: { readonly keyType?: KeyType; readonly days?: number },
  context: IssuingContext,
): Promise<Result<IssuedCertificate>> {
  const { clusterId, facts } = authority;
  const [, base = "", number = "1"] = /^(.*?)(?: \((\d+)\))?$/s.exec(facts.commonName ?? "cluster") ?? [];
  const suffix = ` (${Number(number) + 1})`;
  const name = Array.from(base)
    .slice(0, commonNameCharactersMax - suffix.length)
    .join("")
    .trim();
  return initialiseAuthority({ ...request, name: `${name}${suffix}`, clusterId }, context);
}

/**
 * A new certificate for an authority that goes on with its key and name, so that everything it has signed
 * stays valid under the new one.
 */
export async function renewAuthority(
  authority: Authority,
  request: { readonly days?: number | undefined },
  context: IssuingContext,
): Promise<Result<IssuedCertificate>> {
  const days = checkDays(request.days ?? authorityDaysDefault);
  if (!days.ok) return days;
  const certificatePem = await signAuthority(
    {
      subject: authority.certificate.x509.subjectName,
      publicKeyDer: new Uint8Array(authority.certificate.x509.publicKey.rawData),
      signingKey: authority.signingKey,
      keyIdentifier: await authorityKeyIdentifier(authority, context),
      days: days.value,
    },
    context,
  );
  return issued(certificatePem, null, context);
}

/**
 * Takes an authority's certificate and key for signing. Refuses what is no authority (`certificate-role`), a
 * key of another certificate (`certificate-invalid`), and, unless `evenIfExpired`, dates that do not include
 * now (`certificate-expired`).
 */
export async function openAuthority(
  files: { readonly certificatePem: string; readonly keyPem: string },
  context: IssuingContext,
  options: { readonly evenIfExpired?: boolean } = {},
): Promise<Result<Authority>> {
  const certificate = parseCertificate(files.certificatePem, "the certificate authority's certificate file");
  if (!certificate.ok) return certificate;
  const key = readPrivateKey(files.keyPem, "the certificate authority's key file");
  if (!key.ok) return key;
  const facts = factsOf(certificate.value, context.now, null);
  const usable = checkAuthority(certificate.value, facts, context.now, options.evenIfExpired ?? false);
  if (!usable.ok) return usable;
  if (!Buffer.from(publicKeyDerOf(key.value)).equals(certificateKeyDer(certificate.value))) {
    return failure(
      "certificate-invalid",
      "The certificate authority's private key does not belong to its certificate.",
      "Use cluster.crt and cluster.key as they were made together by one flocker ca init.",
    );
  }
  const signingKey = await importSigningKey(key.value, context.crypto);
  if (!signingKey.ok) return signingKey;
  return success({
    certificate: certificate.value,
    facts,
    signingKey: signingKey.value,
    clusterId: usable.value,
  });
}

function checkAuthority(
  certificate: ParsedCertificate,
  facts: CertificateFacts,
  now: Milliseconds,
  evenIfExpired: boolean,
): Result<string> {
  if (facts.role !== "ca" || !isSignedBy(certificate, certificate)) {
    return failure(
      "certificate-role",
      `The certificate ${facts.subject} is not that of a cluster's certificate authority.`,
      "Use the cluster.crt that flocker ca init has made.",
    );
  }
  if (facts.clusterId === null) {
    return failure(
      "certificate-invalid",
      `The certificate authority ${facts.subject} does not say which cluster it is for (it has no OU).`,
      "Use the cluster.crt that flocker ca init has made.",
    );
  }
  if (now < facts.notBefore) {
    return failure(
      "certificate-invalid",
      `The certificate authority's certificate begins only on ${isoDay(facts.notBefore)}.`,
      "Set this machine's clock right.",
    );
  }
  if (now > facts.notAfter && !evenIfExpired) {
    return failure(
      "certificate-expired",
      `The certificate authority's certificate has expired on ${isoDay(facts.notAfter)}.`,
      "Renew it with flocker ca renew cluster.crt and give the new cluster.crt to every machine and user.",
    );
  }
  return success(facts.clusterId);
}

interface AuthoritySigning {
  readonly subject: Name;
  readonly publicKeyDer: Uint8Array<ArrayBuffer>;
  readonly signingKey: webcrypto.CryptoKey;
  readonly keyIdentifier: string;
  readonly days: number;
}

async function signAuthority(request: AuthoritySigning, context: IssuingContext): Promise<string> {
  const certificate = await X509CertificateGenerator.create(
    {
      serialNumber: context.ids.serial(),
      subject: request.subject,
      issuer: request.subject,
      notBefore: wholeSecond(context.now - clockSkewMs),
      notAfter: wholeSecond(context.now + request.days * dayMs),
      publicKey: request.publicKeyDer,
      signingKey: request.signingKey,
      extensions: [
        // Path length 0: this authority signs certificates of services and people, never other authorities.
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        new SubjectKeyIdentifierExtension(request.keyIdentifier),
        new AuthorityKeyIdentifierExtension(request.keyIdentifier),
      ],
    },
    context.crypto,
  );
  return `${certificate.toString("pem")}\n`;
}

/** The subject `OU=<cluster uuid>, CN=<common name>`, as UTF-8 strings, taken literally. */
export function subjectName(clusterId: string, commonName: string): Name {
  return new Name([{ OU: [{ utf8String: clusterId }] }, { CN: [{ utf8String: commonName }] }]);
}

/** The identifier that the authority's certificate gives its key, which those it signs refer to. */
export async function authorityKeyIdentifier(authority: Authority, context: IssuingContext): Promise<string> {
  const extension = authority.certificate.x509.getExtension(SubjectKeyIdentifierExtension);
  if (extension !== null) return extension.keyId;
  const made = await SubjectKeyIdentifierExtension.create(
    certificateKeyDer(authority.certificate),
    false,
    context.crypto,
  );
  return made.keyId;
}

/** A certificate's public key, as the DER text of SubjectPublicKeyInfo. */
export function certificateKeyDer(certificate: ParsedCertificate): Uint8Array<ArrayBuffer> {
  return new Uint8Array(certificate.node.publicKey.export({ type: "spki", format: "der" }));
}

/** A freshly signed certificate with its facts, read back from what was signed. */
export function issued(
  certificatePem: string,
  keyPem: string | null,
  context: IssuingContext,
): Result<IssuedCertificate> {
  const parsed = parseCertificate(certificatePem, "memory");
  if (!parsed.ok) return parsed;
  return success({ certificatePem, keyPem, facts: factsOf(parsed.value, context.now, true) });
}

/** Checks for how many days a certificate is asked for. */
export function checkDays(days: number): Result<number> {
  if (Number.isInteger(days) && days >= 1 && days <= daysMax) return success(days);
  return failure(
    "bad-request",
    `A certificate cannot be valid for ${days} days.`,
    `Give a whole number of days from 1 to ${daysMax} (20 years).`,
    "days",
  );
}

/** Certificates know whole seconds only. */
export function wholeSecond(time: Milliseconds): Date {
  return new Date(Math.floor(time / 1000) * 1000);
}

/** A day for people: `2031-07-04`. */
export function isoDay(time: Milliseconds): string {
  return new Date(time).toISOString().slice(0, 10);
}
