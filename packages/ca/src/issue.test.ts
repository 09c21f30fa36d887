import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { initialiseAuthority, openAuthority } from "./authority.ts";
import {
  contextAt,
  dayMs,
  makeAuthority,
  opensslText,
  opensslVerify,
  problemOf,
  value,
} from "./certificate-fixtures.test.ts";
import { issueControl, issueNode, issueUser } from "./issue.ts";
import { keyTypes } from "./key.ts";

const uuid = "1f0e2d3c-4b5a-4968-8776-554433221100";

test("the authority's certificate has the original's names and extensions, in version 3", async (t) => {
  const { issued } = await makeAuthority();
  const text = await opensslText(t, issued.certificatePem);
  const clusterId = issued.facts.clusterId ?? "";
  assert.match(clusterId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-/);
  assert.match(text, /Version: 3 \(0x2\)/);
  assert.match(text, new RegExp(`Subject: CN=mycluster,OU=${clusterId}\n`));
  assert.match(text, new RegExp(`Issuer: CN=mycluster,OU=${clusterId}\n`));
  assert.match(text, /X509v3 Basic Constraints: critical\s+CA:TRUE, pathlen:0\n/);
  assert.match(text, /X509v3 Key Usage: critical\s+Certificate Sign, CRL Sign\n/);
  assert.match(text, /ASN1 OID: prime256v1/);
  assert.match(text, /Signature Algorithm: ecdsa-with-SHA256/);
  const subjectKey = /X509v3 Subject Key Identifier:\s+([0-9A-F:]+)/.exec(text)?.[1];
  const authorityKey = /X509v3 Authority Key Identifier:\s+(?:keyid:)?([0-9A-F:]+)/.exec(text)?.[1];
  assert.ok(subjectKey);
  assert.equal(authorityKey, subjectKey);
  await opensslVerify(t, issued.certificatePem, issued.certificatePem, "-check_ss_sig");
});

test("the control service's certificate names the service and every host, addresses as addresses", async (t) => {
  const { authority, files } = await makeAuthority();
  const hosts = ["control.example.org", "192.0.2.1", "2001:db8::7", "[::1]", "Büro.example"];
  const issued = value(await issueControl(authority, { hosts }, contextAt()));
  const text = await opensslText(t, issued.certificatePem);
  assert.match(text, /Version: 3 \(0x2\)/);
  assert.match(text, new RegExp(`Subject: CN=control-service,OU=${authority.clusterId}\n`));
  assert.match(text, /X509v3 Basic Constraints: critical\s+CA:FALSE\n/);
  assert.match(text, /X509v3 Key Usage: critical\s+Digital Signature\n/);
  assert.match(
    text,
    /X509v3 Extended Key Usage: \s+TLS Web Server Authentication, TLS Web Client Authentication\n/,
  );
  const names = /X509v3 Subject Alternative Name:[^\n]*\n\s+([^\n]*)/.exec(text)?.[1];
  assert.equal(
    names,
    "DNS:control-service, DNS:control.example.org, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:7, " +
      "IP Address:0:0:0:0:0:0:0:1, DNS:xn--bro-hoa.example",
  );
  for (const check of [
    ["-verify_hostname", "control-service"],
    ["-verify_hostname", "control.example.org"],
    ["-verify_ip", "192.0.2.1"],
    ["-verify_ip", "2001:db8::7"],
    ["-verify_ip", "::1"],
  ]) {
    await opensslVerify(t, issued.certificatePem, files.certificatePem, "-purpose", "sslserver", ...check);
  }
  await assert.rejects(
    opensslVerify(t, issued.certificatePem, files.certificatePem, "-verify_hostname", "other.example.org"),
    /hostname mismatch/i,
  );
});

test("a node's certificate serves and asks, under its own name", async (t) => {
  const { authority, files } = await makeAuthority();
  const issued = value(await issueNode(authority, { uuid: uuid.toUpperCase() }, contextAt()));
  const text = await opensslText(t, issued.certificatePem);
  assert.match(text, new RegExp(`Subject: CN=node-${uuid},OU=${authority.clusterId}\n`));
  assert.match(text, new RegExp(`DNS:node-${uuid}\n`));
  for (const purpose of ["sslserver", "sslclient"]) {
    await opensslVerify(t, issued.certificatePem, files.certificatePem, "-purpose", purpose);
  }
  assert.equal(issued.facts.role, "node");
  assert.equal(issued.facts.name, uuid);
});

test("a node gets a fresh uuid unless one is given, and only a version 4 uuid will do", async () => {
  const { authority } = await makeAuthority();
  const [one, two] = await Promise.all([
    issueNode(authority, {}, contextAt()),
    issueNode(authority, {}, contextAt()),
  ]);
  assert.notEqual(value(one).facts.name, value(two).facts.name);
  for (const bad of ["", "5", "1f0e2d3c-4b5a-1968-8776-554433221100", `${uuid} `]) {
    const problem = problemOf(await issueNode(authority, { uuid: bad }, contextAt()));
    assert.equal(problem.code, "bad-request");
  }
});

