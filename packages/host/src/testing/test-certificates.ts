import { X509Certificate, createHash, generateKeyPairSync, randomBytes, randomUUID, sign } from "node:crypto";

import type { KeyObject } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ProblemError, controlCommonName, nodeCommonName, userCommonName } from "@flocker/core";
import type { NodeId } from "@flocker/core";
import { loadCredentials } from "../certificates.ts";
import type { CredentialFiles, Credentials } from "../certificates.ts";

/** How a test certificate differs from a good one of today. */
export interface TestCertificateOptions {
  readonly validity?: "current" | "expired" | "early";
  /** 1 makes what the original `flocker-ca` made: version 1 that nevertheless carries extensions. */
  readonly version?: 1 | 3;
}

/** An authority that issues test certificates into its folder. The same request gets the same files. */
export interface TestAuthority {
  readonly clusterId: string;
  readonly clusterCertificateFile: string;
  readonly clusterKeyFile: string;
  /** For `control-service`, `localhost`, 127.0.0.1 and ::1. */
  control(options?: TestCertificateOptions): CredentialFiles;
  node(node: NodeId, options?: TestCertificateOptions): CredentialFiles;
  user(name: string, options?: TestCertificateOptions): CredentialFiles;
  /** Writes `cluster.crl` beside the cluster certificate, with these certificates and no others. */
  revoke(...revoked: readonly CredentialFiles[]): void;
  /** Any common name, also ones that the cluster does not know. */
  named(commonName: string, options?: TestCertificateOptions): CredentialFiles;
}

/** A cluster's authority, one of another cluster, and a cluster file that trusts both. */
export interface TestCertificates extends TestAuthority {
  readonly foreign: TestAuthority;
  readonly bothAuthoritiesFile: string;
}

const cache = new Map<string, TestCertificates>();
let sharedFolder: string | undefined;

/**
 * Certificates for tests, on P-256 keys, written into a folder: made once for each folder and process.
 * Without a folder they go into a temporary one that is shared by the process and removed at its end.
 */
export function makeTestCertificates(folder: string = temporaryFolder()): TestCertificates {
  const known = cache.get(folder);
  if (known !== undefined) return known;
  const own = authority(join(folder, "own"), "test cluster");
  const foreign = authority(join(folder, "foreign"), "another cluster");
  const bothAuthoritiesFile = join(folder, "both.crt");
  const files = [foreign.clusterCertificateFile, own.clusterCertificateFile];
  writeFileSync(bothAuthoritiesFile, files.map((file) => readFileSync(file, "utf8")).join(""));
  const certificates = { ...own, foreign, bothAuthoritiesFile };
  cache.set(folder, certificates);
  return certificates;
}

/**
 * Loads credentials at a time when their certificate was valid, so that tests can show an expired one to the
 * other side. Throws a ProblemError for everything else that is wrong with them.
 */
export function testCredentials(files: CredentialFiles): Credentials {
  const leaf = new X509Certificate(readFileSync(files.certificateFile));
  const now = (Date.parse(leaf.validFrom) + Date.parse(leaf.validTo)) / 2;
  const credentials = loadCredentials({ ...files, now });
  if (!credentials.ok) throw new ProblemError(credentials.problem);
  return credentials.value;
}

function temporaryFolder(): string {
  if (sharedFolder === undefined) {
    const folder = mkdtempSync(join(tmpdir(), "flocker-test-certificates-"));
    process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
    sharedFolder = folder;
  }
  return sharedFolder;
}

interface Signer {
  readonly name: Buffer;
  readonly key: KeyObject;
  readonly keyId: Buffer;
}

