import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { getEventListeners, once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import type { IncomingMessage } from "node:http";
import { createServer as createHttpsServer, request } from "node:https";
import { createServer as createNetServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { after, test } from "node:test";
import type { Link, LinkDialer, NodeId, Problem } from "@flocker/core";
import { WebSocketServer } from "ws";
import type { WebSocket } from "ws";
import { tlsOptions } from "./certificates.ts";
import type { Credentials, CredentialsSource } from "./certificates.ts";
import { systemClock } from "./clock.ts";
import { acceptLinks, wsLinkDialer } from "./links.ts";
import type { LinkServer, NodeIdentity } from "./links.ts";
import { ringLog } from "./log.ts";
import { makeTestCertificates, testCredentials } from "./testing/test-certificates.ts";

const certificates = makeTestCertificates();
const node = randomUUID() as NodeId;
const control = testCredentials(certificates.control());
const agent = testCredentials(certificates.node(node));
const never = new AbortController().signal;

const cleanups: (() => unknown)[] = [];
after(async () => {
  for (const cleanup of cleanups) await cleanup();
});

interface Accepted {
  readonly server: LinkServer;
  readonly links: { link: Link; identity: NodeIdentity; remoteAddress: string }[];
  readonly refusals: Problem[];
}

async function accepting(credentials: CredentialsSource = control): Promise<Accepted> {
  const links: Accepted["links"] = [];
  const refusals: Problem[] = [];
  const server = await acceptLinks({
    host: "127.0.0.1",
    port: 0,
    credentials,
    onLink: (link, identity, remoteAddress) => links.push({ link, identity, remoteAddress }),
    onRefused: (problem) => refusals.push(problem),
  });
  assert.ok(server.ok, JSON.stringify(server));
  cleanups.push(() => server.value.close());
  return { server: server.value, links, refusals };
}

function dialer(
  port: number,
  credentials: CredentialsSource = agent,
  host: string = "127.0.0.1",
): LinkDialer {
  return wsLinkDialer({ host, port, credentials, handshakeTimeoutMs: 5000 });
}

async function dialled(port: number, credentials?: CredentialsSource): Promise<Link> {
  const link = await dialer(port, credentials).dial(never);
  assert.ok(link.ok, JSON.stringify(link));
  cleanups.push(() => link.value.close());
  return link.value;
}

async function refused(port: number, credentials?: Credentials, host?: string): Promise<Problem> {
  const link = await dialer(port, credentials, host).dial(never);
  assert.ok(!link.ok, "this dial fails");
  return link.problem;
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `in time: ${String(condition)}`);
    await systemClock.sleep(5);
  }
}

async function first<Value>(values: readonly Value[]): Promise<Value> {
  await until(() => values.length > 0);
  return values[0] as Value;
}

async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function all(link: Link): Promise<unknown[]> {
  const messages: unknown[] = [];
  for await (const message of link.messages()) messages.push(message);
  return messages;
}

test("messages go both ways in order, and a close is the end of them on both sides", async () => {
  const { server, links } = await accepting();
  const link = await dialled(server.port);
  const { link: accepted, identity, remoteAddress } = await first(links);
  assert.deepEqual(identity.role, { role: "node", node });
  assert.equal(identity.clusterId, certificates.clusterId);
  assert.equal(remoteAddress, "127.0.0.1");
  const many = Array.from({ length: 500 }, (_, number) => ({ number, text: "grüße" }));
  for (const message of many) link.send(message);
  accepted.send({ back: [null, 1.5] });
  const received = all(accepted);
  const iterator = link.messages()[Symbol.asyncIterator]();
  assert.deepEqual((await iterator.next()).value, { back: [null, 1.5] });
  const end = iterator.next();
  link.close();
  assert.deepEqual(await received, many);
  assert.deepEqual(await end, { value: undefined, done: true });
  link.send("after the close, this is dropped");
});

test("a message sent at once with the acceptance is not missed", async () => {
  const server = await acceptLinks({
    host: "127.0.0.1",
    port: 0,
    credentials: control,
    onLink: (link) => link.send("welcome"),
    onRefused: () => undefined,
  });
  assert.ok(server.ok);
  cleanups.push(() => server.value.close());
  const link = await dialled(server.value.port);
  for await (const message of link.messages()) {
    assert.equal(message, "welcome");
    break;
  }
});