test("a user's certificate is for clients alone", async (t) => {
  const { authority, files } = await makeAuthority();
  const issued = value(await issueUser(authority, { name: "alice" }, contextAt()));
  const text = await opensslText(t, issued.certificatePem);
  assert.match(text, new RegExp(`Subject: CN=user-alice,OU=${authority.clusterId}\n`));
  assert.match(text, /X509v3 Extended Key Usage: \s+TLS Web Client Authentication\n/);
  assert.doesNotMatch(text, /Subject Alternative Name/);
  await opensslVerify(t, issued.certificatePem, files.certificatePem, "-purpose", "sslclient");
  await assert.rejects(
    opensslVerify(t, issued.certificatePem, files.certificatePem, "-purpose", "sslserver"),
    /purpose/,
  );
});

for (const keyType of keyTypes) {
  test(`an authority and certificates with ${keyType} keys pass the strict check`, async (t) => {
    const { authority, files, issued } = await makeAuthority({ keyType });
    assert.equal(issued.facts.keyType, keyType);
    const leaf = value(await issueControl(authority, { hosts: ["localhost"], keyType }, contextAt()));
    assert.equal(leaf.facts.keyType, keyType);
    await opensslVerify(t, leaf.certificatePem, files.certificatePem, "-purpose", "sslserver");
    const text = await opensslText(t, leaf.certificatePem);
    const usage = keyType === "ec-p256" ? "Digital Signature" : "Digital Signature, Key Encipherment";
    assert.match(text, new RegExp(`X509v3 Key Usage: critical\\s+${usage}\n`));
  });
}

test("serial numbers are 128 random bits, positive, and never the same", async () => {
  const { authority } = await makeAuthority();
  const serials = new Set<string>();
  for (let index = 0; index < 20; index += 1) {
    const issued = value(await issueUser(authority, { name: `user${index}` }, contextAt()));
    assert.match(issued.facts.serial, /^[0-9a-f]{24,32}$/);
    serials.add(issued.facts.serial);
  }
  assert.equal(serials.size, 20);
});

test("a serial number with its highest bit set stays positive", async (t) => {
  const { authority } = await makeAuthority();
  const context = { ...contextAt(), ids: { uuid: () => uuid, serial: () => "f".repeat(32) } };
  const issued = value(await issueUser(authority, { name: "alice" }, context));
  assert.equal(issued.facts.serial, "f".repeat(32));
  const text = await opensslText(t, issued.certificatePem);
  assert.doesNotMatch(text, /Negative/);
});

test("a certificate begins a few minutes ago and ends after five years, or as asked for", async () => {
  const now = Date.UTC(2030, 0, 1, 12, 0, 0, 789);
  const context = contextAt(now);
  const { authority, issued } = await makeAuthority({ context });
  assert.equal(issued.facts.notBefore, Date.UTC(2030, 0, 1, 11, 55));
  assert.equal(issued.facts.notAfter, Date.UTC(2050, 0, 1, 12));
  const usual = value(await issueUser(authority, { name: "alice" }, context));
  assert.equal(usual.facts.notBefore, Date.UTC(2030, 0, 1, 11, 55));
  assert.equal(usual.facts.notAfter, Date.UTC(2035, 0, 1, 12));
  const short = value(await issueUser(authority, { name: "bob", days: 30 }, context));
  assert.equal(short.facts.notAfter, Date.UTC(2030, 0, 31, 12));
  assert.equal(short.facts.daysLeft, 29);
});

test("a certificate never outlives its authority", async () => {
  const context = contextAt();
  const { authority } = await makeAuthority({ context, days: 10 });
  const issued = value(await issueNode(authority, { days: 1000 }, context));
  assert.equal(issued.facts.notAfter, authority.facts.notAfter);
});

test("a number of days that makes no sense is refused", async () => {
  const { authority } = await makeAuthority();
  for (const days of [0, -1, 1.5, 7306, Number.NaN]) {
    assert.equal(problemOf(await issueNode(authority, { days }, contextAt())).code, "bad-request");
    assert.equal(problemOf(await initialiseAuthority({ name: "c", days }, contextAt())).code, "bad-request");
  }
});

test("user names that could not be told apart, or reach out of the folder, are refused", async () => {
  const { authority } = await makeAuthority();
  for (const name of [
    "",
    "-rf",
    ".hidden",
    "a/b",
    "../x",
    "a b",
    "a\nb",
    "ä",
    "a,CN=b",
    "a".repeat(60),
    "cluster",
    "x.",
  ]) {
    const problem = problemOf(await issueUser(authority, { name }, contextAt()));
    assert.equal(problem.code, "bad-request", name);
    assert.notEqual(problem.remedy, "");
  }
  const longest = value(await issueUser(authority, { name: "a".repeat(59) }, contextAt()));
  assert.equal(longest.facts.commonName?.length, 64);
});

