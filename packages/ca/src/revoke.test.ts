import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import {
  asVersion1,
  contextAt,
  dayMs,
  makeAuthority,
  problemOf,
  temporaryFolder,
  value,
  openssl,
} from "./certificate-fixtures.test.ts";
import { succeedAuthority } from "./authority.ts";
import { issueNode, issueUser } from "./issue.ts";
import type { KeyType } from "./key.ts";
import { revokeCertificate } from "./revoke.ts";

for (const keyType of ["ec-p256", "rsa-2048"] satisfies KeyType[])
  test(`OpenSSL takes the list and refuses who is on it, with ${keyType} keys`, async (t) => {
    const ca = await makeAuthority({ keyType });
    const users = await Promise.all(
      Array.from({ length: 8 }, async (_none, index) =>
        value(await issueUser(ca.authority, { name: `user${index}` }, contextAt())),
      ),
    );
    let listPem: string | undefined;
    // Eight serial numbers, so that some begin with a bit of 1 and some not.
    for (const { certificatePem } of users.slice(1))
      ({ listPem } = value(await revokeCertificate(ca.files, { certificatePem, listPem }, contextAt())));
    const folder = await temporaryFolder(t);
    const at = (name: string) => join(folder, name);
    await writeFile(at("cluster.crt"), ca.files.certificatePem);
    await writeFile(at("cluster.crl"), listPem ?? "");
    const check = async (index: number): Promise<string> => {
      await writeFile(at("user.crt"), users[index]?.certificatePem ?? "");
      const argv = ["verify", "-x509_strict", "-CAfile", at("cluster.crt"), "-crl_check", "-CRLfile"];
      return openssl(...argv, at("cluster.crl"), at("user.crt"));
    };
    assert.match(await check(0), /OK/);
    for (let index = 1; index < users.length; index += 1) await assert.rejects(check(index), /error 23 /);
  });

test("revoking again changes nothing, not even the time", async () => {
  const ca = await makeAuthority();
  const { certificatePem } = value(await issueUser(ca.authority, { name: "alice" }, contextAt()));
  const first = value(await revokeCertificate(ca.files, { certificatePem, listPem: undefined }, contextAt()));
  const later = contextAt(Date.now() + dayMs);
  const again = value(await revokeCertificate(ca.files, { certificatePem, listPem: first.listPem }, later));
  assert.equal(Math.floor(again.since / 1000), Math.floor(first.since / 1000));
  assert.equal(again.listPem.match(/BEGIN X509 CRL/g)?.length, 1);
});

test("the lists of two authorities stand beside each other", async () => {
  const ca = await makeAuthority({ name: "mycluster" });
  const next = value(await succeedAuthority(ca.authority, {}, contextAt()));
  assert.equal(next.facts.commonName, "mycluster (2)");
  assert.equal(next.facts.clusterId, ca.issued.facts.clusterId);
  const old = value(await issueUser(ca.authority, { name: "alice" }, contextAt()));
  const first = value(
    await revokeCertificate(
      ca.files,
      { certificatePem: old.certificatePem, listPem: undefined },
      contextAt(),
    ),
  );
  const both = await makeAuthority({ name: "mycluster" });
  const node = value(await issueNode(both.authority, {}, contextAt()));
  const request = { certificatePem: node.certificatePem, listPem: first.listPem };
  const second = value(await revokeCertificate(both.files, request, contextAt()));
  assert.equal(second.listPem.match(/BEGIN X509 CRL/g)?.length, 2);
});

test("a certificate of the original tool can be revoked", async () => {
  const ca = await makeAuthority({ keyType: "rsa-2048" });
  const { certificatePem } = value(await issueUser(ca.authority, { name: "alice" }, contextAt()));
  const version1 = asVersion1(certificatePem, ca.files.keyPem);
  const request = { certificatePem: version1, listPem: undefined };
  assert.equal(value(await revokeCertificate(ca.files, request, contextAt())).revoked.version, 1);
});

test("what cannot be revoked is refused, and the list stays as it is", async () => {
  const [ca, other] = await Promise.all([makeAuthority(), makeAuthority()]);
  const foreign = value(await issueUser(other.authority, { name: "alice" }, contextAt()));
  const own = value(await issueUser(ca.authority, { name: "alice" }, contextAt()));
  const refuse = async (certificatePem: string, listPem?: string) =>
    problemOf(await revokeCertificate(ca.files, { certificatePem, listPem }, contextAt())).code;
  assert.equal(await refuse(foreign.certificatePem), "certificate-foreign");
  assert.equal(await refuse(ca.files.certificatePem), "not-supported");
  assert.equal(await refuse("no certificate"), "certificate-invalid");
  assert.equal(await refuse(own.certificatePem, "no list"), "certificate-invalid");
  const damaged = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
  assert.equal(await refuse(own.certificatePem, damaged), "certificate-invalid");
});
