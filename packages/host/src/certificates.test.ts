import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { connect, createServer } from "node:tls";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import type { NodeId } from "@flocker/core";
import { loadCredentials, peerIdentity, tlsOptions } from "./certificates.ts";
import type { CredentialFiles, Credentials } from "./certificates.ts";
import { ringLog } from "./log.ts";
import { renewableCredentials } from "./renewable-credentials.ts";
import { makeTestCertificates, testCredentials } from "./testing/test-certificates.ts";

const folder = mkdtempSync(join(tmpdir(), "flocker-certificates-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const certificates = makeTestCertificates();
const node = randomUUID() as NodeId;

function problemOf(files: CredentialFiles): { code: string; message: string; remedy: string } {
  const loaded = loadCredentials(files);
  assert.ok(!loaded.ok, "these credentials are refused");
  return loaded.problem;
}

function written(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test("good credentials say who they speak for", () => {
  const loaded = loadCredentials(certificates.node(node));
  assert.ok(loaded.ok);
  assert.equal(loaded.value.commonName, `node-${node}`);
  assert.deepEqual(loaded.value.role, { role: "node", node });
  assert.equal(loaded.value.clusterId, certificates.clusterId);
  assert.ok(loaded.value.notAfter > Date.now());
  assert.match(loaded.value.fingerprint, /^[0-9a-f]{64}$/);
  const control = loadCredentials(certificates.control());
  assert.deepEqual(control.ok && control.value.role, { role: "control" });
  const user = loadCredentials(certificates.user("alice"));
  assert.deepEqual(user.ok && user.value.role, { role: "user", name: "alice" });
});

test("version 1 certificates with extensions, as the original made them, are accepted", () => {
  const files = certificates.node(node, { version: 1 });
  const text = execFileSync("openssl", ["x509", "-noout", "-text", "-in", files.certificateFile], {
    encoding: "utf8",
  });
  assert.match(text, /Version: 1 /);
  const loaded = loadCredentials(files);
  assert.deepEqual(loaded.ok && loaded.value.role, { role: "node", node });
});

test("with two authorities in the cluster file, certificates of either are accepted", () => {
  const clusterCertificateFile = certificates.bothAuthoritiesFile;
  for (const files of [certificates.node(node), certificates.foreign.node(node)]) {
    const loaded = loadCredentials({ ...files, clusterCertificateFile });
    assert.ok(loaded.ok);
    assert.equal(loaded.value.authorities.length, 2);
  }
});

test("an expired certificate is refused with its date and the way to renew it", () => {
  const files = certificates.node(node, { validity: "expired" });
  const problem = problemOf(files);
  assert.equal(problem.code, "certificate-expired");
  assert.ok(problem.message.includes(files.certificateFile));
  assert.match(problem.remedy, /flocker ca renew/);
});

test("an expired authority is refused, naming the cluster file", () => {
  const files = certificates.node(node);
  const loaded = loadCredentials({ ...files, now: Date.now() + 30 * 365 * 86_400_000 });
  assert.ok(!loaded.ok);
  assert.equal(loaded.problem.code, "certificate-expired");
  assert.ok(loaded.problem.message.includes(files.clusterCertificateFile));
});

test("a certificate of tomorrow is refused with a word about clocks", () => {
  const problem = problemOf(certificates.node(node, { validity: "early" }));
  assert.equal(problem.code, "certificate-invalid");
  assert.match(problem.remedy, /clocks/);
});

test("a certificate of another authority is foreign", () => {
  const { clusterCertificateFile } = certificates;
  const problem = problemOf({ ...certificates.foreign.node(node), clusterCertificateFile });
  assert.equal(problem.code, "certificate-foreign");
  assert.ok(problem.message.includes(clusterCertificateFile));
});

test("a key of another certificate is refused, naming both files", () => {
  const files = { ...certificates.node(node), keyFile: certificates.user("alice").keyFile };
  const problem = problemOf(files);
  assert.equal(problem.code, "certificate-invalid");
  assert.ok(problem.message.includes(files.keyFile) && problem.message.includes(files.certificateFile));
});

test("files that are missing, empty, damaged or encrypted are told apart", () => {
  const good = certificates.node(node);
  assert.equal(problemOf({ ...good, keyFile: join(folder, "none.key") }).code, "file-unreadable");
  assert.equal(problemOf({ ...good, certificateFile: folder }).code, "file-unreadable");
  const empty = problemOf({ ...good, certificateFile: written("empty.crt", "") });
  assert.equal(empty.code, "certificate-invalid");
  assert.match(empty.message, /no certificate in .*empty\.crt/);
  const cut = readFileSync(good.certificateFile, "utf8").replace(/\n.{64}\n/, "\n");
  assert.equal(problemOf({ ...good, certificateFile: written("cut.crt", cut) }).code, "certificate-invalid");
  const encrypted = join(folder, "encrypted.key");
  execFileSync("openssl", ["ec", "-aes128", "-passout", "pass:x", "-in", good.keyFile, "-out", encrypted], {
    stdio: "ignore",
  });
  const locked = problemOf({ ...good, keyFile: encrypted });
  assert.equal(locked.code, "certificate-invalid");
  assert.match(locked.remedy, /unencrypted/);
});

test("a certificate whose name is none of the cluster's is refused", () => {
  const problem = problemOf(certificates.named("somebody"));
  assert.equal(problem.code, "certificate-invalid");
  assert.match(problem.message, /"somebody"/);
});

test("a certificate of another role than the one that is needed is refused", () => {
  const loaded = loadCredentials({ ...certificates.user("alice"), role: "node" });
  assert.equal(!loaded.ok && loaded.problem.code, "certificate-role");
  assert.match(loaded.ok ? "" : loaded.problem.message, /user-alice, and a node certificate/);
  assert.ok(loadCredentials({ ...certificates.node(node), role: "node" }).ok);
});

test("renewed files are used from the next question on, and bad ones are not", () => {
  const path = (name: string): string => join(folder, `renewed-${name}`);
  const files = { clusterCertificateFile: path("ca"), certificateFile: path("crt"), keyFile: path("key") };
  const install = (from: CredentialFiles): void => {
    copyFileSync(from.clusterCertificateFile, files.clusterCertificateFile);
    copyFileSync(from.certificateFile, files.certificateFile);
    copyFileSync(from.keyFile, files.keyFile);
  };
  install(certificates.node(node));
  const first = loadCredentials(files);
  assert.ok(first.ok);
  const log = ringLog();
  const credentials = renewableCredentials(first.value, files, log);
  assert.equal(credentials(), first.value);
  install(certificates.node(node, { version: 1 }));
  const renewed = credentials();
  assert.notEqual(renewed.fingerprint, first.value.fingerprint);
  assert.equal(credentials(), renewed, "the same object while nothing changes");
  install(certificates.node(node, { validity: "expired" }));
  assert.equal(credentials(), renewed);
  assert.equal(credentials(), renewed);
  install(certificates.user("alice"));
  assert.equal(credentials(), renewed, "another identity is no renewal");
  rmSync(files.keyFile);
  assert.equal(credentials(), renewed);
  assert.deepEqual(
    log
      .entries()
      .map((entry) => [entry.event, (entry.fields["problem"] as { code: string } | undefined)?.code]),
    [
      ["credentials-renewed", undefined],
      ["credentials-not-renewed", "certificate-expired"],
      ["credentials-not-renewed", "certificate-role"],
      ["credentials-not-renewed", "file-unreadable"],
    ],
  );
});

async function accepted(client: Credentials | undefined, server: Credentials): Promise<TLSSocket> {
  const listener = createServer({ ...tlsOptions(server), requestCert: true, rejectUnauthorized: false });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  const options = client === undefined ? {} : tlsOptions(client);
  const caller = connect({ host: "127.0.0.1", port, ...options, rejectUnauthorized: false });
  const [socket] = (await once(listener, "secureConnection")) as [TLSSocket];
  after(() => {
    caller.destroy();
    socket.destroy();
    listener.close();
  });
  return socket;
}

test("an accepted connection tells who is at the other end, or why that is not known", async () => {
  const server = testCredentials(certificates.control());
  const code = async (client: Credentials | undefined): Promise<string> => {
    const identity = peerIdentity(await accepted(client, server), server);
    return identity.ok ? identity.value.commonName : identity.problem.code;
  };
  assert.equal(await code(testCredentials(certificates.node(node))), `node-${node}`);
  assert.equal(await code(testCredentials(certificates.node(node, { version: 1 }))), `node-${node}`);
  assert.equal(await code(undefined), "certificate-invalid");
  assert.equal(await code(testCredentials(certificates.foreign.node(node))), "certificate-foreign");
  assert.equal(
    await code(testCredentials(certificates.node(node, { validity: "expired" }))),
    "certificate-expired",
  );
  const { certificateFile, keyFile } = certificates.named("somebody");
  const nameless = {
    ...server,
    certificate: readFileSync(certificateFile, "utf8"),
    key: readFileSync(keyFile, "utf8"),
  };
  assert.equal(await code(nameless), "certificate-invalid");
});