function authority(folder: string, clusterName: string): TestAuthority {
  mkdirSync(folder, { recursive: true });
  const clusterId = randomUUID();
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const signer = { name: subject(clusterId, clusterName), key: privateKey, keyId: keyIdOf(spki) };
  const clusterCertificateFile = join(folder, "cluster.crt");
  const clusterKeyFile = join(folder, "cluster.key");
  const der = signed(signer, {
    subject: signer.name,
    spki,
    version: 3,
    from: yearsFromNow(-10),
    to: yearsFromNow(20),
    extensions: [basicConstraints(true), extension(keyUsageOid, bitString(Buffer.of(0b0000_0110), 1), true)],
  });
  writeFileSync(clusterCertificateFile, new X509Certificate(der).toString());
  writeFileSync(clusterKeyFile, pem(privateKey), { mode: 0o600 });

  const issued = new Map<string, CredentialFiles>();
  const issue = (commonName: string, options: TestCertificateOptions, names: Buffer[]): CredentialFiles => {
    const { validity = "current", version = 3 } = options;
    const base = `${commonName.replaceAll("/", "_")}.${validity}.v${version}`;
    const known = issued.get(base);
    if (known !== undefined) return known;
    const files = {
      clusterCertificateFile,
      certificateFile: join(folder, `${base}.crt`),
      keyFile: join(folder, `${base}.key`),
    };
    writeLeaf(signer, files, { subject: subject(clusterId, commonName), names, validity, version });
    issued.set(base, files);
    return files;
  };
  const plain = (name: string, options: TestCertificateOptions = {}): CredentialFiles =>
    issue(name, options, options.version === 1 ? [] : [dnsName(name)]);
  return {
    clusterId,
    clusterCertificateFile,
    clusterKeyFile,
    control: (options = {}) => issue(controlCommonName, options, controlNames),
    node: (node, options) => plain(nodeCommonName(node), options),
    user: (name, options) => plain(userCommonName(name), options),
    named: plain,
    revoke: (...revoked) => {
      const serials = revoked.map(
        (files) => new X509Certificate(readFileSync(files.certificateFile)).serialNumber,
      );
      writeFileSync(join(folder, "cluster.crl"), revocationList(signer, serials));
    },
  };
}

function writeLeaf(
  signer: Signer,
  files: CredentialFiles,
  leaf: {
    readonly subject: Buffer;
    readonly names: readonly Buffer[];
    readonly validity: "current" | "expired" | "early";
    readonly version: 1 | 3;
  },
): void {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const years = { current: [-1, 5], expired: [-2, -1], early: [1, 2] } as const;
  const [from, to] = years[leaf.validity];
  const der = signed(signer, {
    subject: leaf.subject,
    spki: publicKey.export({ type: "spki", format: "der" }),
    version: leaf.version,
    from: yearsFromNow(from),
    to: yearsFromNow(to),
    extensions: [
      basicConstraints(false),
      extension(extendedKeyUsageOid, sequence(objectId(clientAuthOid), objectId(serverAuthOid))),
      ...(leaf.names.length > 0 ? [extension(subjectNamesOid, sequence(...leaf.names))] : []),
    ],
  });
  writeFileSync(files.certificateFile, new X509Certificate(der).toString());
  writeFileSync(files.keyFile, pem(privateKey), { mode: 0o600 });
}

/** A signed certificate in DER, field by field after RFC 5280, section 4.1. */
function signed(
  signer: Signer,
  fields: {
    readonly subject: Buffer;
    readonly spki: Buffer;
    readonly version: 1 | 3;
    readonly from: Date;
    readonly to: Date;
    readonly extensions: readonly Buffer[];
  },
): Buffer {
  const algorithm = sequence(objectId("2a8648ce3d040302"));
  const identifiers = [
    extension(subjectKeyIdOid, tlv(0x04, keyIdOf(fields.spki))),
    extension(authorityKeyIdOid, sequence(tlv(0x80, signer.keyId))),
  ];
  const body = sequence(
    ...(fields.version === 3 ? [tlv(0xa0, tlv(0x02, Buffer.of(2)))] : []),
    // A first byte between 1 and 127 keeps the serial number positive and without padding.
    tlv(0x02, Buffer.concat([Buffer.of(0x2a), randomBytes(15)])),
    algorithm,
    signer.name,
    sequence(time(fields.from), time(fields.to)),
    fields.subject,
    fields.spki,
    tlv(0xa3, sequence(...identifiers, ...fields.extensions)),
  );
  return sequence(body, algorithm, bitString(sign("sha256", body, signer.key)));
}

