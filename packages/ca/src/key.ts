import { createPrivateKey, createPublicKey, type KeyObject, type webcrypto } from "node:crypto";
import { failure, success, type Result } from "@flocker/core";

/** The kinds of key that are made. The first is the default; RSA is for clients that know nothing else. */
export const keyTypes = ["ec-p256", "rsa-2048", "rsa-3072", "rsa-4096"] as const;
export type KeyType = (typeof keyTypes)[number];

/** Where keys and signatures are made: Node's `webcrypto`, or anything that offers the same. */
export type CryptoProvider = webcrypto.Crypto;

type ImportAlgorithm = webcrypto.EcKeyImportParams | webcrypto.RsaHashedImportParams;

/**
 * A key pair as made: the public half as the DER text of SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
 */
export interface NewKey {
  readonly privateKeyPem: string;
  readonly publicKeyDer: Uint8Array<ArrayBuffer>;
}

/** Makes a key pair. */
export async function generateKey(type: KeyType, crypto: CryptoProvider): Promise<NewKey> {
  const algorithm =
    type === "ec-p256"
      ? { name: "ECDSA", namedCurve: "P-256" }
      : {
          name: "RSASSA-PKCS1-v1_5",
          hash: "SHA-256",
          modulusLength: Number(type.slice("rsa-".length)),
          publicExponent: new Uint8Array([1, 0, 1]),
        };
  const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const [privateDer, publicDer] = await Promise.all([
    crypto.subtle.exportKey("pkcs8", pair.privateKey),
    crypto.subtle.exportKey("spki", pair.publicKey),
  ]);
  return {
    privateKeyPem: encodePem("PRIVATE KEY", new Uint8Array(privateDer)),
    publicKeyDer: new Uint8Array(publicDer),
  };
}

/** Reads a private key in PEM form: PKCS#8, PKCS#1 (as old tools write RSA) or SEC 1. */
export function readPrivateKey(pem: string, description: string): Result<KeyObject> {
  try {
    return success(createPrivateKey(pem));
  } catch (error) {
    if (/ENCRYPTED/.test(pem)) {
      return failure(
        "file-unreadable",
        `The private key in ${description} is encrypted.`,
        "Decrypt it into a file that only you can read: openssl pkey -in ENCRYPTED.key -out PLAIN.key",
      );
    }
    return failure(
      "file-unreadable",
      `Reading the private key in ${description} failed: ${(error as Error).message}.`,
      "Give a file that begins with -----BEGIN PRIVATE KEY-----, unchanged since it was made.",
    );
  }
}

/** The public half of a private key, as the DER text of SubjectPublicKeyInfo. */
export function publicKeyDerOf(key: KeyObject): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createPublicKey(key).export({ type: "spki", format: "der" }));
}

/** Turns a private key into one that signs certificates with SHA-256. */
export async function importSigningKey(
  key: KeyObject,
  crypto: CryptoProvider,
): Promise<Result<webcrypto.CryptoKey>> {
  const algorithm = signingAlgorithm(key);
  if (algorithm === null) {
    return failure(
      "not-supported",
      `The certificate authority's key is of a kind (${describeKey(key)}) that cannot sign certificates here.`,
      "Use an authority with an EC (P-256, P-384, P-521) or RSA key; flocker ca init makes one.",
    );
  }
  const der = new Uint8Array(key.export({ type: "pkcs8", format: "der" }));
  return success(await crypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]));
}

const curves: Readonly<Record<string, string>> = {
  prime256v1: "P-256",
  secp384r1: "P-384",
  secp521r1: "P-521",
};

function signingAlgorithm(key: KeyObject): ImportAlgorithm | null {
  if (key.asymmetricKeyType === "rsa") return { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  if (key.asymmetricKeyType !== "ec") return null;
  const namedCurve = curves[key.asymmetricKeyDetails?.namedCurve ?? ""];
  return namedCurve === undefined ? null : { name: "ECDSA", namedCurve };
}

/** A key's kind for people and programs: `ec-p256`, `rsa-4096`, or what the crypto library calls it. */
export function describeKey(key: KeyObject): string {
  const details = key.asymmetricKeyDetails;
  if (key.asymmetricKeyType === "rsa") return `rsa-${details?.modulusLength}`;
  if (key.asymmetricKeyType !== "ec") return key.asymmetricKeyType ?? "unknown";
  const curve = details?.namedCurve ?? "unknown";
  return `ec-${(curves[curve] ?? curve).replace("P-", "p").toLowerCase()}`;
}

/** The kind of key to make in place of one of this kind: the same where it is made here, else the default. */
export function successorKeyType(described: string): KeyType {
  return keyTypes.find((type) => type === described) ?? "ec-p256";
}

/** Binary data as a PEM text (RFC 7468). */
export function encodePem(label: string, der: Uint8Array): string {
  const lines = Buffer.from(der)
    .toString("base64")
    .match(/.{1,64}/g);
  return `-----BEGIN ${label}-----\n${(lines ?? []).join("\n")}\n-----END ${label}-----\n`;
}
