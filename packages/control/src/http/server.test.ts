import assert from "node:assert/strict";
import { connect as connectPlain, createServer, type AddressInfo } from "node:net";
import { request as httpsRequest } from "node:https";
import { connect, type TLSSocket } from "node:tls";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { after, test } from "node:test";
import type { NodeId } from "@flocker/core";
import {
  loadCredentials,
  renewableCredentials,
  ringLog,
  systemClock,
  systemIds,
  type Credentials,
  type CredentialFiles,
} from "@flocker/host";
import { makeTestCertificates } from "@flocker/host/testing";
import { startHttpServer, type HttpServer } from "./server.ts";
import { testAcknowledgements, testCluster } from "./api-fixtures.test.ts";

// Real TLS on a free port: which certificates come in, and what the others and the log are told.

const certificates = makeTestCertificates();
const node = "aaaaaaaa-0000-4000-8000-000000000001" as NodeId;
const log = ringLog();

async function start(
  options: {
    readonly port?: number;
    readonly control?: CredentialFiles;
    readonly source?: () => Credentials;
  } = {},
) {
  let control = options.control ?? certificates.control();
  let current: { readonly files: CredentialFiles; readonly credentials: Credentials } | undefined;
  const started = await startHttpServer({
    cluster: testCluster(systemClock),
    leases: testAcknowledgements(),
    credentials: () => {
      if (options.source !== undefined) return options.source();
      if (current?.files === control) return current.credentials;
      const loaded = loadCredentials(control);
      assert.ok(loaded.ok);
      current = { files: control, credentials: loaded.value };
      return loaded.value;
    },
    host: "127.0.0.1",
    port: options.port ?? 0,
    clock: systemClock,
    ids: systemIds,
    log,
    version: "1.2.3",
  });
  return { started, use: (files: CredentialFiles) => (control = files) };
}

const shared = await start();
assert.ok(shared.started.ok);
const server: HttpServer = shared.started.value;
after(() => server[Symbol.asyncDispose]());

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: string;
}

function tlsFiles(files: CredentialFiles | undefined) {
  if (files === undefined) return { ca: readFileSync(certificates.clusterCertificateFile) };
  return {
    ca: readFileSync(certificates.clusterCertificateFile),
    cert: readFileSync(files.certificateFile),
    key: readFileSync(files.keyFile),
  };
}

/** One request over a connection of its own. */
function ask(
  files: CredentialFiles | undefined,
  path: string,
  options: {
    readonly port?: number;
    readonly method?: string;
    readonly body?: string;
    readonly servername?: string;
    readonly maxVersion?: "TLSv1.2";
  } = {},
): Promise<Answer> {
  const { port = server.port, body = "", ...more } = options;
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      { host: "127.0.0.1", port, path, agent: false, ...tlsFiles(files), ...more },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (piece: string) => (body += piece));
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        );
        response.on("error", reject);
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

/**
 * Waits until the log has a line that fits; lines are written when the server's side of a connection gets its
 * turn.
 */
async function logged(event: string, code: string): Promise<Readonly<Record<string, unknown>>> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const line = log.entries().find((one) => one.event === event && one.fields["code"] === code);
    if (line !== undefined) return line.fields;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`no line ${event} with ${code} in ${JSON.stringify(log.entries())}`);
}

test("a user's certificate may use the API", async () => {
  const answer = await ask(certificates.user("alice"), "/v2/version");
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["content-type"], "application/json");
  assert.deepEqual(JSON.parse(answer.body), { flocker: "1.2.3", api: "v2" });
});

test("certificates of the original, X.509 version 1, TLS 1.2, and any server name are accepted", async () => {
  for (const servername of ["control-service", "localhost", "", "some.where.else"]) {
    const answer = await ask(certificates.user("old", { version: 1 }), "/v1/version", {
      maxVersion: "TLSv1.2",
      servername,
      ...(servername === "some.where.else" ? { checkServerIdentity: () => undefined } : {}),
    });
    assert.equal(answer.body, '{"flocker": "1.2.3"}', servername);
  }
});