test("certificates of version 1, and of either authority while both are trusted, get a link", async () => {
  const { clusterCertificateFile, bothAuthoritiesFile, foreign } = certificates;
  const both = testCredentials({
    ...certificates.control({ version: 1 }),
    clusterCertificateFile: bothAuthoritiesFile,
  });
  const { server, links } = await accepting(both);
  await dialled(server.port, testCredentials(certificates.node(node, { version: 1 })));
  await until(() => links.length === 1);
  const other = testCredentials(foreign.node(node));
  await dialled(server.port, { ...other, authorities: both.authorities });
  await until(() => links.length === 2);
  assert.ok(clusterCertificateFile !== bothAuthoritiesFile);
});

test("who may not come in is told why, as is the control service", async () => {
  const { server, links, refusals } = await accepting();
  const cases = [
    [testCredentials(certificates.user("alice")), "certificate-role"],
    [control, "certificate-role"],
    [testCredentials(certificates.node(node, { validity: "expired" })), "certificate-expired"],
    [testCredentials(certificates.node(node, { validity: "early" })), "certificate-invalid"],
    [
      { ...testCredentials(certificates.foreign.node(node)), authorities: control.authorities },
      "certificate-foreign",
    ],
  ] as const;
  for (const [credentials, code] of cases) {
    const problem = await refused(server.port, credentials);
    assert.equal(problem.code, code, problem.message);
    assert.deepEqual(refusals.pop(), problem);
  }
  assert.equal(links.length, 0);
});

async function statusOf(port: number, options: object, path: string): Promise<[number | undefined, Problem]> {
  const sent = request({ host: "127.0.0.1", port, path, servername: "control-service", ...options });
  sent.end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return [response.statusCode, JSON.parse(Buffer.concat(chunks).toString()) as Problem];
}

test("plain requests get a problem, without a certificate and with one", async () => {
  const { server, refusals } = await accepting();
  const anonymous = { ca: [...control.authorities] };
  const [forbidden, missing] = await statusOf(server.port, anonymous, "/");
  assert.equal(forbidden, 403);
  assert.equal(missing.code, "certificate-invalid");
  const [notFound, elsewhere] = await statusOf(server.port, tlsOptions(agent), "/v1/state");
  assert.equal(notFound, 403);
  assert.equal(elsewhere.code, "not-found");
  const [upgrade, problem] = await statusOf(server.port, tlsOptions(agent), "/agent");
  assert.equal(upgrade, 426);
  assert.equal(problem.code, "bad-request");
  assert.equal(refusals.length, 3);
});

test("a control service that cannot prove itself is not spoken to", async () => {
  const expired = await accepting(testCredentials(certificates.control({ validity: "expired" })));
  assert.equal((await refused(expired.server.port)).code, "certificate-expired");
  const foreign = await accepting(testCredentials(certificates.foreign.control()));
  assert.equal((await refused(foreign.server.port)).code, "certificate-foreign");
  const node2 = await accepting(testCredentials(certificates.node(randomUUID() as NodeId)));
  assert.equal((await refused(node2.server.port)).code, "certificate-invalid");
  for (const { links } of [expired, foreign, node2]) assert.equal(links.length, 0);
});

