import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { createServer, request, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { PeerCertificate, SecureVersion, TLSSocket } from "node:tls";
import { promisify } from "node:util";
import type { IssuedCertificate } from "./authority.ts";
import {
  asVersion1,
  contextAt,
  makeAuthority,
  temporaryFolder,
  value,
  type TestAuthority,
} from "./certificate-fixtures.test.ts";
import { issueControl, issueNode, issueUser } from "./issue.ts";
import type { KeyType } from "./key.ts";

interface Answer {
  readonly protocol: string | null;
  readonly client: string;
}

async function listen(
  t: TestContext,
  ca: TestAuthority,
  own: IssuedCertificate,
  host = "127.0.0.1",
): Promise<number> {
  const options = {
    ca: ca.files.certificatePem,
    cert: own.certificatePem,
    key: own.keyPem ?? "",
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: "TLSv1.2" as const,
  };
  const server: Server = createServer(options, (incoming, response) => {
    const socket = incoming.socket as TLSSocket;
    const peer: PeerCertificate = socket.getPeerCertificate();
    response.end(JSON.stringify({ protocol: socket.getProtocol(), client: peer.subject.CN }));
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

function ask(
  port: number,
  ca: TestAuthority,
  own: IssuedCertificate,
  options: { host?: string; servername?: string; version?: SecureVersion; certificatePem?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: options.host ?? "127.0.0.1",
        port,
        ca: ca.files.certificatePem,
        cert: options.certificatePem ?? own.certificatePem,
        key: own.keyPem ?? "",
        agent: false,
        ...(options.servername === undefined ? {} : { servername: options.servername }),
        ...(options.version === undefined
          ? {}
          : { minVersion: options.version, maxVersion: options.version }),
      },
      (incoming) => {
        let text = "";
        incoming.setEncoding("utf8");
        incoming.on("data", (chunk: string) => (text += chunk));
        incoming.on("end", () => resolve(JSON.parse(text) as Answer));
      },
    );
    outgoing.on("error", reject);
    outgoing.end();
  });
}

for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
  for (const keyType of ["ec-p256", "rsa-2048"] satisfies KeyType[]) {
    test(`control service and user shake hands over ${version} with ${keyType} keys`, async (t) => {
      const ca = await makeAuthority({ keyType });
      const control = value(
        await issueControl(ca.authority, { hosts: ["127.0.0.1", "localhost"], keyType }, contextAt()),
      );
      const user = value(await issueUser(ca.authority, { name: "alice", keyType }, contextAt()));
      const port = await listen(t, ca, control);
      assert.deepEqual(await ask(port, ca, user, { version }), { protocol: version, client: "user-alice" });
      assert.equal(
        (await ask(port, ca, user, { version, servername: "control-service" })).client,
        "user-alice",
      );
    });
  }
}

test("two nodes shake hands, each knowing the other by its name", async (t) => {
  const ca = await makeAuthority();
  const [one, two] = [
    value(await issueNode(ca.authority, {}, contextAt())),
    value(await issueNode(ca.authority, {}, contextAt())),
  ];
  const port = await listen(t, ca, one);
  const servername = one.facts.commonName ?? "";
  const answer = await ask(port, ca, two, { version: "TLSv1.3", servername });
  assert.equal(answer.client, two.facts.commonName);
  await assert.rejects(ask(port, ca, two, { servername: two.facts.commonName ?? "" }), {
    code: "ERR_TLS_CERT_ALTNAME_INVALID",
  });
});

test("an IPv6 address is checked as an address", async (t) => {
  const ca = await makeAuthority();
  const control = value(await issueControl(ca.authority, { hosts: ["::1"] }, contextAt()));
  const user = value(await issueUser(ca.authority, { name: "alice" }, contextAt()));
  let port: number;
  try {
    port = await listen(t, ca, control, "::1");
  } catch {
    t.skip("this machine has no IPv6");
    return;
  }
  assert.equal((await ask(port, ca, user, { host: "::1" })).client, "user-alice");
});

test("a certificate of another authority is refused by both sides", async (t) => {
  const [ca, other] = await Promise.all([makeAuthority(), makeAuthority()]);
  const control = value(await issueControl(ca.authority, { hosts: ["127.0.0.1"] }, contextAt()));
  const foreign = value(await issueUser(other.authority, { name: "alice" }, contextAt()));
  const port = await listen(t, ca, control);
  await assert.rejects(ask(port, ca, foreign));
  await assert.rejects(ask(port, other, foreign), /self-signed|unable to verify/);
});

