import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type ServerOptions } from "node:https";
import { createServer as createPlainServer, type AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import type { TLSSocket } from "node:tls";
import { ProblemError, type Problem } from "@flocker/core";
import { tlsOptions, type CredentialFiles } from "./certificates.ts";
import { createHttpsClient, type HttpsClient, type HttpsClientOptions } from "./https-client.ts";
import { makeTestCertificates, testCredentials } from "./testing/test-certificates.ts";

const certificates = makeTestCertificates();
const get = { method: "GET", path: "/v2/version", headers: { accept: "application/json" }, body: null };

type Answering = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(
  t: TestContext,
  answer: Answering,
  files: CredentialFiles = certificates.control(),
  more: ServerOptions = {},
): Promise<{ port: number; server: ReturnType<typeof createServer> }> {
  const server = createServer(
    {
      ...tlsOptions(testCredentials(files)),
      minVersion: "TLSv1.2",
      requestCert: true,
      rejectUnauthorized: true,
      ...more,
    },
    answer,
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, server };
}

function clientFor(
  t: TestContext,
  port: number,
  options: Partial<HttpsClientOptions> = {},
  files: CredentialFiles = certificates.user("alice"),
): HttpsClient {
  const credentials = testCredentials(files);
  const client = createHttpsClient({ host: "127.0.0.1", port, credentials, timeoutMs: 10_000, ...options });
  t.after(() => client.close());
  return client;
}

async function problemOf(answer: Promise<unknown>): Promise<Problem> {
  try {
    await answer;
  } catch (error) {
    assert.ok(error instanceof ProblemError, String(error));
    return error.problem;
  }
  assert.fail("it succeeded");
}

const echo: Answering = (request, response) => {
  let body = "";
  request.setEncoding("utf8");
  request.on("data", (chunk: string) => (body += chunk));
  request.on("end", () => {
    const socket = request.socket as TLSSocket;
    response.setHeader("x-protocol", socket.getProtocol() ?? "");
    const { method, url, headers } = request;
    response.statusCode = method === "POST" ? 201 : 200;
    response.end(
      JSON.stringify({
        method,
        url,
        body,
        length: headers["content-length"],
        from: socket.getPeerCertificate().subject.CN,
      }),
    );
  });
};

test("a request arrives as it was written, and its answer comes back whole", async (t) => {
  const { port } = await serve(t, echo);
  const client = clientFor(t, port);
  const answer = await client.send({ method: "POST", path: "/x?y=1", headers: {}, body: '{"ä":1}' });
  assert.equal(answer.status, 201);
  assert.equal(answer.headers["x-protocol"], "TLSv1.3");
  const expected = { method: "POST", url: "/x?y=1", body: '{"ä":1}', length: "8", from: "user-alice" };
  assert.deepEqual(JSON.parse(answer.body), expected);
});

test("connections are kept for the next request", async (t) => {
  const ports = new Set<number | undefined>();
  const { port } = await serve(t, (request, response) => {
    ports.add(request.socket.remotePort);
    response.end("{}");
  });
  const client = clientFor(t, port);
  for (let index = 0; index < 3; index += 1) await client.send(get);
  assert.equal(ports.size, 1);
});

test("a kept connection that the service has closed costs a reader nothing", async (t) => {
  const { port, server } = await serve(t, (_, response) => response.end("{}"));
  const client = clientFor(t, port);
  for (let index = 0; index < 5; index += 1) {
    assert.equal((await client.send(get)).status, 200);
    server.closeAllConnections();
  }
});

test("a service that speaks only TLS 1.2 is served", async (t) => {
  const { port } = await serve(t, echo, certificates.control(), { maxVersion: "TLSv1.2" });
  assert.equal((await clientFor(t, port).send(get)).headers["x-protocol"], "TLSv1.2");
});

test("the name to check can be another than the host that is dialled", async (t) => {
  const { port } = await serve(t, echo);
  assert.equal((await clientFor(t, port, { serverName: "control-service" }).send(get)).status, 200);
  const problem = await problemOf(clientFor(t, port, { serverName: "other.example" }).send(get));
  assert.equal(problem.code, "certificate-invalid");
  assert.match(problem.message, /another name/);
  assert.match(problem.remedy, /flocker ca control HOST/);
});

test("nothing listening is named, with the address", async (t) => {
  const { port, server } = await serve(t, echo);
  server.close();
  await once(server, "close");
  const problem = await problemOf(clientFor(t, port).send(get));
  assert.equal(problem.code, "control-unreachable");
  assert.match(
    problem.message,
    new RegExp(`control service at 127\\.0\\.0\\.1:${port}: nothing listens there`),
  );
});

test("a service of another cluster, or one whose certificate has expired, is not trusted", async (t) => {
  const foreign = await serve(t, echo, certificates.foreign.control());
  assert.equal((await problemOf(clientFor(t, foreign.port).send(get))).code, "certificate-foreign");
  const expired = await serve(t, echo, certificates.control({ validity: "expired" }));
  assert.equal((await problemOf(clientFor(t, expired.port).send(get))).code, "certificate-expired");
});

test("a service that does not take our certificate is said to break off, with that as a likely cause", async (t) => {
  const { port } = await serve(t, echo);
  const theirs = testCredentials(certificates.foreign.user("alice"));
  const foreign = { ...theirs, authorities: testCredentials(certificates.user("alice")).authorities };
  for (const credentials of [foreign, testCredentials(certificates.user("alice", { validity: "expired" }))]) {
    const problem = await problemOf(clientFor(t, port, { credentials }).send(get));
    assert.equal(problem.code, "control-unreachable");
    assert.match(problem.message, /broke the connection after the handshake/);
    assert.match(problem.remedy, /does not accept this certificate/);
  }
});

test("a service that does not answer in time is given up, and a change is then uncertain", async (t) => {
  const { port } = await serve(t, () => undefined);
  const client = clientFor(t, port, { timeoutMs: 300 });
  const read = await problemOf(client.send(get));
  assert.equal(read.code, "deadline-exceeded");
  assert.doesNotMatch(read.message, /not known/);
  const change = await problemOf(client.send({ ...get, method: "POST", body: "{}" }));
  assert.match(change.message, /Whether it was done is not known/);
});

test("an answer that breaks off is no answer", async (t) => {
  const { port } = await serve(t, (request, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("{", () => request.socket.destroy());
  });
  assert.equal((await problemOf(clientFor(t, port).send(get))).code, "control-unreachable");
});

test("an abandoned request ends at once", async (t) => {
  const controller = new AbortController();
  const { port } = await serve(t, () => controller.abort());
  const problem = await problemOf(clientFor(t, port, { abort: controller.signal }).send(get));
  assert.match(problem.message, /abandoned/);
});

test("something that does not speak TLS is named as such", async (t) => {
  const server = createPlainServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const problem = await problemOf(clientFor(t, (server.address() as AddressInfo).port).send(get));
  assert.equal(problem.code, "control-unreachable");
  assert.match(problem.message, /does not speak TLS|broke the connection/);
});

test("an answer can be read while it comes, until it ends", async (t) => {
  const { port } = await serve(t, (request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(`${String(request.headers["last-event-id"])}\n`);
    setImmediate(() => response.end("ä\n"));
  });
  const request = { ...get, headers: { "last-event-id": "7" } };
  const options = { abort: new AbortController().signal, silenceMs: 5_000 };
  const stream = await clientFor(t, port).open(request, options);
  assert.equal(stream.status, 200);
  assert.equal((await Array.fromAsync(stream.text)).join(""), "7\nä\n");
});

test("a stream that falls silent, breaks or is aborted ends with a problem", async (t) => {
  const { port } = await serve(t, (request, response) => {
    response.writeHead(200).write("first");
    if (request.url === "/broken") setImmediate(() => response.destroy());
  });
  const client = clientFor(t, port);
  const ending = async (path: string, abort: AbortSignal, silenceMs: number): Promise<Problem> => {
    const answer = async (): Promise<unknown> => {
      const stream = await client.open({ ...get, path }, { abort, silenceMs });
      return Array.fromAsync(stream.text);
    };
    return problemOf(answer());
  };
  const never = new AbortController().signal;
  assert.equal((await ending("/silent", never, 100)).code, "control-unreachable");
  assert.equal((await ending("/broken", never, 5_000)).code, "control-unreachable");
  const abort = new AbortController();
  const aborted = ending("/silent", abort.signal, 5_000);
  setImmediate(() => abort.abort());
  assert.match((await aborted).message, /abandoned/);
});

test("a stream from nobody is a problem at once", async (t) => {
  const { port, server } = await serve(t, (_, response) => void response.end());
  server.close();
  const options = { abort: new AbortController().signal, silenceMs: 5_000 };
  assert.equal((await problemOf(clientFor(t, port).open(get, options))).code, "control-unreachable");
});