/** A CRL in PEM, after RFC 5280, section 5.1. */
function revocationList(signer: Signer, serials: readonly string[]): string {
  const algorithm = sequence(objectId("2a8648ce3d040302"));
  const entries = serials.map((serial) => sequence(tlv(0x02, Buffer.from(serial, "hex")), time(new Date())));
  const body = sequence(
    tlv(0x02, Buffer.of(1)),
    algorithm,
    signer.name,
    time(new Date()),
    time(yearsFromNow(1)),
    ...(entries.length > 0 ? [sequence(...entries)] : []),
  );
  const der = sequence(body, algorithm, bitString(sign("sha256", body, signer.key)));
  return `-----BEGIN X509 CRL-----\n${der.toString("base64")}\n-----END X509 CRL-----\n`;
}

const basicConstraintsOid = "551d13";
const keyUsageOid = "551d0f";
const subjectNamesOid = "551d11";
const extendedKeyUsageOid = "551d25";
const subjectKeyIdOid = "551d0e";
const authorityKeyIdOid = "551d23";
const serverAuthOid = "2b06010505070301";
const clientAuthOid = "2b06010505070302";

const controlNames = [
  dnsName(controlCommonName),
  dnsName("localhost"),
  tlv(0x87, Buffer.of(127, 0, 0, 1)),
  tlv(0x87, Buffer.from("00000000000000000000000000000001", "hex")),
];

function tlv(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), content]);
  if (length < 0x100) return Buffer.concat([Buffer.of(tag, 0x81, length), content]);
  return Buffer.concat([Buffer.of(tag, 0x82, length >> 8, length & 0xff), content]);
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tlv(0x30, ...parts);
}

function objectId(hex: string): Buffer {
  return tlv(0x06, Buffer.from(hex, "hex"));
}

function bitString(content: Buffer, unusedBits: number = 0): Buffer {
  return tlv(0x03, Buffer.of(unusedBits), content);
}

function extension(oid: string, value: Buffer, critical: boolean = false): Buffer {
  return sequence(objectId(oid), ...(critical ? [tlv(0x01, Buffer.of(0xff))] : []), tlv(0x04, value));
}

function basicConstraints(isAuthority: boolean): Buffer {
  return extension(
    basicConstraintsOid,
    isAuthority ? sequence(tlv(0x01, Buffer.of(0xff)), tlv(0x02, Buffer.of(0))) : sequence(),
    true,
  );
}

function subject(clusterId: string, commonName: string): Buffer {
  const part = (oid: string, text: string): Buffer =>
    tlv(0x31, sequence(objectId(oid), tlv(0x0c, Buffer.from(text))));
  return sequence(part("55040b", clusterId), part("550403", commonName));
}

function dnsName(name: string): Buffer {
  return tlv(0x82, Buffer.from(name));
}

/** UTCTime, which reaches to 2049. */
function time(date: Date): Buffer {
  const digits = date.toISOString().replaceAll(/[-:T]/g, "").slice(2, 14);
  return tlv(0x17, Buffer.from(`${digits}Z`));
}

function yearsFromNow(years: number): Date {
  const date = new Date();
  date.setUTCFullYear(date.getUTCFullYear() + years);
  return date;
}

function keyIdOf(spki: Buffer): Buffer {
  return createHash("sha1").update(spki).digest();
}

function pem(key: KeyObject): string {
  return String(key.export({ type: "pkcs8", format: "pem" }));
}
