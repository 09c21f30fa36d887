import "reflect-metadata";
import {
  controlCommonName,
  failure,
  nodeCommonName,
  parseNodeId,
  userCommonName,
  type Result,
} from "@flocker/core";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
  type Extension,
} from "@peculiar/x509";
import {
  authorityKeyIdentifier,
  checkDays,
  clockSkewMs,
  issued,
  subjectName,
  wholeSecond,
  type Authority,
  type IssuedCertificate,
  type IssuingContext,
} from "./authority.ts";
import { generateKey, type KeyType } from "./key.ts";
import { checkUserName, parseHost, type HostName } from "./subject-names.ts";

const dayMs = 86_400_000;
/**
 * Five years: long enough that nobody renews in a hurry, short enough that a key which leaked unnoticed does
 * not serve for twenty, as the original's did. A certificate never outlives its authority.
 */
export const leafDaysDefault = 1826;

/** What may be chosen for every certificate. */
export interface IssueOptions {
  /** `ec-p256` unless said otherwise. */
  readonly keyType?: KeyType | undefined;
  readonly days?: number | undefined;
}

/** The control service's certificate, for every name and address that clients and agents dial. */
export async function issueControl(
  authority: Authority,
  request: IssueOptions & { readonly hosts: readonly string[] },
  context: IssuingContext,
): Promise<Result<IssuedCertificate>> {
  const hosts: HostName[] = [];
  for (const text of request.hosts) {
    const host = parseHost(text);
    if (!host.ok) return host;
    hosts.push(host.value);
  }
  if (hosts.length === 0) {
    return failure(
      "bad-request",
      "The control service's certificate needs at least one host.",
      "Give the host names or IP addresses that clients dial.",
      "host",
    );
  }
  return issue(authority, controlLeaf(hosts), request, context);
}

/** A node's certificate. A fresh uuid unless one is given (of a node that is set up again). */
export async function issueNode(
  authority: Authority,
  request: IssueOptions & { readonly uuid?: string | undefined },
  context: IssuingContext,
): Promise<Result<IssuedCertificate>> {
  const node = parseNodeId(request.uuid ?? context.ids.uuid());
  if (node === undefined) {
    return failure(
      "bad-request",
      `${JSON.stringify(request.uuid)} is no version 4 uuid.`,
      "Leave it out for a fresh one, or give the uuid of the node's old certificate.",
      "uuid",
    );
  }
  return issue(authority, nodeLeaf(nodeCommonName(node)), request, context);
}

/** The certificate of a person or program that uses the API. */
export async function issueUser(
  authority: Authority,
  request: IssueOptions & { readonly name: string },
  context: IssuingContext,
): Promise<Result<IssuedCertificate>> {
  const name = checkUserName(request.name);
  if (!name.ok) return name;
  return issue(authority, userLeaf(userCommonName(name.value)), request, context);
}

/** What distinguishes one leaf from another. */
export interface Leaf {
  readonly commonName: string;
  readonly alternativeNames: readonly HostName[];
  readonly usages: readonly ExtendedKeyUsage[];
}

/** The control service's leaf; besides the hosts it has the name that the original's clients check. */
export function controlLeaf(hosts: readonly HostName[]): Leaf {
  const names: HostName[] = [{ type: "dns", value: controlCommonName }, ...hosts];
  const unique = new Map(names.map((name) => [`${name.type}:${name.value}`, name]));
  return {
    commonName: controlCommonName,
    alternativeNames: [...unique.values()],
    usages: [ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth],
  };
}

/** A node's leaf: client of the control service, and both client and server towards other nodes. */
export function nodeLeaf(commonName: string): Leaf {
  return {
    commonName,
    alternativeNames: [{ type: "dns", value: commonName }],
    usages: [ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth],
  };
}

/** A user's leaf. */
export function userLeaf(commonName: string): Leaf {
  return { commonName, alternativeNames: [], usages: [ExtendedKeyUsage.clientAuth] };
}

async function issue(
  authority: Authority,
  leaf: Leaf,
  options: IssueOptions,
  context: IssuingContext,
): Promise<Result<IssuedCertificate>> {
  const days = checkDays(options.days ?? leafDaysDefault);
  if (!days.ok) return days;
  const keyType = options.keyType ?? "ec-p256";
  const key = await generateKey(keyType, context.crypto);
  const signed = await signLeaf(
    authority,
    leaf,
    { publicKeyDer: key.publicKeyDer, rsa: keyType.startsWith("rsa"), days: days.value },
    context,
  );
  return issued(signed, key.privateKeyPem, context);
}

/** Signs a leaf for a public key; shorter than asked for where the authority ends earlier. */
export async function signLeaf(
  authority: Authority,
  leaf: Leaf,
  request: {
    readonly publicKeyDer: Uint8Array<ArrayBuffer>;
    readonly rsa: boolean;
    readonly days: number;
  },
  context: IssuingContext,
): Promise<string> {
  const notBefore = Math.max(context.now - clockSkewMs, authority.facts.notBefore);
  const notAfter = Math.min(context.now + request.days * dayMs, authority.facts.notAfter);
  const certificate = await X509CertificateGenerator.create(
    {
      serialNumber: context.ids.serial(),
      subject: subjectName(authority.clusterId, leaf.commonName),
      issuer: authority.certificate.x509.subjectName,
      notBefore: wholeSecond(notBefore),
      notAfter: wholeSecond(notAfter),
      publicKey: request.publicKeyDer,
      signingKey: authority.signingKey,
      extensions: await leafExtensions(authority, leaf, request, context),
    },
    context.crypto,
  );
  return `${certificate.toString("pem")}\n`;
}

async function leafExtensions(
  authority: Authority,
  leaf: Leaf,
  request: { readonly publicKeyDer: Uint8Array<ArrayBuffer>; readonly rsa: boolean },
  context: IssuingContext,
): Promise<Extension[]> {
  // TLS 1.2 clients without ephemeral keys encrypt to an RSA key; an EC key only signs.
  const usages = request.rsa
    ? KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment
    : KeyUsageFlags.digitalSignature;
  const extensions: Extension[] = [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(usages, true),
    new ExtendedKeyUsageExtension([...leaf.usages]),
    await SubjectKeyIdentifierExtension.create(request.publicKeyDer, false, context.crypto),
    new AuthorityKeyIdentifierExtension(await authorityKeyIdentifier(authority, context)),
  ];
  if (leaf.alternativeNames.length > 0) {
    extensions.push(new SubjectAlternativeNameExtension([...leaf.alternativeNames]));
  }
  return extensions;
}

/** The leaf that stands in for a certificate of that role and those names. */
export function leafLike(facts: {
  readonly role: "control" | "node" | "user";
  readonly commonName: string;
  readonly alternativeNames: readonly { readonly type: string; readonly value: string }[];
}): Leaf {
  if (facts.role === "node") return nodeLeaf(facts.commonName);
  if (facts.role === "user") return userLeaf(facts.commonName);
  const hosts = facts.alternativeNames.flatMap((name): HostName[] =>
    name.type === "dns" || name.type === "ip" ? [{ type: name.type, value: name.value }] : [],
  );
  return controlLeaf(hosts);
}
