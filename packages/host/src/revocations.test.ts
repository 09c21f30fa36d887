import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import type { Link, NodeId, Problem } from "@flocker/core";
import { loadCredentials, revocationListFile } from "./certificates.ts";
import { acceptLinks, wsLinkDialer } from "./links.ts";
import { ringLog } from "./log.ts";
import { renewableCredentials } from "./renewable-credentials.ts";
import { loadRevocations } from "./revocations.ts";
import { makeTestCertificates, testCredentials, type TestCertificates } from "./testing/test-certificates.ts";

const one = "aaaaaaaa-0000-4000-8000-000000000001" as NodeId;
const two = "aaaaaaaa-0000-4000-8000-000000000002" as NodeId;

function certificatesFor(t: TestContext): TestCertificates {
  const folder = mkdtempSync(join(tmpdir(), "flocker-revocations-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return makeTestCertificates(folder);
}

function certificate(path: string): X509Certificate {
  return new X509Certificate(readFileSync(path));
}

suite("a list of revoked certificates", () => {
  test("names those that are revoked, and nobody else", (t) => {
    const made = certificatesFor(t);
    const [revoked, other] = [made.node(one), made.node(two)];
    made.revoke(revoked, made.user("gone"));
    const authority = certificate(made.clusterCertificateFile);
    const list = loadRevocations(revocationListFile(revoked), [authority]);
    assert.ok(list.ok);
    assert.equal(list.value.count, 2);
    assert.equal(list.value.has(certificate(revoked.certificateFile)), true);
    assert.equal(list.value.has(certificate(other.certificateFile)), false);
    assert.equal(list.value.has(certificate(made.foreign.node(one).certificateFile)), false);
  });

  test("that is not there or is empty revokes nothing", (t) => {
    const made = certificatesFor(t);
    const files = made.node(one);
    assert.ok(loadCredentials(files).ok);
    made.revoke();
    const credentials = loadCredentials(files);
    assert.ok(credentials.ok);
    assert.equal(credentials.value.revocations.count, 0);
  });

  test("of an authority that is not trusted says nothing", (t) => {
    const made = certificatesFor(t);
    made.foreign.revoke(made.foreign.node(one));
    const authority = certificate(made.clusterCertificateFile);
    const list = loadRevocations(join(dirname(made.foreign.clusterCertificateFile), "cluster.crl"), [
      authority,
    ]);
    assert.ok(list.ok);
    assert.equal(list.value.count, 0);
  });

  test("that was changed, cut off or is no list is refused, whatever byte it is", (t) => {
    const made = certificatesFor(t);
    const files = made.node(one);
    made.revoke(files);
    const path = revocationListFile(files);
    const der = Buffer.from(readFileSync(path, "utf8").replaceAll(/-----[^-]+-----|\s/g, ""), "base64");
    const authority = [certificate(made.clusterCertificateFile)];
    const put = (bytes: Buffer) =>
      writeFileSync(path, `-----BEGIN X509 CRL-----\n${bytes.toString("base64")}\n-----END X509 CRL-----\n`);
    for (let offset = 0; offset < der.length; offset += 1) {
      const changed = Buffer.from(der);
      changed[offset] = (changed[offset] ?? 0) ^ 0x01;
      put(changed);
      const list = loadRevocations(path, authority);
      // A changed issuer makes it the list of nobody; what is around the signature does not matter.
      if (list.ok && list.value.count > 0)
        assert.ok(
          list.value.count === 1 && list.value.has(certificate(files.certificateFile)),
          `byte ${offset}`,
        );
      else if (!list.ok) assert.equal(list.problem.code, "certificate-invalid");
      put(der.subarray(0, offset));
      assert.equal(loadRevocations(path, authority).ok, false, `cut at ${offset}`);
    }
    writeFileSync(path, "revoked: [alice]\n");
    const list = loadRevocations(path, authority);
    assert.equal(list.ok ? "" : list.problem.code, "certificate-invalid");
  });

  test("keeps a service from starting with a certificate that is on it", (t) => {
    const made = certificatesFor(t);
    const files = made.node(one);
    made.revoke(files);
    const loaded = loadCredentials(files);
    assert.equal(loaded.ok ? "" : loaded.problem.code, "certificate-revoked");
  });

  test("is taken anew when it changes, and what was known stays when it is gone", (t) => {
    const made = certificatesFor(t);
    const files = made.control();
    const log = ringLog();
    const credentials = renewableCredentials(testCredentials(files), files, log);
    assert.equal(credentials().revocations.count, 0);
    made.revoke(made.node(one));
    assert.equal(credentials().revocations.count, 1);
    rmSync(revocationListFile(files));
    assert.equal(credentials().revocations.count, 1);
    assert.ok(log.entries().some((entry) => entry.event === "credentials-not-renewed"));
  });
});

suite("links and revoked certificates", () => {
  test("a node's link ends when its certificate is revoked, and it gets no other; all others stay", async (t) => {
    const made = certificatesFor(t);
    const links = new Map<NodeId, Link>();
    const refused: Problem[] = [];
    const control = made.control();
    const server = await acceptLinks({
      host: "127.0.0.1",
      port: 0,
      credentials: renewableCredentials(testCredentials(control), control, ringLog()),
      onLink: (link, { role }) => void links.set(role.node, link),
      onRefused: (problem) => void refused.push(problem),
    });
    assert.ok(server.ok);
    t.after(() => server.value.close());
    const dial = (node: NodeId) =>
      wsLinkDialer({
        host: "127.0.0.1",
        port: server.value.port,
        credentials: testCredentials(made.node(node)),
      }).dial(new AbortController().signal);
    const [first, second] = [await dial(one), await dial(two)];
    assert.ok(first.ok && second.ok);
    const ended = (async () => {
      for await (const message of first.value.messages()) assert.fail(String(message));
    })();
    made.revoke(made.node(one));
    server.value.reload();
    await ended;
    assert.equal(refused.at(-1)?.code, "certificate-revoked");
    const again = await wsLinkDialer({
      host: "127.0.0.1",
      port: server.value.port,
      // As its machine has them, where nobody has put the list.
      credentials: testCredentialsWithoutList(made, one),
    }).dial(new AbortController().signal);
    assert.equal(again.ok ? "" : again.problem.code, "certificate-revoked");
    second.value.send({ kind: "heartbeat" });
    for await (const message of links.get(two)?.messages() ?? []) {
      assert.deepEqual(message, { kind: "heartbeat" });
      break;
    }
  });

  test("an agent does not talk to a control service whose certificate was revoked", async (t) => {
    const made = certificatesFor(t);
    const server = await acceptLinks({
      host: "127.0.0.1",
      port: 0,
      credentials: testCredentials(made.control()),
      onLink: (link) => void link,
      onRefused: () => undefined,
    });
    assert.ok(server.ok);
    t.after(() => server.value.close());
    made.revoke(made.control());
    const dialled = await wsLinkDialer({
      host: "127.0.0.1",
      port: server.value.port,
      credentials: testCredentials(made.node(one)),
    }).dial(new AbortController().signal);
    assert.equal(dialled.ok ? "" : dialled.problem.code, "certificate-revoked");
  });
});

function testCredentialsWithoutList(
  made: TestCertificates,
  node: NodeId,
): ReturnType<typeof testCredentials> {
  const path = revocationListFile(made.node(node));
  const list = readFileSync(path);
  rmSync(path);
  const credentials = testCredentials(made.node(node));
  writeFileSync(path, list);
  return credentials;
}
