// What the tests of this package share: a fixed time, an authority, temporary folders and the openssl command
// line.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createSign, webcrypto } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { promisify } from "node:util";
import type { Result } from "@flocker/core";
import {
  certificateIds,
  initialiseAuthority,
  openAuthority,
  type Authority,
  type IssuedCertificate,
  type IssuingContext,
} from "./authority.ts";
import type { KeyType } from "./key.ts";

export const dayMs = 86_400_000;

export function contextAt(now: number = Date.now()): IssuingContext {
  return { crypto: webcrypto, now, ids: certificateIds(webcrypto) };
}

export function value<Value>(result: Result<Value>): Value {
  if (!result.ok) assert.fail(`${result.problem.code}: ${result.problem.message}`);
  return result.value;
}

export function problemOf(result: Result<unknown>): { code: string; message: string; remedy: string } {
  if (result.ok) assert.fail("it succeeded");
  return result.problem;
}

export interface TestAuthority {
  readonly files: { readonly certificatePem: string; readonly keyPem: string };
  readonly authority: Authority;
  readonly issued: IssuedCertificate;
}

export async function makeAuthority(
  options: { keyType?: KeyType; days?: number; context?: IssuingContext; name?: string } = {},
): Promise<TestAuthority> {
  const context = options.context ?? contextAt();
  const issued = value(
    await initialiseAuthority(
      { name: options.name ?? "mycluster", keyType: options.keyType ?? "ec-p256", ...daysOf(options.days) },
      context,
    ),
  );
  const files = { certificatePem: issued.certificatePem, keyPem: issued.keyPem ?? "" };
  return { files, issued, authority: value(await openAuthority(files, context)) };
}

function daysOf(days: number | undefined): { days?: number } {
  return days === undefined ? {} : { days };
}

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "flocker-ca-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

const run = promisify(execFile);

/** Runs openssl and answers what it prints; fails with its error output. */
export async function openssl(...argv: string[]): Promise<string> {
  const { stdout } = await run("openssl", argv);
  return stdout;
}

export async function opensslText(t: TestContext, pem: string): Promise<string> {
  const path = join(await temporaryFolder(t), "certificate.crt");
  await writeFile(path, pem);
  return openssl("x509", "-in", path, "-noout", "-text", "-nameopt", "RFC2253,utf8,-esc_msb");
}

/** `openssl verify -x509_strict`, for each purpose that is named. */
export async function opensslVerify(
  t: TestContext,
  certificatePem: string,
  authorityPem: string,
  ...options: string[]
): Promise<string> {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, "leaf.crt"), certificatePem);
  await writeFile(join(folder, "ca.crt"), authorityPem);
  return openssl(
    "verify",
    "-x509_strict",
    "-CAfile",
    join(folder, "ca.crt"),
    ...options,
    join(folder, "leaf.crt"),
  );
}

/**
 * The certificate as the original tool would have written it: the same in X.509 version 1, signed again. It
 * takes the version, `[0] { INTEGER 2 }`, out of the DER text.
 */
export function asVersion1(certificatePem: string, authorityKeyPem: string): string {
  const der = Buffer.from(certificatePem.replaceAll(/-----.*?-----|\s/g, ""), "base64");
  const [tbs, algorithm] = children(der);
  assert.ok(tbs && algorithm);
  const fields = children(tbs);
  assert.equal(fields[0]?.[0], 0xa0);
  const tbs1 = sequence(fields.slice(1));
  const signature = createSign("sha256").update(tbs1).sign(authorityKeyPem);
  const bits = tagged(0x03, Buffer.concat([Buffer.from([0]), signature]));
  const base64 = sequence([tbs1, algorithm, bits]).toString("base64");
  return `-----BEGIN CERTIFICATE-----\n${base64.replaceAll(/(.{64})/g, "$1\n")}\n-----END CERTIFICATE-----\n`;
}

function children(der: Buffer): Buffer[] {
  const { start, end } = extent(der, 0);
  const found: Buffer[] = [];
  for (let at = start; at < end;) {
    const next = extent(der, at).end;
    found.push(der.subarray(at, next));
    at = next;
  }
  return found;
}

function extent(der: Buffer, at: number): { start: number; end: number } {
  const first = der[at + 1] ?? 0;
  const digits = first < 0x80 ? 0 : first & 0x7f;
  const length = digits === 0 ? first : der.readUIntBE(at + 2, digits);
  return { start: at + 2 + digits, end: at + 2 + digits + length };
}

function tagged(tag: number, content: Buffer): Buffer {
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content]);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(content.length);
  return Buffer.concat([Buffer.from([tag, 0x82]), length, content]);
}

function sequence(parts: readonly Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(parts));
}