test("an agent's certificate on /v2 is told what is wrong and what to do, and so is the log", async () => {
  const answer = await ask(certificates.node(node), "/v2/datasets");
  assert.equal(answer.status, 403);
  assert.equal(answer.headers["content-type"], "application/problem+json");
  assert.equal(answer.headers["connection"], "close");
  const problem = JSON.parse(answer.body) as Record<string, unknown>;
  assert.equal(problem["code"], "certificate-role");
  assert.match(String(problem["detail"]), new RegExp(`node-${node} was used on the API`));
  assert.match(String(problem["remedy"]), /flocker ca user/);
  const line = await logged("api-connection-refused", "certificate-role");
  assert.match(String(line["problem"]), /node-/);
  assert.equal(line["from"], "127.0.0.1");
});

test("no certificate but a user's comes into /v1: the connection ends without an answer", async () => {
  const strangers = [certificates.node(node), certificates.control(), certificates.named("root")];
  for (const files of strangers)
    await assert.rejects(ask(files, "/v1/version"), /socket hang up|ECONNRESET/, files.certificateFile);
  await logged("api-connection-refused", "certificate-invalid");
});

test("a certificate of another cluster, an expired one, an early one and none at all are refused with the reason", async () => {
  const cases = [
    [certificates.foreign.user("mallory"), "certificate-foreign", /mallory.* not issued by the authority/],
    [certificates.user("late", { validity: "expired" }), "certificate-expired", /user-late.* valid until 20/],
    [
      certificates.user("early", { validity: "early" }),
      "certificate-invalid",
      /user-early.*CERT_NOT_YET_VALID/,
    ],
    [undefined, "certificate-invalid", /no certificate/],
  ] as const;
  for (const [files, code, detail] of cases) {
    const answer = await ask(files, "/v2/version");
    const problem = JSON.parse(answer.body) as Record<string, unknown>;
    assert.deepEqual([answer.status, problem["code"]], [403, code]);
    assert.match(String(problem["detail"]), detail);
    assert.match(String(problem["remedy"]), /flocker ca/);
    const line = await logged("api-connection-refused", code);
    assert.equal(line["from"], "127.0.0.1");
    for (const path of ["/v1/version", "/v1/configuration/datasets", "/", "/v2x"])
      await assert.rejects(ask(files, path), /socket hang up|ECONNRESET/, `${code} ${path}`);
  }
});

test("a refused connection changes nothing, whatever its body says", async () => {
  const body = JSON.stringify({ primary: node, dataset_id: node });
  for (const path of ["/v1/configuration/datasets", "/v2/datasets"])
    await ask(certificates.node(node), path, { method: "POST", body }).catch(() => undefined);
  const list = await ask(certificates.user("alice"), "/v1/configuration/datasets");
  assert.equal(list.body, "[]");
});

test("a client without a common TLS version fails the handshake, and the log says so", async () => {
  const old = connect({
    host: "127.0.0.1",
    port: server.port,
    ...tlsFiles(certificates.user("alice")),
    minVersion: "TLSv1.1",
    maxVersion: "TLSv1.1",
    ciphers: "DEFAULT@SECLEVEL=0",
  });
  await assert.rejects(once(old, "secureConnect"));
  await logged("api-handshake-failed", "protocol-version");
});

test("a port that is in use is a problem, and nothing is left running", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { started } = await start({ port: (other.address() as AddressInfo).port });
  assert.ok(!started.ok);
  assert.equal(started.problem.code, "port-in-use");
  assert.match(started.problem.message, /127\.0\.0\.1 port \d+/);
  other.close();
  await once(other, "close");
});

