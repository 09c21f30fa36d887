import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:tls";
import type { TLSSocket } from "node:tls";
import test from "node:test";
import { parseNodeId, success } from "@flocker/core";
import type { PeerReply, Problem, Result } from "@flocker/core";
import { tlsOptions } from "../certificates.ts";
import type { CredentialFiles, Credentials } from "../certificates.ts";
import { systemClock } from "../clock.ts";
import { silentLog } from "../log.ts";
import {
  answeringNode,
  askingNode,
  dataChannelRig,
  observedBody,
  receiveRequest,
  testDataset,
} from "../testing/data-channel-rig.ts";
import { makeTestCertificates, testCredentials } from "../testing/test-certificates.ts";
import { FrameParser, jsonFrame } from "./frames.ts";
import type { Frame } from "./frames.ts";
import { dataChannelPeers } from "./peers.ts";
import { dataChannelServer } from "./server.ts";

const never = new AbortController().signal;
const certificates = makeTestCertificates();
const describe = { kind: "describe", dataset: testDataset } as const;
const described: PeerReply = { kind: "describe", record: null, snapshots: [], unchangedSince: null };

function problemOf(result: Result<unknown>): Problem {
  assert.ok(!result.ok);
  return result.problem;
}

/** Connects with any certificate, or none, and says what the server answers before it closes. */
async function answerTo(
  port: number,
  credentials: Credentials | { readonly ca: string[] },
): Promise<Frame[]> {
  const options = "ca" in credentials ? credentials : tlsOptions(credentials);
  const socket = connect({ host: "127.0.0.1", port, ...options, checkServerIdentity: () => undefined });
  const parser = new FrameParser();
  const frames: Frame[] = [];
  socket.on("data", (chunk: Buffer) => frames.push(...parser.push(chunk).frames));
  await once(socket, "close");
  return frames;
}