test("a place where no control service is, is a problem with a remedy", async () => {
  const closed = createNetServer();
  const closedPort = await listening(closed);
  closed.close();
  await once(closed, "close");
  const nobody = await refused(closedPort);
  assert.equal(nobody.code, "control-unreachable");
  assert.match(nobody.message, /nothing listens there/);
  const unknown = await refused(4524, agent, "no-such-host.invalid");
  assert.equal(unknown.code, "control-unreachable");
  assert.match(unknown.message, /name/);
  const plain = await refused(await listening(createHttpServer()));
  assert.equal(plain.code, "control-unreachable");
  assert.match(plain.message, /not speak TLS/);
  const other = createHttpsServer({ ...tlsOptions(control) }, (_, response) => response.end("hello"));
  const web = await refused(await listening(other));
  assert.match(web.message, /no control service's port for agents/);
  assert.equal((await refused(4524, agent, "not a host")).code, "control-unreachable");
});

test("a server that says nothing is given up in time, or at an abort", async () => {
  const sockets: Socket[] = [];
  const port = await listening(createNetServer((socket) => sockets.push(socket)));
  cleanups.push(() => sockets.forEach((socket) => socket.destroy()));
  const silent = wsLinkDialer({ host: "127.0.0.1", port, credentials: agent, handshakeTimeoutMs: 100 });
  const late = await silent.dial(never);
  assert.match(late.ok ? "" : late.problem.message, /handshake did not finish in time/);
  const controller = new AbortController();
  const dialling = dialer(port).dial(controller.signal);
  await until(() => sockets.length === 2);
  controller.abort();
  assert.equal((await dialling).ok, false);
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
  assert.equal((await dialer(port).dial(controller.signal)).ok, false);
});

test("an occupied port is a problem that names it", async () => {
  const { server } = await accepting();
  const options = {
    host: "127.0.0.1",
    credentials: control,
    onLink: () => undefined,
    onRefused: () => undefined,
  };
  const second = await acceptLinks({ ...options, port: server.port });
  assert.equal(!second.ok && second.problem.code, "port-in-use");
  assert.ok(!second.ok && second.problem.message.includes(`port ${server.port}`));
  const nowhere = await acceptLinks({ ...options, host: "192.0.2.1", port: 0 });
  assert.equal(!nowhere.ok && nowhere.problem.code, "configuration-invalid");
});

test("renewed credentials serve new connections, and the old links go on", async () => {
  let current = control;
  let own = agent;
  const { server, links } = await accepting(() => current);
  const old = await dialled(server.port, () => own);
  const { link: accepted } = await first(links);
  current = testCredentials(certificates.foreign.control());
  assert.equal((await refused(server.port)).code, "certificate-foreign");
  own = testCredentials(certificates.foreign.node(node));
  await dialled(server.port, () => own);
  await until(() => links.length === 2);
  old.send("still here");
  const { value } = await accepted.messages()[Symbol.asyncIterator]().next();
  assert.equal(value, "still here");
  // An authority that is trusted no longer does not get in with a session of before, either.
  assert.equal((await refused(server.port)).code, "certificate-foreign");
});

/** A server of the other side's, at the level of web sockets, that does what ours would not. */
async function rawServer(onSocket: (socket: WebSocket) => void): Promise<number> {
  const server = createHttpsServer({ ...tlsOptions(control), requestCert: true });
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  sockets.on("connection", (socket) => {
    cleanups.push(() => socket.terminate());
    onSocket(socket);
  });
  return listening(server);
}

test("a slow consumer stops the reading, and misses nothing", async () => {
  const sockets: WebSocket[] = [];
  const link = await dialled(await rawServer((socket) => sockets.push(socket)));
  const socket = await first(sockets);
  const text = "x".repeat(64 * 1024);
  for (let number = 0; number < 800; number += 1) socket.send(JSON.stringify({ number, text }));
  let lastBytes = -1;
  while (socket.bufferedAmount !== lastBytes) {
    lastBytes = socket.bufferedAmount;
    await systemClock.sleep(100);
  }
  assert.ok(lastBytes > 30e6, `${lastBytes} of 52 million bytes have to wait at the sender`);
  socket.close();
  const numbers = (await all(link)).map((message) => (message as { number: number }).number);
  assert.deepEqual(
    numbers,
    Array.from({ length: 800 }, (_, number) => number),
  );
});

test("a connection that breaks ends the messages, after those that had come", async () => {
  const sockets: WebSocket[] = [];
  const link = await dialled(await rawServer((socket) => sockets.push(socket)));
  const socket = await first(sockets);
  const iterator = link.messages()[Symbol.asyncIterator]();
  socket.send("1");
  assert.deepEqual(await iterator.next(), { value: 1, done: false });
  socket.terminate();
  assert.deepEqual(await iterator.next(), { value: undefined, done: true });
});

test("what is no JSON text, or too large, ends the link and is logged", async () => {
  const bad = [Buffer.from("binary"), "{", `"${"x".repeat(65 * 2 ** 20)}"`];
  for (const payload of bad) {
    const log = ringLog();
    const port = await rawServer((socket) => socket.send(payload));
    const link = await wsLinkDialer({ host: "127.0.0.1", port, credentials: agent, log }).dial(never);
    assert.ok(link.ok);
    assert.deepEqual(await all(link.value), []);
    assert.equal(log.entries()[0]?.event, "link-broken");
  }
});

test("a close is prompt, even when the other side does not read or answer", async () => {
  const sockets: WebSocket[] = [];
  const link = await dialled(await rawServer((socket) => sockets.push(socket)));
  const socket = await first(sockets);
  socket.pause();
  const ended = all(link);
  const start = performance.now();
  link.close();
  assert.deepEqual(await ended, []);
  assert.ok(performance.now() - start < 1900, "it does not wait for the grace time");
  const { server, links } = await accepting();
  await dialled(server.port);
  await first(links);
  await server.close();
  assert.ok(performance.now() - start < 30_000);
});

test("a server that closes ends its links and frees its port", async () => {
  const { server, links } = await accepting();
  const ended = all(await dialled(server.port));
  await first(links);
  await server.close();
  assert.deepEqual(await ended, []);
  assert.match((await refused(server.port)).message, /nothing listens/);
});
