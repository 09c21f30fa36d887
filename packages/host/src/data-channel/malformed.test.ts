import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:tls";
import test from "node:test";
import { crc32 } from "node:zlib";
import { ProblemError, success } from "@flocker/core";
import type { PeerReply, Problem, Result } from "@flocker/core";
import { tlsOptions } from "../certificates.ts";
import {
  answeringNode,
  askingNode,
  dataChannelRig,
  receiveRequest,
  testDataset,
} from "../testing/data-channel-rig.ts";
import { makeTestCertificates, testCredentials } from "../testing/test-certificates.ts";
import { FrameParser, bodyFrameHead, endFrame, jsonFrame, keepAliveFrame } from "./frames.ts";
import type { Frame } from "./frames.ts";

const never = new AbortController().signal;
const certificates = makeTestCertificates();
const describe = { kind: "describe", dataset: testDataset } as const;
const described: PeerReply = { kind: "describe", record: null, snapshots: [], unchangedSince: null };

/** Sends bytes as the asking node, whatever they are, and says what comes back before the server closes. */
async function answerTo(port: number, bytes: Uint8Array): Promise<Frame[]> {
  const socket = connect({
    host: "127.0.0.1",
    port,
    ...tlsOptions(testCredentials(certificates.node(askingNode))),
    checkServerIdentity: () => undefined,
  });
  const parser = new FrameParser();
  const frames: Frame[] = [];
  socket.on("data", (chunk: Buffer) => frames.push(...parser.push(chunk).frames));
  socket.write(bytes);
  await once(socket, "close");
  return frames;
}

function refusal(frames: readonly Frame[]): Problem {
  const results = frames.flatMap((frame) => (frame.type === "reply" ? [frame.value as Result<unknown>] : []));
  const [result] = results;
  assert.ok(results.length === 1 && result?.ok === false);
  return result.problem;
}

function header(request: unknown, version: number = 1): Uint8Array {
  const frame = jsonFrame("request", { version, silenceMs: 5000, request });
  assert.ok(frame);
  return frame;
}

const bytes = Buffer.from("the only copy");
const checksum = crc32(bytes);
const body = Buffer.concat([bodyFrameHead(bytes.length), bytes]);
const nothing = endFrame(0, 0);

const oversize = Buffer.from(header(receiveRequest));
oversize.writeUInt32BE(64 * 1024 + 1, 1);

const nonsense: readonly (readonly [string, readonly Uint8Array[], string, RegExp])[] = [
  ["HTTP", [Buffer.from("GET / HTTP/1.1\r\n\r\n")], "protocol-violation", /unknown type 71/],
  ["too long a request", [oversize], "protocol-violation", /65537 bytes/],
  ["a request of another version", [header(describe, 2)], "protocol-version", /version 2/],
  ["an unknown kind of request", [header({ kind: "explode" })], "protocol-violation", /explode/],
  ["a malformed request", [header({ kind: "describe", dataset: "x" })], "protocol-violation", /\/dataset/],
  ["a body before the request", [body], "protocol-violation", /before a request/],
  ["an end before the request", [nothing], "protocol-violation", /before a request/],
  ["a reply for a request", [jsonFrame("reply", {}) ?? bytes], "protocol-violation", /type reply/],
  ["two requests", [header(receiveRequest), header(receiveRequest)], "protocol-violation", /second request/],
  ["a body where none belongs", [header(describe), body], "protocol-violation", /type body/],
  ["a count that is not nothing", [header(describe), endFrame(5, checksum)], "transfer-corrupt", /5 bytes/],
  ["too high a count", [header(receiveRequest), body, endFrame(14, checksum)], "transfer-corrupt", /sent 14/],
  ["too low a count", [header(receiveRequest), body, endFrame(12, checksum)], "transfer-corrupt", /sent 12/],
  ["a wrong checksum", [header(receiveRequest), body, endFrame(13, 0)], "transfer-corrupt", /checksum/],
];

test("nonsense from an agent is answered with what is wrong, and the next request served", async () => {
  let completeBodies = 0;
  await using rig = await dataChannelRig({
    handler: async (_from, request, stream) => {
      if (request.kind !== "receive") return success(described);
      try {
        for await (const _ of stream) continue;
      } catch (error) {
        assert.ok(error instanceof ProblemError);
        return { ok: false, problem: error.problem };
      }
      completeBodies += 1;
      return success({ kind: "receive", receivedBytes: 0 });
    },
  });
  for (const [what, frames, code, message] of nonsense) {
    const problem = refusal(await answerTo(rig.peer.port, Buffer.concat(frames)));
    assert.equal(problem.code, code, what);
    assert.match(problem.message, message, what);
    assert.deepEqual(await rig.peers.ask(rig.peer, describe, { abort: never }), success(described), what);
  }
  assert.equal(completeBodies, 0);
});

test("frames in the right order are served, keep-alives anywhere between", async () => {
  await using rig = await dataChannelRig({
    handler: async (_from, _request, stream) => {
      let receivedBytes = 0;
      for await (const chunk of stream) receivedBytes += chunk.length;
      return success({ kind: "receive", receivedBytes });
    },
  });
  const parts = [header(receiveRequest), body, body, endFrame(26, crc32(Buffer.concat([bytes, bytes])))];
  const frames = await answerTo(
    rig.peer.port,
    Buffer.concat(parts.flatMap((part) => [keepAliveFrame, part])),
  );
  const replies = frames.filter((frame) => frame.type === "reply");
  assert.deepEqual(replies, [{ type: "reply", value: success({ kind: "receive", receivedBytes: 26 }) }]);
});

test("a peer that connects and asks nothing is sent away", async () => {
  await using rig = await dataChannelRig({
    limits: { silenceMs: 100 },
    handler: () => Promise.resolve(success(described)),
  });
  const problem = refusal(await answerTo(rig.peer.port, Buffer.of()));
  assert.equal(problem.code, "peer-unreachable");
  assert.match(problem.message, /nothing was heard of it/);
});

test("nonsense from the answering side is a problem of the asking one", async () => {
  let answer: Uint8Array = Buffer.of();
  const server = createServer(
    { ...tlsOptions(testCredentials(certificates.node(answeringNode))), requestCert: true },
    (socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => socket.end(answer));
    },
  );
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await using rig = await dataChannelRig({ handler: () => Promise.resolve(success(described)) });
  const cases: readonly (readonly [Uint8Array | undefined, string])[] = [
    [Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"), "protocol-violation"],
    [jsonFrame("reply", success({ kind: "promote" })), "protocol-violation"],
    [jsonFrame("reply", success({ ...described, snapshots: [7] })), "protocol-violation"],
    [jsonFrame("reply", { ok: "yes" }), "protocol-violation"],
    [jsonFrame("reply", { ok: false, problem: { code: 7 } }), "protocol-violation"],
    [jsonFrame("failed", { code: "internal", message: "", remedy: "" }), "protocol-violation"],
    [header(describe), "protocol-violation"],
    [body, "protocol-violation"],
    [jsonFrame("reply", success(described))?.subarray(0, 20), "transfer-interrupted"],
    [Buffer.of(), "transfer-interrupted"],
  ];
  for (const [frame, code] of cases) {
    assert.ok(frame);
    answer = frame;
    const reply = await rig.peers.ask({ ...rig.peer, port }, describe, { abort: never });
    assert.equal(!reply.ok && reply.problem.code, code, Buffer.from(frame).toString());
  }
  server.close();
});
