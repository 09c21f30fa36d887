import assert from "node:assert/strict";
import { test } from "node:test";
import { openAuthority } from "./authority.ts";
import {
  asVersion1,
  contextAt,
  dayMs,
  makeAuthority,
  opensslText,
  problemOf,
  value,
} from "./certificate-fixtures.test.ts";
import { inspectCertificate } from "./inspect.ts";
import { issueControl, issueNode, issueUser } from "./issue.ts";

test("a certificate's facts are those that openssl reads", async (t) => {
  const { authority, files } = await makeAuthority();
  const now = Date.now();
  const leaf = value(
    await issueControl(authority, { hosts: ["192.0.2.1", "::1", "c.example"] }, contextAt(now)),
  );
  const facts = value(
    inspectCertificate(leaf.certificatePem, { description: "x", now, authorityPem: files.certificatePem }),
  );
  const text = await opensslText(t, leaf.certificatePem);
  const serial = /Serial Number:\s+([0-9a-f:]+)/.exec(text)?.[1]?.replaceAll(":", "");
  assert.equal(facts.serial.replace(/^0+/, ""), serial?.replace(/^0+/, ""));
  assert.equal(facts.role, "control");
  assert.equal(facts.name, "control-service");
  assert.equal(facts.clusterId, authority.clusterId);
  assert.equal(facts.version, 3);
  assert.equal(facts.keyType, "ec-p256");
  assert.equal(facts.daysLeft, 1825);
  assert.equal(facts.signedByAuthority, true);
  assert.match(facts.fingerprint, /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
  assert.deepEqual(facts.alternativeNames, [
    { type: "dns", value: "control-service" },
    { type: "ip", value: "192.0.2.1" },
    { type: "ip", value: "::1" },
    { type: "dns", value: "c.example" },
  ]);
});

test("certificates of the original tool, version 1 with extensions, are read", async (t) => {
  const { authority, files } = await makeAuthority({ keyType: "rsa-2048" });
  const now = Date.now();
  const ca1 = asVersion1(files.certificatePem, files.keyPem);
  const leaf = value(await issueUser(authority, { name: "alice", keyType: "rsa-2048" }, contextAt(now)));
  const leaf1 = asVersion1(leaf.certificatePem, files.keyPem);
  assert.match(await opensslText(t, leaf1), /Version: 1 \(0x0\)/);
  const options = { description: "x", now, authorityPem: ca1 };
  const ca = value(inspectCertificate(ca1, options));
  assert.deepEqual([ca.role, ca.version, ca.name, ca.signedByAuthority], ["ca", 1, "mycluster", true]);
  const user = value(inspectCertificate(leaf1, options));
  assert.deepEqual([user.role, user.version, user.name, user.signedByAuthority], ["user", 1, "alice", true]);
});

test("an authority of the original tool goes on signing", async () => {
  const { files } = await makeAuthority({ keyType: "rsa-2048" });
  const ca1 = asVersion1(files.certificatePem, files.keyPem);
  const authority = value(await openAuthority({ ...files, certificatePem: ca1 }, contextAt()));
  const leaf = value(await issueNode(authority, {}, contextAt()));
  const facts = value(
    inspectCertificate(leaf.certificatePem, { description: "x", now: Date.now(), authorityPem: ca1 }),
  );
  assert.equal(facts.signedByAuthority, true);
});

test("a certificate of another cluster is not taken for the authority's, even under the same name", async () => {
  const [one, two] = await Promise.all([makeAuthority(), makeAuthority()]);
  const leaf = value(await issueUser(one.authority, { name: "alice" }, contextAt()));
  const options = { description: "x", now: Date.now(), authorityPem: two.files.certificatePem };
  assert.equal(value(inspectCertificate(leaf.certificatePem, options)).signedByAuthority, false);
  const ids = { uuid: () => one.authority.clusterId, serial: () => "1".repeat(32) };
  const twin = await makeAuthority({ context: { ...contextAt(), ids } });
  assert.equal(twin.issued.facts.subject, one.issued.facts.subject);
  const twinOptions = { ...options, authorityPem: twin.files.certificatePem };
  assert.equal(value(inspectCertificate(leaf.certificatePem, twinOptions)).signedByAuthority, false);
});

test("the days left are rounded down and go below zero", async () => {
  const now = Date.now();
  const { authority } = await makeAuthority({ context: contextAt(now) });
  const leaf = value(await issueUser(authority, { name: "alice", days: 1 }, contextAt(now)));
  const daysAt = (at: number) =>
    value(inspectCertificate(leaf.certificatePem, { description: "x", now: at })).daysLeft;
  assert.equal(daysAt(now + dayMs / 2), 0);
  assert.equal(daysAt(now + dayMs * 1.5), -1);
  const facts = value(inspectCertificate(leaf.certificatePem, { description: "x", now }));
  assert.equal(facts.signedByAuthority, null);
});

test("what holds no certificate is refused, and a chain is read by its first", async () => {
  const { authority, files } = await makeAuthority();
  for (const pem of [
    "",
    "hello",
    files.keyPem,
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
  ]) {
    const problem = problemOf(inspectCertificate(pem, { description: "x.crt", now: 0 }));
    assert.equal(problem.code, "certificate-invalid");
    assert.match(problem.message, /x\.crt/);
  }
  const leaf = value(await issueUser(authority, { name: "alice" }, contextAt()));
  const chain = `some text before\n${leaf.certificatePem}${files.certificatePem}`;
  assert.equal(value(inspectCertificate(chain, { description: "x", now: 0 })).name, "alice");
});