test("reloading takes the new certificate for new connections and lets existing ones go on", async () => {
  const { started, use } = await start();
  assert.ok(started.ok);
  await using one = started.value;
  const old = await open(one.port);
  use(certificates.control({ version: 1 }));
  one.reload();
  const fresh = await open(one.port);
  assert.notEqual(
    fresh.getPeerX509Certificate()?.fingerprint256,
    old.getPeerX509Certificate()?.fingerprint256,
  );
  for (const socket of [old, fresh]) {
    socket.write("GET /v1/version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let text = "";
    for await (const piece of socket) text += String(piece);
    assert.match(text, /^HTTP\/1\.1 200 OK[\s\S]*\{"flocker": "1\.2\.3"\}$/);
  }
});

async function open(port: number, session?: Buffer): Promise<TLSSocket> {
  const socket = connect({
    host: "127.0.0.1",
    port,
    servername: "control-service",
    ...tlsFiles(certificates.user("alice")),
    ...(session === undefined ? {} : { session }),
  });
  await once(socket, "secureConnect");
  return socket;
}

test("a user whose certificate is revoked is cut off at once, in the middle of an event stream", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "flocker-revoked-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const made = makeTestCertificates(folder);
  const control = made.control();
  const loaded = loadCredentials(control);
  assert.ok(loaded.ok);
  const { started } = await start({ source: renewableCredentials(loaded.value, control, log) });
  assert.ok(started.ok);
  await using one = started.value;
  const open = async (name: string): Promise<TLSSocket> => {
    const files = made.user(name);
    const pems = {
      ca: readFileSync(files.clusterCertificateFile),
      cert: readFileSync(files.certificateFile),
    };
    const key = readFileSync(files.keyFile);
    const servername = "control-service";
    const socket = connect({ host: "127.0.0.1", port: one.port, servername, ...pems, key });
    await once(socket, "secureConnect");
    socket.on("error", () => undefined);
    return socket;
  };
  const streams = [await open("mallory"), await open("alice")];
  for (const socket of streams) {
    socket.write("GET /v2/events HTTP/1.1\r\nhost: x\r\n\r\n");
    await once(socket, "data");
    socket.resume();
  }
  const ended = once(streams[0] ?? assert.fail(), "close");
  made.revoke(made.user("mallory"));
  one.reload();
  await ended;
  assert.equal(streams[1]?.destroyed, false);
  const again = await open("mallory");
  again.write("GET /v2/version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  let text = "";
  for await (const piece of again) text += String(piece);
  assert.match(text, /^HTTP\/1\.1 403 [\s\S]*"certificate-revoked"/);
  streams[1]?.destroy();
});

test("a resumed TLS session is still known by its certificate", async () => {
  const first = await open(server.port);
  const sessions = once(first, "session");
  first.write("GET /v2/version HTTP/1.1\r\nhost: x\r\n\r\n");
  const [session] = (await sessions) as [Buffer];
  first.destroy();
  const second = await open(server.port, session);
  assert.equal(second.isSessionReused(), true);
  second.write("GET /v2/version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  let text = "";
  for await (const piece of second) text += String(piece);
  assert.match(text, /^HTTP\/1\.1 200 OK/);
});

test("stopping ends event streams and idle connections, and does not wait for silent ones", async () => {
  const { started } = await start();
  assert.ok(started.ok);
  const listening = await open(started.value.port);
  const ended = once(listening, "end");
  listening.write("GET /v2/events HTTP/1.1\r\nhost: x\r\n\r\n");
  await once(listening, "data");
  listening.resume();
  const idle = await open(started.value.port);
  const idleEnded = once(idle, "close");
  idle.resume();
  // One that never even begins its handshake.
  const mute = connectPlain(started.value.port, "127.0.0.1");
  await once(mute, "connect");
  const muteEnded = once(mute, "close");
  mute.resume();
  const before = performance.now();
  await started.value[Symbol.asyncDispose]();
  assert.ok(performance.now() - before < 4000);
  await ended;
  await idleEnded;
  await muteEnded;
  await assert.rejects(open(started.value.port), /ECONNREFUSED/);
});