test("an expired certificate is refused", async (t) => {
  const ca = await makeAuthority();
  const control = value(await issueControl(ca.authority, { hosts: ["127.0.0.1"] }, contextAt()));
  const past = contextAt(Date.now() - 3 * 86_400_000);
  const old = await makeAuthority({ context: past });
  const expired = value(await issueUser(old.authority, { name: "alice", days: 1 }, past));
  const fresh = value(await issueUser(old.authority, { name: "alice" }, past));
  const port = await listen(t, old, control);
  assert.equal((await ask(port, ca, fresh)).client, "user-alice");
  await assert.rejects(ask(port, ca, expired));
});

test("clients with certificates of the original tool, version 1, are still served", async (t) => {
  const ca = await makeAuthority({ keyType: "rsa-2048" });
  const control = value(await issueControl(ca.authority, { hosts: ["127.0.0.1"] }, contextAt()));
  const user = value(await issueUser(ca.authority, { name: "alice", keyType: "rsa-2048" }, contextAt()));
  const certificatePem = asVersion1(user.certificatePem, ca.files.keyPem);
  const oldCa = {
    ...ca,
    files: { ...ca.files, certificatePem: asVersion1(ca.files.certificatePem, ca.files.keyPem) },
  };
  const port = await listen(t, oldCa, control);
  assert.equal((await ask(port, oldCa, user, { certificatePem })).client, "user-alice");
});

/** A server, and the files of a client for it, for programs that are not Node. */
async function outsideClient(t: TestContext, keyType: KeyType) {
  const ca = await makeAuthority({ keyType });
  const hosts = ["127.0.0.1", "localhost"];
  const control = value(await issueControl(ca.authority, { hosts, keyType }, contextAt()));
  const user = value(await issueUser(ca.authority, { name: "alice", keyType }, contextAt()));
  const folder = await temporaryFolder(t);
  const at = (name: string) => join(folder, name);
  await writeFile(at("cluster.crt"), ca.files.certificatePem);
  await writeFile(at("alice.crt"), user.certificatePem);
  await writeFile(at("alice.key"), user.keyPem ?? "");
  return { at, port: await listen(t, ca, control) };
}

/** Runs a program that prints the server's answer; skips the test where the program is missing. */
async function askWith(
  t: TestContext,
  name: string,
  program: string,
  argv: readonly string[],
): Promise<void> {
  try {
    const { stdout } = await promisify(execFile)(program, [...argv]);
    assert.deepEqual(JSON.parse(stdout), { protocol: "TLSv1.3", client: "user-alice" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    t.skip(`${name} is not installed`);
  }
}

for (const keyType of ["ec-p256", "rsa-2048"] satisfies KeyType[]) {
  test(`curl takes the certificates, with ${keyType} keys`, async (t) => {
    const { at, port } = await outsideClient(t, keyType);
    const files = ["--cacert", at("cluster.crt"), "--cert", at("alice.crt"), "--key", at("alice.key")];
    await askWith(t, "curl", "curl", ["-sS", ...files, `https://127.0.0.1:${port}/`]);
  });

  test(`Python takes the certificates in its strict mode, with ${keyType} keys`, async (t) => {
    const { at, port } = await outsideClient(t, keyType);
    const script = `
import http.client, ssl
context = ssl.create_default_context(cafile="${at("cluster.crt")}")
context.verify_flags |= ssl.VERIFY_X509_STRICT
context.load_cert_chain("${at("alice.crt")}", "${at("alice.key")}")
connection = http.client.HTTPSConnection("localhost", ${port}, context=context)
connection.request("GET", "/")
print(connection.getresponse().read().decode())
`;
    await askWith(t, "Python", "python3", ["-c", script]);
  });

  test(`Go takes the certificates, with ${keyType} keys`, async (t) => {
    const { at, port } = await outsideClient(t, keyType);
    await writeFile(at("main.go"), goClient(at, port));
    await askWith(t, "Go", "go", ["run", at("main.go")]);
  });
}

/** As flocker-go does it: host and chain are checked by Go's own rules. */
function goClient(at: (name: string) => string, port: number): string {
  return `package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	ca, err := os.ReadFile("${at("cluster.crt")}")
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair("${at("alice.crt")}", "${at("alice.key")}")
	check(err)
	config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	response, err := client.Get("https://127.0.0.1:${port}/")
	check(err)
	body, err := io.ReadAll(response.Body)
	check(err)
	fmt.Print(string(body))
}
`;
}
