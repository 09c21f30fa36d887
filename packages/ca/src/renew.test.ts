import assert from "node:assert/strict";
import { createPublicKey, X509Certificate } from "node:crypto";
import { test } from "node:test";
import type { IssuedCertificate } from "./authority.ts";
import {
  asVersion1,
  contextAt,
  dayMs,
  makeAuthority,
  opensslVerify,
  problemOf,
  value,
} from "./certificate-fixtures.test.ts";
import { issueControl, issueNode, issueUser } from "./issue.ts";
import { renewCertificate } from "./renew.ts";

function publicKeyOf(pem: string): string {
  return createPublicKey(pem).export({ type: "spki", format: "pem" }).toString();
}

function pairOf(issued: IssuedCertificate): { certificatePem: string; keyPem: string } {
  return { certificatePem: issued.certificatePem, keyPem: issued.keyPem ?? "" };
}

test("a renewed certificate has the same subject, names and key, and ends later", async (t) => {
  const then = contextAt(Date.now() - 50 * dayMs);
  const { authority, files } = await makeAuthority({ context: then });
  const hosts = ["c.example", "192.0.2.1", "::1"];
  const old = value(await issueControl(authority, { hosts, days: 100 }, then));
  const renewal = value(await renewCertificate(files, pairOf(old), contextAt()));
  const { facts, keyPem, certificatePem } = renewal.issued;
  assert.equal(keyPem, null);
  assert.equal(facts.subject, old.facts.subject);
  assert.deepEqual(facts.alternativeNames, old.facts.alternativeNames);
  assert.equal(publicKeyOf(certificatePem), publicKeyOf(old.certificatePem));
  assert.notEqual(facts.serial, old.facts.serial);
  assert.equal(renewal.before.notAfter, old.facts.notAfter);
  assert.ok(facts.notAfter > old.facts.notAfter + 365 * dayMs);
  await opensslVerify(t, certificatePem, files.certificatePem, "-verify_hostname", "c.example");
});

test("a renewal with a new key comes with that key, of the same kind", async () => {
  const { authority, files } = await makeAuthority();
  const old = value(await issueNode(authority, { keyType: "rsa-2048" }, contextAt()));
  const request = { certificatePem: old.certificatePem, newKey: true };
  const { issued } = value(await renewCertificate(files, request, contextAt()));
  assert.equal(issued.facts.keyType, "rsa-2048");
  assert.equal(publicKeyOf(issued.keyPem ?? ""), publicKeyOf(issued.certificatePem));
  assert.notEqual(publicKeyOf(issued.certificatePem), publicKeyOf(old.certificatePem));
});

test("an expired certificate can be renewed", async () => {
  const then = contextAt(Date.now() - 50 * dayMs);
  const { authority, files } = await makeAuthority({ context: then });
  const old = value(await issueUser(authority, { name: "alice", days: 10 }, then));
  const renewal = value(await renewCertificate(files, { certificatePem: old.certificatePem }, contextAt()));
  assert.ok(renewal.before.daysLeft < 0);
  assert.ok(renewal.issued.facts.daysLeft > 0);
});

test("a certificate of the original tool comes out as version 3, with today's extensions", async (t) => {
  const { authority, files } = await makeAuthority({ keyType: "rsa-2048" });
  const ca1 = asVersion1(files.certificatePem, files.keyPem);
  const leaf = value(await issueNode(authority, { keyType: "rsa-2048" }, contextAt()));
  const request = {
    certificatePem: asVersion1(leaf.certificatePem, files.keyPem),
    keyPem: leaf.keyPem ?? "",
  };
  const renewal = value(await renewCertificate({ ...files, certificatePem: ca1 }, request, contextAt()));
  assert.equal(renewal.before.version, 1);
  assert.equal(renewal.issued.facts.version, 3);
  const authorityRenewed = value(
    await renewCertificate({ ...files, certificatePem: ca1 }, { certificatePem: ca1 }, contextAt()),
  );
  await opensslVerify(t, renewal.issued.certificatePem, authorityRenewed.issued.certificatePem);
});

test("a renewed authority keeps its key: what it signed before stays valid", async (t) => {
  const then = contextAt(Date.now() - 50 * dayMs);
  const { authority, files } = await makeAuthority({ context: then, days: 20 });
  const { certificatePem } = files;
  const leaf = value(await issueUser(authority, { name: "alice" }, then));
  const renewal = value(await renewCertificate(files, { certificatePem }, contextAt()));
  assert.equal(renewal.issued.facts.role, "ca");
  assert.equal(renewal.issued.facts.subject, renewal.before.subject);
  assert.ok(
    new X509Certificate(leaf.certificatePem).verify(
      new X509Certificate(renewal.issued.certificatePem).publicKey,
    ),
  );
  const other = { ...files, certificatePem: renewal.issued.certificatePem };
  const next = value(await renewCertificate(other, { certificatePem: leaf.certificatePem }, contextAt()));
  await opensslVerify(t, next.issued.certificatePem, renewal.issued.certificatePem);
  const problem = problemOf(await renewCertificate(files, { certificatePem, newKey: true }, contextAt()));
  assert.equal(problem.code, "not-supported");
});

test("a certificate of another authority, or a key that does not belong, is refused", async () => {
  const [one, two] = await Promise.all([makeAuthority(), makeAuthority()]);
  const leaf = value(await issueUser(one.authority, { name: "alice" }, contextAt()));
  const { certificatePem } = leaf;
  assert.equal(
    problemOf(await renewCertificate(two.files, { certificatePem }, contextAt())).code,
    "certificate-foreign",
  );
  const wrongKey = { certificatePem, keyPem: two.files.keyPem };
  const problem = problemOf(await renewCertificate(one.files, wrongKey, contextAt()));
  assert.equal(problem.code, "certificate-invalid");
  assert.match(problem.message, /does not belong/);
});

test("an expired authority renews nothing but itself", async () => {
  const then = contextAt(Date.now() - 50 * dayMs);
  const { authority, files } = await makeAuthority({ context: then, days: 20 });
  const leaf = value(await issueUser(authority, { name: "alice" }, then));
  const { certificatePem } = leaf;
  assert.equal(
    problemOf(await renewCertificate(files, { certificatePem }, contextAt())).code,
    "certificate-expired",
  );
});