test("hosts that are neither names nor addresses are refused", async () => {
  const { authority } = await makeAuthority();
  for (const host of [
    "",
    "a b",
    "https://x",
    "x:4523",
    "10.0.0",
    "1.2.3.4.5",
    "fe80::1%eth0",
    "-x.org",
    "[x]",
    "a..b",
  ]) {
    assert.equal(
      problemOf(await issueControl(authority, { hosts: [host] }, contextAt())).code,
      "bad-request",
      host,
    );
  }
  assert.equal(problemOf(await issueControl(authority, { hosts: [] }, contextAt())).code, "bad-request");
});

test("a cluster's name is taken literally, whatever it means elsewhere", async (t) => {
  for (const name of ["Ünïcode ✓", "#0400", 'a "quoted\\" name', "a+CN=b, OU=c"]) {
    const { issued, authority, files } = await makeAuthority({ name });
    assert.equal(issued.facts.commonName, name);
    const leaf = value(await issueNode(authority, {}, contextAt()));
    await opensslVerify(t, leaf.certificatePem, files.certificatePem);
  }
});

test("cluster names that would be mistaken for something else are refused", async () => {
  for (const name of [
    "",
    "x".repeat(65),
    "a\u0000b",
    " x",
    "user-alice",
    "control-service",
    `node-${uuid}`,
  ]) {
    assert.equal(problemOf(await initialiseAuthority({ name }, contextAt())).code, "bad-request", name);
  }
});

test("an expired authority, or one of the future, signs nothing", async () => {
  const then = contextAt(Date.now() - 100 * dayMs);
  const { files } = await makeAuthority({ context: then, days: 10 });
  const expired = problemOf(await openAuthority(files, contextAt()));
  assert.equal(expired.code, "certificate-expired");
  assert.match(expired.remedy, /flocker ca renew/);
  const early = problemOf(await openAuthority(files, contextAt(then.now - dayMs)));
  assert.equal(early.code, "certificate-invalid");
});

test("a key of another authority is refused", async () => {
  const [one, two] = await Promise.all([makeAuthority(), makeAuthority({ keyType: "rsa-2048" })]);
  const files = { certificatePem: one.files.certificatePem, keyPem: two.files.keyPem };
  const problem = problemOf(await openAuthority(files, contextAt()));
  assert.equal(problem.code, "certificate-invalid");
  assert.match(problem.message, /does not belong/);
});

test("what is no authority, no certificate or no key is refused by name", async () => {
  const { authority, files } = await makeAuthority();
  const leaf = value(await issueUser(authority, { name: "alice" }, contextAt()));
  const context = contextAt();
  const asAuthority = { certificatePem: leaf.certificatePem, keyPem: leaf.keyPem ?? "" };
  assert.equal(problemOf(await openAuthority(asAuthority, context)).code, "certificate-role");
  const noCertificate = { ...files, certificatePem: files.keyPem };
  assert.equal(problemOf(await openAuthority(noCertificate, context)).code, "certificate-invalid");
  const broken = files.certificatePem.replace(/\n[^-\n]{64}\n/, "\nAAAA\n");
  assert.equal(
    problemOf(await openAuthority({ ...files, certificatePem: broken }, context)).code,
    "certificate-invalid",
  );
  for (const keyPem of ["", "nonsense", files.certificatePem, files.keyPem.slice(0, 60)]) {
    assert.equal(problemOf(await openAuthority({ ...files, keyPem }, context)).code, "file-unreadable");
  }
});

test("an encrypted key is named as the cause", async () => {
  const { files } = await makeAuthority();
  const { createPrivateKey } = await import("node:crypto");
  const keyPem = createPrivateKey(files.keyPem)
    .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "secret" })
    .toString();
  const problem = problemOf(await openAuthority({ ...files, keyPem }, contextAt()));
  assert.match(problem.message, /encrypted/);
});

test("keys as old tools wrote them (PKCS#1, SEC 1) are taken", async () => {
  const { createPrivateKey } = await import("node:crypto");
  for (const [keyType, type] of [
    ["rsa-2048", "pkcs1"],
    ["ec-p256", "sec1"],
  ] as const) {
    const { files } = await makeAuthority({ keyType });
    const keyPem = createPrivateKey(files.keyPem).export({ type, format: "pem" }).toString();
    const authority = value(await openAuthority({ ...files, keyPem }, contextAt()));
    const leaf = value(await issueUser(authority, { name: "alice" }, contextAt()));
    const parsed = new X509Certificate(leaf.certificatePem);
    assert.ok(parsed.verify(new X509Certificate(files.certificatePem).publicKey));
  }
});