test("whoever is no node of this cluster is refused, and told so", async () => {
  let handled = 0;
  await using rig = await dataChannelRig({
    handler: () => {
      handled += 1;
      return Promise.resolve(success(described));
    },
  });
  const own = testCredentials(certificates.node(askingNode));
  // Trusts our authority, as a stranger may, but shows a certificate of its own.
  const foreign = testCredentials(certificates.foreign.node(askingNode));
  const cases: readonly (readonly [Credentials | { ca: string[] }, string, RegExp])[] = [
    [testCredentials(certificates.user("alice")), "certificate-role", /user-alice is not a node's/],
    [testCredentials(certificates.control()), "certificate-role", /control-service is not a node's/],
    [{ ...foreign, authorities: own.authorities }, "certificate-foreign", /authority/],
    [
      testCredentials(certificates.node(askingNode, { validity: "expired" })),
      "certificate-expired",
      /expired/,
    ],
    [
      testCredentials(certificates.node(askingNode, { validity: "early" })),
      "certificate-invalid",
      /not valid yet/,
    ],
    [{ ca: [...own.authorities] }, "certificate-invalid", /no certificate/],
  ];
  for (const [credentials, code, message] of cases) {
    const [frame, ...more] = await answerTo(rig.peer.port, credentials);
    assert.ok(frame?.type === "reply");
    assert.deepEqual(more, []);
    const problem = problemOf(frame.value as Result<unknown>);
    assert.equal(problem.code, code);
    assert.match(problem.message, message);
    assert.match(problem.message, /^node-bbbbbbbb\S+ refuses/);
  }
  assert.equal(handled, 0);
});

test("an agent that is refused for its certificate learns the reason, also in the middle of a body", async () => {
  await using rig = await dataChannelRig({
    handler: () => Promise.resolve(success(described)),
    asking: certificates.node(askingNode, { validity: "expired" }),
  });
  const body = observedBody(
    (function* () {
      for (;;) yield Buffer.alloc(100_000);
    })(),
  );
  const reply = await rig.peers.ask(rig.peer, receiveRequest, { body, abort: never });
  assert.equal(problemOf(reply).code, "certificate-expired");
  assert.ok(body.closed);
});

test("an agent with the certificate of a user asks nothing", async () => {
  await using rig = await dataChannelRig({
    handler: () => Promise.resolve(success(described)),
    asking: certificates.user("alice"),
  });
  const reply = await rig.peers.ask(rig.peer, describe, { abort: never });
  assert.equal(problemOf(reply).code, "certificate-role");
});

/** Stands where the answering node should be, with another certificate, and counts what it gets to read. */
async function impostor(
  files: CredentialFiles,
): Promise<AsyncDisposable & { port: number; readBytes: number }> {
  const cert = readFileSync(files.certificateFile);
  const key = readFileSync(files.keyFile);
  const ca = [readFileSync(certificates.bothAuthoritiesFile)];
  const sockets = new Set<TLSSocket>();
  const server = createServer({ cert, key, ca, requestCert: true, rejectUnauthorized: false });
  const seen = {
    port: 0,
    readBytes: 0,
    async [Symbol.asyncDispose](): Promise<void> {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
  server.on("secureConnection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => (seen.readBytes += chunk.length));
    socket.write(jsonFrame("reply", success(described)) ?? "");
  });
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  seen.port = (server.address() as AddressInfo).port;
  return seen;
}

test("only the node that was meant is asked, whatever answers at its address", async () => {
  const other = parseNodeId("cccccccc-cccc-4ccc-8ccc-cccccccccccc");
  assert.ok(other);
  const cases: readonly (readonly [CredentialFiles, string, RegExp])[] = [
    [certificates.node(other), "peer-unreachable", /node cccccccc\S+ is there instead/],
    [certificates.user("alice"), "certificate-role", /user-alice is not a node's/],
    [certificates.control(), "certificate-role", /control-service is not a node's/],
    [certificates.foreign.node(answeringNode), "certificate-foreign", /authority/],
    [certificates.node(answeringNode, { validity: "expired" }), "certificate-expired", /expired/],
    [certificates.named("somebody"), "certificate-invalid", /"somebody"/],
  ];
  await using rig = await dataChannelRig({ handler: () => Promise.resolve(success(described)) });
  for (const [files, code, message] of cases) {
    await using server = await impostor(files);
    const { port } = server;
    const body = observedBody([Buffer.from("secret")]);
    const reply = await rig.peers.ask({ ...rig.peer, port }, receiveRequest, { body, abort: never });
    assert.equal(problemOf(reply).code, code);
    assert.match(problemOf(reply).message, message);
    assert.equal(server.readBytes, 0);
    assert.equal(body.yieldedBytes, 0);
  }
});

test("where both authorities are trusted, a node of the other cluster is still refused", async () => {
  const both = {
    ...certificates.foreign.node(askingNode),
    clusterCertificateFile: certificates.bothAuthoritiesFile,
  };
  const server = await dataChannelServer({
    host: "127.0.0.1",
    port: 0,
    credentials: testCredentials({
      ...certificates.node(answeringNode),
      clusterCertificateFile: certificates.bothAuthoritiesFile,
    }),
    handler: () => Promise.resolve(success(described)),
    log: silentLog,
    clock: systemClock,
  });
  assert.ok(server.ok);
  const [frame] = await answerTo(server.value.port, testCredentials(both));
  assert.ok(frame?.type === "reply");
  assert.equal(problemOf(frame.value as Result<unknown>).code, "certificate-foreign");
  await server.value.close();
});

test("TLS 1.2 is not spoken", async () => {
  await using rig = await dataChannelRig({ handler: () => Promise.resolve(success(described)) });
  const { ca, cert, key } = tlsOptions(testCredentials(certificates.node(askingNode)));
  const socket = connect({
    host: "127.0.0.1",
    port: rig.peer.port,
    ca,
    cert,
    key,
    maxVersion: "TLSv1.2",
    checkServerIdentity: () => undefined,
  });
  const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
  assert.equal(error.code, "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
});

test("nodes with certificates of the original tool, of X.509 version 1, talk to each other", async () => {
  await using rig = await dataChannelRig({
    handler: () => Promise.resolve(success(described)),
    asking: certificates.node(askingNode, { version: 1 }),
    answering: certificates.node(answeringNode, { version: 1 }),
  });
  assert.deepEqual(await rig.peers.ask(rig.peer, describe, { abort: never }), success(described));
});

test("a renewed certificate is used for the next connection, on both ends, without a restart", async () => {
  const stale = testCredentials(certificates.node(answeringNode, { validity: "expired" }));
  let answering = stale;
  const server = await dataChannelServer({
    host: "127.0.0.1",
    port: 0,
    credentials: () => answering,
    handler: () => Promise.resolve(success(described)),
    log: silentLog,
    clock: systemClock,
  });
  assert.ok(server.ok);
  let asking = testCredentials(certificates.node(askingNode));
  const peers = dataChannelPeers({ credentials: () => asking, log: silentLog, clock: systemClock });
  const peer = { node: answeringNode, host: "127.0.0.1", port: server.value.port };
  const ask = () => peers.ask(peer, describe, { abort: never });
  assert.equal(problemOf(await ask()).code, "certificate-expired");
  answering = testCredentials(certificates.node(answeringNode));
  assert.deepEqual(await ask(), success(described));
  asking = testCredentials(certificates.node(askingNode, { validity: "expired" }));
  assert.equal(problemOf(await ask()).code, "certificate-expired");
  await server.value.close();
});
